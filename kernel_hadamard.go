package qkv

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

func hadamardGeneric(a *kernel.HadamardArgs) {
	for r := range a.Rows {
		x, y := unsafe.Slice(ptr.At(a.X, r*a.XStride), a.Cols), unsafe.Slice(ptr.At(a.Y, r*a.YStride), a.Cols)
		for i, x := range x {
			y[i] = float32(x * a.Scale)
		}
		for h := 1; h < a.Block; h *= 2 {
			for i := 0; i < len(y); i += 2 * h {
				low, high := y[i:][:h], y[i+h:][:h]
				for j, x := range low {
					low[j], high[j] = x+high[j], x-high[j]
				}
			}
		}
	}
}
