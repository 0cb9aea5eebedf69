package onnx_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/onnx"
)

// TestRotary holds RotaryEmbedding to the text of the standard: pairs of elements of a
// head, the two halves or neighbours, are rotated by the angle of a position.
func TestRotary(t *testing.T) {
	a, err := qkv.New(qkv.Config{})
	if err != nil {
		t.Fatal(err)
	}
	const batch, heads, seq, size, positions = 2, 3, 4, 10, 9
	for _, typ := range []onnx.ElementType{onnx.Float, onnx.Float16, onnx.BFloat16, onnx.Double} {
		for _, c := range []struct {
			rank, dim int
			ids       bool
			columns   int // of the caches beyond those used
		}{
			{4, 0, true, 0}, {4, 0, false, 0}, {3, 0, true, 0}, {3, 0, false, 0},
			{4, 6, true, 0}, {4, 6, false, 2}, {3, 6, true, 2}, {3, 2, false, 0},
		} {
			for interleaved := range int64(2) {
				t.Run(fmt.Sprintf("%v/rank=%d,dim=%d,ids=%v,interleaved=%d", typ, c.rank, c.dim, c.ids, interleaved), func(t *testing.T) {
					rng := rand.New(rand.NewPCG(3, 4))
					dim := c.dim
					if dim == 0 {
						dim = size
					}
					x := random(rng, typ, batch, heads, seq, size)
					cacheDims := []int{batch, seq, dim/2 + c.columns}
					if c.ids {
						cacheDims = []int{positions, dim/2 + c.columns}
					}
					cos, sin := random(rng, typ, cacheDims...), random(rng, typ, cacheDims...)
					ids := newArray(onnx.Int64, batch, seq)
					for i := range ids.data {
						ids.data[i] = float64(rng.IntN(positions))
					}

					want := newArray(typ, batch, heads, seq, size)
					copy(want.data, x.data)
					for b := range batch {
						for s := range seq {
							for i := range dim / 2 {
								at := []int{b, s, i}
								if c.ids {
									at = []int{int(*ids.at(b, s)), i}
								}
								co, si := *cos.at(at...), *sin.at(at...)
								re, im := i, i+dim/2
								if interleaved == 1 {
									re, im = 2*i, 2*i+1
								}
								for h := range heads {
									p, q := *x.at(b, h, s, re), *x.at(b, h, s, im)
									*want.at(b, h, s, re) = co*p - si*q
									*want.at(b, h, s, im) = si*p + co*q
								}
							}
						}
					}

					ints := map[string]int64{"interleaved": interleaved}
					if c.dim != 0 {
						ints["rotary_embedding_dim"] = int64(c.dim)
					}
					if c.rank == 3 {
						ints["num_heads"] = heads
						x, want = join(x), join(want)
					}
					names := []string{"X", "cos", "sin"}
					in := []*onnx.Tensor{x.tensor("X"), cos.tensor("cos"), sin.tensor("sin")}
					if c.ids {
						names, in = append(names, "ids"), append(in, ids.tensor("ids"))
					}
					got, err := onnx.Run(a, model("RotaryEmbedding", 23, ints, nil, names, []string{"Y"}), in)
					if err != nil {
						t.Fatal(err)
					}
					if err := near(got[0], want, allowed(typ)); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}
