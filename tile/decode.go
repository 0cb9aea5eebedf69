package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// A decoder is what a worker needs to decode.
type decoder struct {
	heads   int      // KV heads at once
	perHead int      // rows of each
	rows    *float32 // [rows][DimV], the output of a chunk
	one     laneGroup
	tree    tree // of the partials of all chunks
}

// decode computes a decode item. It reports false if the work is to end and the item is not
// done: its rows are not written then.
func (w *workspace) decode(j *job, it *decodeItem) bool {
	p := &j.problem
	s := p.seq(int(it.seq))
	w.share = p.group()
	head := int(it.head)
	d, g := &w.decoder, &w.groups[0]
	d.heads, d.perHead = int(it.heads), w.share*s.lenQ
	if s.padQ > 0 && (it.chunk < 0 || it.part == it.first) {
		for h := range d.heads {
			w.pad(p, &s, head+h, d.perHead, w.share*(s.lenQ+s.padQ))
		}
	}
	if d.perHead == 0 {
		return true
	}
	own, ownNode := g.partial, g.tree.nodes[0].partial
	g.row, g.rows, g.decoding = 0, d.heads*d.perHead, j.engine.decodes(p, &s)
	vec := j.engine.set.Vec
	g.lanes = (g.rows + vec - 1) / vec * vec
	d.one = laneGroup{rows: d.perHead, lanes: (d.perHead + vec - 1) / vec * vec, slope: g.slope}
	if it.chunk >= 0 {
		g.partial = j.part(int(it.part), g.lanes)
	}
	if g.rows < g.lanes { // scores that nobody writes
		clear(unsafe.Slice(w.p, min(kernel.KeyBlock, s.lenKV)*g.lanes))
	}
	w.open(j, &s, g, head)
	w.openRows(p, &s, &d.one)
	if it.chunk < 0 {
		w.decodeChunks(j, &s, g, head)
	} else {
		w.decodeChunk(j, &s, g, head, int(it.chunk))
	}
	over := p.Done.Over() // some of that may be missing
	last := !over
	if last && it.chunk >= 0 {
		if last = j.partDone(it, g.started); last {
			w.join(j, it, g, head)
		}
	}
	if last {
		j.engine.phase(phaseFinish)
		w.close(j, &s, g, head)
	}
	if it.chunk >= 0 {
		g.partial, g.tree.nodes[0].partial = own, ownNode
	}
	g.decoding = false
	return !over
}

// decodeChunks takes a lane group through all keys.
func (w *workspace) decodeChunks(j *job, s *seq, g *laneGroup, head int) {
	prefix, lo, hi := j.problem.keys(s, 0, w.decoder.perHead)
	key0, end := nextBlock(0, prefix, lo, hi)
	chunk := key0 / kernel.KeyChunk
	for key0 < end && !j.problem.Done.Over() {
		w.decodeChunk(j, s, g, head, chunk)
		if key0, end = nextBlock((chunk+1)*kernel.KeyChunk, prefix, lo, hi); key0 < end {
			w.fold(j, g, chunk, key0/kernel.KeyChunk, attend)
			chunk = key0 / kernel.KeyChunk
		}
	}
	w.settle(j, g, head, chunk, attend)
}

// decodeChunk takes a lane group through a chunk of keys.
func (w *workspace) decodeChunk(j *job, s *seq, g *laneGroup, head, chunk int) {
	p, d := &j.problem, &w.decoder
	prefix, lo, hi := p.keys(s, 0, d.perHead)
	key0, end := nextBlock(chunk*kernel.KeyChunk, prefix, lo, hi)
	end = min(end, (chunk+1)*kernel.KeyChunk)
	for key0 < end && !p.Done.Over() {
		n := min(kernel.KeyBlock, s.lenKV-key0)
		w.openKeys(p, s, key0, n)
		if !g.decoding {
			w.k.find(p, s, head, key0, n)
			w.v.find(p, s, head, key0, n)
		}
		w.block(j, s, g, head, key0, n, attend)
		key0, _ = nextBlock(key0+kernel.KeyBlock, prefix, lo, hi)
	}
	if !g.started || !g.decoding {
		return
	}
	j.engine.phase(phaseFinish)
	a := &w.packArgs
	a.Src, a.Off = d.rows, &w.pairOff
	for l := range g.rows {
		w.pairOff[l] = l * p.DimV
	}
	a.DimStride, a.Rows, a.Dim, a.Scale = 1, g.rows, p.DimV, 1
	a.Dst, a.Lanes, a.Stride = g.o, g.lanes, g.lanes
	j.engine.set.PackQ(a)
}

// decodeCover is cover for a lane group with the rows of one or more KV heads.
func (w *workspace) decodeCover(p *Problem, s *seq, g *laneGroup, head, key0, n int) cover {
	d := &w.decoder
	d.one.started = g.started
	c := w.cover(p, s, &d.one, head, key0, n, kernel.MaxLanes)
	if d.heads > 1 {
		for k := c.full; k < c.to; k++ {
			word := w.mask[k] & d.one.all()
			w.mask[k] = 0
			for h := range d.heads {
				w.mask[k] |= word << (h * d.perHead)
			}
		}
	}
	return c
}

// decodeKeys computes the scores of the keys of a span of the block of n at key0.
func (w *workspace) decodeKeys(j *job, s *seq, g *laneGroup, head, key0, n int, keys span) {
	p, d := &j.problem, &w.decoder
	a := &w.decodeScores
	a.Elem, a.Dim = p.K.Elem, p.DimQK
	a.QStride, a.Rows, a.Stride = g.lanes, d.perHead, g.lanes
	for h := range d.heads {
		w.k.find(p, s, head+h, key0, n)
		a.K = w.k.base
		a.Q = lane(g.q, 0, 0, h*d.perHead)
		a.Off = w.k.offsets(keys.from)
		a.Scale = floatsFrom(w.k.scale, keys.from)
		a.S = lane(w.p, keys.from, g.lanes, h*d.perHead)
		a.Keys = keys.to - keys.from
		j.engine.set.DecodeScores(a)
	}
}

// decodeValues adds the weighted values of the keys of a span of the block of n at key0.
func (w *workspace) decodeValues(j *job, s *seq, g *laneGroup, head, key0, n int, keys span, mode kernel.UpdateMode) {
	p, d := &j.problem, &w.decoder
	a := &w.decodeAccum
	a.Elem, a.Mode = p.V.Elem, mode
	a.Keys, a.MaskFrom = keys.to-keys.from, keys.full-keys.from
	a.Rows, a.Stride, a.OStride = d.perHead, g.lanes, p.DimV
	a.Dim = p.DimV
	for h := range d.heads {
		w.v.find(p, s, head+h, key0, n)
		a.Off = w.v.offsets(keys.from)
		a.Scale = floatsFrom(w.v.scale, keys.from)
		a.P = lane(w.p, keys.from, g.lanes, h*d.perHead)
		a.Alpha = lane(w.softmaxArgs.Alpha, 0, 0, h*d.perHead)
		a.V = w.v.base
		a.O = lane(d.rows, h*d.perHead, p.DimV, 0)
		j.engine.set.DecodeAccumulate(a)
	}
}

// floatsFrom returns p[i:], or nil.
func floatsFrom(p *float32, i int) *float32 {
	if p == nil {
		return nil
	}
	return lane(p, 0, 0, i)
}
