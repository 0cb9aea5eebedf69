//go:build !purego

package qkv

import "github.com/qkv-go/qkv/kernel"

// transposeInt8With returns the TransposeInt8 of a set whose machine code needs units without gaps.
func transposeInt8With(code func(*kernel.TransposeInt8Args)) func(*kernel.TransposeInt8Args) {
	return func(a *kernel.TransposeInt8Args) {
		if a.UnitStride == a.Elem.Unit() {
			code(a)
		} else {
			transposeInt8Generic(a)
		}
	}
}
