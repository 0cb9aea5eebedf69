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
	for _, c := range []struct {
		name      string
		typ       qkv.WeightType
		precision qkv.Precision
	}{
		{"float32", qkv.WeightFloat32, qkv.PrecisionFloat32},
		{"class=BFloat16", qkv.WeightFloat32, qkv.PrecisionBFloat16},
		{"class=Int8/w=Q8_0", qkv.WeightQ8_0, qkv.PrecisionInt8},
		{"class=Int8/w=Q4_0", qkv.WeightQ4_0, qkv.PrecisionInt8},
	} {
		for _, n := range []int{576, 1024, 1536, 2048, 4096} {
			b.Run(fmt.Sprintf("%s/m=1/n=%d/k=%d", c.name, n, n), func(b *testing.B) {
				benchmarkWorkers(b, c.typ, c.precision, n, bytes)
			})
		}
	}
}

// benchmarkWorkers multiplies a row by n by n weights of so many bytes in all.
func benchmarkWorkers(b *testing.B, typ qkv.WeightType, precision qkv.Precision, n, bytes int) {
	engines := []*qkv.Engine{newEngine(b, 1), newEngine(b, runtime.GOMAXPROCS(0))}
	w := qkv.RowMajor(randomFloats(n*n), n, n)
	if typ != qkv.WeightFloat32 {
		values, size := typ.Block()
		data := make([]byte, n*n/values*size)
		if err := qkv.Quantize(typ, data, randomFloats(n*n)); err != nil {
			b.Fatal(err)
		}
		w = qkv.WeightMatrix(typ, data, n, n)
	}
	products := make([]qkv.Product, max(1, bytes/engines[0].PackedSize(precision, w.T(), 1)))
	for i := range products {
		p := &products[i]
		p.X, p.Y, p.Precision = qkv.RowMajor(randomFloats(n), 1, n), qkv.RowMajor(make([]float32, n), 1, n), precision
		var err error
		if p.Packed, err = engines[0].PackFor(precision, w.T(), 1); err != nil {
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
}
