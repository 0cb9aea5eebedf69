package fp

import "math"

// Log returns the natural logarithm of x >= 1 to a relative 2e-12, far below what
// float32 resolves.
func Log(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return x
	}
	m, e := math.Frexp(x) // m in [1/2, 1)
	if m < math.Sqrt2/2 {
		m, e = 2*m, e-1
	}
	// log m = 2 artanh(s) = 2 (s + s^3/3 + s^5/5 + ...), |s| < 0.172.
	s := (m - 1) / (m + 1)
	z := float64(s * s)
	t := 0.0
	for i := len(oddReciprocals) - 1; i >= 0; i-- {
		t = float64(t*z) + oddReciprocals[i]
	}
	return float64(float64(e)*math.Ln2) + float64(2*float64(s*t))
}

var oddReciprocals = [7]float64{1, 1. / 3, 1. / 5, 1. / 7, 1. / 9, 1. / 11, 1. / 13}

// LogParts returns the natural logarithm of x, positive and finite, as a sum whose
// error is below 2^-58 and whose second part is half an ulp of the first at most.
func LogParts(x float64) (high, low float64) {
	m, e := math.Frexp(x)
	if m < math.Sqrt2/2 {
		m, e = 2*m, e-1
	}
	// ln(m) = 2*atanh(s), s = (m-1)/(m+1).
	d, dRest := twoSum(m, 1)
	s := (m - 1) / d
	sRest := (math.FMA(-s, d, m-1) - float64(s*dRest)) / d
	z := s * s
	rest := 2 * (sRest + float64(float64(s*z)*polynomial(z, &atanhSeries)))
	high, low = twoSum(float64(float64(e)*ln2High), 2*s)
	return twoSum(high, low+(rest+float64(float64(e)*ln2Low)))
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

// atanhSeries are the coefficients of (atanh x - x) / x^3 in x^2. What is left out is less than 2^-58 of
// the sum for the x of LogParts.
var atanhSeries = [12]float64{
	1. / 3, 1. / 5, 1. / 7, 1. / 9, 1. / 11, 1. / 13, 1. / 15, 1. / 17, 1. / 19, 1. / 21, 1. / 23, 1. / 25,
}

// A series is the coefficients of a polynomial, that of degree 0 first.
type series interface {
	[8]float64 | [12]float64 | [13]float64
}

func polynomial[S series](x float64, c *S) float64 {
	sum := 0.0
	for i := len(*c) - 1; i >= 0; i-- {
		sum = float64(sum*x) + (*c)[i]
	}
	return sum
}
