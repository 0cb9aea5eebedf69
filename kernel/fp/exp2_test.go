package fp

import (
	"math"
	"testing"
)

// TestExp2 bounds the error at float32 from ExpMin to -2^-26, and above, where the result is 1.
// Each one of them is what -exhaustive is for.
func TestExp2(t *testing.T) {
	const least, almost, zero = 0xc27c0000, 0xb2800000, 0x80000000 // -63, -2^-26, -0
	worst := eachFloat(almost, least, func(lo, hi uint32) worstCase { return exp2Error(lo, hi, strideOf(11, 997)) })
	above := exp2Error(zero, almost, 9973)
	worst.note(above.at, above.error)
	t.Logf("largest error: %.4f ulp, at %x", worst.error, worst.at)
	if !(worst.error <= 1) {
		t.Errorf("Exp2(%x) = %x, wrong by %v ulp", worst.at, Exp2(worst.at), worst.error)
	}
}

func wideExp2(y float64) float64 { return math.Exp2(2 * y) }

// exp2Error returns the largest error among the float32 of some bits, in ulp.
func exp2Error(lo, hi, stride uint32) (worst worstCase) {
	exact := curveOf(wideExp2)
	for b := uint64(lo); b <= uint64(hi); b += uint64(stride) {
		y := math.Float32frombits(uint32(b))
		worst.note(y, ulpsOf(float64(Exp2(y)), exact.at(uint32(b))))
	}
	return worst
}

func TestExp2Exact(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct{ y, want float32 }{
		{0, 1},
		{math.Float32frombits(1 << 31), 1},
		{-math.SmallestNonzeroFloat32, 1},
		{-0x1p-126, 1},
		{ExpMin, 0x1p-126},
		{math.Nextafter32(ExpMin, -inf), 0},
		{-63.25, 0},
		{-64, 0},
		{-127, 0},
		{-128, 0},
		{-1 << 22, 0},
		{-1 << 23, 0},
		{-1e30, 0},
		{-math.MaxFloat32, 0},
		{-inf, 0},
	} {
		if got := Exp2(c.y); !same(got, c.want) {
			t.Errorf("Exp2(%v) = %v, want %v", c.y, got, c.want)
		}
	}
	for n := range 127 {
		if got, want := Exp2(-float32(n)/2), float32(math.Ldexp(1, -n)); got != want {
			t.Errorf("Exp2(%v) = %v, want %v", -float32(n)/2, got, want)
		}
	}
}

func TestExp2NaN(t *testing.T) {
	for payload := uint32(1); payload < 1<<23; payload += 1 + payload/64 {
		for _, sign := range []uint32{0, 1 << 31} {
			if got := Exp2(math.Float32frombits(sign | 0x7f800000 | payload)); got == got {
				t.Fatalf("Exp2 of the NaN %#08x is %v", sign|0x7f800000|payload, got)
			}
		}
	}
}

// TestExp2Range: no result but 0 is less than the least normal number, or more
// than 1.
func TestExp2Range(t *testing.T) {
	for b := uint32(1 << 31); b <= 0xff800000; b += 4999 {
		if p := Exp2(math.Float32frombits(b)); !(p == 0 || 0x1p-126 <= p && p <= 1) || math.Signbit(float64(p)) {
			t.Fatalf("Exp2(%v) = %v", math.Float32frombits(b), p)
		}
	}
	for y := float32(-62); y >= -64; y = math.Nextafter32(y, -65) {
		if p := Exp2(y); (y < ExpMin) != (p == 0) || p != 0 && p < 0x1p-126 {
			t.Fatalf("Exp2(%v) = %v", y, p)
		}
	}
}

// exactExp2 is Exp2 in its steps.
func exactExp2(y float32) float32 {
	if y < ExpMin {
		return 0
	}
	t := y + ExpMagic
	f := y - float32(t-ExpMagic)
	p := expPoly[6]
	for i := 5; i >= 0; i-- {
		p = ExactFMA(p, f, expPoly[i])
	}
	return float32(p * math.Float32frombits(math.Float32bits(t)<<23))
}

// TestExp2Steps holds the bits of Exp2 against its steps.
func TestExp2Steps(t *testing.T) {
	stride := uint32(97)
	if testing.Short() {
		stride = 9973
	}
	for b := uint32(1 << 31); b <= 0xff900000; b += stride {
		y := math.Float32frombits(b)
		if got, want := Exp2(y), exactExp2(y); !same(got, want) {
			t.Fatalf("Exp2(%x) = %x, want %x", y, got, want)
		}
	}
}

// TestHornerTies has the arguments from 2^-30 on of which a sum, rounded to float64, looks
// like a tie: in 9 it is none.
func TestHornerTies(t *testing.T) {
	for _, f := range []float32{0x1.f446a4p-15, -0x1.8342p-07, -0x1.d108p-06, 0x1.5e02bp-04, -0x1.076dp-03, -0x1.1149p-03, -0x1.373d7p-03, 0x1.3b07p-03, 0x1.501p-03, -0x1.68p-03, -0x1.bcp-03, -0x1.c48p-03, 0x1.e476p-03, -0x1.ff31p-03, 0x1p-02, -0x1p-02} {
		p, ties := expPoly[6], 0
		for i := 5; i >= 0; i-- {
			if ambiguous(wideFMA(p, f, expPoly[i])) {
				ties++
			}
			p = ExactFMA(p, f, expPoly[i])
			if got := horner(f, i); !same(got, p) {
				t.Errorf("from %d on at %x: %x, want %x", i, f, got, p)
			}
		}
		if ties == 0 {
			t.Errorf("no tie at %x", f)
		}
	}
}

func BenchmarkExp2(b *testing.B) {
	y := float32(-3.3)
	for b.Loop() {
		Exp2(y)
	}
}
