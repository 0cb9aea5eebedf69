package fp

import "math"

// Constants of SiLU, GELUTanh and GELU, shared by the Go code and by every generated kernel. A
// product by a constant c is a multiply-add by c rounded, and one by its Rest, what that leaves out.
const (
	// SiLUMin and SiLUMax bound the argument of the exponential: from -88.4 down 1+e^-x is an
	// infinity, and beyond 17.4 it is 1.
	SiLUMin = -89
	SiLUMax = 32

	// LogisticFactor is log2(e)/2: e^-x = 4^(-x * log2(e)/2).
	LogisticFactor = 0x1.715476p-1
	LogisticRest   = math.Log2E/2 - LogisticFactor

	// GELUTanhMin and GELUTanhMax bound the argument likewise.
	GELUTanhMin = -10.06
	GELUTanhMax = 6

	// GELUTanhFactor is sqrt(2/pi) * log2(e), of so few bits that its difference from
	// what it is added to is exact.
	GELUTanhFactor = 0x1.26afp+0
	GELUTanhRest   = math.Sqrt2/math.SqrtPi*math.Log2E - GELUTanhFactor

	// GELUTanhCube is 0.044715 times as much.
	GELUTanhCube     = 0x1.a5a7dp-5
	GELUTanhCubeRest = 0.044715*(math.Sqrt2/math.SqrtPi*math.Log2E) - GELUTanhCube

	// GELUMax bounds the magnitude in the tail of the normal distribution, which is 0 there.
	GELUMax = 13.27

	// GELUFactor is log2(e)/4: e^(-x^2/2) = 4^(-x^2 * log2(e)/4).
	GELUFactor = LogisticFactor / 2
	GELURest   = LogisticRest / 2

	// GELUTerms is the number of coefficients of the numerator of GELURatio. The denominator has one
	// more.
	GELUTerms = 5
)

// GELURatio returns the coefficients, lowest first, of the polynomials whose quotient is
// erfc(a/sqrt(2)) / 2 * e^(a^2/2) from 0 to GELUMax, to a relative 2^-26. It is the least error of
// such a quotient, but for rounding the coefficients.
func GELURatio() (num [GELUTerms]float32, den [GELUTerms + 1]float32) { return geluNum, geluDen }

var (
	geluNum = [GELUTerms]float32{
		0x1p-1, 0x1.be9d1cp-2, 0x1.7402bap-3, 0x1.487bbcp-5, 0x1.08919cp-8,
	}
	geluDen = [GELUTerms + 1]float32{
		0x1p+0, 0x1.ab90bep+0, 0x1.32263ep+0, 0x1.dc711ep-2, 0x1.9bb8eap-4, 0x1.4b955p-7,
	}
)

// SiLU returns x / (1 + e^-x), the sigmoid linear unit, also called swish: within 3 ulp, or -0 below
// -88.3, where the exact value is above -2^-121.
//
// This is the sequence of operations that every Set performs, as are those of GELUTanh and GELU.
func SiLU(x float32) float32 {
	x, y := clamp(x, SiLUMin, SiLUMax)
	return x / logistic(y, LogisticFactor, LogisticRest)
}

// GELUTanh returns x * (1 + tanh(sqrt(2/pi) * (x + 0.044715*x^3))) / 2, the Gaussian error linear unit
// as many models approximate it: within 3 ulp, or -0 below -10, where the exact value is above -2^-124.
//
// It is x / (1 + 4^(-x*q)) with q = GELUTanhFactor + GELUTanhCube*x^2.
func GELUTanh(x float32) float32 {
	x, y := clamp(x, GELUTanhMin, GELUTanhMax)
	square := float32(y * y)
	excess := FMA(-y, y, square) // of the square over the exact one
	q := FMA(GELUTanhCube, square, GELUTanhFactor)
	rest := FMA(GELUTanhCube, square, GELUTanhFactor-q) // what q leaves out
	rest = FMA(GELUTanhCubeRest, square, rest)
	rest = FMA(-GELUTanhCube, excess, rest)
	return x / logistic(y, q, rest+GELUTanhRest)
}

// GELU returns x * Phi(x), the Gaussian error linear unit, where Phi is the distribution function of the
// normal distribution, (1 + erf(x/sqrt(2))) / 2: within 6 ulp where the result is normal. Below -13.3 it
// is -0.
//
// It is max(x, 0) - |x|*Phi(-|x|), with the sign of x: Phi(-a) is e^(-a^2/2) times a quotient of
// polynomials in a, GELURatio.
func GELU(x float32) float32 {
	const sign = 1 << 31
	a := math.Float32frombits(math.Float32bits(x) &^ sign)
	if a > GELUMax {
		a = GELUMax
	}
	positive := x
	if !(x > 0) {
		positive = 0
	}
	square := float32(a * a)
	excess := FMA(-a, a, square)
	t, f := reduce(square, GELUFactor, GELURest)
	f = FMA(GELUFactor, excess, f)
	num, den := evenOdd(geluNum[:], a, square), evenOdd(geluDen[:], a, square)
	ratio := num / den
	tail := FMA(ratio, float32(horner(f, 1)*f), ratio)
	scaled := float32(a * math.Float32frombits(math.Float32bits(t)<<23)) // exact
	r := FMA(-tail, scaled, positive)
	return math.Float32frombits(math.Float32bits(r) | math.Float32bits(x)&sign)
}

// evenOdd returns a polynomial in a: its first coefficient, and a times the polynomial of the others, which
// is Horner's rule in the square of a, over pairs of coefficients. So few roundings follow each other where
// a is large, and only the last one counts where it is small.
func evenOdd(c []float32, a, square float32) float32 {
	i := len(c)
	p := c[i-1]
	if i--; i%2 == 0 {
		i--
		p = FMA(p, a, c[i])
	}
	for i > 1 {
		i -= 2
		p = FMA(p, square, FMA(c[i+1], a, c[i]))
	}
	return FMA(p, a, c[0])
}

// clamp returns the larger of x and low, and the smaller of that and high. A NaN stays one.
func clamp(x, low, high float32) (above, between float32) {
	if x < low {
		x = low
	}
	if x > high {
		return x, high
	}
	return x, x
}

// logistic returns 1 + 4^(-x*(factor+rest)), of which a power of 2^127.5 or more is an infinity.
func logistic(x, factor, rest float32) float32 {
	t, f := reduce(x, factor, rest)
	return FMA(horner(f, 0), math.Float32frombits(math.Float32bits(t)<<23), 1)
}

// reduce returns what [Exp2] makes t and f of, of y = -x*(factor+rest).
func reduce(x, factor, rest float32) (t, f float32) {
	t = FMA(-x, factor, ExpMagic)
	f = FMA(-x, factor, ExpMagic-t)
	return t, FMA(-x, rest, f)
}
