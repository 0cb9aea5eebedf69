package qkv

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
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

// TestSincos compares with series of 256 bits, up to the largest position and close to
// where a sine or a cosine is 0.
func TestSincos(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	worst := 0.0
	check := func(position, freq float64) {
		sin, cos := sincos(position, freq)
		wantSin, wantCos := bigSinCos(new(big.Float).Mul(newBig(position), newBig(freq)))
		for _, x := range []struct {
			got  float64
			want *big.Float
		}{{sin, wantSin}, {cos, wantCos}} {
			e := relative(x.got, x.want)
			if math.Abs(x.got) > 0x1p-20 {
				worst = max(worst, e)
			}
			if !(e < 0x1p-51) && !(e*math.Abs(x.got) < 0x1p-76) {
				t.Fatalf("position %v, frequency %v: %v, %v, want %v, %v", position, freq, sin, cos, wantSin, wantCos)
			}
		}
	}
	for range 800 {
		position := math.Floor(math.Ldexp(1+r.Float64(), r.IntN(30)))
		check(position, r.Float64())
		check(position, math.Ldexp(1, -r.IntN(30)))
		check(position, math.Round(r.Float64()*position)*math.Pi/2/position)
		check(1, 1e-9*r.Float64())
	}
	check(MaxSeq, 1)
	check(1, math.Pi/2)
	t.Logf("the error is %.3g of 2^-53", worst*0x1p53)
	if sin, cos := sincos(0, 1); sin != 0 || cos != 1 {
		t.Errorf("at 0: %v, %v", sin, cos)
	}
}

// TestPower compares with the exponential of 256 bits, by its inverse: ln(x) is found by
// Newton's method from math.Log.
func TestPower(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	bigLog := func(x float64) *big.Float {
		m, e := math.Frexp(x)
		y := newBig(math.Log(m))
		for range 4 { // y += m*e^-y - 1
			step := bigExp(new(big.Float).Neg(y))
			step.Mul(step, newBig(m))
			y.Add(y, step.Sub(step, newBig(1)))
		}
		return y.Add(y, new(big.Float).Mul(bigLn2, newBig(float64(e))))
	}
	worst := 0.0
	for range 150 {
		x := math.Exp(r.Float64() * 20)
		if r.IntN(3) == 0 {
			x = []float64{10000, 500000, 1000000, 10000000, 1 + 0x1p-40, 2, 1.5, 0x1.6a09e667f3bcdp0}[r.IntN(8)]
		}
		high, low := logarithm(x)
		want := bigLog(x)
		diff, _ := new(big.Float).Sub(new(big.Float).Add(newBig(high), newBig(low)), want).Float64()
		if !(math.Abs(diff) < 0x1p-58) || high+low != high {
			t.Fatalf("ln(%v) = %v + %v, want %v", x, high, low, want)
		}
		den := float64(2 * (1 + r.IntN(MaxDim/2)))
		num := math.Floor((2*r.Float64() - 1) * den)
		p := new(big.Float).Mul(want, newBig(num))
		wantPower := bigExp(p.Quo(p, newBig(den)))
		e := relative(power(x, num, den), wantPower)
		if worst = max(worst, e); !(e < 0x1p-52) {
			t.Fatalf("%v^(%v/%v) = %v, want %v", x, num, den, power(x, num, den), wantPower)
		}
	}
	t.Logf("the error is %.3g of 2^-53", worst*0x1p53)
	if p := power(10000, 0, 128); p != 1 {
		t.Errorf("10000^0 = %v", p)
	}
}
