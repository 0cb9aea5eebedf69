//go:build !purego && (amd64 || arm64)

package qkv

import "github.com/qkv-go/qkv/kernel"

// packWith returns the Pack of a set whose machine code needs a DimStride of 1.
func packWith(code func(*kernel.PackArgs)) func(*kernel.PackArgs) {
	return func(a *kernel.PackArgs) {
		if a.DimStride == 1 {
			code(a)
		} else {
			packGeneric(a)
		}
	}
}

// unpackWith returns the Unpack of a set whose machine code needs a DimStride of 1.
func unpackWith(code func(*kernel.UnpackArgs)) func(*kernel.UnpackArgs) {
	return func(a *kernel.UnpackArgs) {
		if a.DimStride == 1 {
			code(a)
		} else {
			unpackGeneric(a)
		}
	}
}

// convertWith returns the Convert of a set whose machine code needs units without gaps.
func convertWith(code func(*kernel.ConvertArgs)) func(*kernel.ConvertArgs) {
	return func(a *kernel.ConvertArgs) {
		if a.UnitStride == a.Elem.Unit() {
			code(a)
		} else {
			convertGeneric(a)
		}
	}
}

// multiplyFewWith returns the MultiplyFew of a set whose machine code needs a ColStride of 1.
func multiplyFewWith(code func(*kernel.MultiplyArgs)) func(*kernel.MultiplyArgs) {
	return func(a *kernel.MultiplyArgs) {
		if a.ColStride == 1 {
			code(a)
		} else {
			multiplyFewGeneric(a)
		}
	}
}

// multiplyPairsFewWith returns the MultiplyPairsFew of a set whose machine code needs a ColStride of 1.
func multiplyPairsFewWith(code func(*kernel.MultiplyArgs)) func(*kernel.MultiplyArgs) {
	return func(a *kernel.MultiplyArgs) {
		if a.ColStride == 1 {
			code(a)
		} else {
			multiplyPairsFewGeneric(a)
		}
	}
}

// hadamardWith returns the Hadamard of a set whose machine code needs whole vectors of any set.
func hadamardWith(code func(*kernel.HadamardArgs)) func(*kernel.HadamardArgs) {
	return func(a *kernel.HadamardArgs) {
		if a.Cols%16 == 0 {
			code(a)
		} else {
			hadamardGeneric(a)
		}
	}
}

// dotWeightsWith returns the DotWeights of a set whose machine code is for some types.
func dotWeightsWith(code func(*kernel.DotWeightsArgs)) func(*kernel.DotWeightsArgs) {
	return func(a *kernel.DotWeightsArgs) {
		if a.Type.Fused() {
			code(a)
		} else {
			dotWeightsGeneric(a)
		}
	}
}

// dequantizeWith returns the Dequantize of a set whose machine code needs 16 bytes of a row.
func dequantizeWith(code func(*kernel.DequantizeArgs)) func(*kernel.DequantizeArgs) {
	return func(a *kernel.DequantizeArgs) {
		if a.Depth/a.Type.Values()*a.Type.Bytes() >= 16 {
			code(a)
		} else {
			dequantizeGeneric(a)
		}
	}
}
