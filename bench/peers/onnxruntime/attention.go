package onnxruntime

import (
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/shared"
	"github.com/qkv-go/qkv/kernel"
)

const (
	contrib      = "com.microsoft"
	contribOpset = 1
)

// Paths has those of its operators that compute a work: Attention of ONNX, MultiHeadAttention
// and GroupQueryAttention for attention; Gemm, MatMul and MatMulNBits for products.
func (s *System) Paths(in bench.Inputs, workers int) ([]bench.Path, error) {
	refuse := func(reason string) ([]bench.Path, error) {
		return nil, &bench.UnsupportedError{System: s.Name(), Work: in.Work(), Reason: reason}
	}
	switch in := in.(type) {
	case *bench.ProductInputs:
		return s.products(in, workers)
	case *bench.WeightInputs:
		if w := in.Product.Weights; w == qkv.WeightQ4_0 || w == qkv.WeightQ8_0 {
			return s.integers(in, workers)
		}
		return refuse("its products by blocks, MatMulNBits, have a scale in float32 and an integer zero point, as Q4_0 and Q8_0 come to")
	case *bench.Operands:
		shape := in.Shape
		switch {
		case shared.Extra(shape) != "":
			return refuse("it is not measured with " + shared.Extra(shape))
		case shape.KV.K == kernel.Float32 && shape.KV.V == kernel.Float32:
			return attention(s, in, workers, in.K.Float32, in.V.Float32)
		case shape.KV.K == kernel.Float16 && shape.KV.V == kernel.Float16:
			return attention(s, in, workers, in.K.Float16, in.V.Float16)
		case shape.KV.K == shape.KV.V && slices.Contains([]kernel.Elem{kernel.Int8, kernel.Q8_0, kernel.Q4_0}, shape.KV.K):
			return s.quantized(in, workers)
		}
		return refuse("its CPU operators have float32, float16 and integers only")
	}
	return refuse("it is neither attention nor a product")
}

// An element is one that its operators have.
type element interface{ float32 | qkv.Float16 }

// operands are those of an attention in an element type, of which queries and output take part
// in its layouts.
type operands[T element] struct {
	in       *bench.Operands
	sys      *System
	workers  int
	typ      int32
	q, out   []T // [batch, heads, seq, dim] or [batch, seq, heads, dim]
	k, v     []T // [batch, heads, seq, dim]
	roundoff float64
}

func attention[T element](s *System, in *bench.Operands, workers int, k, v []T) ([]bench.Path, error) {
	o := &operands[T]{in: in, sys: s, workers: workers, typ: typeFloat, k: k, v: v}
	if unsafe.Sizeof(k[0]) == 2 {
		o.typ, o.roundoff = typeFloat16, bench.RoundoffFloat16
	}
	o.q, o.out = make([]T, len(in.Q)), make([]T, len(in.Out))
	shape := in.Shape
	var paths []bench.Path
	var failed []string
	add := func(name string, make func() (bench.Path, error)) {
		if path, err := make(); err == nil {
			paths = append(paths, path)
		} else {
			failed = append(failed, fmt.Sprintf("%s: %v", name, err))
		}
	}
	causal := shape.Mask.Causal && shape.SeqQ > 1
	square := shape.SeqQ == shape.SeqKV
	equal := shape.Heads == shape.KVHeads
	if !causal || square {
		add("Attention", func() (bench.Path, error) { return o.standard(causal) })
	}
	if equal && (!causal || square) {
		add("MultiHeadAttention", func() (bench.Path, error) { return o.multiHead(causal) })
	}
	if shape.DimQK == shape.DimV && (shape.SeqQ == 1 || causal && square) {
		add("GroupQueryAttention", func() (bench.Path, error) { return o.groupQuery(nil) })
	}
	if len(paths) > 0 {
		for i := range paths {
			if failed != nil { // the name says what it was not held against
				paths[i].Name += "; not tried, " + strings.Join(failed, "; ")
			}
		}
		return paths, nil
	}
	reason := "no operator has such a mask"
	if failed != nil {
		reason = strings.Join(failed, "; ")
	}
	return nil, &bench.UnsupportedError{System: s.Name(), Work: shape, Reason: reason}
}

// types returns the types of operands as [batch, heads, seq, dim].
func (o *operands[T]) types() (q, k, v, out tensorType) {
	s := o.in.Shape
	of := func(name string, heads, seq, dim int) tensorType {
		return tensorType{name, o.typ, []int64{int64(s.Batch), int64(heads), int64(seq), int64(dim)}}
	}
	return of("q", s.Heads, s.SeqQ, s.DimQK), of("k", s.KVHeads, s.SeqKV, s.DimQK), of("v", s.KVHeads, s.SeqKV, s.DimV),
		of("out", s.Heads, s.SeqQ, s.DimV)
}

// packed returns the type of a tensor with its heads behind its positions, [batch, seq, heads * dim].
func packed(t tensorType) tensorType {
	return tensorType{t.name, t.typ, []int64{t.dims[0], t.dims[2], t.dims[1] * t.dims[3]}}
}

// standard is Attention of ONNX.
func (o *operands[T]) standard(causal bool) (bench.Path, error) {
	q, k, v, out := o.types()
	m := model{op: "Attention", inputs: []tensorType{q, k, v}, outputs: []tensorType{out}, ints: map[string]int64{}}
	if causal {
		m.ints["is_causal"] = 1
	}
	x := o.sys.start(&m, o.workers)
	bind(x, bindInput, q, o.q)
	bind(x, bindInput, k, o.k)
	bind(x, bindInput, v, o.v)
	bind(x, bindOutput, out, o.out)
	return x.path("Attention", o.roundoff, func() { o.load(false) }, func() { o.finish(false) })
}

// multiHead is MultiHeadAttention, with keys and values as they are in a cache.
func (o *operands[T]) multiHead(causal bool) (bench.Path, error) {
	q, k, v, out := o.types()
	q, out = packed(q), packed(out)
	m := model{
		domain: contrib, opset: contribOpset, op: "MultiHeadAttention", inputs: []tensorType{q, k, v}, outputs: []tensorType{out},
		ints: map[string]int64{"num_heads": int64(o.in.Shape.Heads)},
	}
	if causal {
		m.ints["unidirectional"] = 1
	}
	x := o.sys.start(&m, o.workers)
	bind(x, bindInput, q, o.q)
	bind(x, bindInput, k, o.k)
	bind(x, bindInput, v, o.v)
	bind(x, bindOutput, out, o.out)
	return x.path("MultiHeadAttention", o.roundoff, func() { o.load(true) }, func() { o.finish(true) })
}

// groupQuery is GroupQueryAttention: the new keys and values, as many as queries, go into a
// cache, which is one buffer for what was before and what is after, of integers if ints is not nil.
func (o *operands[T]) groupQuery(ints *cache) (bench.Path, error) {
	s := o.in.Shape
	q, k, v, out := o.types()
	past := []tensorType{{"past_key", o.typ, k.dims}, {"past_value", o.typ, v.dims}}
	present := []tensorType{{"present_key", o.typ, k.dims}, {"present_value", o.typ, v.dims}}
	q, out = packed(q), packed(out)
	newK := tensorType{"k", o.typ, []int64{int64(s.Batch), int64(s.SeqQ), int64(s.KVHeads * s.DimQK)}}
	newV := tensorType{"v", o.typ, []int64{int64(s.Batch), int64(s.SeqQ), int64(s.KVHeads * s.DimV)}}
	last := tensorType{"seqlens_k", typeInt32, []int64{int64(s.Batch)}}
	total := tensorType{"total_sequence_length", typeInt32, []int64{1}}
	m := model{
		domain: contrib, opset: contribOpset, op: "GroupQueryAttention",
		inputs:  []tensorType{q, newK, newV, past[0], past[1], last, total},
		outputs: []tensorType{out, present[0], present[1]},
		ints:    map[string]int64{"num_heads": int64(s.Heads), "kv_num_heads": int64(s.KVHeads)},
	}
	name := "GroupQueryAttention"
	if ints != nil {
		name += fmt.Sprintf(", int%d by dims", ints.bits)
		for _, t := range []*tensorType{&past[0], &past[1], &present[0], &present[1]} {
			t.typ, t.dims = ints.typ, slices.Clone(t.dims)
			t.dims[3] = t.dims[3] * ints.bits / 8
		}
		copy(m.inputs[3:], past)
		copy(m.outputs[1:], present)
		m.inputs = append(m.inputs, make([]tensorType, 5)...) // angles, positions, bias, sinks
		of := func(name string, dim int) tensorType {
			return tensorType{name, typeFloat, []int64{1, int64(s.KVHeads), 1, int64(dim)}}
		}
		m.inputs = append(m.inputs, of("k_scale", s.DimQK), of("v_scale", s.DimV))
		m.ints["kv_cache_bit_width"] = ints.bits
		m.texts = map[string]string{"k_quant_type": "PER_CHANNEL", "v_quant_type": "PER_CHANNEL"}
	}
	x := o.sys.start(&m, o.workers)
	lasts := make([]int32, s.Batch)
	for i := range lasts {
		lasts[i] = int32(s.SeqKV - 1)
	}
	bind(x, bindInput, q, o.q)
	bind(x, bindInput, newK, newest(o.k, s, s.DimQK))
	bind(x, bindInput, newV, newest(o.v, s, s.DimV))
	if ints != nil {
		bind(x, bindInput, m.inputs[12], ints.kScale)
		bind(x, bindInput, m.inputs[13], ints.vScale)
		bindCache(x, past, present, ints.k, ints.v)
	} else {
		bindCache(x, past, present, slices.Clone(o.k), slices.Clone(o.v))
	}
	bind(x, bindInput, last, lasts)
	bind(x, bindInput, total, []int32{int32(s.SeqKV)})
	bind(x, bindOutput, out, o.out)
	return x.path(name, o.roundoff, func() { o.load(true) }, func() { o.finish(true) })
}

// bindCache binds keys and values to what is before a call and to what is after it.
func bindCache[T any](x *session, past, present []tensorType, k, v []T) {
	bind(x, bindInput, past[0], k)
	bind(x, bindInput, past[1], v)
	bind(x, bindOutput, present[0], k)
	bind(x, bindOutput, present[1], v)
}

// newest returns the last rows of a cache, as many as there are queries, as [batch, seq, heads * dim].
func newest[T element](x []T, s bench.Shape, dim int) []T {
	y := make([]T, 0, s.Batch*s.SeqQ*s.KVHeads*dim)
	for b := range s.Batch {
		for i := s.SeqKV - s.SeqQ; i < s.SeqKV; i++ {
			for h := range s.KVHeads {
				y = append(y, x[((b*s.KVHeads+h)*s.SeqKV+i)*dim:][:dim]...)
			}
		}
	}
	return y
}

// load copies queries to the operand, with heads behind positions if it is packed.
func (o *operands[T]) load(packed bool) {
	o.each(packed, o.in.Shape.DimQK, func(ours, theirs int) { o.q[theirs] = round[T](o.in.Q[ours]) })
}

// finish copies the output back.
func (o *operands[T]) finish(packed bool) {
	o.each(packed, o.in.Shape.DimV, func(ours, theirs int) { o.in.Out[ours] = widen(o.out[theirs]) })
}

// each goes through the elements of queries or output.
func (o *operands[T]) each(packed bool, dim int, f func(ours, theirs int)) {
	s := o.in.Shape
	for b := range s.Batch {
		for h := range s.Heads {
			for i := range s.SeqQ {
				ours := ((b*s.Heads+h)*s.SeqQ + i) * dim
				theirs := ours
				if packed {
					theirs = ((b*s.SeqQ+i)*s.Heads + h) * dim
				}
				for d := range dim {
					f(ours+d, theirs+d)
				}
			}
		}
	}
}

func round[T element](x float32) (y T) {
	switch p := any(&y).(type) {
	case *float32:
		*p = x
	case *qkv.Float16:
		*p = qkv.ToFloat16(x)
	}
	return y
}

func widen[T element](x T) float32 {
	if h, ok := any(x).(qkv.Float16); ok {
		return h.Float32()
	}
	return float32(x)
}
