package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// integers reports whether scores are products of class Int8: of types of keys that have no integers they are
// those of class Float32.
func (p *Problem) integers() bool {
	return p.Precision == kernel.PrecisionInt8 && p.K.Elem.Integers()
}

// blockRow returns the bytes of the blocks of class Int8 of a key or a query.
func (e *Engine) blockRow(dim int) int {
	return kernel.Int8Blocks(dim) * kernel.Int8BlockBytes(e.set.Int8Halves)
}

// blockFloats is blockRow in float32 values.
func (e *Engine) blockFloats(dim int) int { return e.blockRow(dim) / 4 }

// panelFloats returns the float32 values that the panel of a lane has: codes, scales and sums.
func panelFloats(dim int) int { return kernel.Int8Blocks(dim) * (kernel.Int8Block/4 + 2) }

// queriesRow returns the float32 values from row to row of queries on their way to blocks: Pack writes whole
// vectors of them.
func queriesRow(dim int) int { return kernel.Int8Blocks(dim)*kernel.Int8Block + rowPad }

// A multiplier is what a worker needs for scores of class Int8.
type multiplier struct {
	queries *float32 // [MaxDecodeRows][queriesRow], of a lane group that decodes

	packArgs     kernel.PackInt8Args
	quantizeArgs kernel.QuantizeArgs
	scoresArgs   kernel.MultiplyInt8Args
	decodeArgs   kernel.DecodeScoresInt8Args
}

// release drops the references to the caller's memory.
func (m *multiplier) release() { m.decodeArgs.K, m.decodeArgs.Scale = nil, nil }

// scales and sums return those of the panel of a lane group.
func (g *laneGroup) scales(dim int) *float32 {
	return ptr.At(g.blocks, kernel.Int8Blocks(dim)*kernel.Int8Block/4*g.lanes)
}

func (g *laneGroup) sums(dim int) *float32 {
	return ptr.At(g.scales(dim), kernel.Int8Blocks(dim)*g.lanes)
}

// pack makes a panel of the packed queries of a lane group.
func (m *multiplier) pack(at *cursor, g *laneGroup) {
	a, dim := &m.packArgs, at.problem.DimQK
	a.Q, a.Dim, a.Lanes, a.Stride = g.q, dim, g.lanes, g.lanes
	a.Codes, a.Scales, a.Sums = (*byte)(unsafe.Pointer(g.blocks)), g.scales(dim), nil
	if at.problem.K.Elem.HasMin() {
		a.Sums = g.sums(dim)
	}
	at.engine.set.PackInt8(a)
}

// scores computes the scores of the keys [lo, hi) of the block for all lanes.
func (m *multiplier) scores(at *cursor, kv *keyBlock, g *laneGroup, s *float32, lo, hi int) {
	a, dim, set := &m.scoresArgs, at.problem.DimQK, at.engine.set
	keys, row := kv.blocks(at), at.engine.blockRow(dim)
	a.X, a.RowBytes, a.Rows = (*byte)(unsafe.Add(keys, lo*row)), row, hi-lo
	a.Depth, a.Halves, a.Groups = kernel.Int8Blocks(dim)*kernel.Int8Block, set.Int8Halves, 1
	a.W, a.Scales, a.Mins = (*byte)(unsafe.Pointer(g.blocks)), g.scales(dim), nil
	if at.problem.K.Elem.HasMin() {
		a.Mins = g.sums(dim)
	}
	a.C, a.Stride, a.Lanes = lane(s, lo, g.lanes, 0), g.lanes, g.lanes
	set.MultiplyInt8(a)
}

// quantize makes blocks of the packed queries of a lane group that decodes, of each row by itself.
func (m *multiplier) quantize(at *cursor, t *transposer, g *laneGroup) {
	dim, set := at.problem.DimQK, at.engine.set
	stride := queriesRow(dim)
	for d := 0; d < dim; d += set.Lanes {
		n := min(set.Lanes, dim-d)
		for i := range n {
			t.off[i] = (d + i) * g.lanes
		}
		t.transpose(set, g.q, n, g.rows, ptr.At(m.queries, d), stride)
	}
	depth := kernel.Int8Blocks(dim) * kernel.Int8Block
	for r := range g.rows {
		clear(unsafe.Slice(lane(m.queries, r, stride, dim), depth-dim))
	}
	a := &m.quantizeArgs
	a.X, a.RowStride, a.ColStride, a.Rows, a.Depth = m.queries, stride, 1, g.rows, depth
	a.Halves, a.Dst, a.RowBytes = set.Int8Halves, (*byte)(unsafe.Pointer(g.blocks)), at.engine.blockRow(dim)
	set.Quantize(a)
}

// decode computes the scores of the keys [lo, hi) of the block for the rows of a KV head from one on, at s. off has the
// keys from lo on.
func (m *multiplier) decode(at *cursor, keys *keyRows, off *[2 * kernel.KeyBlock]int, g *laneGroup, row int, s *float32, lo, hi int) {
	a, dim, set := &m.decodeArgs, at.problem.DimQK, at.engine.set
	a.K, a.Off, a.Elem, a.Scale = keys.base, off, keys.kv.Elem, floatsFrom(keys.scale, lo)
	a.ScaleAhead, a.Near = 0, keys.order.near
	if v := &at.problem.V; keys.even && a.Scale != nil && v.Elem.Scale() == kernel.RowScale && v.Scale.Stride[2] == 1 {
		head := g.head + row/g.rowsPerKV
		a.ScaleAhead = int(uintptr(v.Scale.at(keys.batch, head, keys.token+lo)) - uintptr(unsafe.Pointer(a.Scale)))
	}
	a.Keys, a.Dim = hi-lo, dim
	a.QBytes, a.Halves, a.Rows = at.engine.blockRow(dim), set.Int8Halves, g.rowsPerKV
	a.Q = (*byte)(unsafe.Add(unsafe.Pointer(g.blocks), row*a.QBytes))
	a.S, a.Stride = s, g.lanes
	set.DecodeScoresInt8(a)
	if at.problem.ScoreMod != nil && a.Elem.HasMin() {
		// A product of a Min may underflow to -0, which the other sums are not.
		for k := range a.Keys {
			for r := range a.Rows {
				*lane(s, k, g.lanes, r) += 0
			}
		}
	}
}
