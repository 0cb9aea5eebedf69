package ggml

import (
	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/shared"
	"github.com/qkv-go/qkv/kernel"
)

// types are ggml's, of element types that it has, and the unit roundoffs of what it rounds
// queries and weights to beside them.
var types = map[kernel.Elem]struct {
	name     string
	typ      int
	roundoff float64
}{
	kernel.Float32:  {"f32", typeF32, 0},
	kernel.Float16:  {"f16", typeF16, bench.RoundoffFloat16},
	kernel.BFloat16: {"bf16", typeBF16, bench.RoundoffBFloat16},
	kernel.Q8_0:     {"q8_0", typeQ8_0, bench.RoundoffBFloat16},
	kernel.Q4_0:     {"q4_0", typeQ4_0, bench.RoundoffBFloat16},
	kernel.Q4_1:     {"q4_1", typeQ4_1, bench.RoundoffBFloat16},
}

// Paths has for attention ggml_flash_attn_ext, and the two products with the softmax between
// them that llama.cpp computes without it; for products ggml_mul_mat.
func (s *System) Paths(in bench.Inputs, workers int) ([]bench.Path, error) {
	refuse := func(reason string) ([]bench.Path, error) {
		return nil, &bench.UnsupportedError{System: s.Name(), Work: in.Work(), Reason: reason}
	}
	switch in := in.(type) {
	case *bench.ProductInputs:
		return s.products(in.Product, workers, operands{in.X, in.Y, func(g *graph, w handle) { set(g, w, in.W) }})
	case *bench.WeightInputs:
		return s.products(in.Product, workers, operands{in.X, in.Y, func(g *graph, w handle) { set(g, w, in.Data) }})
	case *bench.Operands:
		shape := in.Shape
		_, ok := types[shape.KV.K]
		switch {
		case !ok || shape.KV.K != shape.KV.V:
			return refuse("it has no such type of keys and values")
		case shared.Extra(shape) != "":
			return refuse("it is not measured with " + shared.Extra(shape))
		}
		paths := []bench.Path{s.flashPath(in, workers, false)}
		if shape.KV.K == kernel.Float16 {
			paths = append(paths, s.flashPath(in, workers, true))
		}
		// The scores of all pairs at once take this much memory.
		if shape.KV.K.UnitValues() == 1 && 4*shape.Heads*shape.SeqQ*shape.SeqKV <= 1<<31 {
			paths = append(paths, s.plain(in, workers))
		}
		return paths, nil
	}
	return refuse("it is neither attention nor a product")
}

// kv makes the tensor of keys or values. What it returns copies them.
func kv(g *graph, t *bench.Tensor, e kernel.Elem, dim, seq, heads, batch int) (handle, func()) {
	x := g.tensor(types[e].typ, dim, seq, heads, batch)
	return x, func() {
		switch e {
		case kernel.Float32:
			set(g, x, t.Float32)
		case kernel.Float16:
			set(g, x, t.Float16)
		case kernel.BFloat16:
			set(g, x, t.BFloat16)
		case kernel.Q8_0:
			set(g, x, t.Q8_0)
		case kernel.Q4_0:
			set(g, x, t.Q4_0)
		case kernel.Q4_1:
			set(g, x, t.Q4_1)
		}
	}
}

// mask makes the mask of a causal shape, 0 for others. What it returns fills it.
func mask(g *graph, s bench.Shape) (handle, func()) {
	if !s.Mask.Causal || s.SeqQ == 1 {
		return 0, func() {}
	}
	const pad, negInf = 64, 0xfc00 // in float16
	rows := (s.SeqQ + pad - 1) / pad * pad
	m := g.tensor(typeF16, s.SeqKV, rows)
	return m, func() {
		x := make([]uint16, rows*s.SeqKV)
		for i := range rows {
			for j := range s.SeqKV {
				if j > i+s.SeqKV-s.SeqQ {
					x[i*s.SeqKV+j] = negInf
				}
			}
		}
		set(g, m, x)
	}
}

// flashPath is the fused attention. Of float16 it has a choice of precision.
func (s *System) flashPath(in *bench.Operands, workers int, f32 bool) bench.Path {
	shape, g := in.Shape, s.start(workers)
	q := g.tensor(typeF32, shape.DimQK, shape.SeqQ, shape.Heads, shape.Batch)
	k, setK := kv(g, &in.K, shape.KV.K, shape.DimQK, shape.SeqKV, shape.KVHeads, shape.Batch)
	v, setV := kv(g, &in.V, shape.KV.V, shape.DimV, shape.SeqKV, shape.KVHeads, shape.Batch)
	m, setMask := mask(g, shape)
	out := s.flash(g.ctx, q, k, v, m, shared.Scale(shape), 0, 0)
	t := types[shape.KV.K]
	name := "ggml_flash_attn_ext, " + t.name
	if f32 {
		s.flashPrec(out, precF32)
		name += ", precision f32"
	}
	s.expand(g.graph, out)
	g.alloc()
	setK()
	setV()
	setMask()
	// The result is [batch, seq, heads, dim].
	result := make([]float32, len(in.Out))
	return g.path(name, t.roundoff, func() { set(g, q, in.Q) }, func() {
		get(g, out, result)
		dv := shape.DimV
		for b := range shape.Batch {
			for i := range shape.SeqQ {
				for h := range shape.Heads {
					copy(in.Out[((b*shape.Heads+h)*shape.SeqQ+i)*dv:][:dv], result[((b*shape.SeqQ+i)*shape.Heads+h)*dv:])
				}
			}
		}
	})
}

// plain is what llama.cpp computes where its flash attention is off: values are stored
// transposed.
func (s *System) plain(in *bench.Operands, workers int) bench.Path {
	shape, g := in.Shape, s.start(workers)
	q := g.tensor(typeF32, shape.DimQK, shape.SeqQ, shape.Heads, shape.Batch)
	k, setK := kv(g, &in.K, shape.KV.K, shape.DimQK, shape.SeqKV, shape.KVHeads, shape.Batch)
	v, setV := kv(g, transposed(in), shape.KV.V, shape.SeqKV, shape.DimV, shape.KVHeads, shape.Batch)
	m, setMask := mask(g, shape)
	weights := s.softMax(g.ctx, s.mulMat(g.ctx, k, q), m, shared.Scale(shape), 0)
	out := s.mulMat(g.ctx, v, weights)
	s.expand(g.graph, out)
	g.alloc()
	setK()
	setV()
	setMask()
	t := types[shape.KV.K]
	return g.path("ggml_mul_mat, ggml_soft_max_ext, ggml_mul_mat, "+t.name, t.roundoff, func() { set(g, q, in.Q) }, func() { get(g, out, in.Out) })
}

// transposed returns the values with their dims outside and their positions inside.
func transposed(in *bench.Operands) *bench.Tensor {
	s := in.Shape
	heads := s.Batch * s.KVHeads
	return &bench.Tensor{
		Float32:  transpose(in.V.Float32, heads, s.SeqKV, s.DimV),
		Float16:  transpose(in.V.Float16, heads, s.SeqKV, s.DimV),
		BFloat16: transpose(in.V.BFloat16, heads, s.SeqKV, s.DimV),
	}
}

func transpose[T any](x []T, heads, rows, columns int) []T {
	if x == nil {
		return nil
	}
	y := make([]T, len(x))
	for h := range heads {
		x, y := x[h*rows*columns:], y[h*rows*columns:]
		for i := range rows {
			for j := range columns {
				y[j*rows+i] = x[i*columns+j]
			}
		}
	}
	return y
}
