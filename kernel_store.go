package qkv

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

func storeGeneric(a *kernel.StoreArgs) {
	scale := a.Scale
	for r := range a.Rows {
		if a.Elem.Scale() == kernel.RowScale {
			scale = ptr.At(a.Scale, r*a.ScaleStride)
		}
		a.Elem.SetRow(unsafe.Add(a.Dst, r*a.DstStride), a.Elem.Unit(), scale, ptr.At(a.Src, r*a.SrcStride), 1, a.Dim)
	}
}
