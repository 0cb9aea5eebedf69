package tile

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// TestMeanScores: each row has the mean of its KV head, whatever the strides and the workers among which rows are
// divided.
func TestMeanScores(t *testing.T) {
	const heads, kvHeads, seq, dim = 6, 2, 130, 40 // four items
	r := rand.New(rand.NewPCG(1, 2))
	x, mean := make([]float32, 2*heads*seq*dim), make([]float32, kvHeads*dim)
	for _, all := range [][]float32{x, mean} {
		for i := range all {
			all[i] = float32(r.NormFloat64())
		}
	}
	e := New(&kernel.Set{}, Caches{}, false, Tuning{})
	for _, stride := range [][4]int{{0, seq * dim, dim, 1}, {0, dim, heads * dim, 1}, {0, 2 * seq * dim, 2, 2 * seq}} {
		for _, workers := range []int{1, 3} {
			m := MeanScores{
				X: Operand{Base: unsafe.Pointer(&x[0]), Stride: stride}, Mean: mean, Scores: make([]float32, heads*seq),
				Heads: heads, KVHeads: kvHeads, Seq: seq, Dim: dim, Scale: 0.3,
			}
			e.MeanScores(&m, workers)
			for h := range heads {
				for i := range seq {
					sum := 0.0
					for d := range dim {
						sum += float64(x[h*stride[1]+i*stride[2]+d*stride[3]]) * float64(mean[h/3*dim+d])
					}
					if got, want := m.Scores[h*seq+i], float32(float64(m.Scale)*sum); got != want {
						t.Fatalf("strides %v, %d workers: score of head %d, token %d is %v, want %v", stride, workers, h, i, got, want)
					}
				}
			}
		}
	}
}
