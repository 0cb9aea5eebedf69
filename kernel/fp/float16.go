package fp

import "math"

// Float16ToFloat32 returns the value of the bits of an IEEE 754 binary16 number.
func Float16ToFloat32(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp, frac := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exp {
	case 0: // zero or subnormal: frac * 2^-24
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*0x1p-24))
	case 0x1f:
		if frac != 0 {
			frac |= 0x200 // a quiet NaN
		}
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
}

// Float32ToFloat16 returns the bits of the IEEE 754 binary16 number nearest to f, ties to
// even: an infinity where that is beyond the finite ones, a quiet NaN for a NaN.
func Float32ToFloat16(f float32) uint16 {
	const (
		leastNormal = 0x1p-14
		leastInf    = 0x1.ffep15 // half a step above the largest finite number
		rebias      = (127 - 15) << 23
	)
	b := math.Float32bits(f)
	sign := uint16(b >> 16 & 0x8000)
	b &^= 1 << 31
	switch abs := math.Float32frombits(b); {
	case abs != abs:
		return sign | 0x7e00 | uint16(b>>13&0x1ff)
	case abs >= leastInf:
		return sign | 0x7c00
	case abs >= leastNormal:
		return sign | uint16((b-rebias+0xfff+b>>13&1)>>13)
	default: // the sum is rounded to a multiple of 2^-24, the least subnormal
		return sign | uint16(math.Float32bits(abs+0.5)-math.Float32bits(0.5))
	}
}
