package qkv

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

func dequantizeGeneric(a *kernel.DequantizeArgs) {
	var all [kernel.KC]float32
	values := all[:a.Depth]
	bytes := a.Depth / a.Type.Values() * a.Type.Bytes()
	for l := range a.Lanes {
		a.Type.Decode(values, unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(a.Src), l*a.RowBytes)), bytes))
		if a.Scales != nil {
			scale := *ptr.At(a.Scales, l)
			for k := range values {
				values[k] *= scale
			}
		}
		for k, x := range values {
			*ptr.At(a.Dst, k*a.Stride+l) = x
		}
	}
}
