//go:build !purego

package qkv

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// decodeAccumulateBy returns the DecodeAccumulate of a set whose machine code needs dims that are a multiple of vec: those beyond
// are left to narrow, which takes up to so many rows.
func decodeAccumulateBy(code func(*kernel.DecodeAccumulateArgs), vec int, narrow func(*kernel.DecodeAccumulateArgs), rows int) func(*kernel.DecodeAccumulateArgs) {
	return func(a *kernel.DecodeAccumulateArgs) {
		if a.Dim%vec == 0 {
			code(a)
			return
		}
		all := *a
		dim := a.Dim / vec * vec
		if a.Dim = dim; dim > 0 {
			code(a)
		}
		a.V, a.Dim = unsafe.Add(all.V, all.Elem.RowBytes(dim)), all.Dim-dim
		for row := 0; row < all.Rows; row += rows {
			a.Rows = min(rows, all.Rows-row)
			a.P, a.Alpha = ptr.At(all.P, row), at(all.Alpha, row)
			first := row*a.OStride + dim
			a.O, a.From, a.To = at(all.O, first), at(all.From, first), at(all.To, first)
			narrow(a)
		}
		*a = all
	}
}

// at returns the address of the float32 i after p, and nil if p is nil.
func at(p *float32, i int) *float32 {
	if p == nil {
		return nil
	}
	return ptr.At(p, i)
}
