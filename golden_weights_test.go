package qkv_test

import (
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

// TestGoldenWeights: a hash of products in class Float32 by weights of each type, in place and packed, the same on every
// set and architecture. The weights are random bytes whose numbers are at most 100.
func TestGoldenWeights(t *testing.T) {
	golden := map[qkv.WeightType]string{
		qkv.WeightFloat32:  "c0a5b3a98b701abb",
		qkv.WeightFloat16:  "248b20ff9e06e4b7",
		qkv.WeightBFloat16: "5f558483ed4cbd04",
		qkv.WeightInt8:     "f5df40100bb99109",
		qkv.WeightQ8_0:     "95766b65acb9ea95",
		qkv.WeightQ4_0:     "de95f3d210bfd881",
		qkv.WeightQ4_1:     "61fb3459e7046a99",
		qkv.WeightQ5_0:     "c70ac31e33769491",
		qkv.WeightQ5_1:     "c9db31b6ef1482f3",
		qkv.WeightQ2_K:     "920295a5262fbc22",
		qkv.WeightQ3_K:     "7d3be800447480f9",
		qkv.WeightQ4_K:     "0ed6444b51312496",
		qkv.WeightQ5_K:     "67987b78a1bfbf0b",
		qkv.WeightQ6_K:     "02771db48f4f35f1",
		qkv.WeightIQ4_NL:   "2a238fd26cb028a1",
		qkv.WeightMXFP4:    "b3a7369e0e1f679f",
	}
	for _, typ := range weightTypes {
		w := newWeights(rand.New(rand.NewPCG(50, uint64(typ))), typ, 33, 512, 100)
		if typ == qkv.WeightInt8 { // scales that are the same everywhere
			w.Matrix = qkv.Int8Matrix(int8s(w.data), draw(33*512/64, integers(51, -6)), 33, 512, 64)
		}
		for _, set := range sets() {
			e := newAttention(t, qkv.Config{Kernel: set})
			packed, err := e.Pack(w.T())
			must(err)
			for _, form := range []qkv.Product{{W: w.T()}, {Packed: packed}} {
				var all [][]float32
				for _, m := range []int{1, 9, 40} {
					p := qkv.Product{X: qkv.RowMajor(draw(m*512, integers(uint64(m), 1)), m, 512), W: form.W, Packed: form.Packed}
					y := make([]float32, m*33)
					p.Y = qkv.RowMajor(y, m, 33)
					must(e.MatMul(&p))
					all = append(all, y)
				}
				if got := hash(all...); got != golden[typ] {
					t.Errorf("%s, %v, packed %v: hash %q, want %q", set, typ, form.Packed != nil, got, golden[typ])
				}
			}
		}
	}
}
