package gomlx

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/gomlx/compute/dtypes/float16"
	"github.com/gomlx/compute/shapes"
	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/shared"
	"github.com/qkv-go/qkv/kernel"
)

// operands are the operands of a graph: those of one attention, or of each of its KV heads.
type operands struct {
	heads, rows, keys, dim, dimV int // KV heads, and queries of each

	q, out []float32
	k, v   any // slices of elements of typ
	typ    dtypes.DType
	mask   []float32 // [queries of a head, keys], or nil
	scale  float32
}

func (s *System) attention(in *bench.Operands, workers int) ([]bench.Path, error) {
	shape := in.Shape
	if extra := shared.Extra(shape); extra != "" {
		return nil, s.unsupported(in, "a graph for it, with "+extra+", is not written")
	}
	if most := 2e10; !vectors && shape.FLOPs() > most {
		return nil, s.unsupported(in, fmt.Sprintf("built without GOEXPERIMENT=simd, it needs seconds for %.2g operations", most))
	}
	if shape.KV.K != shape.KV.V {
		return nil, s.unsupported(in, "a graph with keys and values of two types is not written")
	}
	all := operands{
		heads: shape.Batch * shape.KVHeads, rows: shape.Heads / shape.KVHeads * shape.SeqQ, keys: shape.SeqKV,
		dim: shape.DimQK, dimV: shape.DimV,
		q: in.Q, out: in.Out, scale: shared.Scale(shape),
	}
	switch shape.KV.K {
	case kernel.Float32:
		all.k, all.v, all.typ = in.K.Float32, in.V.Float32, dtypes.Float32
	case kernel.Float16:
		all.k, all.v, all.typ = cast[float16.Float16](in.K.Float16), cast[float16.Float16](in.V.Float16), dtypes.Float16
	case kernel.BFloat16:
		all.k, all.v, all.typ = cast[bfloat16.BFloat16](in.K.BFloat16), cast[bfloat16.BFloat16](in.V.BFloat16), dtypes.BFloat16
	default:
		return nil, s.unsupported(in, "it has no such type, but for weights")
	}
	if shape.Mask.Causal && shape.SeqQ > 1 {
		all.mask = make([]float32, shape.SeqQ*shape.SeqKV)
		for i := range shape.SeqQ {
			for j := shape.SeqKV - shape.SeqQ + i + 1; j < shape.SeqKV; j++ {
				all.mask[i*shape.SeqKV+j] = float32(math.Inf(-1))
			}
		}
	}
	var paths []bench.Path
	for _, way := range []way{{}, {split: true}, {widen: true}, {split: true, widen: true}} {
		if way.widen && all.typ == dtypes.Float32 {
			continue
		}
		p, err := all.path(workers, way)
		if err != nil {
			for _, p := range paths {
				p.Close()
			}
			return nil, err
		}
		paths = append(paths, p)
	}
	return paths, nil
}

// A way says what is not the same in all paths.
type way struct {
	split bool // a graph for each KV head, so that workers share softmaxes too
	widen bool // of types of 16 bits: products in float32, of widened keys and values
}

// cast names the elements as GoMLX does.
func cast[T, S ~uint16](x []S) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}

// build makes the graph of attention. Parameters are queries, keys, values and the mask.
func (o *operands) build(widen bool) func(f compute.Function, x []compute.Value) (compute.Value, error) {
	return func(f compute.Function, x []compute.Value) (compute.Value, error) {
		chain := chain{f: f}
		q, k, v := x[0], x[1], x[2]
		q = chain.do(f.Mul(q, chain.do(f.Constant([]float32{o.scale}))))
		if widen {
			k, v = chain.do(f.ConvertDType(k, dtypes.Float32)), chain.do(f.ConvertDType(v, dtypes.Float32))
		} else if o.typ != dtypes.Float32 {
			q = chain.do(f.ConvertDType(q, o.typ))
		}
		config := compute.DotGeneralConfig{OutputDType: dtypes.Float32}
		p := chain.do(f.DotGeneral(q, []int{2}, []int{0}, k, []int{2}, []int{0}, config))
		if o.mask != nil {
			queries := len(o.mask) / o.keys
			p = chain.do(f.Reshape(p, o.heads*o.rows/queries, queries, o.keys))
			p = chain.do(f.Add(p, x[3]))
			p = chain.do(f.Reshape(p, o.heads, o.rows, o.keys))
		}
		p = chain.do(f.FusedSoftmax(p, 2))
		if o.typ != dtypes.Float32 && !widen {
			p = chain.do(f.ConvertDType(p, o.typ))
		}
		out := chain.do(f.DotGeneral(p, []int{2}, []int{0}, v, []int{1}, []int{0}, config))
		return out, chain.err
	}
}

// chain keeps the first error of a chain of operations.
type chain struct {
	f   compute.Function
	err error
}

func (c *chain) do(v compute.Value, err error) compute.Value {
	if c.err == nil {
		c.err = err
	}
	return v
}

// path is the attention in one graph, or in one for each KV head.
func (o *operands) path(workers int, way way) (bench.Path, error) {
	graphs, part := 1, *o
	name, roundoff := "DotGeneral, FusedSoftmax and DotGeneral", 0.0
	switch o.typ {
	case dtypes.Float16:
		name, roundoff = name+", float16", bench.RoundoffFloat16
	case dtypes.BFloat16:
		name, roundoff = name+", bfloat16", bench.RoundoffBFloat16
	}
	if way.widen {
		name, roundoff = name+" K and V widened", 0
	}
	if way.split {
		graphs, part.heads = o.heads, 1
		name += ", each KV head"
	}
	parameters := []shapes.Shape{
		shapes.Make(dtypes.Float32, part.heads, part.rows, part.dim),
		shapes.Make(o.typ, part.heads, part.keys, part.dim),
		shapes.Make(o.typ, part.heads, part.keys, part.dimV),
	}
	if o.mask != nil {
		parameters = append(parameters, shapes.Make(dtypes.Float32, 1, len(o.mask)/o.keys, o.keys))
	}
	g, err := newGraph(parameters, part.build(way.widen))
	if err != nil {
		return bench.Path{}, err
	}
	inputs, queries, err := g.inputs(o, parameters, graphs)
	if err != nil {
		g.close()
		return bench.Path{}, err
	}
	results, errs := make([]compute.Buffer, graphs), make([]error, graphs)
	one := func(_, i int) {
		copy(queries[i], piece(o.q, i, graphs).([]float32))
		results[i], errs[i] = g.run(results[i], inputs[i]...)
	}
	return bench.Path{
		Name: named(name),
		Run: func() error {
			shared.Procs(workers, func() { shared.Parallel(workers, graphs, one) })
			return errors.Join(errs...)
		},
		Finish: func() error {
			for i, r := range results {
				if err := r.ToFlatData(piece(o.out, i, graphs)); err != nil {
					return err
				}
			}
			return nil
		},
		Close:    g.close,
		NoLSE:    true,
		Roundoff: roundoff,
	}, nil
}

// inputs copies the operands of so many graphs to tensors of those shapes, but for the queries:
// the slices that it returns are theirs.
func (g *graph) inputs(o *operands, parameters []shapes.Shape, graphs int) (inputs [][]compute.Buffer, queries [][]float32, err error) {
	common := make([]compute.Buffer, len(parameters))
	if o.mask != nil {
		if common[3], err = g.backend.BufferFromFlatData(0, o.mask, parameters[3]); err != nil {
			return nil, nil, err
		}
	}
	for i := range graphs {
		x := slices.Clone(common)
		q, flat, err := g.backend.NewSharedBuffer(0, parameters[0])
		if err != nil {
			return nil, nil, err
		}
		x[0] = q
		for j, values := range []any{o.k, o.v} {
			if x[j+1], err = g.backend.BufferFromFlatData(0, piece(values, i, graphs), parameters[j+1]); err != nil {
				return nil, nil, err
			}
		}
		inputs, queries = append(inputs, x), append(queries, flat.([]float32))
	}
	return inputs, queries, nil
}

// piece returns the part i of n of a slice.
func piece(x any, i, n int) any {
	switch x := x.(type) {
	case []float32:
		return slice(x, i, n)
	case []float16.Float16:
		return slice(x, i, n)
	case []bfloat16.BFloat16:
		return slice(x, i, n)
	}
	panic("gomlx: not a slice of floats")
}

func slice[T any](x []T, i, n int) []T {
	size := len(x) / n
	return x[i*size : (i+1)*size]
}
