//go:build !purego

package qkv

import "github.com/qkv-go/qkv/kernel"

// quantizeWith returns the Quantize of a set whose machine code needs a ColStride of 1.
func quantizeWith(unit func(*kernel.QuantizeArgs)) func(*kernel.QuantizeArgs) {
	return func(a *kernel.QuantizeArgs) {
		if a.ColStride == 1 {
			unit(a)
		} else {
			quantizeGeneric(a)
		}
	}
}
