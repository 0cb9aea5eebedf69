package fp

import "math"

// Numbers of 8 bits, as the Open Compute Project specifies them (OCP 8-bit Floating Point Specification,
// OFP8, revision 1.0): E4M3 has a bias of 7, no infinities, and one NaN of either sign, 0x7f. E5M2 is the
// upper half of binary16.
const (
	float8NaN = 0x7f

	mostE4M3 = 448
	mostE5M2 = 57344
)

// Float8E4M3ToFloat32 returns the value of the bits of a number of E4M3.
func Float8E4M3ToFloat32(h uint8) float32 {
	sign, magnitude := uint32(h&0x80)<<24, uint32(h&0x7f)
	switch {
	case magnitude == float8NaN:
		return math.Float32frombits(sign | 0x7ff00000)
	case magnitude < 8: // zero or subnormal
		return math.Float32frombits(sign | math.Float32bits(float32(magnitude)*0x1p-9))
	}
	return math.Float32frombits(sign | magnitude<<20 + (127-7)<<23)
}

// Float8E5M2ToFloat32 returns the value of the bits of a number of E5M2.
func Float8E5M2ToFloat32(h uint8) float32 { return Float16ToFloat32(uint16(h) << 8) }

// Float32ToFloat8E4M3 returns the bits of the number of E4M3 nearest to f, ties to even: the largest
// where f is beyond it or infinite, which the specification calls saturating, a NaN for a NaN.
func Float32ToFloat8E4M3(f float32) uint8 { return float8(f, 3, 7, mostE4M3) }

// Float32ToFloat8E5M2 returns the bits of the number of E5M2 nearest to f, ties to even: the largest
// finite one where f is beyond it or infinite, which the specification calls saturating, a NaN for a NaN.
func Float32ToFloat8E5M2(f float32) uint8 { return float8(f, 2, 15, mostE5M2) }

// float8 rounds to a type with so many bits of fraction, the bias, and the largest finite number most.
func float8(f float32, fraction, bias uint32, most float32) uint8 {
	b := math.Float32bits(f)
	sign := uint8(b >> 24 & 0x80)
	b &^= 1 << 31
	if b > 0x7f800000 {
		return sign | float8NaN
	}
	abs := min(math.Float32frombits(b), most)
	// The sum with a power of two is rounded to the last place that is kept, of which its lower bits
	// then count the number.
	exp := max(math.Float32bits(abs)&0x7f800000, (128-bias)<<23)
	power := math.Float32frombits(exp + (23-fraction)<<23)
	places := math.Float32bits(abs+power) ^ math.Float32bits(power)
	return sign | uint8(places+exp>>(23-fraction)-(128-bias)<<fraction)
}
