package qkv

import (
	"fmt"
	"testing"

	"github.com/qkv-go/qkv/kernel"
)

// BenchmarkRotary times Rotary of every set that this machine can run, in place: the heads
// of one token after another, in the first-level cache and in memory. op=copy moves the
// same elements once, which is the bound.
func BenchmarkRotary(b *testing.B) {
	const heads, dim = 32, 128
	for _, size := range []struct {
		name   string
		tokens int
	}{{"L1", 1}, {"memory", 4096}} {
		n := size.tokens * heads * dim
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(i % 7)
		}
		tables := make([]float32, size.tokens*dim/2)
		for i := range tables {
			tables[i] = 0.5
		}
		perElement := func(b *testing.B, f func()) {
			b.SetBytes(int64(8 * n))
			for b.Loop() {
				f()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/element")
		}
		y := make([]float32, min(n, heads*dim))
		b.Run("op=copy/size="+size.name, func(b *testing.B) {
			perElement(b, func() {
				for t := range size.tokens {
					copy(x[t*heads*dim:], y)
				}
			})
		})
		for _, k := range Kernels() {
			if k.Missing != 0 {
				continue
			}
			for _, p := range []struct {
				name    string
				pairing kernel.Pairing
			}{{"half", kernel.HalfSplit}, {"interleaved", kernel.Interleaved}} {
				b.Run(fmt.Sprintf("op=rotary/set=%s/pairing=%s/size=%s", k.Set.Name, p.name, size.name), func(b *testing.B) {
					a := kernel.RotaryArgs{
						XStride: dim, YStride: dim, Cos: &tables[0], Sin: &tables[0],
						Rows: heads, Pairs: dim / 2, Pairing: p.pairing,
					}
					perElement(b, func() {
						for t := range size.tokens {
							a.X, a.Cos, a.Sin = &x[t*heads*dim], &tables[t*dim/2], &tables[t*dim/2]
							a.Y = a.X
							k.Set.Rotary(&a)
						}
					})
				})
			}
		}
	}
}
