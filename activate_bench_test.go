package qkv

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/qkv-go/qkv/kernel"
)

// BenchmarkActivate times Activate of every set that this machine can run, gated, on rows in the first-level
// cache, and beside it SwiGLU as a loop over package math. ns/value is the least of many calls.
// slots/vector is that time in multiply-adds of vectors at the peak of the set, which goes in turns with the
// calls: no less than the instructions of a vector that multiply-adds leave no unit for.
func BenchmarkActivate(b *testing.B) {
	const n = 1024
	r := rand.New(rand.NewPCG(1, 2))
	gate, up, dst := make([]float32, n), make([]float32, n), make([]float32, n)
	for i := range gate {
		gate[i], up[i] = 3*float32(r.NormFloat64()), float32(r.NormFloat64())
	}
	least := func(d *float64, f func()) {
		begin := time.Now()
		f()
		*d = min(*d, float64(time.Since(begin).Nanoseconds()))
	}
	b.Run("op=loop", func(b *testing.B) {
		best := math.Inf(1)
		for b.Loop() {
			least(&best, func() {
				for i, x := range gate {
					dst[i] = x / (1 + float32(math.Exp(float64(-x)))) * up[i]
				}
			})
		}
		b.ReportMetric(best/n, "ns/value")
	})
	for _, k := range Kernels() {
		if k.Missing != 0 {
			continue
		}
		for _, kind := range kernel.Activations() {
			b.Run(fmt.Sprintf("op=activate/set=%s/kind=%v", k.Set.Name, kind), func(b *testing.B) {
				const rounds = 200
				a := kernel.ActivateArgs{Gate: &gate[0], Up: &up[0], Dst: &dst[0], Rows: 1, Cols: n, Kind: kind}
				best, peak := math.Inf(1), math.Inf(1)
				for b.Loop() {
					least(&best, func() {
						for range 8 {
							k.Set.Activate(&a)
						}
					})
					least(&peak, func() { k.Set.Peak(rounds) })
				}
				best /= 8 * n
				b.ReportMetric(best, "ns/value")
				multiplyAdd := peak / rounds / (float64(k.Set.PeakFLOPs) / 2) // of one number
				b.ReportMetric(best/multiplyAdd, "slots/vector")
			})
		}
	}
}
