package kernel

import (
	"math"
	"testing"
)

// TestSoftcap bounds the error of the hyperbolic tangent in ulps of the result, of those
// of 2^-126 where it is subnormal.
func TestSoftcap(t *testing.T) {
	stride := uint32(7)
	if testing.Short() {
		stride = 2003
	}
	top := math.Float32bits(40)
	var worst, relative float64
	var at float32
	for b := uint32(1); b < top; b += stride {
		s := math.Float32frombits(b)
		if s < 0x1p-20 {
			b += 50 * stride // a product by ln(2)
		}
		want := math.Tanh(math.Ln2 * float64(s))
		got := float64(Softcap(s, 1, 1))
		if got > 1 || float64(Softcap(-s, 1, 1)) != -got {
			t.Fatalf("Softcap(%x) = %x, Softcap(%x) = %x", s, got, -s, Softcap(-s, 1, 1))
		}
		e := max(math.Ilogb(want), -126)
		if err := math.Abs(got-want) * math.Ldexp(1, 23-e); !(err <= worst) {
			worst, at = err, s
		}
		if want >= 0x1p-126 {
			relative = max(relative, math.Abs(got/want-1))
		}
	}
	t.Logf("largest error: %.4f ulp, at %x; relative: %.3g", worst, at, relative)
	if !(worst <= 3) {
		t.Errorf("Softcap(%x) = %x, wrong by %v ulp", at, Softcap(at, 1, 1), worst)
	}
}

func TestSoftcapSpecial(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct{ s, in, out, want float32 }{
		{0, 1, 30, 0},
		{math.SmallestNonzeroFloat32, 0.5, 30, 0}, // the product underflows
		{inf, 1e-3, 30, 30},
		{inf, 1, inf, inf},
		{math.MaxFloat32, 1, 30, 30},
		{math.MaxFloat32, math.MaxFloat32, 30, 30}, // the product overflows
		{-SoftcapMin, 1, 30, 30},
		{14, 1, 30, 30}, // 4^-14 is lost beside 1
	} {
		for sign := range 2 {
			if got := Softcap(c.s, c.in, c.out); !same(got, c.want) {
				t.Errorf("Softcap(%v, %v, %v) = %v, want %v", c.s, c.in, c.out, got, c.want)
			}
			if sign == 0 {
				c.s, c.want = -c.s, -c.want
			}
		}
	}
	nan := float32(math.NaN())
	for _, c := range [][3]float32{{nan, 1, 1}, {-nan, 1, 1}, {1, nan, 1}, {1, 1, nan}, {0, inf, 1}, {0, 1, inf}} {
		if got := Softcap(c[0], c[1], c[2]); got == got {
			t.Errorf("Softcap(%v, %v, %v) = %v", c[0], c[1], c[2], got)
		}
	}
}

func BenchmarkSoftcap(b *testing.B) {
	for b.Loop() {
		Softcap(3.3, 0.1, 10)
	}
}
