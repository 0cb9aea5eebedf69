package qkv

import "github.com/qkv-go/qkv/kernel/fp"

// Float16 is the bits of an IEEE 754 binary16 number: 1 of sign, 5 of exponent, 10 of
// fraction.
type Float16 uint16

// ToFloat16 returns the number nearest to x, ties to even: an infinity where x is beyond
// the finite ones, a NaN for a NaN.
func ToFloat16(x float32) Float16 { return Float16(fp.Float32ToFloat16(x)) }

// Float32 returns the value of h.
func (h Float16) Float32() float32 { return fp.Float16ToFloat32(uint16(h)) }
