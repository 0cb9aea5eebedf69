package qkv

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

func dotWeightsGeneric(a *kernel.DotWeightsArgs) {
	var all [kernel.KC]float32
	for k := 0; k < a.Depth; k += kernel.KC {
		values := all[:min(kernel.KC, a.Depth-k)]
		x := unsafe.Slice(ptr.At(a.X, k), len(values))
		at, bytes := k/a.Type.Values()*a.Type.Bytes(), len(values)/a.Type.Values()*a.Type.Bytes()
		for l := range a.Lanes {
			a.Type.Decode(values, unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(a.Src), l*a.RowBytes+at)), bytes))
			acc := float32(0)
			for i, v := range values {
				acc = fp.FMA(v, x[i], acc)
			}
			*ptr.At(a.C, k/kernel.KC*a.Stride+l) = acc
		}
	}
}
