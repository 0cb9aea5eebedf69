package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// integerValues reports whether weighted values are products of class Int8: of types of values that have no
// integers they are those of class Float32.
func (p *Problem) integerValues() bool {
	return p.Values == kernel.PrecisionInt8 && p.Precision == kernel.PrecisionInt8 && p.V.Elem.Integers()
}

// A weigher is what a worker needs for weighted values of class Int8: a panel of the weights of a key block, for each
// group of dims that share a scale by key where few queries are decoded, and otherwise for one at a time.
type weigher struct {
	codes, steps, sums *float32 // of the panel: what MultiplyInt8 has as W, Scales and Mins

	halves       []uint16                 // [groups][KeyBlock], of types of blocks
	scales, mins *float32                 // [heads][groups][KeyBlock], of the values: of types of blocks, or of several KV heads
	byLane       [2]*float32              // [KeyBlock][MaxDecodeRows], scales and mins of a group by lane
	laneOff      [kernel.MaxLanes]int     // of the scales of each lane
	off          [2 * kernel.KeyBlock]int // bytes to the values of a part of a block whose first ones are not read
	places       [4]places                // of rows that begin in different lanes

	groupCodes, groupScales int // bytes, and values, from a group of the panel to the next

	packArgs     kernel.PackInt8Args
	toLanesArgs  kernel.PackArgs
	multiplyArgs kernel.MultiplyInt8Args
	decodeArgs   kernel.DecodeAccumulateInt8Args
}

// release drops the references to the caller's memory.
func (m *weigher) release() {
	m.packArgs.Factors, m.packArgs.V, m.packArgs.Off, m.toLanesArgs.Src, m.decodeArgs.V, m.decodeArgs.Off = nil, nil, nil, nil, nil, nil
}

// weigherBlocks returns the blocks of all lanes that the panel has room for.
func weigherBlocks(p *Problem, lanes int) int {
	return max(lanes, p.V.Elem.Int8Groups(p.DimV)*kernel.MaxDecodeRows) * kernel.KeyBlock / kernel.Int8Block
}

// weigherHeads returns the most KV heads of a lane group that decodes.
func weigherHeads(p *Problem) int {
	return max(1, min(p.KVHeads, kernel.MaxDecodeRows/max(1, p.Heads/max(1, p.KVHeads))))
}

// weigherFloats returns the float32 values of the buffers.
func weigherFloats(p *Problem, lanes int) int {
	n := weigherBlocks(p, lanes)*(kernel.Int8Block/4+2) + 3*cacheLine
	groups := p.V.Elem.Int8Groups(p.DimV) * kernel.KeyBlock
	return n + 2*(weigherHeads(p)*groups+kernel.MaxDecodeRows*kernel.KeyBlock) + groups/2 + 5*cacheLine + kernel.MaxLanes
}

// reserve lays out the buffers.
func (m *weigher) reserve(p *Problem, lanes int, take func(n int) *float32) {
	blocks := weigherBlocks(p, lanes)
	m.codes, m.steps, m.sums = take(blocks*kernel.Int8Block/4), take(blocks), take(blocks)
	groups := p.V.Elem.Int8Groups(p.DimV) * kernel.KeyBlock
	m.scales, m.mins = take(weigherHeads(p)*groups), take(weigherHeads(p)*groups)
	for i := range m.byLane {
		m.byLane[i] = take(kernel.MaxDecodeRows * kernel.KeyBlock)
	}
	m.halves = unsafe.Slice((*uint16)(unsafe.Pointer(take(groups/2))), groups)
}

// find finds the scales and the minima of the values [lo, hi) of the block, where they are parts of blocks, as those of
// the i-th KV head.
func (m *weigher) find(at *cursor, v *keyRows, i, lo, hi int) {
	if v.kv.Elem.UnitValues() == 1 {
		return
	}
	first := i * v.kv.Elem.Int8Groups(at.problem.DimV) * kernel.KeyBlock
	m.numbers(at, v, lo, hi, 0, ptr.At(m.scales, first))
	if v.kv.Elem.HasMin() {
		m.numbers(at, v, lo, hi, 2, ptr.At(m.mins, first))
	}
}

// numbers makes float32 of a number of binary16 of each block, so many bytes behind its beginning.
func (m *weigher) numbers(at *cursor, v *keyRows, lo, hi, behind int, dst *float32) {
	off := v.offsets(0)[lo:hi]
	for g := range v.kv.Elem.Int8Groups(at.problem.DimV) {
		first := g*kernel.KeyBlock + lo
		halves, base := m.halves[first:][:len(off)], unsafe.Add(v.base, g*v.kv.Stride[3]+behind)
		for i, o := range off {
			halves[i] = *(*uint16)(unsafe.Add(base, o))
		}
		at.engine.set.Float16(ptr.At(dst, first), &halves[0], len(off))
	}
}

// pack makes the panel of the weights of the keys [from, to) of the block, of so many lanes of a KV head, for a group of
// dims. It is the i-th of those beside each other. from is a multiple of Int8Block.
func (m *weigher) pack(at *cursor, v *keyRows, i, group int, weights *float32, stride, lanes, from, to int) {
	factors, mins := floatsFrom(v.scale, from), ptr.At(m.mins, group*kernel.KeyBlock+from)
	if v.kv.Elem.UnitValues() > 1 {
		factors = ptr.At(m.scales, group*kernel.KeyBlock+from)
	}
	m.packBy(at, v, i, weights, stride, lanes, to-from, factors, mins, 0)
}

// packBy makes a panel by factors and minima.
func (m *weigher) packBy(at *cursor, v *keyRows, i int, weights *float32, stride, lanes, keys int, factors, mins *float32, factorStride int) {
	a := &m.packArgs
	first := i * kernel.Int8Blocks(keys) * lanes
	a.Q, a.Dim, a.Lanes, a.Stride = weights, keys, lanes, stride
	a.Codes, a.Scales = (*byte)(unsafe.Pointer(ptr.At(m.codes, first*kernel.Int8Block/4))), ptr.At(m.steps, first)
	m.groupScales = kernel.Int8Blocks(keys) * lanes // of panels behind each other
	m.groupCodes = m.groupScales * kernel.Int8Block
	a.Factors, a.FactorStride, a.Mins, a.Sums = factors, factorStride, nil, nil
	if v.kv.Elem.HasMin() {
		a.Mins, a.Sums = mins, ptr.At(m.sums, first)
	}
	at.engine.set.PackInt8(a)
}

// sharesVectors reports whether vectors of lanes have rows of several KV heads: a panel of all lanes takes less time
// then than one for each head.
func (g *laneGroup) sharesVectors(vec int) bool { return !g.within() && g.rowsPerKV%vec != 0 }

// packHeads makes the panels of the weights of the keys of a lane group with several KV heads.
func (m *weigher) packHeads(at *cursor, v *keyRows, g *laneGroup, weights *float32, keys span) {
	from, e := keys.from&^(kernel.Int8Block-1), v.kv.Elem
	groups := e.Int8Groups(at.problem.DimV)
	v.toHead(at, g.head, span{from: from, to: keys.to})
	scales, apart := m.scales, groups*kernel.KeyBlock
	inPlace := e.UnitValues() == 1 && v.scale != &v.scaleCopy[0] // those of all heads
	if inPlace {
		scales, apart = v.scale, v.kv.Scale.Stride[1]
	}
	for row, i := 0, 0; row < g.rows; row, i = row+g.rowsPerKV, i+1 {
		if !inPlace {
			v.toHead(at, g.head+i, span{from: from, to: keys.to})
			if e.UnitValues() == 1 {
				copy(unsafe.Slice(ptr.At(m.scales, i*kernel.KeyBlock+keys.from), keys.to-keys.from), unsafe.Slice(floatsFrom(v.scale, keys.from), keys.to-keys.from))
			}
			m.find(at, v, i, keys.from, keys.to)
		}
		for l := range g.rowsPerKV {
			m.laneOff[row+l] = i * apart
		}
	}
	for i := range groups {
		m.toLanes(at, g, m.byLane[0], ptr.At(scales, i*kernel.KeyBlock+from), keys.to-from)
		if e.HasMin() {
			m.toLanes(at, g, m.byLane[1], ptr.At(m.mins, i*kernel.KeyBlock+from), keys.to-from)
		}
		m.packBy(at, v, i, lane(weights, from, g.lanes, 0), g.lanes, g.lanes, keys.to-from, m.byLane[0], m.byLane[1], g.lanes)
	}
}

// toLanes sets dst to numbers of keys by lane.
func (m *weigher) toLanes(at *cursor, g *laneGroup, dst, numbers *float32, keys int) {
	a := &m.toLanesArgs
	a.Src, a.Off, a.DimStride, a.Rows, a.Dim, a.Scale = numbers, &m.laneOff, 1, g.rows, keys, 1
	a.Dst, a.Lanes, a.Stride = dst, g.lanes, g.lanes
	at.engine.set.Pack(a)
}

// wholeBlocks returns the first key of the block of Int8Block keys that a span begins in, and takes away the weights
// of those before the span.
func wholeBlocks(weights *float32, lanes int, keys span) int {
	first := keys.from &^ (kernel.Int8Block - 1)
	gone := unsafe.Slice(lane(weights, first, lanes, 0), (keys.from-first)*lanes)
	for i := range gone {
		gone[i] = negZero
	}
	return first
}

// accumulate adds the weighted values of the keys of a span of the block for all lanes.
func (m *weigher) accumulate(at *cursor, kv *keyBlock, g *laneGroup, t *scoreBlock, keys span, mode kernel.UpdateMode) {
	set, a, e, lanes := at.engine.set, &m.multiplyArgs, at.problem.V.Elem, g.lanes
	values, row := kv.valueBlocks(at, m), at.engine.blockRow(kernel.KeyBlock)
	from := wholeBlocks(t.s, lanes, keys)
	a.RowBytes, a.Depth, a.Halves, a.Groups = row, kernel.Int8Blocks(keys.to-from)*kernel.Int8Block, set.Int8Halves, 1
	a.W, a.Scales, a.Mins, a.Alpha = (*byte)(unsafe.Pointer(m.codes)), m.steps, nil, nil
	if e.HasMin() {
		a.Mins = m.sums
	}
	a.Stride, a.Lanes, a.Add = lanes, lanes, mode != kernel.First
	if mode == kernel.Rescale {
		a.Alpha = t.softmaxArgs.Alpha
	}
	m.packArgs.Signed = false
	groups := e.Int8Groups(at.problem.DimV)
	a.Rows = at.problem.DimV / groups
	for i := range groups {
		m.pack(at, &kv.v, 0, i, lane(t.s, from, lanes, 0), lanes, lanes, from, keys.to)
		a.X = (*byte)(unsafe.Add(values, i*a.Rows*row+from/kernel.Int8Block*kernel.Int8BlockBytes(set.Int8Halves)))
		a.C = lane(g.o, i*a.Rows, lanes, 0)
		set.MultiplyInt8(a)
	}
}

// decodeIntegers adds the weighted values of the keys of a span of the block, of lane groups that decode.
func (w *workspace) decodeIntegers(at *cursor, laneGroups []laneGroup, keys span) {
	m, d, v, first := &w.weigher, &w.decoder, &w.kv.v, 0
	for i := range laneGroups {
		first = wholeBlocks(d.block[i].scores, laneGroups[i].lanes, keys)
	}
	v.find(at, laneGroups[0].head)
	spreads := m.spreads(at, v, laneGroups[0].rowsPerKV)
	for from := first; from < keys.to; from += v.order.step {
		to := min(from+v.order.step, keys.to)
		for i := range laneGroups {
			g, b, part := &laneGroups[i], &d.block[i], span{from: max(from, keys.from), to: to}
			shared := !spreads && g.sharesVectors(at.engine.set.Vec)
			m.packArgs.Signed = true
			if shared {
				m.packHeads(at, v, g, b.scores, part)
			}
			for row, head := 0, g.head; row < g.rows; row, head = row+g.rowsPerKV, head+1 {
				lane0, lanes := 0, g.lanes
				switch {
				case shared:
					v.toRows(head)
				case spreads:
					v.toRows(head)
					lane0, lanes = row, m.packSpread(at, v, g, b.scores, row, part)
				default:
					v.toHead(at, head, span{from: from, to: to})
					lane0, lanes = m.packHead(at, v, g, b.scores, row, part)
				}
				if v.order.turns {
					v.askInTurn(from, to, head, laneGroups, w.kv.k.kv, true)
				}
				m.decodeArgs.Off = v.offsetsNext(from, w.nextOfValues(at, laneGroups, i, head))
				m.decodeHead(at, v, g, b, row, lane0, lanes, part, from > first, to < keys.to)
			}
		}
	}
}

// places are the row and the factor of each lane of a panel of several groups of dims: rows of the first group, and then
// of the next.
type places struct {
	first, rows, groups, lanes int // what they are those of

	row, factor [2 * kernel.MaxLanes]int32
}

// set makes the places of rows from a first one on in so many lanes. Those that are left have some place.
func (p *places) set(first, rows, groups, lanes int) {
	if p.first == first && p.rows == rows && p.groups == groups && p.lanes == lanes {
		return
	}
	p.first, p.rows, p.groups, p.lanes = first, rows, groups, lanes
	for l := range lanes {
		p.row[l], p.factor[l] = int32(first+l%rows), int32(min(l/rows, groups-1))
	}
}

// spreads reports whether a panel has all groups of dims of a KV head with so many rows, in lanes beside each other.
func (m *weigher) spreads(at *cursor, v *keyRows, rows int) bool {
	set, groups := at.engine.set, v.kv.Elem.Int8Groups(at.problem.DimV)
	return set.SpreadsLanes && v.kv.Elem.UnitValues() > 1 && rows <= set.Vec && groups <= set.Vec && rows*groups <= kernel.MaxLanes
}

// packSpread makes the panel of the weights of the keys for the rows of a KV head from one on, and for all groups of
// dims. It returns its lanes.
func (m *weigher) packSpread(at *cursor, v *keyRows, g *laneGroup, weights *float32, row int, keys span) (lanes int) {
	set, a, e, from := at.engine.set, &m.packArgs, v.kv.Elem, keys.from&^(kernel.Int8Block-1)
	groups := e.Int8Groups(at.problem.DimV)
	lanes = roundUp(g.rowsPerKV*groups, set.Vec)
	lane0 := min(row, g.lanes-set.Vec) // of a whole vector of rows
	places := &m.places[(row-lane0)/g.rowsPerKV%len(m.places)]
	places.set(row-lane0, g.rowsPerKV, groups, lanes)
	a.RowOf, a.FactorOf = &places.row[0], &places.factor[0]
	first := lane(weights, from, g.lanes, lane0)
	if set.SpreadsBlocks && groups == kernel.PackedBlocks {
		a.V, a.Off, a.Elem = v.base, m.only(v.offsets(from), keys.from-from), e
		m.packBy(at, v, 0, first, g.lanes, lanes, keys.to-from, nil, nil, 0)
		a.V, a.Off = nil, nil
	} else {
		off, before := v.offsets(0)[keys.from:keys.to], (keys.from-from)*groups
		m.byKey(set, v, off, groups, 0, ptr.At(m.scales, before))
		if e.HasMin() {
			m.byKey(set, v, off, groups, 2, ptr.At(m.mins, before))
		}
		m.packBy(at, v, 0, first, g.lanes, lanes, keys.to-from, m.scales, m.mins, groups)
	}
	a.RowOf, a.FactorOf = nil, nil
	m.groupCodes, m.groupScales = 4*g.rowsPerKV, g.rowsPerKV
	return lanes
}

// only returns offsets where the value behind the first n ones, which are not read, stands in for these.
func (m *weigher) only(off *[2 * kernel.KeyBlock]int, n int) *[2 * kernel.KeyBlock]int {
	if n == 0 {
		return off
	}
	m.off = *off
	for k := range n {
		m.off[k] = m.off[n]
	}
	return &m.off
}

// byKey makes float32 of a number of binary16 of each block, so many bytes behind its beginning: of all groups of a row,
// and then of the next.
func (m *weigher) byKey(set *kernel.Set, v *keyRows, off []int, groups, behind int, dst *float32) {
	base, unit, n := unsafe.Add(v.base, behind), v.kv.Stride[3], groups*len(off)
	if groups == 4 {
		gatherFourHalves(m.halves[:n], off, base, unit)
	} else {
		gatherHalves(m.halves[:n], off, groups, base, unit)
	}
	set.Float16(dst, &m.halves[0], n)
}

// gatherHalves sets dst to as many numbers of 16 bits from each row at off from base, unit bytes apart.
func gatherHalves(dst []uint16, off []int, each int, base unsafe.Pointer, unit int) {
	for k, o := range off {
		row, of := unsafe.Add(base, o), dst[k*each:][:each]
		for i := range of {
			of[i] = uint16(half(row, i*unit))
		}
	}
}

// gatherFourHalves is gatherHalves of four numbers from each row. The compiler makes one store of four.
func gatherFourHalves(dst []uint16, off []int, base unsafe.Pointer, unit int) {
	to := unsafe.Pointer(unsafe.SliceData(dst[:4*len(off)]))
	second, third := 2*unit, 3*unit
	for k, o := range off {
		row, of := unsafe.Add(base, o), (*[4]uint16)(unsafe.Add(to, 8*k))
		four := half(row, 0) | half(row, unit)<<16 | half(row, second)<<32 | half(row, third)<<48
		of[0], of[1], of[2], of[3] = uint16(four), uint16(four>>16), uint16(four>>32), uint16(four>>48)
	}
}

// half returns the binary16 at some bytes from p.
func half(p unsafe.Pointer, at int) uint64 { return uint64(*(*uint16)(unsafe.Add(p, at))) }

// packHead makes the panels of the weights of the keys for the rows of a KV head from one on, in whole vectors. It
// returns the first lane of these, and their number.
func (m *weigher) packHead(at *cursor, v *keyRows, g *laneGroup, weights *float32, row int, keys span) (lane0, lanes int) {
	vec, from := at.engine.set.Vec, keys.from&^(kernel.Int8Block-1)
	lane0 = row / vec * vec
	lanes = roundUp(row+g.rowsPerKV-lane0, vec)
	m.find(at, v, 0, keys.from, keys.to)
	for i := range v.kv.Elem.Int8Groups(at.problem.DimV) {
		m.pack(at, v, i, i, lane(weights, from, g.lanes, lane0), g.lanes, lanes, from, keys.to)
	}
	return lane0, lanes
}

// decodeHead adds the weighted values of some keys for the rows of a KV head from one on: to the sums of the block
// so far if there are some, and for those to come if there are. The panels have so many lanes from one on. decodeArgs.Off
// has the keys from the beginning of the block of keys on.
func (m *weigher) decodeHead(at *cursor, v *keyRows, g *laneGroup, b *laneGroupBlock, row, lane0, lanes int, keys span, some, more bool) {
	a, set, e, dim := &m.decodeArgs, at.engine.set, v.kv.Elem, at.problem.DimV
	from := keys.from &^ (kernel.Int8Block - 1)
	a.V, a.Elem, a.Keys, a.Dim, a.Near = v.base, e, keys.to-from, dim, v.order.near
	a.Off = m.only(a.Off, keys.from-from)
	a.Codes = (*int8)(unsafe.Pointer(ptr.At(m.codes, row-lane0)))
	a.Scales, a.Mins = ptr.At(m.steps, row-lane0), nil
	if e.HasMin() {
		a.Mins = ptr.At(m.sums, row-lane0)
	}
	a.Lanes, a.Rows, a.GroupCodes, a.GroupScales = lanes, g.rowsPerKV, m.groupCodes, m.groupScales
	a.From, a.To = nil, nil
	sums := lane(b.sums, row, dim, 0)
	if some {
		a.From = sums
	}
	if more {
		a.To = sums
	}
	a.O, a.OStride, a.Alpha, a.Mode = lane(g.chunk, row, dim, 0), dim, ptr.At(b.alpha, row), b.mode
	set.DecodeAccumulateInt8(a)
}
