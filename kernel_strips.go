package qkv

import (
	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

func multiplyStripsGeneric(a *kernel.MultiplyStripsArgs) {
	var panel [kernel.KC * kernel.MaxLanes]float32
	values := kernel.DequantizeStripsArgs{Type: a.Type, StripBytes: a.StripBytes, Vec: a.Vec, Dst: &panel[0]}
	part := kernel.MultiplyArgs{RowStride: a.RowStride, ColStride: 1, Rows: a.Rows, B: &panel[0], Stride: a.Stride}
	for l := 0; l < a.Lanes; l += part.Lanes {
		part.Lanes = min(kernel.MaxLanes/a.Vec*a.Vec, a.Lanes-l)
		part.C, part.Bias, part.Add = ptr.At(a.C, l), nil, a.Add
		if a.Bias != nil {
			part.Bias = ptr.At(a.Bias, l)
		}
		for k := 0; k < a.Depth; k += kernel.KC {
			depth := min(kernel.KC, a.Depth-k)
			values.Src = ptr.At(a.Src, l/a.Vec*a.StripBytes+a.Type.StripBytes(k)*a.Vec)
			values.Depth, values.Lanes, values.Stride = depth, part.Lanes, part.Lanes
			dequantizeStripsGeneric(&values)
			part.A, part.Depth = ptr.At(a.A, k), depth
			multiplyGeneric(&part)
			part.Add, part.Bias = true, nil
		}
	}
}

func dequantizeStripsGeneric(a *kernel.DequantizeStripsArgs) {
	var all [kernel.KC]float32
	values := all[:a.Depth]
	for l := range a.Lanes {
		a.Type.StripValues(values, ptr.At(a.Src, l/a.Vec*a.StripBytes), a.Vec, l%a.Vec)
		for k, x := range values {
			*ptr.At(a.Dst, k*a.Stride+l) = x
		}
	}
}
