package onnx

import (
	"bytes"
	"fmt"
	"math"
	"slices"
)

// A Tolerance allows a difference of Abs + Rel*|want|.
type Tolerance struct{ Rel, Abs float64 }

// ToleranceOf returns what is allowed of the elements of an output. For FLOAT and DOUBLE
// it is what the ONNX runner allows by default.
//
// A type of 16 bits is allowed 8 units in the last place. [Run] rounds the outputs alone,
// but the standard defines Attention by operators that round each step: scores, their
// exponentials, the sum of those and the mean of the values. Each is off by up to half
// a unit, and the error of a score s is s times as much in its weight; scores of up to
// 4 make it 8 units in all. The runner's default is 1 unit of FLOAT16 and an eighth of
// one of BFLOAT16. The same is allowed absolutely, for values of the order of 1 that
// cancel.
func ToleranceOf(t ElementType) Tolerance {
	switch t {
	case Float16:
		return Tolerance{8 * 0x1p-10, 8 * 0x1p-10}
	case BFloat16:
		return Tolerance{8 * 0x1p-7, 8 * 0x1p-7}
	}
	return Tolerance{1e-3, 1e-7}
}

// Compare returns the largest difference of two elements, and an error if it is more than
// tol allows, or if the type or the shape differs. NaN equals NaN, and an infinity itself.
// Elements that are not floating-point numbers must be the same.
func Compare(got, want *Tensor, tol Tolerance) (largest float64, err error) {
	if got == nil {
		return 0, fmt.Errorf("onnx: %s is missing, want shape %v of %v", want.Name, want.Dims, want.Type)
	}
	if got.Type != want.Type || !slices.Equal(got.Dims, want.Dims) {
		return 0, fmt.Errorf("onnx: %s has shape %v of %v, want %v of %v", got.Name, got.Dims, got.Type, want.Dims, want.Type)
	}
	if !isFloat(want.Type) {
		if !bytes.Equal(got.Data, want.Data) {
			err = fmt.Errorf("onnx: %s differs", got.Name)
		}
		return 0, err
	}
	g := floats[float64](got)
	for i, w := range floats[float64](want) {
		if g[i] == w || math.IsNaN(g[i]) && math.IsNaN(w) {
			continue
		}
		diff := math.Abs(g[i] - w)
		if math.IsNaN(diff) {
			diff = math.Inf(1)
		}
		largest = max(largest, diff)
		if allowed := tol.Abs + tol.Rel*math.Abs(w); err == nil && (diff > allowed || math.IsInf(diff, 1)) {
			err = fmt.Errorf("onnx: %s%v is %.6g, want %.6g", got.Name, index(want.Dims, i), g[i], w)
		}
	}
	return largest, err
}

// index returns the indices of element i.
func index(dims []int, i int) []int {
	at := make([]int, len(dims))
	for axis, d := range slices.Backward(dims) {
		at[axis] = i % d
		i /= d
	}
	return at
}
