package qkv

import "math"

// Sines and powers in float64, of the same bits on every architecture: package math has
// assembly on some, and a compiler may fuse a product with a sum that is not converted
// in between.

const (
	halfPiHigh = 0x1.921fb54442d18p+0 // of π/2, in two parts
	halfPiLow  = 0x1.1a62633145c07p-54
)

// sincos returns the sine and the cosine of position*freq, a product that is not rounded,
// of magnitude up to 2^30. Their errors are below 2^-51 of their values, or else 2^-76.
func sincos(position, freq float64) (sin, cos float64) {
	// The quarter turns n are subtracted in two parts. The first is exact: n*halfPiHigh
	// and high are multiples of 2^-53, and their difference is less than 1.
	high := position * freq
	low := math.FMA(position, freq, -high)
	n := math.RoundToEven(high * (2 / math.Pi))
	x := math.FMA(-n, halfPiHigh, high) + math.FMA(-n, halfPiLow, low)
	z := x * x
	s := x + float64(float64(x*z)*horner(z, &sinSeries))
	c := 1 + float64(z*horner(z, &cosSeries))
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

// Coefficients of Taylor series: what is left out is less than 2^-58 of the sum up to
// π/4 for the sine and the cosine, and up to ln(2)/2 for the exponential.
var (
	sinSeries = [8]float64{ // of (sin x - x) / x^3 in x^2
		-1. / 6, 1. / 120, -1. / 5040, 1. / 362880, -1. / 39916800,
		1. / 6227020800, -1. / 1307674368000, 1. / 355687428096000,
	}
	cosSeries = [8]float64{ // of (cos x - 1) / x^2 in x^2
		-1. / 2, 1. / 24, -1. / 720, 1. / 40320, -1. / 3628800,
		1. / 479001600, -1. / 87178291200, 1. / 20922789888000,
	}
	expSeries = [13]float64{ // of (e^x - 1 - x) / x^2 in x
		1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320, 1. / 362880, 1. / 3628800,
		1. / 39916800, 1. / 479001600, 1. / 6227020800, 1. / 87178291200,
	}
	atanhSeries = [12]float64{ // of (atanh x - x) / x^3 in x^2
		1. / 3, 1. / 5, 1. / 7, 1. / 9, 1. / 11, 1. / 13, 1. / 15, 1. / 17, 1. / 19, 1. / 21, 1. / 23, 1. / 25,
	}
)

// A series is the coefficients of a polynomial, that of degree 0 first.
type series interface {
	[8]float64 | [12]float64 | [13]float64
}

func horner[S series](x float64, c *S) float64 {
	sum := 0.0
	for i := len(*c) - 1; i >= 0; i-- {
		sum = float64(sum*x) + (*c)[i]
	}
	return sum
}

const (
	ln2High = 0x1.62e42feep-1 // of ln(2), in two parts: integers up to 2^21 times this one are exact
	ln2Low  = 0x1.a39ef35793c76p-33
)

// twoSum returns x + y rounded, and what that leaves out (Knuth).
func twoSum(x, y float64) (sum, rest float64) {
	sum = x + y
	t := sum - x
	return sum, (x - (sum - t)) + (y - t)
}

// logarithm returns the natural logarithm of x, positive and finite, as a sum whose
// error is below 2^-58 and whose second part is half an ulp of the first at most.
func logarithm(x float64) (high, low float64) {
	m, e := math.Frexp(x)
	if m < math.Sqrt2/2 {
		m, e = 2*m, e-1
	}
	// ln(m) = 2*atanh(s), s = (m-1)/(m+1).
	d, dRest := twoSum(m, 1)
	s := (m - 1) / d
	sRest := (math.FMA(-s, d, m-1) - float64(s*dRest)) / d
	z := s * s
	rest := 2 * (sRest + float64(float64(s*z)*horner(z, &atanhSeries)))
	high, low = twoSum(float64(float64(e)*ln2High), 2*s)
	return twoSum(high, low+(rest+float64(float64(e)*ln2Low)))
}

// exponential returns e^(high+low), within 2 ulp where it is normal.
func exponential(high, low float64) float64 {
	n := math.RoundToEven(high * math.Log2E)
	x, rest := twoSum(high-float64(n*ln2High), low-float64(n*ln2Low))
	return math.Ldexp(1+(x+(rest+float64(float64(x*x)*horner(x, &expSeries)))), int(n))
}

// power returns x^(num/den), for x positive and finite, within 2 ulp where it is normal.
func power(x, num, den float64) float64 {
	high, low := logarithm(x)
	p := high * num
	pRest := math.FMA(high, num, -p) + float64(low*num)
	q := p / den
	return exponential(q, (math.FMA(-q, den, p)+pRest)/den)
}
