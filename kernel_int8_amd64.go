//go:build !purego

package qkv

import "github.com/qkv-go/qkv/kernel"

// decodeAccumulateInt8With returns the DecodeAccumulateInt8 of a set whose machine code is for types of 8 bits.
func decodeAccumulateInt8With(bytes func(*kernel.DecodeAccumulateInt8Args)) func(*kernel.DecodeAccumulateInt8Args) {
	return func(a *kernel.DecodeAccumulateInt8Args) {
		if a.Elem == kernel.Int8 || a.Elem == kernel.Q8_0 {
			bytes(a)
		} else {
			decodeAccumulateInt8Generic(a)
		}
	}
}

// transposeInt8With returns the TransposeInt8 of a set whose machine code needs units without gaps.
func transposeInt8With(unit func(*kernel.TransposeInt8Args)) func(*kernel.TransposeInt8Args) {
	return func(a *kernel.TransposeInt8Args) {
		if a.UnitStride == a.Elem.Unit() {
			unit(a)
		} else {
			transposeInt8Generic(a)
		}
	}
}
