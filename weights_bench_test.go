package qkv_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/qkv-go/qkv"
)

// BenchmarkWeights: products by weights in place, in turns with products by a packed copy; x-packed is how
// many times as long they take, by the shortest times.
func BenchmarkWeights(b *testing.B) {
	const n = 4096
	e := newAttention(b, qkv.Config{Workers: 1})
	values := draw(n*n, normal(1))
	for _, typ := range []qkv.WeightType{qkv.WeightFloat32, qkv.WeightFloat16, qkv.WeightBFloat16, qkv.WeightQ8_0, qkv.WeightQ4_0} {
		per, size := typ.Block()
		data := make([]byte, len(values)/per*size)
		must(qkv.Quantize(typ, data, values))
		w := qkv.WeightMatrix(typ, data, n, n).T()
		packed, err := e.Pack(w)
		must(err)
		for _, rows := range []int{1, 8, 512} {
			b.Run(fmt.Sprintf("type=%v/rows=%d", typ, rows), func(b *testing.B) {
				x, y := qkv.RowMajor(draw(rows*n, normal(1)), rows, n), qkv.RowMajor(make([]float32, rows*n), rows, n)
				products := [2]qkv.Product{{X: x, W: w, Y: y}, {X: x, Packed: packed, Y: y}}
				var least [2]time.Duration
				for b.Loop() {
					for i := range products {
						start := time.Now()
						must(e.MatMul(&products[i]))
						if d := time.Since(start); least[i] == 0 || d < least[i] {
							least[i] = d
						}
					}
				}
				b.ReportMetric(least[0].Seconds()*1e3, "ms")
				b.ReportMetric(float64(least[0])/float64(least[1]), "x-packed")
			})
		}
	}
}
