package fp

import "math"

// BFloat16ToFloat32 returns the value of the bits of a bfloat16 number.
func BFloat16ToFloat32(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// Float32ToBFloat16 returns the bits of the bfloat16 number nearest to f, ties to even: an
// infinity where that is beyond the finite ones, a quiet NaN for a NaN.
func Float32ToBFloat16(f float32) uint16 {
	b := math.Float32bits(f)
	if f != f {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}
