package fp

import "math"

// Power returns x^(num/den), for x positive and finite, within 2 ulp where it is normal.
func Power(x, num, den float64) float64 {
	high, low := LogParts(x)
	p := high * num
	pRest := math.FMA(high, num, -p) + float64(low*num)
	q := p / den
	return exponential(q, (math.FMA(-q, den, p)+pRest)/den)
}

// exponential returns e^(high+low), within 2 ulp where it is normal.
func exponential(high, low float64) float64 {
	n := math.RoundToEven(high * math.Log2E)
	x, rest := twoSum(high-float64(n*ln2High), low-float64(n*ln2Low))
	return math.Ldexp(1+(x+(rest+float64(float64(x*x)*polynomial(x, &expSeries)))), int(n))
}

// expSeries are the coefficients of (e^x - 1 - x) / x^2 in x. What is left out is less than 2^-58 of the
// sum up to ln(2)/2.
var expSeries = [13]float64{
	1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320, 1. / 362880, 1. / 3628800,
	1. / 39916800, 1. / 479001600, 1. / 6227020800, 1. / 87178291200,
}
