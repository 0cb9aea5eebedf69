package kernel

import (
	"math/rand/v2"
	"testing"
)

// BenchmarkDecode decodes 64 KiB of values.
func BenchmarkDecode(b *testing.B) {
	const values = 16 << 10
	r := rand.New(rand.NewPCG(1, 1))
	dst := make([]float32, values)
	for _, w := range Weights() {
		src := randomBlocks(r, w, values/w.Values())
		b.Run("type="+w.String(), func(b *testing.B) {
			for b.Loop() {
				w.Decode(dst, src)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/values, "ns/value")
		})
	}
}
