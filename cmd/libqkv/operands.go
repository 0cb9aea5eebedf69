package main

// #define QKV_NO_PROTOTYPES
// #include "qkv.h"
import "C"

import (
	"fmt"
	"math"
	"math/bits"
	"unsafe"

	"github.com/qkv-go/qkv"
)

// most bounds what is copied of the caller's arrays: Go ends the process where there is no memory for a copy.
const most = 1 << 30

// span returns the first and last element of a tensor relative to element 0, and whether it has any. Numbers that
// overflow are an error.
func span(name string, shape, stride []int64) (lo, hi int64, some bool, err error) {
	some = true
	for i, n := range shape {
		if n < 0 {
			return 0, 0, false, fmt.Errorf("qkv: %s has %d elements in dimension %d", name, n, i)
		}
		some = some && n > 0
	}
	if !some {
		return 0, 0, false, nil
	}
	for i, n := range shape {
		s := stride[i]
		high, low := bits.Mul64(uint64(n-1), uint64(max(s, -s)))
		if s == math.MinInt64 || high != 0 || low > 1<<60 {
			return 0, 0, false, fmt.Errorf("qkv: %s has %d elements of stride %d in dimension %d, which no memory holds", name, n, s, i)
		}
		if d := int64(low); s < 0 {
			lo -= d
		} else {
			hi += d
		}
	}
	if hi-lo >= 1<<60 || lo < -1<<60 {
		return 0, 0, false, fmt.Errorf("qkv: %s has %d elements from its first to its last, which no memory holds", name, hi-lo+1)
	}
	return lo, hi, true, nil
}

// elements returns the memory from the first element to the last, and which of it is element 0.
func elements[T qkv.Element](name string, data unsafe.Pointer, shape, stride []int64) (x []T, zero int, err error) {
	lo, hi, some, err := span(name, shape, stride)
	if err != nil || !some {
		return nil, 0, err
	}
	if data == nil {
		return nil, 0, fmt.Errorf("qkv: %s is NULL and has %d elements from its first to its last", name, hi-lo+1)
	}
	size := int64(unsafe.Sizeof(*new(T)))
	if uintptr(data)%unsafe.Alignof(*new(T)) != 0 {
		return nil, 0, fmt.Errorf("qkv: %s begins at an address that is no multiple of %d, the size of its elements", name, size)
	}
	return unsafe.Slice((*T)(unsafe.Add(data, lo*size)), hi-lo+1), int(-lo), nil
}

func strided[T qkv.Element](name string, t *C.qkv_tensor) (qkv.View, error) {
	var shape, stride [4]int64
	var ints [2][4]int
	for i := range shape {
		shape[i], stride[i] = int64(t.shape[i]), int64(t.stride[i])
		ints[0][i], ints[1][i] = int(t.shape[i]), int(t.stride[i])
	}
	data, zero, err := elements[T](name, t.data, shape[:], stride[:])
	if err != nil {
		return qkv.View{}, err
	}
	return qkv.Strided(data, zero, ints[0], ints[1]), nil
}

// view returns the view of a tensor, the zero View of none.
func view(name string, t *C.qkv_tensor) (qkv.View, error) {
	if t == nil || t.data == nil && t.shape == [4]C.int64_t{} {
		return qkv.View{}, nil
	}
	switch t._type {
	case C.QKV_FLOAT32:
		return strided[float32](name, t)
	case C.QKV_FLOAT16:
		return strided[qkv.Float16](name, t)
	case C.QKV_BFLOAT16:
		return strided[qkv.BFloat16](name, t)
	case C.QKV_INT8:
		return strided[int8](name, t)
	case C.QKV_BOOL:
		return strided[bool](name, t)
	}
	return qkv.View{}, fmt.Errorf("qkv: %s has the unknown type %d", name, t._type)
}

// elemType returns the type of a cache's elements.
func elemType(name string, t C.int32_t) (qkv.ElemType, error) {
	switch t {
	case C.QKV_FLOAT32:
		return qkv.TypeFloat32, nil
	case C.QKV_FLOAT16:
		return qkv.TypeFloat16, nil
	case C.QKV_BFLOAT16:
		return qkv.TypeBFloat16, nil
	case C.QKV_INT8:
		return qkv.TypeInt8, nil
	}
	return 0, fmt.Errorf("qkv: %s is %d, which a cache has no elements of", name, t)
}

func matrix(name string, m *C.qkv_matrix) (qkv.Matrix, error) {
	if m == nil {
		return qkv.Matrix{}, fmt.Errorf("qkv: %s is NULL", name)
	}
	shape, stride := []int64{int64(m.rows), int64(m.cols)}, []int64{int64(m.row_stride), int64(m.col_stride)}
	data, zero, err := elements[float32](name, unsafe.Pointer(m.data), shape, stride)
	if err != nil {
		return qkv.Matrix{}, err
	}
	return qkv.StridedMatrix(data, zero, int(m.rows), int(m.cols), int(m.row_stride), int(m.col_stride)), nil
}

// attention returns the call of the operands.
func attention(a *C.qkv_attention_args) (*qkv.Call, error) {
	if a == nil {
		return nil, fmt.Errorf("qkv: args is NULL")
	}
	c := &qkv.Call{
		Scale: float32(a.scale), Softcap: float32(a.softcap),
		Mask: qkv.Mask{Causal: a.causal != 0, Align: qkv.Align(a.align), Offset: int(a.offset)},
	}
	if a.windowed != 0 {
		c.Mask.Window = qkv.Sliding(int(a.window_left), int(a.window_right))
	}
	for _, x := range []struct {
		name string
		from *C.qkv_tensor
		to   *qkv.View
	}{
		{"q", &a.q, &c.Q}, {"out", &a.out, &c.Out}, {"k", &a.k, &c.K}, {"v", &a.v, &c.V},
		{"k_scale", &a.k_scale, &c.KScale}, {"v_scale", &a.v_scale, &c.VScale}, {"keep", &a.keep, &c.Mask.Keep}, {"bias", &a.bias, &c.Bias},
	} {
		var err error
		if *x.to, err = view(x.name, x.from); err != nil {
			return nil, err
		}
	}
	batch, heads, rows := int64(a.q.shape[0]), int64(a.q.shape[1]), int64(a.q.shape[2])
	if a.lse != nil {
		_, last, some, err := span("lse", []int64{batch, heads, rows}, []int64{heads * rows, rows, 1})
		if err != nil {
			return nil, err
		}
		c.LSE = []float32{}
		if some {
			c.LSE = unsafe.Slice((*float32)(a.lse), last+1)
		}
	}
	if a.sinks != nil {
		if heads > most {
			return nil, fmt.Errorf("qkv: q has %d heads with sinks, at most %d are supported", heads, most)
		}
		c.Sinks = unsafe.Slice((*float32)(a.sinks), max(heads, 0))
	}
	if batch > most && (a.lens_q != nil || a.lens_kv != nil) {
		return nil, fmt.Errorf("qkv: q has %d sequences with lengths, at most %d are supported", batch, most)
	}
	c.LensQ, c.LensKV = lens(a.lens_q, batch), lens(a.lens_kv, batch)
	return c, nil
}

// lens copies lengths of sequences.
func lens(p *C.int64_t, n int64) []int {
	if p == nil {
		return nil
	}
	all := make([]int, max(n, 0))
	for i, l := range unsafe.Slice((*int64)(p), len(all)) {
		all[i] = int(l)
	}
	return all
}
