package qkv

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

func aboveGeneric(a *kernel.AboveArgs) {
	for i, x := range unsafe.Slice(a.X, a.N) {
		if x > a.Bound {
			a.At = i - i%kernel.AboveBlock
			return
		}
	}
	a.At = a.N
}
