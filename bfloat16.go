package qkv

import "github.com/qkv-go/qkv/kernel/fp"

// BFloat16 is the bits of a bfloat16 number: the upper half of those of a float32.
type BFloat16 uint16

// ToBFloat16 returns the number nearest to x, ties to even: an infinity where x is beyond
// the finite ones, a NaN for a NaN.
func ToBFloat16(x float32) BFloat16 { return BFloat16(fp.Float32ToBFloat16(x)) }

// Float32 returns the value of h.
func (h BFloat16) Float32() float32 { return fp.BFloat16ToFloat32(uint16(h)) }
