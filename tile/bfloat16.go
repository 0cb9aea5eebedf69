package tile

import (
	"math/bits"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// rounds reports whether queries, keys, weights and values are rounded to bfloat16 before they are multiplied.
func (p *Problem) rounds() bool { return p.Precision == kernel.PrecisionBFloat16 }

// A rounder rounds numbers as class BFloat16 does.
type rounder struct{ args kernel.PairsArgs }

// round rounds n numbers in place.
func (r *rounder) round(set *kernel.Set, x *float32, n int) {
	r.args = kernel.PairsArgs{Kind: kernel.RoundEach, Src: x, RowStride: n, ColStride: 1, Rows: 1, Cols: n, Dst: x, Stride: n}
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

// rows rounds a copy of n rows.
func (r *rounder) rows(set *kernel.Set, rows *keyRows, n, dim int) {
	if rows.form == asColumns {
		r.round(set, rows.floats, (dim-1)*(kernel.KeyBlock+rowPad)+n) // with what is between columns
	} else {
		r.round(set, rows.floats, (n-1)*(dim+rowPad)+dim)
	}
}

// release drops the references to memory.
func (r *rounder) release() { r.args.Src, r.args.Dst = nil, nil }
