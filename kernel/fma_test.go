package kernel

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// exactFMA computes x*y + z without an error and rounds it once.
func exactFMA(x, y, z float32) float32 {
	s := float64(x)*float64(y) + float64(z)
	if math.IsNaN(s) || math.IsInf(s, 0) { // an operand is one: the sum has no rounding
		return float32(s)
	}
	// The bits of a product reach from 2^-298 to 2^256.
	f := func(v float32) *big.Float { return new(big.Float).SetPrec(600).SetFloat64(float64(v)) }
	p := f(x)
	p.Mul(p, f(y))
	r, _ := p.Add(p, f(z)).Float32()
	return r
}

func same(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

func testFMA(t testing.TB, x, y, z float32) {
	if got, want := FMA(x, y, z), exactFMA(x, y, z); !same(got, want) {
		t.Fatalf("FMA(%x, %x, %x) = %x, want %x", x, y, z, got, want)
	}
	if s := WideFMA(x, y, z); !Ambiguous(s) && !same(float32(s), exactFMA(x, y, z)) {
		t.Fatalf("WideFMA(%x, %x, %x) = %x rounds wrong and is not ambiguous", x, y, z, s)
	}
}

func TestFMASpecial(t *testing.T) {
	var values []float32
	for _, v := range []float64{
		0, 1, 2, 3, 0.5, 0x1.fffffep-1, 0x1.000002p+0, 0x1p-24, 0x1p-25, 0x1p+24, 0x1p+25,
		0x1p-149, 0x1p-148, 0x1.8p-148, 0x1p-127, 0x1.fffffcp-127, 0x1p-126, 0x1.000002p-126,
		0x1p-75, 0x1.8p-75, 0x1.000002p-75, 0x1p-63, 0x1p-64, 0x1.fffffep-64,
		0x1p+63, 0x1.fffffep+63, 0x1p+64, 0x1p+103, 0x1p+104, 0x1.fffffep+103, 0x1p+127,
		math.MaxFloat32, math.Inf(1), math.NaN(),
	} {
		values = append(values, float32(v), -float32(v))
	}
	values = append(values, math.Float32frombits(1<<31))
	for _, x := range values {
		for _, y := range values {
			for _, z := range values {
				testFMA(t, x, y, z)
			}
		}
	}
}

func TestFMARandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	n := 400_000
	if testing.Short() {
		n /= 10
	}
	for range n {
		x, y, z := math.Float32frombits(r.Uint32()), math.Float32frombits(r.Uint32()), math.Float32frombits(r.Uint32())
		testFMA(t, x, y, z)
		// A sum of like terms, which random exponents rarely make.
		_, e := math.Frexp(float64(x) * float64(y))
		testFMA(t, x, y, float32(math.Ldexp(r.Float64()*2-1, e+r.IntN(51)-25)))
	}
}

// TestFMAHalfway adds a number and nearly half of its last place, which the sum
// in float64 cannot tell from the half.
func TestFMAHalfway(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	n := 300_000
	if testing.Short() {
		n /= 10
	}
	var twice, ambiguous int
	for range n {
		e := r.IntN(276) - 149 // 2^e is the last place of z
		z := float32(math.Ldexp(float64(1<<23+r.IntN(1<<23)), e))
		if r.IntN(8) == 0 {
			z = float32(math.Ldexp(1<<23, e)) // the places below a power of two are finer
		}
		if r.IntN(4) == 0 {
			// About the least normal number: a last place of 2^-149 holds fewer bits.
			z, e = float32(math.Ldexp(float64(r.IntN(1<<25)), -149)), -149
		}
		// (1 + i/2^23)(1 - j/2^24), about 1, in units of half a last place.
		i, j := r.IntN(4), r.IntN(8)
		half := r.IntN(3) - 1
		x := float32(math.Ldexp(1+float64(i)/(1<<23), (e+half)/2))
		y := float32(math.Ldexp(1-float64(j)/(1<<24), e-1+half-(e+half)/2))
		if r.IntN(2) == 0 {
			x = -x
		}
		if r.IntN(2) == 0 {
			z = -z
		}
		testFMA(t, x, y, z)
		s := WideFMA(x, y, z)
		if Ambiguous(s) {
			ambiguous++
		}
		if !same(float32(s), FMA(x, y, z)) {
			twice++
		}
	}
	if twice < n/100 {
		t.Errorf("rounding twice is wrong for %d of %d operands (%d ambiguous): they do not test much", twice, n, ambiguous)
	}
}

func FuzzFMA(f *testing.F) {
	f.Add(uint32(0x3f800001), uint32(0x3f7ffffe), uint32(0x4b800001))
	f.Add(uint32(0x00000001), uint32(0x3f000000), uint32(0x00000001))
	f.Add(uint32(0x7f7fffff), uint32(0x3f800001), uint32(0xff7fffff))
	f.Fuzz(func(t *testing.T, x, y, z uint32) {
		testFMA(t, math.Float32frombits(x), math.Float32frombits(y), math.Float32frombits(z))
	})
}

func BenchmarkFMA(b *testing.B) {
	x, y, s := float32(0.999), float32(1.001), float32(0)
	for b.Loop() {
		s = FMA(x, y, s)
	}
}
