package fp

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// TestSincos compares with series of 256 bits, up to the largest position and close to
// where a sine or a cosine is 0.
func TestSincos(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	worst := 0.0
	check := func(position, freq float64) {
		sin, cos := Sincos(position, freq)
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
	check(1<<30, 1)
	check(1, math.Pi/2)
	t.Logf("the error is %.3g of 2^-53", worst*0x1p53)
	if sin, cos := Sincos(0, 1); sin != 0 || cos != 1 {
		t.Errorf("at 0: %v, %v", sin, cos)
	}
}
