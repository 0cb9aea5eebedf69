package bench

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/qkv-go/qkv"
)

// BenchmarkWorkers multiplies one row by packed weights that no cache holds, on one worker and
// on all, in turns. It reports the median times and their ratio: of calls that follow each
// other at once, as those of a decoder do.
func BenchmarkWorkers(b *testing.B) {
	const bytes = 64 << 20 // of all weights of a size
	for _, n := range []int{576, 1024, 1536, 2048, 4096} {
		b.Run(fmt.Sprintf("m=1/n=%d/k=%d", n, n), func(b *testing.B) {
			engines := []*qkv.Engine{newEngine(b, 1), newEngine(b, runtime.GOMAXPROCS(0))}
			products := make([]qkv.Product, max(1, bytes/(4*n*n)))
			w := qkv.RowMajor(randomFloats(n*n), n, n).T()
			for i := range products {
				p := &products[i]
				p.X, p.Y = qkv.RowMajor(randomFloats(n), 1, n), qkv.RowMajor(make([]float32, n), 1, n)
				var err error
				if p.Packed, err = engines[0].Pack(w); err != nil {
					b.Fatal(err)
				}
			}
			var times [2][]float64
			for range b.N {
				for i, e := range engines {
					begin := time.Now()
					for p := range products {
						if err := e.MatMul(&products[p]); err != nil {
							b.Fatal(err)
						}
					}
					times[i] = append(times[i], float64(time.Since(begin).Microseconds())/float64(len(products)))
				}
			}
			var median, mean [2]float64
			for i, t := range times {
				for _, x := range t {
					mean[i] += x / float64(len(t))
				}
				slices.Sort(t)
				median[i] = t[len(t)/2]
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median[0], "one-µs")
			b.ReportMetric(median[1], "all-µs")
			b.ReportMetric(median[0]/median[1], "faster")
			b.ReportMetric(mean[0]/mean[1], "faster-in-the-mean")
		})
	}
}
