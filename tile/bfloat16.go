package tile

import (
	"math/bits"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// Prefill of class BFloat16, and of class Int8 with values in bfloat16. Where the set has an instruction for pairs, and that
// is the faster way, scores of class BFloat16 are products of pairs of dims, and outputs those of pairs of keys: queries, keys,
// weights and values become pairs as they are rounded, in the place of the numbers. Otherwise numbers are rounded, which
// the kernels of class Float32 multiply: the bits are the same. Decoding multiplies numbers on every set. Where
// rows are of bfloat16 and the set has BrainRows, kernels read them as they are. Otherwise they read a rounded copy.

// rounds reports whether queries and keys are rounded to bfloat16 before they are multiplied.
func (p *Problem) rounds() bool { return p.Precision == kernel.PrecisionBFloat16 }

// roundsValues reports whether weights and values are: in class BFloat16, and in class Int8 if asked for.
func (p *Problem) roundsValues() bool {
	return p.rounds() || p.Precision == kernel.PrecisionInt8 && p.Values == kernel.PrecisionBFloat16
}

// pairsKeys reports whether prefill of p multiplies pairs of dims of queries and keys.
func (e *Engine) pairsKeys(p *Problem) bool { return p.rounds() && e.pairs() }

// pairsValues reports whether prefill of p multiplies pairs of weights and of values.
func (e *Engine) pairsValues(p *Problem) bool { return p.roundsValues() && e.pairs() }

// A pairing is what a copy of a key block has pairs of.
type pairing int

const (
	unpaired pairing = iota
	dimPairs         // of keys
	keyPairs         // of values
)

// A rounder rounds numbers as class BFloat16 does.
type rounder struct {
	args       kernel.PairsArgs
	weightArgs kernel.PairWeightsArgs
}

// round rounds n numbers in place.
func (r *rounder) round(set *kernel.Set, x *float32, n int) {
	r.args = kernel.PairsArgs{Kind: kernel.RoundEach, Src: x, RowStride: n, ColStride: 1, Rows: 1, Cols: n, Dst: x, Stride: n}
	set.Pairs(&r.args)
}

// pair makes pairs of rows in place.
func (r *rounder) pair(set *kernel.Set, kind kernel.PairsKind, x *float32, rows, cols, stride int) {
	r.args = kernel.PairsArgs{Kind: kind, Src: x, RowStride: stride, ColStride: 1, Rows: rows, Cols: cols, Dst: x, Stride: stride}
	set.Pairs(&r.args)
}

// weights rounds the weights of what c covers. Those that the mask took away keep their sign.
func (r *rounder) weights(set *kernel.Set, t *scoreBlock, g *laneGroup, c *cover) {
	first := lane(t.s, c.from, g.lanes, 0)
	r.round(set, first, (c.to-c.from)*g.lanes)
	for k := c.full; k < c.to; k++ {
		row := lane(t.s, k, g.lanes, 0)
		for gone := ^t.mask.words[k] & g.all(); gone != 0; gone &= gone - 1 {
			*ptr.At(row, bits.TrailingZeros64(gone)) = negZero
		}
	}
}

// pairWeights makes pairs of the weights of what c covers, from an even key on, which it returns: that of the first pair,
// in whose row of the block they begin.
func (r *rounder) pairWeights(set *kernel.Set, t *scoreBlock, g *laneGroup, c *cover) (first int) {
	if first = c.from &^ 1; first < c.from {
		gone := unsafe.Slice(lane(t.s, first, g.lanes, 0), g.lanes)
		for l := range gone {
			gone[l] = negZero
		}
	}
	a := &r.weightArgs
	a.P, a.Keys, a.Lanes, a.Stride = lane(t.s, first, g.lanes, 0), c.to-first, g.lanes, g.lanes
	set.PairWeights(a)
	return first
}

// rows rounds a copy of n rows, and makes pairs of it if those are wanted.
func (r *rounder) rows(set *kernel.Set, rows *keyRows, n, dim int) {
	stride := dim + rowPad
	switch {
	case rows.form == asColumns && rows.pairs == keyPairs:
		stride = kernel.KeyBlock + rowPad
		fillPair(rows.floats, dim, n, stride)
		r.pair(set, kernel.PairAcross, rows.floats, dim, roundUp(n, rowPad), stride)
	case rows.form == asColumns:
		r.round(set, rows.floats, (dim-1)*(kernel.KeyBlock+rowPad)+n) // with what is between columns
	case rows.pairs == dimPairs:
		fillPair(rows.floats, n, dim, stride)
		r.pair(set, kernel.PairAcross, rows.floats, n, roundUp(dim, rowPad), stride)
	case rows.pairs == keyPairs:
		r.pair(set, kernel.PairDown, rows.floats, n, roundUp(dim, rowPad), stride)
	default:
		r.round(set, rows.floats, (n-1)*stride+dim)
	}
}

// fillPair has the last pair of each row of cols numbers be whole. What is between rows becomes pairs, too: whole
// vectors take less time.
func fillPair(x *float32, rows, cols, stride int) {
	if cols%2 == 0 {
		return
	}
	for i := range rows {
		*ptr.At(x, i*stride+cols) = 0
	}
}

// release drops the references to memory.
func (r *rounder) release() { r.args.Src, r.args.Dst, r.weightArgs.P = nil, nil, nil }
