package fp

import "math"

// Constants of Exp2, shared by the Go code and by every generated kernel.
const (
	// ExpMin is the least argument with a nonzero result, 2^-126: nothing
	// subnormal comes out of Exp2.
	ExpMin = -63

	// ExpMagic rounds its sum with y to a multiple of 1/2, leaving n+127 in the
	// low bits, where n/2 is y rounded (ties to even).
	ExpMagic = 1.5*(1<<22) + 63.5

	// ExpTerms is the number of coefficients of ExpPoly.
	ExpTerms = 7
)

// ExpPoly returns the coefficients, lowest first, of the polynomial that
// approximates 4^f on [-1/4, 1/4]. The first is 1, so that 4^0 is exactly 1.
// The others interpolate (4^f-1)/f at the Chebyshev nodes.
func ExpPoly() [ExpTerms]float32 { return expPoly }

var expPoly = [ExpTerms]float32{
	1,
	0x1.62e430p+0,
	0x1.ebfbe0p-1,
	0x1.c6af6cp-2,
	0x1.3b2a54p-3,
	0x1.5f0890p-5,
	0x1.44138ap-7,
}

// Exp2 returns 2^(2y) = 4^y for y <= 0: 0 for y < ExpMin, NaN for a NaN, and
// elsewhere a normal number within 1 ulp. (The factor of 2 keeps scores up to the
// largest float32 from overflowing when they are converted to base 2, and costs
// nothing: it is in the coefficients.)
//
// This is the sequence of operations that every Set performs, with one fused multiply-add
// for each coefficient but the last.
func Exp2(y float32) float32 {
	if y < ExpMin {
		return 0
	}
	t := y + ExpMagic
	f := y - float32(t-ExpMagic)
	return float32(horner(f, 0) * math.Float32frombits(math.Float32bits(t)<<23))
}
