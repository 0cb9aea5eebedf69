package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// A decoder is what a worker needs to decode.
type decoder struct {
	perHead int      // rows of a KV head
	rows    *float32 // [lane groups][MaxDecodeRows][DimV], the outputs of a chunk
	sums    *float32 // [MaxDecodeRows][DimV], of a part of a block
	one     laneGroup
	tree    tree // of the partials of all chunks
	own     [maxDecodeGroups][2]partial
}

// decode computes a decode item. It reports false if the work is to end and the item is not
// done: its rows are not written then.
func (w *workspace) decode(j *job, it *decodeItem) bool {
	p, set := &j.problem, j.engine.set
	at := j.cursor(int(it.seq), int(it.head))
	s := &at.seq
	w.share = p.group()
	d := &w.decoder
	d.perHead = w.share * s.lenQ
	if s.padQ > 0 && (it.chunk < 0 || it.part == it.first) {
		for range it.heads {
			w.pad(&at, d.perHead, w.share*(s.lenQ+s.padQ))
			at.head++
		}
	}
	if d.perHead == 0 {
		return true
	}
	decoding := j.engine.decodes(p, s)
	groups := w.groups[:it.groups()]
	for i := range groups {
		g := &groups[i]
		d.own[i] = [2]partial{g.partial, g.tree.nodes[0].partial}
		g.heads = int(min(it.each, it.heads-int32(i)*it.each))
		g.row, g.rows, g.decoding = 0, g.heads*d.perHead, decoding
		g.chunk = lane(d.rows, i*kernel.MaxDecodeRows, p.DimV, 0)
		if it.chunk >= 0 {
			g.partial = j.part(it.partOf(i), roundUp(g.rows, set.Vec))
		}
		at.head = it.headOf(i)
		w.open(&at, g)
		if i == 0 && g.rows < g.lanes { // scores that nobody writes
			clear(unsafe.Slice(w.p, min(kernel.KeyBlock, s.lenKV)*g.lanes))
		}
	}
	d.one = laneGroup{rows: d.perHead, lanes: roundUp(d.perHead, set.Vec)}
	w.openRows(&at, &d.one)
	w.k.order, w.v.order = p.orders()
	at.walk = p.walk(s, 0, d.perHead)
	if it.chunk >= 0 {
		at.keepTo(int(it.chunk))
	}
	w.decodeBlocks(&at, it, groups)
	if it.chunk < 0 {
		for i := range groups {
			at.head = it.headOf(i)
			w.settle(&at, &groups[i], attend)
		}
	}
	over := p.Done.Over() // some of that may be missing
	last := !over
	if last && it.chunk >= 0 {
		if last = j.partDone(it, groups); last {
			for i := range groups {
				at.head = it.headOf(i)
				w.join(&at, it, i, &groups[i])
			}
		}
	}
	if last {
		j.engine.phase(phaseFinish)
	}
	for i := range groups {
		g := &groups[i]
		if last {
			at.head = it.headOf(i)
			w.close(&at, g)
		}
		if it.chunk >= 0 {
			g.partial, g.tree.nodes[0].partial = d.own[i][0], d.own[i][1]
		}
		g.decoding = false
	}
	return !over
}

// decodeBlocks takes lane groups through keys.
func (w *workspace) decodeBlocks(at *cursor, it *decodeItem, groups []laneGroup) {
	p := &at.problem
	for !p.Done.Over() && at.next() {
		w.openKeys(at)
		for i := range groups {
			g := &groups[i]
			at.head = it.headOf(i)
			if !g.decoding {
				w.k.find(at, 0)
				w.v.find(at, 0)
			}
			w.block(at, g, attend)
		}
		if next, ok := at.leaves(); ok {
			w.toLanes(at, groups)
			for i := range groups {
				w.fold(at, &groups[i], next, attend)
			}
		}
	}
	w.toLanes(at, groups)
}

// toLanes brings the outputs of a chunk to where other chunks' are merged.
func (w *workspace) toLanes(at *cursor, groups []laneGroup) {
	p := &at.problem
	for i := range groups {
		g := &groups[i]
		if !g.started || !g.decoding {
			continue
		}
		at.engine.phase(phaseFinish)
		a := &w.packArgs
		a.Src, a.Off = g.chunk, &w.pairOff
		for l := range g.rows {
			w.pairOff[l] = l * p.DimV
		}
		a.DimStride, a.Rows, a.Dim, a.Scale = 1, g.rows, p.DimV, 1
		a.Dst, a.Lanes, a.Stride = g.o, g.lanes, g.lanes
		at.engine.set.PackQ(a)
	}
}

// decodeCover is cover for a lane group with the rows of one or more KV heads.
func (w *workspace) decodeCover(at *cursor, g *laneGroup) cover {
	d := &w.decoder
	d.one.started = g.started
	c := w.cover(at, &d.one, kernel.MaxLanes)
	if g.heads > 1 {
		for k := c.full; k < c.to; k++ {
			word := w.mask[k] & d.one.all()
			w.mask[k] = 0
			for h := range g.heads {
				w.mask[k] |= word << (h * d.perHead)
			}
		}
	}
	return c
}

// decodeKeys computes the scores of the keys of a span of the block.
func (w *workspace) decodeKeys(at *cursor, g *laneGroup, keys span) {
	p, d := &at.problem, &w.decoder
	a := &w.decodeScores
	a.Elem, a.Dim = p.K.Elem, p.DimQK
	a.QStride, a.Rows, a.Stride = g.lanes, d.perHead, g.lanes
	for from := keys.from; from < keys.to; from += w.k.order.step {
		for h := range g.heads {
			w.k.find(at, h)
			a.K = w.k.base
			a.Q = lane(g.q, 0, 0, h*d.perHead)
			a.Off = w.k.offsets(from)
			a.Scale = floatsFrom(w.k.scale, from)
			a.S = lane(w.p, from, g.lanes, h*d.perHead)
			a.Keys = min(w.k.order.step, keys.to-from)
			at.engine.set.DecodeScores(a)
		}
	}
}

// decodeValues adds the weighted values of the keys of a span of the block.
func (w *workspace) decodeValues(at *cursor, g *laneGroup, keys span, mode kernel.UpdateMode) {
	p, d := &at.problem, &w.decoder
	a := &w.decodeAccum
	a.Elem, a.Mode = p.V.Elem, mode
	a.Rows, a.Stride, a.OStride = d.perHead, g.lanes, p.DimV
	a.Dim = p.DimV
	for from := keys.from; from < keys.to; from += w.v.order.step {
		to := min(from+w.v.order.step, keys.to)
		a.Keys, a.MaskFrom = to-from, clamp(keys.full-from, 0, to-from)
		for h := range g.heads {
			w.v.find(at, h)
			a.Off = w.v.offsets(from)
			a.Scale = floatsFrom(w.v.scale, from)
			a.P = lane(w.p, from, g.lanes, h*d.perHead)
			a.Alpha = lane(w.softmaxArgs.Alpha, 0, 0, h*d.perHead)
			a.V = w.v.base
			a.O = lane(g.chunk, h*d.perHead, p.DimV, 0)
			sums := lane(d.sums, h*d.perHead, p.DimV, 0)
			a.From, a.To = nil, nil
			if from > keys.from {
				a.From = sums
			}
			if to < keys.to {
				a.To = sums
			}
			at.engine.set.DecodeAccumulate(a)
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

// An order is how rows of keys or values are read when they are decoded.
type order struct {
	step  int // keys of a KV head, and then as many of the next
	ahead int // rows ahead to ask for, or of a window
	parts int // of a window, 0 if there are none
}

// upcoming returns the row to ask for with a row of a block: one as far ahead, or one of the next
// window. The parts of a window take turns: memory gives more if several pages are read at once.
func (o order) upcoming(row int) int {
	if o.parts == 0 {
		return row + o.ahead
	}
	in := row % o.ahead
	return row - in + o.ahead + in%o.parts*(o.ahead/o.parts) + in/o.parts
}

const (
	// pageBytes is the size of the pages of memory: what follows in one, the CPU asks for by itself.
	pageBytes = 4096

	// windowBytes is the size of a window of rows that follow each other, and windowParts the number
	// of its parts.
	windowBytes = 16 << 10
	windowParts = 4

	// keysInTurn is the keys of each KV head in turn whose rows lie among those of others: as many
	// as DecodeScores takes at once. Twice as many of rows of less than shortRow bytes make fewer
	// calls; in small pages that costs more than it saves.
	keysInTurn = 16
	shortRow   = 512
)

// orders returns the orders of K and of V.
func (p *Problem) orders() (k, v order) {
	if p.scattered() {
		return p.inTurn(&p.K, p.DimQK), p.inTurn(&p.V, p.DimV)
	}
	return p.K.inBlocks(p.DimQK), p.V.inBlocks(p.DimV)
}

// inTurn is the order of rows that lie among those of other KV heads.
func (p *Problem) inTurn(t *KV, dim int) order {
	o := order{step: keysInTurn, ahead: keysInTurn}
	if t.rowBytes(dim) < shortRow && (p.Tables == nil || p.PageTokens >= 2*keysInTurn) {
		o.step *= 2
	}
	return o
}

// inBlocks is the order of rows that follow each other. A window is a power of two of rows, so that
// it begins where a block does.
func (t *KV) inBlocks(dim int) order {
	rows := kernel.KeyBlock
	for rows > keysInTurn && rows*t.rowBytes(dim) > windowBytes {
		rows /= 2
	}
	return order{step: kernel.KeyBlock, ahead: rows, parts: windowParts}
}

// scattered reports whether the keys of a KV head lie among those of others, in runs of less than
// a page.
func (p *Problem) scattered() bool {
	row, t := p.K.rowBytes(p.DimQK), &p.K
	run := row
	if t.Stride[2] == row {
		if p.Tables == nil {
			return false
		}
		run *= min(p.PageTokens, pageBytes)
	}
	return p.KVHeads > 1 && 0 < run && run < pageBytes && max(t.Stride[1], -t.Stride[1]) < pageBytes
}

// rowBytes returns the bytes of a row whose units lie side by side.
func (t *KV) rowBytes(dim int) int { return t.Elem.RowBytes(dim) }
