package onnx

import (
	"fmt"
	"math"

	"github.com/qkv-go/qkv"
)

// An operand is a tensor of heads: [batch, heads, seq, dim], or [batch, seq, heads*dim].
type operand struct {
	*Tensor
	shape, stride [4]int // of batch, heads, seq and dim; strides in elements
}

// newOperand returns the operand of a tensor. A tensor of three axes has as many heads as
// the attribute says, which one of four may have too.
func newOperand(name string, t *Tensor, attribute string, heads int64) (operand, error) {
	if !isFloat(t.Type) {
		return operand{}, fmt.Errorf("%s has elements of type %v, FLOAT, FLOAT16, BFLOAT16 or DOUBLE is needed", name, t.Type)
	}
	d := t.Dims
	o := operand{Tensor: t}
	switch len(d) {
	case 4:
		if heads != 0 && heads != int64(d[1]) {
			return operand{}, fmt.Errorf("%s has %d heads, %s is %d", name, d[1], attribute, heads)
		}
		o.shape = [4]int(d)
		o.stride = [4]int{d[1] * d[2] * d[3], d[2] * d[3], d[3], 1}
	case 3:
		if heads == 0 {
			return operand{}, fmt.Errorf("%s has 3 dims, which need the attribute %s", name, attribute)
		}
		if int64(d[2])%heads != 0 {
			return operand{}, fmt.Errorf("%s has hidden size %d, not a multiple of %s, %d", name, d[2], attribute, heads)
		}
		h, dim := int(heads), int(int64(d[2])/heads)
		if int64(h) != heads { // beyond an int, and d[2] is 0
			return operand{}, fmt.Errorf("%s is %d, at most %d is supported", attribute, heads, math.MaxInt)
		}
		o.shape = [4]int{d[0], h, d[1], dim}
		o.stride = [4]int{d[1] * d[2], dim, d[2], 1}
	default:
		return operand{}, fmt.Errorf("%s has %d dims, 3 or 4 are needed", name, len(d))
	}
	if n := o.shape[3]; n < 1 || n > qkv.MaxDim {
		return operand{}, fmt.Errorf("%s has head size %d, 1 to %d are supported", name, n, qkv.MaxDim)
	}
	if n := o.shape[2]; n > qkv.MaxSeq {
		return operand{}, fmt.Errorf("%s has sequence length %d, at most %d is supported", name, n, qkv.MaxSeq)
	}
	return o, nil
}

// view returns the operand as one of package qkv, over data in its place.
func (o *operand) view(data []float32) qkv.View {
	return qkv.Strided(data, 0, o.shape, o.stride)
}

// row returns where the elements of a row begin.
func (o *operand) row(b, h, s int) int {
	return b*o.stride[0] + h*o.stride[1] + s*o.stride[2]
}
