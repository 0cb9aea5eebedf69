package tile

import (
	"cmp"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// allDivided reports whether the keys of every sequence are divided.
func (e *Engine) allDivided(p *Problem, rows int) bool {
	sequences := p.Batch
	if p.alike() {
		sequences = 1
	}
	for b := range sequences {
		s := p.seq(b)
		if !e.divides(p, &s, rows) {
			return false
		}
	}
	return true
}

// A decodeItem is the decoding of a sequence with few queries by some of its KV heads: of
// all chunks of its keys, or of one.
type decodeItem struct {
	seq, head, heads int32
	chunk            int32 // -1 for all
	part             int32 // index of the chunk's partial
	group            int32 // index of what counts the chunks done
	first, chunks    int32 // partials of all chunks
}

// decodeRows returns the most rows of all KV heads that are decoded at once.
func (e *Engine) decodeRows() int { return min(kernel.MaxDecodeRows, e.set.Lanes) }

// canDecode reports whether sequences with few queries may be decoded.
func (e *Engine) canDecode(p *Problem) bool {
	return p.ProbMod == nil && p.Record.Base == nil && p.Heads > 0 && p.K.dense() && p.V.dense() &&
		p.DimQK >= e.set.Vec && p.DimV%e.set.Vec == 0
}

// decodes reports whether a sequence is decoded: few of its queries share a KV head, and
// there are enough keys.
func (e *Engine) decodes(p *Problem, s *seq) bool {
	return e.canDecode(p) && p.group()*(s.lenQ+s.padQ) <= min(e.set.DecodeRows, e.decodeRows()) &&
		p.KVHeads*max(s.lenKV, 8) >= minDecode
}

// divides reports whether the keys of a sequence are divided over items: if it is decoded,
// or has up to so many rows.
func (e *Engine) divides(p *Problem, s *seq, rows int) bool {
	return p.group()*(s.lenQ+s.padQ) <= rows && p.ProbMod == nil && p.Record.Base == nil || e.decodes(p, s)
}

const (
	// itemsToSpread is the least number of decode items a worker that leaves sequences
	// whole: their lengths then even out.
	itemsToSpread = 16

	// minDecode is the least number of keys of all KV heads that are decoded; a head counts
	// as eight.
	minDecode = 32

	// minDecodeItems is the least number of items a worker to divide a sequence into.
	minDecodeItems = 4
)

// A decoding is the list of decode items of a Problem.
type decoding struct {
	items  []decodeItem
	parts  int // partials
	groups int // counters
	lanes  int // of a partial
	why    string
}

// list lists the decode items of p for so many workers. Sequences of up to rows query rows
// have their keys divided, too.
func (d *decoding) list(e *Engine, p *Problem, workers, rows int) {
	d.items, d.parts, d.groups, d.lanes = d.items[:0], 0, 0, 0
	if rows == 0 && !e.canDecode(p) || p.SeqQ == 0 || p.Heads == 0 {
		return
	}
	// As many KV heads at once as fill the lanes of the softmax, if there is nothing that
	// depends on the head.
	most := 1
	if !p.Mask.dense() && !p.modifies() {
		most = min(p.KVHeads, max(1, e.decodeRows()/max(1, p.group())))
	}
	if workers > 1 {
		for most > 1 && d.count(e, p, most, rows) < minDecodeItems*workers {
			most = (most + 1) / 2
		}
	}
	whole := workers == 1
	for b := range p.Batch {
		s := p.seq(b)
		if !e.divides(p, &s, rows) {
			continue
		}
		heads := 1
		if e.decodes(p, &s) {
			heads = max(1, min(most, e.decodeRows()/max(1, p.group()*s.lenQ)))
		}
		for head := 0; head < p.KVHeads; head += heads {
			d.items = append(d.items, decodeItem{
				seq: int32(b), head: int32(head), heads: int32(min(heads, p.KVHeads-head)), chunk: -1,
			})
		}
	}
	d.why = "one worker takes a sequence whole"
	if !whole {
		d.why = "sequences are whole, there are enough of them"
	}
	if !whole && len(d.items) < itemsToSpread*workers {
		d.split(p)
		d.why = "chunks of keys, so that there are enough for every worker"
	} else if workers > 1 && p.lengthsDiffer() {
		slices.SortFunc(d.items, func(a, b decodeItem) int {
			x, y := p.seq(int(a.seq)), p.seq(int(b.seq))
			return cmp.Compare(y.lenKV, x.lenKV) // the longest first
		})
	}
}

// lengthsDiffer reports whether sequences may have different numbers of keys.
func (p *Problem) lengthsDiffer() bool { return p.LensKV != nil || p.CuKV != nil }

// count returns about how many items there are if each has so many KV heads and a chunk.
func (d *decoding) count(e *Engine, p *Problem, heads, rows int) int {
	n, step := 0, 1
	if p.alike() {
		step = p.Batch
	}
	for b := 0; b < p.Batch; b += step {
		s := p.seq(b)
		if e.divides(p, &s, rows) {
			n += step * ((p.KVHeads + heads - 1) / heads) * max(1, (s.lenKV+kernel.KeyChunk-1)/kernel.KeyChunk)
		}
	}
	return n
}

// split divides the items into chunks.
func (d *decoding) split(p *Problem) {
	whole := len(d.items)
	for i := range whole {
		it := d.items[i]
		s := p.seq(int(it.seq))
		it.first, it.group = int32(d.parts), int32(d.groups)
		prefix, lo, hi := p.keys(&s, 0, p.group()*s.lenQ)
		key0, end := nextBlock(0, prefix, lo, hi)
		first := len(d.items)
		for key0 < end {
			it.chunk, it.part = int32(key0/kernel.KeyChunk), int32(d.parts)
			d.items = append(d.items, it)
			d.parts++
			key0, end = nextBlock(int(it.chunk+1)*kernel.KeyChunk, prefix, lo, hi)
		}
		switch n := len(d.items) - first; {
		case n < 2: // nothing to divide
			d.items = append(d.items[:first], d.items[i])
			d.parts -= n
		default:
			for k := first; k < len(d.items); k++ {
				d.items[k].chunks = int32(n)
			}
			d.groups++
			d.lanes = max(d.lanes, p.group()*s.lenQ*int(it.heads))
		}
	}
	d.items = append(d.items[:0], d.items[whole:]...)
}

// A decoder is what a worker needs to decode.
type decoder struct {
	heads   int      // KV heads at once
	perHead int      // rows of each
	rows    *float32 // [rows][DimV], the output of a chunk
	one     laneGroup
}

// decode computes a decode item.
func (w *workspace) decode(j *job, it *decodeItem) {
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
		return
	}
	own, ownTotal := g.partial, g.total
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
	last := true
	if it.chunk < 0 {
		w.decodeChunks(j, &s, g, head)
	} else {
		w.decodeChunk(j, &s, g, head, int(it.chunk))
		if last = j.partDone(it, g.started); last {
			w.join(j, it, g)
		}
	}
	if last {
		j.engine.phase(phaseFinish)
		w.close(j, &s, g, head)
	}
	g.partial, g.total, g.decoding = own, ownTotal, false
}

// decodeChunks takes a lane group through all keys.
func (w *workspace) decodeChunks(j *job, s *seq, g *laneGroup, head int) {
	prefix, lo, hi := j.problem.keys(s, 0, w.decoder.perHead)
	key0, end := nextBlock(0, prefix, lo, hi)
	for key0 < end {
		chunk := key0 / kernel.KeyChunk
		w.decodeChunk(j, s, g, head, chunk)
		if key0, end = nextBlock((chunk+1)*kernel.KeyChunk, prefix, lo, hi); key0 < end {
			w.fold(j, g, attend)
		}
	}
	w.settle(j, g, attend)
}

// decodeChunk takes a lane group through a chunk of keys.
func (w *workspace) decodeChunk(j *job, s *seq, g *laneGroup, head, chunk int) {
	p, d := &j.problem, &w.decoder
	prefix, lo, hi := p.keys(s, 0, d.perHead)
	key0, end := nextBlock(chunk*kernel.KeyChunk, prefix, lo, hi)
	end = min(end, (chunk+1)*kernel.KeyChunk)
	for key0 < end {
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
	step := max(1, callWork/p.DimQK)
	for h := range d.heads {
		w.k.find(p, s, head+h, key0, n)
		a.K = w.k.base
		a.Q = lane(g.q, 0, 0, h*d.perHead)
		for lo := keys.from; lo < keys.to; lo += step {
			a.Off = w.k.offsets(lo)
			a.Scale = floatsFrom(w.k.scale, lo)
			a.S = lane(w.p, lo, g.lanes, h*d.perHead)
			a.Keys = min(step, keys.to-lo)
			j.engine.set.DecodeScores(a)
		}
	}
}

// decodeValues adds the weighted values of the keys of a span of the block of n at key0.
func (w *workspace) decodeValues(j *job, s *seq, g *laneGroup, head, key0, n int, keys span, mode kernel.UpdateMode) {
	p, d := &j.problem, &w.decoder
	a := &w.decodeAccum
	a.Elem, a.Mode = p.V.Elem, mode
	a.Keys, a.MaskFrom = keys.to-keys.from, keys.full-keys.from
	a.Rows, a.Stride, a.OStride = d.perHead, g.lanes, p.DimV
	unit, values := a.Elem.Unit(), a.Elem.UnitValues()
	step := max(kernel.MaxLanes, callWork/a.Keys/kernel.MaxLanes*kernel.MaxLanes)
	for h := range d.heads {
		w.v.find(p, s, head+h, key0, n)
		a.Off = w.v.offsets(keys.from)
		a.Scale = floatsFrom(w.v.scale, keys.from)
		a.P = lane(w.p, keys.from, g.lanes, h*d.perHead)
		a.Alpha = lane(w.softmaxArgs.Alpha, 0, 0, h*d.perHead)
		for at := 0; at < p.DimV; at += step {
			a.V = unsafe.Add(w.v.base, at/values*unit)
			a.O = lane(d.rows, h*d.perHead, p.DimV, at)
			a.Dim = min(step, p.DimV-at)
			j.engine.set.DecodeAccumulate(a)
		}
	}
}

// floatsFrom returns p[i:], or nil.
func floatsFrom(p *float32, i int) *float32 {
	if p == nil {
		return nil
	}
	return lane(p, 0, 0, i)
}

// parts is memory for the partials of chunks that are computed apart.
type parts struct {
	mem     []float32
	stride  int // values of a partial
	dim     int
	started []bool // whether a partial holds anything
	done    []atomic.Int32
}

// reserve makes room for the partials of d.
func (ps *parts) reserve(d *decoding, vec, dim int) {
	lanes := (d.lanes + vec - 1) / vec * vec
	ps.dim = dim
	ps.stride = (lanes*(dim+2) + cacheLine - 1) / cacheLine * cacheLine
	if n := d.parts*ps.stride + cacheLine; len(ps.mem) < n {
		ps.mem = make([]float32, n)
	}
	if len(ps.started) < d.parts {
		ps.started = make([]bool, d.parts)
	}
	if len(ps.done) < d.groups {
		ps.done = make([]atomic.Int32, d.groups)
	}
	for i := range d.groups {
		ps.done[i].Store(0)
	}
}

// part returns the memory of a partial of so many lanes.
func (j *job) part(i, lanes int) partial {
	ps := &j.parts
	skip := -int(uintptr(unsafe.Pointer(&ps.mem[0]))/4) & (cacheLine - 1)
	first := &ps.mem[skip+i*ps.stride]
	return partial{first, lane(first, ps.dim, lanes, 0), lane(first, ps.dim+1, lanes, 0)}
}

// partDone notes that a chunk is done, and reports whether it was the last of its group.
func (j *job) partDone(it *decodeItem, started bool) bool {
	j.parts.started[it.part] = started
	return j.parts.done[it.group].Add(1) == it.chunks
}

// join merges the partials of all chunks in their order.
func (w *workspace) join(j *job, it *decodeItem, g *laneGroup) {
	for i := int(it.first); i < int(it.first+it.chunks); i++ {
		if !j.parts.started[i] {
			continue
		}
		from := j.part(i, g.lanes)
		if g.begun {
			w.merge(j, g, &from, attend)
		} else {
			g.total, g.begun = from, true // its memory is no longer wanted
		}
	}
	if g.started = g.begun; g.begun {
		g.partial = g.total
	}
}
