package fp

import "math"

const (
	halfPiHigh = 0x1.921fb54442d18p+0 // of π/2, in two parts
	halfPiLow  = 0x1.1a62633145c07p-54
)

// Sincos returns the sine and the cosine of position*freq, a product that is not rounded,
// of magnitude up to 2^30. Their errors are below 2^-51 of their values, or else 2^-76.
func Sincos(position, freq float64) (sin, cos float64) {
	// The quarter turns n are subtracted in two parts. The first is exact: n*halfPiHigh
	// and high are multiples of 2^-53, and their difference is less than 1.
	high := position * freq
	low := math.FMA(position, freq, -high)
	n := math.RoundToEven(high * (2 / math.Pi))
	x := math.FMA(-n, halfPiHigh, high) + math.FMA(-n, halfPiLow, low)
	z := x * x
	s := x + float64(float64(x*z)*polynomial(z, &sinSeries))
	c := 1 + float64(z*polynomial(z, &cosSeries))
	switch int(n) & 3 {
	case 0:
		return s, c
	case 1:
		return c, -s
	case 2:
		return -s, -c
	default:
		return -c, s
	}
}

// Coefficients of Taylor series: what is left out is less than 2^-58 of the sum up to π/4.
var (
	sinSeries = [8]float64{ // of (sin x - x) / x^3 in x^2
		-1. / 6, 1. / 120, -1. / 5040, 1. / 362880, -1. / 39916800,
		1. / 6227020800, -1. / 1307674368000, 1. / 355687428096000,
	}
	cosSeries = [8]float64{ // of (cos x - 1) / x^2 in x^2
		-1. / 2, 1. / 24, -1. / 720, 1. / 40320, -1. / 3628800,
		1. / 479001600, -1. / 87178291200, 1. / 20922789888000,
	}
)
