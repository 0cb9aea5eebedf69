package gpt

import (
	"encoding/base64"
	"encoding/binary"
	"math"

	"github.com/qkv-go/qkv/internal/jsontree"
)

// A Tensor is numbers in row-major order: the last axis is contiguous.
type Tensor struct {
	Shape []int
	Data  []float32 // as many as the product of Shape
}

// newTensor returns a tensor of zeros.
func newTensor(shape ...int) Tensor {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return Tensor{shape, make([]float32, n)}
}

// row returns row i of a tensor [rows, cols].
func (t Tensor) row(i int) []float32 {
	cols := t.Shape[1]
	return t.Data[i*cols:][:cols]
}

// add returns a + b, which have the same shape.
func add(a, b Tensor) Tensor {
	sum := newTensor(a.Shape...)
	for i := range sum.Data {
		sum.Data[i] = a.Data[i] + b.Data[i]
	}
	return sum
}

// decode reads the tensor that an object of a checkpoint describes.
func decode(name string, o jsontree.Object) (Tensor, error) {
	if dtype, ok := o["dtype"].(string); !ok || dtype != "torch.float32" {
		return Tensor{}, inputError(name, "%s has dtype %v, torch.float32 is needed", name, show(o["dtype"]))
	}
	dims, ok := o["shape"].([]any)
	if !ok {
		return Tensor{}, inputError(name, "%s has shape %v, a list of lengths is needed", name, show(o["shape"]))
	}
	text, ok := o["data"].(string)
	if !ok {
		return Tensor{}, inputError(name, "%s has data %v, base64 is needed", name, show(o["data"]))
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return Tensor{}, inputError(name, "%s has data that is not base64: %v", name, err)
	}
	shape, n := make([]int, len(dims)), 1
	for axis, x := range dims {
		d, ok := count(x)
		if !ok {
			return Tensor{}, inputError(name, "%s has length %v of axis %d, a whole number of at least 1 is needed", name, show(x), axis)
		}
		if n > len(raw)/d {
			return Tensor{}, inputError(name, "%s has %d bytes of data, shape %v needs more", name, len(raw), show(o["shape"]))
		}
		shape[axis], n = d, n*d
	}
	if len(raw)/4 != n || len(raw)%4 != 0 {
		return Tensor{}, inputError(name, "%s has %d bytes of data, shape %v needs %d", name, len(raw), shape, 4*int64(n))
	}
	t := Tensor{shape, make([]float32, n)}
	for i := range t.Data {
		t.Data[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return t, nil
}

// count returns a number of a checkpoint that counts something.
func count(x any) (int, bool) {
	v, ok := x.(float64)
	if !ok || v != math.Trunc(v) || v < 1 || v > math.MaxInt32 {
		return 0, false
	}
	return int(v), true
}
