package bench

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/qkv-go/qkv"
)

// BenchmarkGated runs gate and up of a multilayer perceptron with SwiGLU, in turns: as one gated product,
// as two products and a loop in Go, as one product of a matrix of both and the loop, and the two products
// alone. It reports the least times, and those of the others as multiples of that of the gated product.
func BenchmarkGated(b *testing.B) {
	for _, c := range []linearCase{
		{1, 14336, 4096}, {512, 14336, 4096}, {1, 1536, 576}, {4, 1536, 576}, {64, 1536, 576}, {512, 1536, 576},
	} {
		for _, form := range []string{"packed", "out-in"} {
			for _, workers := range []int{1, runtime.GOMAXPROCS(0)} {
				b.Run(fmt.Sprintf("m=%d/n=%d/k=%d/w=%s/workers=%d", c.m, c.n, c.k, form, workers), func(b *testing.B) {
					benchmarkGated(b, newEngine(b, workers), c, form)
				})
			}
		}
	}
}

func benchmarkGated(b *testing.B, e *qkv.Engine, c linearCase, form string) {
	w := qkv.RowMajor(randomFloats(2*c.n*c.k), 2*c.n, c.k)
	x := qkv.RowMajor(randomFloats(c.m*c.k), c.m, c.k)
	gate, up := qkv.Linear{W: w.Slice(0, c.n).T()}, qkv.Linear{W: w.Slice(c.n, 2*c.n).T()}
	both := qkv.Linear{W: w.T()}
	if form == "packed" {
		for _, l := range []*qkv.Linear{&gate, &up, &both} {
			packed, err := e.Pack(l.W)
			if err != nil {
				b.Fatal(err)
			}
			*l = qkv.Linear{Packed: packed}
		}
		w = qkv.Matrix{}
	}
	y, sums, pairs := make([]float32, c.m*c.n), make([]float32, 2*c.m*c.n), make([]float32, 2*c.m*c.n)
	half := c.m * c.n
	one := qkv.Product{X: x, W: gate.W, Packed: gate.Packed, Activation: qkv.SiLU, Up: up, Y: qkv.RowMajor(y, c.m, c.n)}
	first := qkv.Product{X: x, W: gate.W, Packed: gate.Packed, Y: qkv.RowMajor(sums[:half], c.m, c.n)}
	second := qkv.Product{X: x, W: up.W, Packed: up.Packed, Y: qkv.RowMajor(sums[half:], c.m, c.n)}
	wide := qkv.Product{X: x, W: both.W, Packed: both.Packed, Y: qkv.RowMajor(pairs, c.m, 2*c.n)}
	multiply := func(products ...*qkv.Product) {
		for _, p := range products {
			if err := e.MatMul(p); err != nil {
				b.Fatal(err)
			}
		}
	}
	swiGLU := func(gate, up []float32) {
		for i, v := range gate {
			gate[i] = float32(float64(v)/(1+math.Exp(-float64(v)))) * up[i]
		}
	}
	ways := []struct {
		name string
		run  func()
	}{
		{"gated", func() { multiply(&one) }},
		{"products", func() { multiply(&first, &second) }},
		{"loop", func() { multiply(&first, &second); swiGLU(sums[:half], sums[half:]) }},
		{"wide-loop", func() {
			multiply(&wide)
			for r := pairs; len(r) > 0; r = r[2*c.n:] {
				swiGLU(r[:c.n], r[c.n:2*c.n])
			}
		}},
	}
	calls := max(1, int(2e7/c.FLOPs()/float64(max(1, 8/c.m))))
	least := make([]float64, len(ways))
	for b.Loop() {
		for i, way := range ways {
			way.run() // the caches have what it leaves, not what the one before does
			begin := time.Now()
			for range calls {
				way.run()
			}
			if t := time.Since(begin).Seconds() / float64(calls); least[i] == 0 || t < least[i] {
				least[i] = t
			}
		}
	}
	for i, v := range y {
		if want := float64(sums[i]); math.Abs(float64(v)-want) > 1e-5*(1+math.Abs(want)) {
			b.Fatalf("y[%d] is %g, want %g", i, v, want)
		}
	}
	b.ReportMetric(1e9*least[0], "ns/op")
	for i, way := range ways[1:] {
		b.ReportMetric(least[i+1]/least[0], way.name+"/gated")
	}
}
