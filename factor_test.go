package qkv_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

// TestLeastFactors: a scale or a softcap of the least magnitude that is taken has the error of
// any other, beside the largest queries that float32 has.
func TestLeastFactors(t *testing.T) {
	const least = 0x1p-125
	for _, set := range sets() {
		a := newAttention(t, qkv.Config{Kernel: set})
		for _, queries := range []int{1, 40} {
			for _, scale := range []float32{least, -least, 3 * least} {
				for _, softcap := range []float32{0, least, 2} {
					for _, size := range []float64{1e38, 1e30, 1, 1e-30} {
						t.Run(fmt.Sprintf("%s,queries=%d,scale=%g,softcap=%g,size=%g", set, queries, scale, softcap, size), func(t *testing.T) {
							r := rand.New(rand.NewPCG(1, 82))
							p := newProblem(dims{1, 2, 1, queries, 70, 16, 16}, "bhsd", none, func() float32 { return float32(2*r.Float64() - 1) })
							p.q.each(func(i int) { p.q.data[i] = float32(math.Max(-3.4e38, math.Min(3.4e38, 3*size*float64(p.q.data[i])))) })
							p.scale, p.softcap = scale, softcap
							p.run(t, a)
							p.check(t, 20)
						})
					}
				}
			}
		}
	}
}
