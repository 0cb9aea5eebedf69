package onnx_test

import (
	"math"
	"testing"

	"github.com/qkv-go/qkv/onnx"
)

func TestCompare(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	tol := onnx.ToleranceOf(onnx.Float)
	of := func(typ onnx.ElementType, v ...float64) *onnx.Tensor {
		return (&array{typ, []int{len(v)}, v}).tensor("Y")
	}
	for _, c := range []struct {
		got, want *onnx.Tensor
		largest   float64
		err       string
	}{
		{of(onnx.Float, 1, -2, nan, inf), of(onnx.Float, 1, -2, nan, inf), 0, ""},
		{of(onnx.Double, 1.0005, 0), of(onnx.Double, 1, 0x1p-24), 0.0005, ""},
		{of(onnx.Double, 1.25), of(onnx.Double, 1), 0.25, "Y[0] is 1.25, want 1"},
		{of(onnx.Double, 0, -2), of(onnx.Double, 0, -1), 1, "Y[1] is -2, want -1"},
		{of(onnx.Float, nan), of(onnx.Float, 1), inf, "Y[0] is NaN, want 1"},
		{of(onnx.Float, 1), of(onnx.Float, nan), inf, "Y[0] is 1, want NaN"},
		{of(onnx.Float, 1), of(onnx.Float, inf), inf, "Y[0] is 1, want +Inf"},
		{of(onnx.Float, -inf), of(onnx.Float, inf), inf, "Y[0] is -Inf, want +Inf"},
		{of(onnx.Float, 1), of(onnx.Double, 1), 0, "Y has shape [1] of FLOAT, want [1] of DOUBLE"},
		{of(onnx.Float, 1), of(onnx.Float, 1, 1), 0, "Y has shape [1] of FLOAT, want [2] of FLOAT"},
		{nil, of(onnx.Float, 1), 0, "Y is missing, want shape [1] of FLOAT"},
		{of(onnx.Int64, 1), of(onnx.Int64, 1), 0, ""},
		{of(onnx.Int64, 1), of(onnx.Int64, 2), 0, "Y differs"},
	} {
		largest, err := onnx.Compare(c.got, c.want, tol)
		if math.Abs(largest-c.largest) > 1e-6 || (err == nil) != (c.err == "") || err != nil && err.Error() != "onnx: "+c.err {
			t.Errorf("%v and %v: largest %v, error %v, want %v, %q", c.got, c.want, largest, err, c.largest, c.err)
		}
	}
	at := func(dims []int, data ...float64) *onnx.Tensor { return (&array{onnx.Float, dims, data}).tensor("Y") }
	if _, err := onnx.Compare(at([]int{2, 3}, 0, 0, 0, 0, 0, 1), at([]int{2, 3}, 0, 0, 0, 0, 0, 0), tol); err == nil || err.Error() != "onnx: Y[1 2] is 1, want 0" {
		t.Errorf("error %v", err)
	}
	// Scalars and a unit in the last place.
	if _, err := onnx.Compare(at(nil, 1), at(nil, 2), tol); err == nil || err.Error() != "onnx: Y[] is 1, want 2" {
		t.Errorf("error %v", err)
	}
	for _, typ := range []onnx.ElementType{onnx.Float16, onnx.BFloat16} {
		unit := map[onnx.ElementType]float64{onnx.Float16: 0x1p-10, onnx.BFloat16: 0x1p-7}[typ]
		if _, err := onnx.Compare(of(typ, 1+unit), of(typ, 1), onnx.ToleranceOf(typ)); err != nil {
			t.Errorf("%v: %v", typ, err)
		}
		if _, err := onnx.Compare(of(typ, 1+32*unit), of(typ, 1), onnx.ToleranceOf(typ)); err == nil {
			t.Errorf("%v: 32 units are allowed", typ)
		}
	}
}
