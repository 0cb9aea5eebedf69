package gobackend

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// benchmark times a graph of random tensors of those dimensions.
func benchmark(b *testing.B, flops float64, dims [][]int, build func(f compute.Function, x []compute.Value) (compute.Value, error)) {
	backend, err := New("")
	if err != nil {
		b.Fatal(err)
	}
	defer backend.Finalize()
	builder := backend.Builder("main")
	f := builder.Main()
	rng := rand.New(rand.NewPCG(1, 2))
	var x []compute.Value
	var inputs []compute.Buffer
	for i, d := range dims {
		shape := shapes.Make(dtypes.Float32, d...)
		flat := make([]float32, shape.Size())
		for j := range flat {
			flat[j] = float32(rng.NormFloat64())
		}
		buffer, err := backend.BufferFromFlatData(0, flat, shape)
		if err != nil {
			b.Fatal(err)
		}
		value, err := f.Parameter(string(rune('a'+i)), shape, nil)
		if err != nil {
			b.Fatal(err)
		}
		x, inputs = append(x, value), append(inputs, buffer)
	}
	out, err := build(f, x)
	if err == nil {
		err = f.Return([]compute.Value{out}, nil)
	}
	if err != nil {
		b.Fatal(err)
	}
	exec, err := builder.Compile()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		results, err := exec.Execute(inputs, nil, 0)
		if err != nil {
			b.Fatal(err)
		}
		if err := results[0].Finalize(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}

func BenchmarkAttention(b *testing.B) {
	for _, s := range []struct{ batch, heads, seq, dim int }{{8, 12, 128, 64}, {1, 12, 1024, 64}, {1, 32, 512, 128}} {
		b.Run(fmt.Sprintf("b=%d,h=%d,s=%d,d=%d", s.batch, s.heads, s.seq, s.dim), func(b *testing.B) {
			dims := []int{s.batch, s.heads, s.seq, s.dim}
			benchmark(b, 4*float64(s.batch*s.heads*s.dim)*float64(s.seq)*float64(s.seq), [][]int{dims, dims, dims},
				func(f compute.Function, x []compute.Value) (compute.Value, error) {
					out, _, err := f.FusedScaledDotProductAttention(x[0], x[1], x[2], compute.AttentionAxesLayoutBHSD, nil)
					if !compute.IsNotImplemented(err) {
						return out, err
					}
					// What the graph is without it.
					scale, err := f.Constant([]float32{float32(1 / math.Sqrt(float64(s.dim)))})
					if err != nil {
						return nil, err
					}
					if scale, err = f.Reshape(scale, 1, 1, 1, 1); err != nil {
						return nil, err
					}
					q, err := f.Mul(x[0], scale)
					if err != nil {
						return nil, err
					}
					p, err := f.DotGeneral(q, []int{3}, []int{0, 1}, x[1], []int{3}, []int{0, 1}, compute.DotGeneralConfig{})
					if err != nil {
						return nil, err
					}
					if p, err = f.FusedSoftmax(p, 3); err != nil {
						return nil, err
					}
					return f.DotGeneral(p, []int{3}, []int{0, 1}, x[2], []int{2}, []int{0, 1}, compute.DotGeneralConfig{})
				})
		})
	}
}

func BenchmarkMatMul(b *testing.B) {
	for _, s := range []struct{ m, n, k int }{{1, 4096, 4096}, {32, 384, 384}, {128, 768, 768}, {512, 4096, 4096}} {
		b.Run(fmt.Sprintf("m=%d,n=%d,k=%d", s.m, s.n, s.k), func(b *testing.B) {
			benchmark(b, 2*float64(s.m)*float64(s.n)*float64(s.k), [][]int{{s.m, s.k}, {s.k, s.n}},
				func(f compute.Function, x []compute.Value) (compute.Value, error) {
					return f.DotGeneral(x[0], []int{1}, nil, x[1], []int{0}, nil, compute.DotGeneralConfig{})
				})
		})
	}
}
