package gomlx

import (
	"fmt"
	"slices"
	"sync"

	"github.com/qkv-go/qkv"
)

// A Tensor is contiguous elements and their dimensions. Flat is a []float32, []qkv.Float16 or []qkv.BFloat16,
// or a []bool of masks.
type Tensor struct {
	Flat any
	Dims []int
}

// An Attention is what FusedScaledDotProductAttention of github.com/gomlx/compute is given beside queries, keys and
// values.
type Attention struct {
	// TokensFirst says that operands are [batch, seq, heads, dim], and a mask or bias of four dimensions is
	// [batch, seqQ, heads, seqKV]; otherwise [batch, heads, seq, dim] and [batch, heads, seqQ, seqKV].
	TokensFirst bool

	Scale  float32 // of the scores; 0 means 1/sqrt(dim)
	Causal bool    // query i attends keys up to i

	// QueryLens and KeyLens [batch], if not nil, are the lengths of sequences: what lies behind is padding.
	// Those below 0 count as 0, and those beyond the tensors as their length.
	QueryLens, KeyLens []int32

	// Keep, of bool, is true where a query attends a key. Bias is added to the scores. Each, if its Flat is not
	// nil, has two to four dimensions, of which those that are 1 are shared: [seqQ, seqKV], [batch, seqQ,
	// seqKV], or the four of TokensFirst.
	Keep, Bias Tensor
}

// Run computes out = softmax(scale * q kᵀ + bias) v over the pairs that are kept. q and out have the same dimensions;
// k and v may have fewer heads, a divisor of q's. All four have the same type. A query that attends no key gets
// zeros. The error says what does not fit; nothing is written then.
func (a *Attention) Run(out, q, k, v Tensor) error {
	e, err := engines()
	if err != nil {
		return err
	}
	if !slices.Equal(out.Dims, q.Dims) {
		return fmt.Errorf("gomlx: out is %v, q is %v", out.Dims, q.Dims)
	}
	c := qkv.Call{Scale: a.Scale, Mask: qkv.Mask{Causal: a.Causal}}
	if a.Causal {
		c.Mask.Align = qkv.TopLeft
	}
	for _, x := range []struct {
		name string
		t    Tensor
	}{{"k", k}, {"v", v}, {"out", out}} {
		if typ, of := fmt.Sprintf("%T", x.t.Flat), fmt.Sprintf("%T", q.Flat); typ != of {
			return fmt.Errorf("gomlx: %s is a %s, q a %s", x.name, typ, of)
		}
	}
	half := false // queries and outputs are of 16 bits, which a call has none of
	rows, result := q, out
	switch q.Flat.(type) {
	case []float32:
	case []qkv.Float16, []qkv.BFloat16:
		half = true
		wide := scratch.Get().(*widened)
		defer scratch.Put(wide)
		rows.Flat = wide.q.of(q.Flat)
		n := length(out.Flat)
		if n != len(wide.q) {
			return fmt.Errorf("gomlx: out has %d elements, q has %d", n, len(wide.q))
		}
		wide.out.size(n)
		result.Flat = []float32(wide.out)
	default:
		return fmt.Errorf("gomlx: q is a %T", q.Flat)
	}
	for _, x := range []struct {
		name string
		t    Tensor
		view *qkv.View
	}{{"q", rows, &c.Q}, {"k", k, &c.K}, {"v", v, &c.V}, {"out", result, &c.Out}} {
		if *x.view, err = a.view(x.name, x.t); err != nil {
			return err
		}
	}
	if a.Keep.Flat != nil {
		if _, ok := a.Keep.Flat.([]bool); !ok {
			return fmt.Errorf("gomlx: the mask is a %T, not of bool", a.Keep.Flat)
		}
		if c.Mask.Keep, err = a.pairs("the mask", a.Keep); err != nil {
			return err
		}
	}
	if a.Bias.Flat != nil {
		bias := a.Bias
		if b, ok := bias.Flat.([]qkv.BFloat16); ok { // which a call has no biases of
			wide := scratch.Get().(*widened)
			defer scratch.Put(wide)
			bias.Flat = wide.q.of(b)
		}
		if c.Bias, err = a.pairs("the bias", bias); err != nil {
			return err
		}
	}
	q4, k4 := c.Q.Shape(), c.K.Shape()
	c.LensQ, c.LensKV = lens(a.QueryLens, q4[2]), lens(a.KeyLens, k4[2])
	if err := e.all.Run(&c); err != nil {
		return err
	}
	if half {
		narrow(out.Flat, result.Flat.([]float32))
	}
	return nil
}

// view returns the view of q, k, v or out.
func (a *Attention) view(name string, t Tensor) (qkv.View, error) {
	if len(t.Dims) != 4 {
		return qkv.View{}, fmt.Errorf("gomlx: %s has %d dimensions, attention has 4", name, len(t.Dims))
	}
	shape, strides := [4]int(t.Dims), contiguous(t.Dims)
	if a.TokensFirst {
		shape[1], shape[2] = shape[2], shape[1]
		strides[1], strides[2] = strides[2], strides[1]
	}
	return strided(name, t, shape, strides)
}

// pairs returns the view of a mask or bias, whose dimensions are aligned at the last.
func (a *Attention) pairs(name string, t Tensor) (qkv.View, error) {
	n := len(t.Dims)
	if n < 2 || n > 4 {
		return qkv.View{}, fmt.Errorf("gomlx: %s has %d dimensions, it may have 2 to 4", name, n)
	}
	axes := []int{0, 1, 2, 3} // which axis of the view each is
	switch {
	case n < 4: // without heads
		axes = []int{0, 2, 3}[3-n:]
	case a.TokensFirst:
		axes = []int{0, 2, 1, 3}
	}
	shape, strides, of := [4]int{1, 1, 1, 1}, [4]int{}, contiguous(t.Dims)
	for i, d := range t.Dims {
		shape[axes[i]], strides[axes[i]] = d, of[i]
	}
	return strided(name, t, shape, strides)
}

// contiguous returns the strides of contiguous elements.
func contiguous(dims []int) (strides [4]int) {
	next := 1
	for i := len(dims) - 1; i >= 0; i-- {
		strides[i] = next
		next *= dims[i]
	}
	return strides
}

// strided returns a view of all elements of a tensor.
func strided(name string, t Tensor, shape, strides [4]int) (qkv.View, error) {
	switch data := t.Flat.(type) {
	case []float32:
		return qkv.Strided(data, 0, shape, strides), nil
	case []qkv.Float16:
		return qkv.Strided(data, 0, shape, strides), nil
	case []qkv.BFloat16:
		return qkv.Strided(data, 0, shape, strides), nil
	case []bool:
		return qkv.Strided(data, 0, shape, strides), nil
	}
	return qkv.View{}, fmt.Errorf("gomlx: %s is a %T", name, t.Flat)
}

// lens returns lengths within 0 and most.
func lens(of []int32, most int) []int {
	if of == nil {
		return nil
	}
	all := make([]int, len(of))
	for i, n := range of {
		all[i] = max(0, min(int(n), most))
	}
	return all
}

// widened is float32 of elements of 16 bits. It is kept between calls.
type widened struct{ q, out floats }

var scratch = sync.Pool{New: func() any { return new(widened) }}

type floats []float32

// size makes f as long as n.
func (f *floats) size(n int) { *f = slices.Grow((*f)[:0], n)[:n] }

// of widens elements into f.
func (f *floats) of(flat any) []float32 {
	switch x := flat.(type) {
	case []qkv.Float16:
		f.size(len(x))
		for i, h := range x {
			(*f)[i] = h.Float32()
		}
	case []qkv.BFloat16:
		f.size(len(x))
		for i, h := range x {
			(*f)[i] = h.Float32()
		}
	}
	return *f
}

// length returns the number of elements of 16 bits.
func length(flat any) int {
	if x, ok := flat.([]qkv.Float16); ok {
		return len(x)
	}
	return len(flat.([]qkv.BFloat16))
}

// narrow rounds elements into flat.
func narrow(flat any, x []float32) {
	switch dst := flat.(type) {
	case []qkv.Float16:
		for i := range dst {
			dst[i] = qkv.ToFloat16(x[i])
		}
	case []qkv.BFloat16:
		for i := range dst {
			dst[i] = qkv.ToBFloat16(x[i])
		}
	}
}
