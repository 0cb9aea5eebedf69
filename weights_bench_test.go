package qkv_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/qkv-go/qkv"
)

// BenchmarkWeights: products by weights in place, in turns with products by a packed copy; x-packed is how
// many times as long they take, by the shortest times. pack-ms is the shortest time of packing.
func BenchmarkWeights(b *testing.B) {
	const n = 4096
	e := newAttention(b, qkv.Config{Workers: 1})
	values := draw(n*n, normal(1))
	for _, of := range []struct {
		precision qkv.Precision
		types     []qkv.WeightType
	}{
		{qkv.PrecisionFloat32, []qkv.WeightType{qkv.WeightFloat32, qkv.WeightFloat16, qkv.WeightBFloat16, qkv.WeightQ8_0, qkv.WeightQ4_0}},
		{qkv.PrecisionInt8, int8Types[1:]},
	} {
		for _, typ := range of.types {
			per, size := typ.Block()
			data := make([]byte, len(values)/per*size)
			if qkv.Quantize(typ, data, values) != nil { // a type that is only read
				for i := range data {
					data[i] = byte(i*i>>8)&0xbf | 0x20 // any of it as a scale is a normal number
				}
			}
			w := qkv.WeightMatrix(typ, data, n, n).T()
			var packed *qkv.PackedMatrix
			var least [3]time.Duration
			timed := func(i int, call func() error) {
				start := time.Now()
				must(call())
				if d := time.Since(start); least[i] == 0 || d < least[i] {
					least[i] = d
				}
			}
			for range 5 {
				timed(2, func() (err error) { packed, err = e.PackFor(of.precision, w, 1); return err })
			}
			for _, rows := range []int{1, 8, 512} {
				b.Run(fmt.Sprintf("class=%v/type=%v/rows=%d", of.precision, typ, rows), func(b *testing.B) {
					x, y := qkv.RowMajor(draw(rows*n, normal(1)), rows, n), qkv.RowMajor(make([]float32, rows*n), rows, n)
					products := [2]qkv.Product{{X: x, W: w, Y: y, Precision: of.precision}, {X: x, Packed: packed, Y: y, Precision: of.precision}}
					least[0], least[1] = 0, 0
					for b.Loop() {
						for i := range products {
							timed(i, func() error { return e.MatMul(&products[i]) })
						}
					}
					b.ReportMetric(least[0].Seconds()*1e3, "ms")
					b.ReportMetric(float64(least[0])/float64(least[1]), "x-packed")
					b.ReportMetric(least[2].Seconds()*1e3, "pack-ms")
				})
			}
		}
	}
}
