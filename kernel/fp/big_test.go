package fp

import (
	"math"
	"math/big"
)

// Arithmetic of 256 bits.
const bigPrec = 256

func newBig(x float64) *big.Float { return new(big.Float).SetPrec(bigPrec).SetFloat64(x) }

func parseBig(s string) *big.Float {
	x, _, err := big.ParseFloat(s, 10, bigPrec, big.ToNearestEven)
	if err != nil {
		panic(err)
	}
	return x
}

var (
	bigPi  = parseBig("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")
	bigLn2 = parseBig("0.69314718055994530941723212145817656807550013436025525412068000949339362196969471")
)

// bigExp returns e^x by its series, for |x| of a few units.
func bigExp(x *big.Float) *big.Float {
	sum, term := newBig(1), newBig(1)
	for i := 1; i < 120; i++ {
		term.Mul(term, x)
		term.Quo(term, newBig(float64(i)))
		sum.Add(sum, term)
	}
	return sum
}

// bigSinCos returns the sine and the cosine of x by their series, after whole turns.
func bigSinCos(x *big.Float) (sin, cos *big.Float) {
	turn := new(big.Float).Mul(bigPi, newBig(2))
	n, _ := new(big.Float).Quo(x, turn).Int(nil)
	x = new(big.Float).SetPrec(bigPrec).Sub(x, new(big.Float).SetPrec(bigPrec).Mul(turn, new(big.Float).SetInt(n)))
	sums := [2]*big.Float{newBig(1), newBig(0)} // of even and of odd degree
	term := newBig(1)
	for i := 1; i < 70; i++ {
		term.Mul(term, x)
		term.Quo(term, newBig(float64(i)))
		if i%4 == 2 || i%4 == 3 {
			sums[i%2].Sub(sums[i%2], term)
		} else {
			sums[i%2].Add(sums[i%2], term)
		}
	}
	return sums[1], sums[0]
}

// relative returns the error of got relative to want.
func relative(got float64, want *big.Float) float64 {
	diff := new(big.Float).Sub(newBig(got), want)
	if diff.Sign() == 0 {
		return 0
	}
	r, _ := diff.Quo(diff, want).Float64()
	return math.Abs(r)
}
