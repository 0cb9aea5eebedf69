package qkv

import "github.com/qkv-go/qkv/kernel/fp"

// Float8E4M3 is the bits of a number of 8 bits: 1 of sign, 4 of exponent, with a bias of 7, and 3 of
// fraction. It has no infinities, and 0x7f and 0xff are NaNs; the largest number is 448, the least above
// 0 is 2^-9. It is E4M3 of the OCP 8-bit Floating Point Specification (OFP8), revision 1.0, which
// others call float8_e4m3fn.
type Float8E4M3 uint8

// ToFloat8E4M3 returns the number nearest to x, ties to even: 448 or -448 where x is beyond them or
// infinite, a NaN for a NaN. The specification calls that saturating.
func ToFloat8E4M3(x float32) Float8E4M3 { return Float8E4M3(fp.Float32ToFloat8E4M3(x)) }

// Float32 returns the value of h.
func (h Float8E4M3) Float32() float32 { return fp.Float8E4M3ToFloat32(uint8(h)) }

// Float8E5M2 is the bits of a number of 8 bits: 1 of sign, 5 of exponent, with a bias of 15, and 2 of
// fraction, the upper half of a [Float16]. The largest finite number is 57344, the least above 0 is
// 2^-16. It is E5M2 of the OCP 8-bit Floating Point Specification (OFP8), revision 1.0, which others
// call float8_e5m2.
type Float8E5M2 uint8

// ToFloat8E5M2 returns the number nearest to x, ties to even: 57344 or -57344 where x is beyond them
// or infinite, a NaN for a NaN. The specification calls that saturating.
func ToFloat8E5M2(x float32) Float8E5M2 { return Float8E5M2(fp.Float32ToFloat8E5M2(x)) }

// Float32 returns the value of h.
func (h Float8E5M2) Float32() float32 { return fp.Float8E5M2ToFloat32(uint8(h)) }
