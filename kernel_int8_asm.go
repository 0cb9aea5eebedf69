//go:build !purego && (amd64 || arm64)

package qkv

import "github.com/qkv-go/qkv/kernel"

// quantizeWith returns the Quantize of a set whose machine code needs a ColStride of 1.
func quantizeWith(code func(*kernel.QuantizeArgs)) func(*kernel.QuantizeArgs) {
	return func(a *kernel.QuantizeArgs) {
		if a.ColStride == 1 {
			code(a)
		} else {
			quantizeGeneric(a)
		}
	}
}

// convertInt8With returns the ConvertInt8 of a set whose machine code needs units without gaps.
func convertInt8With(code func(*kernel.ConvertInt8Args)) func(*kernel.ConvertInt8Args) {
	return func(a *kernel.ConvertInt8Args) {
		if a.UnitStride == a.Elem.Unit() {
			code(a)
		} else {
			convertInt8Generic(a)
		}
	}
}

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
