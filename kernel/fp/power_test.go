package fp

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

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
		high, low := LogParts(x)
		want := bigLog(x)
		diff, _ := new(big.Float).Sub(new(big.Float).Add(newBig(high), newBig(low)), want).Float64()
		if !(math.Abs(diff) < 0x1p-58) || high+low != high {
			t.Fatalf("ln(%v) = %v + %v, want %v", x, high, low, want)
		}
		den := float64(2 * (1 + r.IntN(128)))
		num := math.Floor((2*r.Float64() - 1) * den)
		p := new(big.Float).Mul(want, newBig(num))
		wantPower := bigExp(p.Quo(p, newBig(den)))
		e := relative(Power(x, num, den), wantPower)
		if worst = max(worst, e); !(e < 0x1p-52) {
			t.Fatalf("%v^(%v/%v) = %v, want %v", x, num, den, Power(x, num, den), wantPower)
		}
	}
	t.Logf("the error is %.3g of 2^-53", worst*0x1p53)
	if p := Power(10000, 0, 128); p != 1 {
		t.Errorf("10000^0 = %v", p)
	}
}
