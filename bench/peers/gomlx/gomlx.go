// Package gomlx measures the Go backend of GoMLX, github.com/gomlx/compute.
//
// v0.1.6 has no fused attention there, what there is of it is not registered: attention is a
// graph of products and a softmax. On amd64 its vector code, of products only, needs
// GOEXPERIMENT=simd at build time.
package gomlx

import (
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/compute/shapes"
	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/shared"
)

const module = "github.com/gomlx/compute"

// System is the Go backend of GoMLX.
type System struct{}

// Open returns the system. It is linked, so dir is not looked at.
func Open(dir string) (bench.System, error) { return &System{}, nil }

// Name returns "gomlx".
func (*System) Name() string { return "gomlx" }

// Version returns the version of the module.
func (*System) Version() string { return shared.ModuleVersion(module) }

// Paths returns attention as a graph or as one graph for each KV head, or a product with
// weights of either layout. Keys and values are float32, float16 or bfloat16.
func (s *System) Paths(in bench.Inputs, workers int) ([]bench.Path, error) {
	switch in := in.(type) {
	case *bench.Operands:
		return s.attention(in, workers)
	case *bench.ProductInputs:
		return products(in, workers)
	}
	return nil, s.unsupported(in, "there is no call for it")
}

func (s *System) unsupported(in bench.Inputs, reason string) error {
	return &bench.UnsupportedError{System: s.Name(), Work: in.Work(), Reason: reason}
}

// named adds to the name of a path what products are compiled to.
func named(name string) string {
	if !vectors {
		return name + ", scalar (no GOEXPERIMENT=simd)"
	}
	return name + ", GOEXPERIMENT=simd"
}

// A graph is a compiled computation and the backend that runs it.
type graph struct {
	backend compute.Backend
	exec    compute.Executable
}

// newGraph compiles what build makes of parameters of those shapes.
func newGraph(parameters []shapes.Shape, build func(f compute.Function, x []compute.Value) (compute.Value, error)) (*graph, error) {
	backend, err := gobackend.New("")
	if err != nil {
		return nil, err
	}
	g := &graph{backend: backend}
	b := backend.Builder("main")
	f := b.Main()
	x := make([]compute.Value, len(parameters))
	for i, s := range parameters {
		if x[i], err = f.Parameter(string(rune('a'+i)), s, nil); err != nil {
			return nil, err
		}
	}
	out, err := build(f, x)
	if err != nil {
		return nil, err
	}
	if err := f.Return([]compute.Value{out}, nil); err != nil {
		return nil, err
	}
	if g.exec, err = b.Compile(); err != nil {
		return nil, err
	}
	return g, nil
}

func (g *graph) close() {
	g.exec.Finalize()
	g.backend.Finalize()
}

// run computes the graph. The result takes the place of last, which may be nil.
func (g *graph) run(last compute.Buffer, inputs ...compute.Buffer) (compute.Buffer, error) {
	if last != nil {
		if err := last.Finalize(); err != nil {
			return nil, err
		}
	}
	results, err := g.exec.Execute(inputs, nil, 0)
	if err != nil {
		return nil, err
	}
	return results[0], nil
}

// products are paths for X Wᵀ.
func products(in *bench.ProductInputs, workers int) ([]bench.Path, error) {
	p := in.Product
	transposed := make([]float32, len(in.W))
	for row, w := range slices.Collect(slices.Chunk(in.W, p.K)) {
		for column, x := range w {
			transposed[column*p.N+row] = x
		}
	}
	natural, err := product(in, workers, "DotGeneral", in.W, 1, p.N, p.K)
	if err != nil {
		return nil, err
	}
	other, err := product(in, workers, "DotGeneral of transposed weights", transposed, 0, p.K, p.N)
	if err != nil {
		natural.Close()
		return nil, err
	}
	return []bench.Path{natural, other}, nil
}

// product is a path with weights of those dims, which sums along one of them.
func product(in *bench.ProductInputs, workers int, name string, weights []float32, along int, dims ...int) (bench.Path, error) {
	parameters := []shapes.Shape{shapes.Make(dtypes.Float32, in.Product.M, in.Product.K), shapes.Make(dtypes.Float32, dims...)}
	g, err := newGraph(parameters, func(f compute.Function, x []compute.Value) (compute.Value, error) {
		return f.DotGeneral(x[0], []int{1}, nil, x[1], []int{along}, nil, compute.DotGeneralConfig{})
	})
	if err != nil {
		return bench.Path{}, err
	}
	x, flat, err := g.backend.NewSharedBuffer(0, parameters[0])
	if err != nil {
		g.close()
		return bench.Path{}, err
	}
	w, err := g.backend.BufferFromFlatData(0, weights, parameters[1])
	if err != nil {
		g.close()
		return bench.Path{}, err
	}
	var y compute.Buffer
	return bench.Path{
		Name: named(name),
		Run: func() (err error) {
			shared.Procs(workers, func() {
				copy(flat.([]float32), in.X)
				y, err = g.run(y, x, w)
			})
			return err
		},
		Finish: func() error { return y.ToFlatData(in.Y) },
		Close:  g.close,
	}, nil
}
