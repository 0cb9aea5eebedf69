package tile

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// A decoder is what a worker needs to decode.
type decoder struct {
	one   queryRows // of one KV head
	block [maxDecodeLaneGroups]laneGroupBlock
	own   [maxDecodeLaneGroups][2]partial
	off   [kernel.MaxLanes]int // of the outputs of a chunk

	rows       *float32                 // [rowsAtOnce][dim], of keys or values that are not read as they are
	rowsOff    [2 * kernel.KeyBlock]int // bytes from rows to each
	rowsStride int                      // of rowsOff

	convertArgs    kernel.ConvertArgs
	scoresArgs     kernel.DecodeScoresArgs
	accumulateArgs kernel.DecodeAccumulateArgs
	packArgs       kernel.PackArgs
}

// A laneGroupBlock is what there is of a key block for one of the lane groups that go through it together.
type laneGroupBlock struct {
	scores *float32 // [KeyBlock][lanes]
	alpha  *float32 // [lanes]
	sums   *float32 // [rows][DimV], of a part of the block
	mode   kernel.UpdateMode
}

// release drops the references to the caller's memory.
func (d *decoder) release() {
	d.scoresArgs.K, d.scoresArgs.Scale = nil, nil
	d.accumulateArgs.V, d.accumulateArgs.Scale = nil, nil
	d.convertArgs.Src, d.convertArgs.Scale, d.convertArgs.Off, d.convertArgs.Ahead = nil, nil, nil, nil
}

// decode computes a decode item: all chunks of keys, or one. It reports false if the work is to end
// and the item is not done: its rows are not written then.
func (w *workspace) decode(at *cursor, it *decodeItem) bool {
	p, d := &at.problem, &w.decoder
	at.moveTo(int(it.seq), int(it.head))
	perHead := at.headsPerKV * at.seq.lenQ
	if at.seq.padQ > 0 && (it.chunk < 0 || it.part == it.first) {
		for range it.heads {
			at.pad(perHead, math.MaxInt)
			at.head++
		}
		at.head = int(it.head)
	}
	if perHead == 0 {
		return true
	}
	laneGroups := w.laneGroups[:it.laneGroups()]
	for i := range laneGroups {
		g := &laneGroups[i]
		g.queryRows.open(at, it.headOf(i), 0, int(min(it.each, it.heads-int32(i)*it.each))*perHead)
		d.own[i] = [2]partial{g.partial, g.tree.nodes[0].partial}
		if it.chunk >= 0 {
			g.partial = at.part(it.partOf(i), g.lanes)
		}
		g.open(at)
	}
	at.walk.open(&at.problem, &at.seq, 0, perHead)
	if it.chunk >= 0 {
		at.only(int(it.chunk))
	}
	if at.engine.decodes(p, &at.seq) {
		w.decodeKeys(at, laneGroups)
	} else {
		w.prefillKeys(at, laneGroups, attend)
	}
	over := p.Done.Over() // some of that may be missing
	last := !over
	if it.chunk < 0 {
		for i := range laneGroups {
			w.merger.endKeys(at, &laneGroups[i], attend)
		}
	} else if last = last && at.partDone(it, laneGroups); last {
		for i := range laneGroups {
			w.merger.join(at, it, i, &laneGroups[i])
		}
	}
	if last {
		w.epilogue(at, laneGroups)
	}
	if it.chunk >= 0 {
		for i := range laneGroups {
			g := &laneGroups[i]
			g.partial, g.tree.nodes[0].partial = d.own[i][0], d.own[i][1]
		}
	}
	return !over
}

// decodeKeys takes lane groups of one or more KV heads each on the cursor's walk together, or stops
// on the way if the work is to end.
func (w *workspace) decodeKeys(at *cursor, laneGroups []laneGroup) {
	for i := range laneGroups {
		if g := &laneGroups[i]; g.rows < g.lanes { // scores that nobody writes
			clear(unsafe.Slice(w.decoder.block[i].scores, min(kernel.KeyBlock, at.seq.lenKV)*g.lanes))
		}
	}
	w.decoder.one.open(at, at.head, 0, laneGroups[0].rowsPerKV)
	together := len(laneGroups)
	if at.problem.Mask.dense() || at.modifies { // they may attend different keys
		together = 1
	}
	for !at.problem.Done.Over() && at.next() {
		w.block.mask.openKeys(at)
		for i := 0; i < len(laneGroups); i += together {
			w.decodeBlock(at, laneGroups[i:i+together])
		}
		if next, ok := at.leaves(); ok {
			w.toLanes(at, laneGroups)
			for i := range laneGroups {
				w.merger.endChunk(at, &laneGroups[i], next, attend)
			}
		}
	}
	w.toLanes(at, laneGroups)
}

// decodeBlock takes lane groups through a key block together, unless the work is to end. If they are
// several, all attend the same keys of it.
func (w *workspace) decodeBlock(at *cursor, laneGroups []laneGroup) {
	p, d := &at.problem, &w.decoder
	if p.Done.Over() {
		return
	}
	if p.Mask.dense() {
		at.engine.phase(phaseMask)
	}
	c := w.decodeCover(at, &laneGroups[0])
	if c.from == c.to {
		return
	}
	for i := range laneGroups {
		if !laneGroups[i].packed {
			w.stage.pack(at, &laneGroups[i])
			switch {
			case p.integers():
				w.int8.quantize(at, &w.kv.transposer, &laneGroups[i])
			case p.rounds():
				w.kv.rounder.round(at.engine.set, laneGroups[i].q, p.DimQK*laneGroups[i].lanes)
			}
		}
	}
	at.engine.phase(phaseScores)
	w.decodeScores(at, laneGroups, c.span)
	if at.modifies {
		if w.block.modify(at, &laneGroups[0], &c); c.from == c.to {
			return
		}
	}
	for i := range laneGroups {
		g := &laneGroups[i]
		w.block.s, w.block.softmaxArgs.Alpha = d.block[i].scores, d.block[i].alpha
		w.block.softmax(at, g, &c, g.sum)
		d.block[i].mode = g.mode(w.block.softmaxArgs.Moved)
		if p.roundsValues() {
			w.kv.rounder.weights(at.engine.set, &w.block, g, &c)
		}
	}
	w.block.s, w.block.softmaxArgs.Alpha = d.block[0].scores, d.block[0].alpha
	if p.Done.Over() {
		return
	}
	at.engine.phase(phaseAccumulate)
	w.decodeAccumulate(at, laneGroups, c.span)
	for i := range laneGroups {
		laneGroups[i].weighed, laneGroups[i].started = true, true
	}
}

// toLanes brings the outputs of a chunk to where other chunks' are merged.
func (w *workspace) toLanes(at *cursor, laneGroups []laneGroup) {
	dim := at.problem.DimV
	for i := range laneGroups {
		g := &laneGroups[i]
		if !g.started {
			continue
		}
		at.engine.phase(phasePack)
		a := &w.decoder.packArgs
		a.Src, a.Off = g.chunk, &w.decoder.off
		for l := range g.rows {
			w.decoder.off[l] = l * dim
		}
		a.DimStride, a.Rows, a.Dim, a.Scale = 1, g.rows, dim, 1
		a.Dst, a.Lanes, a.Stride = g.o, g.lanes, g.lanes
		at.engine.set.Pack(a)
	}
}

// decodeCover is cover for a lane group with the rows of one or more KV heads.
func (w *workspace) decodeCover(at *cursor, g *laneGroup) cover {
	one := &w.decoder.one
	one.head = g.head
	c := w.block.mask.cover(at, one)
	if g.within() {
		return c
	}
	for k := c.full; k < c.to; k++ {
		word := w.block.mask.words[k] & one.all()
		w.block.mask.words[k] = 0
		for row := 0; row < g.rows; row += one.rows {
			w.block.mask.words[k] |= word << row
		}
	}
	return c
}

// decodeScores computes the scores of the keys of a span of the block.
func (w *workspace) decodeScores(at *cursor, laneGroups []laneGroup, keys span) {
	a, rows := &w.decoder.scoresArgs, &w.kv.k
	a.Dim, a.Near, a.Brain = at.problem.DimQK, rows.order.near, rows.brain
	rows.find(at, laneGroups[0].head)
	for from := keys.from; from < keys.to; from += rows.order.step {
		to := min(from+rows.order.step, keys.to)
		for i := range laneGroups {
			g := &laneGroups[i]
			a.QStride, a.Rows, a.Stride = g.lanes, g.rowsPerKV, g.lanes
			for row, head := 0, g.head; row < g.rows; row, head = row+g.rowsPerKV, head+1 {
				rows.toHead(at, head, span{from: from, to: to})
				if rows.order.turns {
					rows.askInTurn(from, to, head, laneGroups, w.kv.v.kv, false)
				}
				if at.problem.integers() {
					off := rows.offsetsNext(from, w.nextOfKeys(at, laneGroups, i, head))
					w.int8.decode(at, rows, off, g, row, lane(w.decoder.block[i].scores, from, g.lanes, row), from, to)
					continue
				}
				a.Q = ptr.At(g.q, row)
				var next following
				if rows.order.rows > 0 {
					next = w.nextOfKeys(at, laneGroups, i, head)
				}
				for k := from; k < to; k += a.Keys {
					a.Keys = rows.atOnce(to - k)
					a.K, a.Off, a.Elem, a.Scale = w.decoder.operand(rows, at.engine.set, k, a.Keys, a.Dim)
					if rows.order.rows > 0 {
						a.Off = rows.offsetsNext(k, next)
					}
					a.S = lane(w.decoder.block[i].scores, k, g.lanes, row)
					at.engine.set.DecodeScores(a)
				}
			}
		}
	}
}

// decodeAccumulate adds the weighted values of the keys of a span of the block.
func (w *workspace) decodeAccumulate(at *cursor, laneGroups []laneGroup, keys span) {
	if at.problem.integerValues() {
		w.decodeIntegers(at, laneGroups, keys)
		return
	}
	a, rows, dim := &w.decoder.accumulateArgs, &w.kv.v, at.problem.DimV
	a.Dim, a.OStride, a.Near, a.Brain = dim, dim, rows.order.near, rows.brain
	rows.find(at, laneGroups[0].head)
	for from := keys.from; from < keys.to; from += rows.order.step {
		to := min(from+rows.order.step, keys.to)
		for i := range laneGroups {
			g, b := &laneGroups[i], &w.decoder.block[i]
			a.Rows, a.Stride, a.Mode = g.rowsPerKV, g.lanes, b.mode
			for row, head := 0, g.head; row < g.rows; row, head = row+g.rowsPerKV, head+1 {
				rows.toHead(at, head, span{from: from, to: to})
				a.Alpha, a.O = ptr.At(b.alpha, row), lane(g.chunk, row, dim, 0)
				sums := lane(b.sums, row, dim, 0)
				if rows.order.turns {
					rows.askInTurn(from, to, head, laneGroups, w.kv.k.kv, true)
				}
				var next following
				if rows.order.rows > 0 {
					next = w.nextOfValues(at, laneGroups, i, head)
				}
				for k := from; k < to; k += a.Keys {
					a.Keys = rows.atOnce(to - k)
					a.MaskFrom = clamp(keys.full-k, 0, a.Keys)
					a.V, a.Off, a.Elem, a.Scale = w.decoder.operand(rows, at.engine.set, k, a.Keys, dim)
					if rows.order.rows > 0 {
						a.Off = rows.offsetsNext(k, next)
					}
					a.P = lane(b.scores, k, g.lanes, row)
					a.From, a.To = nil, nil
					if k > keys.from {
						a.From = sums
					}
					if k+a.Keys < keys.to {
						a.To = sums
					}
					at.engine.set.DecodeAccumulate(a)
				}
			}
		}
	}
}

// rowsAtOnce is how many rows are made float32 at a time, where decoding does not read them as they are:
// few enough for the first-level cache.
const rowsAtOnce = 16

// direct reports whether decoding reads the rows as they are.
func (r *keyRows) direct() bool { return (r.anyElem || r.kv.Elem.Direct()) && (!r.rounds || r.brain) }

// atOnce returns how many of n rows to decode at a time.
func (r *keyRows) atOnce(n int) int {
	switch {
	case !r.direct():
		return min(n, rowsAtOnce)
	case r.order.most > 0:
		return min(n, r.order.most)
	}
	return n
}

// operand returns n rows from row k of the block on as kernels read them: where they are, or made float32.
func (d *decoder) operand(r *keyRows, set *kernel.Set, k, n, dim int) (unsafe.Pointer, *[2 * kernel.KeyBlock]int, kernel.Elem, *float32) {
	off := r.offsets(k)
	if r.direct() {
		return r.base, off, r.kv.Elem, floatsFrom(r.scale, k)
	}
	stride := dim + rowPad
	if d.rowsStride != stride {
		d.rowsStride = stride
		for i := range d.rowsOff {
			d.rowsOff[i] = 4 * stride * min(i, rowsAtOnce-1)
		}
	}
	a := &d.convertArgs
	a.Src, a.Off, a.Ahead = r.base, (*[kernel.KeyBlock]int)(off[:kernel.KeyBlock]), (*[kernel.KeyBlock]int)(off[kernel.Upcoming:])
	a.Elem, a.UnitStride, a.Rows, a.Dim, a.Brain = r.kv.Elem, r.kv.Elem.Unit(), n, dim, r.rounds
	a.Scale, a.Dst, a.Stride = floatsFrom(r.scale, k), d.rows, stride
	set.Convert(a)
	return unsafe.Pointer(d.rows), &d.rowsOff, kernel.Float32, nil
}

// floatsFrom returns p[i:], or nil.
func floatsFrom(p *float32, i int) *float32 {
	if p == nil {
		return nil
	}
	return ptr.At(p, i)
}

// An order is how rows of keys or values are read when they are decoded.
type order struct {
	step  int // keys of a KV head, and then as many of the next
	most  int // of them in a call of a kernel, or 0 for all
	ahead int // rows ahead to ask for, or of a window, then a power of two

	windows bool
	rows    int  // rows ahead to ask for where those are what is read next, of other heads, too
	near    bool // ask for them in the first-level cache
	turns   bool // ask for those of the next turn in the order of memory, whatever head they are of
}

// upcoming returns the row to ask for with a row of a block: one as far ahead, or one of the next
// window. The parts of a window take turns: memory gives more if several pages are read at once.
func (o order) upcoming(row int) int {
	if !o.windows {
		return row + o.ahead
	}
	in := row & (o.ahead - 1)
	return row - in + o.ahead + in%windowParts*(o.ahead/windowParts) + in/windowParts
}

const (
	// pageBytes is the size of the pages of memory: what follows in one, the CPU asks for by itself.
	pageBytes = 4096

	// windowBytes is the size of a window of rows that follow each other, and windowParts the number
	// of its parts.
	windowBytes = 16 << 10
	windowParts = 4

	// streamBytes is how far ahead a stream is asked for, and squareBytes how far at least behind the keys that DecodeScores
	// reads at once on AVX-512, a line of each in turn: the last one's first line is read soon after it is asked for.
	streamBytes = 8 << 10
	squareBytes = 4 << 10

	// halvesBytes are the values of a call of DecodeAccumulate for pieces, which reads half of each row and then the other halves:
	// they stay in the first-level cache meanwhile, beside those asked for. Pieces of 16 bits are asked for so far ahead.
	halvesBytes = 12 << 10

	// longPage is the least tokens of a page of pieces of 16 bits.
	longPage = 16 * kernel.KeyBlock

	// keysInTurn is the keys of each KV head in turn whose rows lie among those of others: as many
	// as DecodeScores takes at once. Twice as many of rows of less than shortRow bytes make fewer
	// calls, and four times as many on CPUs for Near. As many are asked for ahead: those of
	// the next turn, none of the call that asks.
	keysInTurn = 16
	shortRow   = 512
)

// orders returns the orders of K and of V.
func (e *Engine) orders(p *Problem) (k, v order) {
	if p.scattered() {
		together := e.asksInTurn(p)
		k, v = e.inTurn(&p.K, p.DimQK, together), e.inTurn(&p.V, p.DimV, together)
		k.near = k.near || e.tuning.Near && p.integers()
		v.near = v.near && !e.columns(&p.V) // DecodeAccumulate asks for its rows at the dims that it reads, then, which is faster in turns
		if p.integerValues() {
			v.step, v.near = max(v.step, kernel.Int8Block), e.tuning.Near
		}
		return k, v
	}
	k, v = p.K.inBlocks(p.DimQK), p.V.inBlocks(p.DimV)
	switch {
	case p.integers():
		k.near, k.rows = e.tuning.Near, p.rowsAhead()
	case e.copiesKeys(p):
		if e.tuning.Near {
			k = p.K.inStream(p.DimQK)
		}
	case e.streamsKeys(p):
		k = p.K.inStream(p.DimQK)
		if e.pieces(p, &p.K) {
			row := p.K.rowBytes(p.DimQK)
			k.ahead = min(kernel.KeyBlock, max(e.piecesAhead(&p.K, p.DimQK), keysInTurn+(squareBytes+row-1)/row))
			k.rows = k.ahead
		}
	}
	switch {
	case p.integerValues():
		v.ahead = kernel.KeyBlock // scales of a whole block are read before its values
		v.near, v.rows = e.tuning.Near, p.rowsAhead()
	case e.copiesValues(p):
		if e.tuning.Near {
			v = p.V.inStream(p.DimV)
		}
	case e.streamsValues(p):
		v = p.V.inStream(p.DimV)
		switch {
		case e.pieces(p, &p.V):
			v.ahead = e.piecesAhead(&p.V, p.DimV)
			v.most, v.rows = max(keysInTurn, halvesBytes/p.V.rowBytes(p.DimV)), v.ahead
		case e.wide():
			v.step = v.ahead // values are read in halves: they stay in the first level for the second ones
		}
	}
	return k, v
}

// wide reports whether a vector is a line, as on AVX-512.
func (e *Engine) wide() bool { return 4*e.set.Vec == line }

// streamsKeys reports whether keys that follow each other are read as one stream: on CPUs that get the most of memory by that.
// On AVX-512, float32 in short pages is slower by it.
func (e *Engine) streamsKeys(p *Problem) bool {
	return e.tuning.Near && p.K.Elem.Direct() && (!e.columns(&p.K) || !p.shortPages())
}

// streamsValues is streamsKeys for values.
func (e *Engine) streamsValues(p *Problem) bool {
	return e.tuning.Near && (e.set.AnyValues && e.wholeValues(p) || p.V.Elem.Direct()) && (!e.columns(&p.V) || !p.shortPages())
}

// shortPages reports whether the rows of a block may lie in several pages.
func (p *Problem) shortPages() bool {
	return p.Tables != nil && p.PageTokens < 2*kernel.KeyBlock
}

// columns reports whether kernels ask for rows at the dims that they read, unless they are wanted in the first-level cache: float32
// on AVX-512.
func (e *Engine) columns(t *KV) bool { return e.wide() && t.Elem == kernel.Float32 }

// pieces reports whether rows that are read as one stream are those of a whole block of a KV head, and what is asked for behind
// them is what is read next: floating-point numbers that AVX-512 reads as they are. A block of 128 dims of float32 has 64 KiB.
// The last block of a page asks for its own rows, and finds that nobody has asked for its first ones: for 16 bits there must be
// few such blocks.
func (e *Engine) pieces(p *Problem, t *KV) bool {
	switch t.Elem {
	case kernel.Float32:
		return e.wide()
	case kernel.Float16, kernel.BFloat16:
		return e.wide() && (p.Tables == nil || p.PageTokens >= longPage)
	}
	return false
}

// piecesAhead returns how many rows ahead pieces are asked for, by measurement. Fewer rows than a call of DecodeAccumulate reads of
// 16 bits are slower.
func (e *Engine) piecesAhead(t *KV, dim int) int {
	if t.Elem == kernel.Float32 {
		return t.inStream(dim).ahead
	}
	return min(kernel.KeyBlock, max(keysInTurn, halvesBytes/t.rowBytes(dim)))
}

// inTurn is the order of rows that lie among those of other KV heads, which may ask for them together.
func (e *Engine) inTurn(t *KV, dim int, together bool) order {
	step := keysInTurn
	if t.rowBytes(dim) < shortRow {
		if step *= 2; e.tuning.Near {
			step *= 2
		}
	}
	return order{step: step, ahead: step, near: together, turns: together}
}

// inBlocks is the order of rows that follow each other. A window is a power of two of rows, so that
// it begins where a block does.
func (t *KV) inBlocks(dim int) order {
	rows := kernel.KeyBlock
	for rows > keysInTurn && rows*t.rowBytes(dim) > windowBytes {
		rows /= 2
	}
	return order{step: kernel.KeyBlock, ahead: rows, windows: true}
}

// inStream is the order of rows that follow each other and are asked for one behind the other.
func (t *KV) inStream(dim int) order {
	rows := kernel.KeyBlock
	for rows > keysInTurn && rows*t.rowBytes(dim) > streamBytes {
		rows /= 2
	}
	return order{step: kernel.KeyBlock, ahead: rows, near: true}
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
