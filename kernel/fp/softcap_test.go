package fp

import (
	"math"
	"sync"
	"testing"
)

func exactSoftcap(s float64) float64 { return math.Tanh(math.Ln2 * s) }

// TestSoftcap bounds the error of the hyperbolic tangent at float32 up to 40, of which fewer below
// 2^-20, where it is a product by ln(2). Each one above is what -exhaustive is for.
func TestSoftcap(t *testing.T) {
	var mu sync.Mutex
	var relative worstCase
	worst := eachFloat(1, math.Float32bits(40)-1, func(lo, hi uint32) (worst worstCase) {
		var rel worstCase
		stride := uint64(strideOf(37, 2003))
		exact := curveOf(exactSoftcap)
		for b := uint64(lo); b <= uint64(hi); b += stride {
			s, want := math.Float32frombits(uint32(b)), exact.at(uint32(b))
			if s < 0x1p-20 {
				b += 50 * stride
			}
			got := float64(Softcap(s, 1, 1))
			if got > 1 || float64(Softcap(-s, 1, 1)) != -got {
				t.Errorf("Softcap(%x) = %x, Softcap(%x) = %x", s, got, -s, Softcap(-s, 1, 1))
				return worst
			}
			worst.note(s, ulpsOf(got, want))
			if want >= 0x1p-126 {
				rel.note(s, math.Abs(got/want-1))
			}
		}
		mu.Lock()
		relative.note(rel.at, rel.error)
		mu.Unlock()
		return worst
	})
	t.Logf("largest error: %.4f ulp, at %x; relative: %.3g", worst.error, worst.at, relative.error)
	if !(worst.error <= 3) {
		t.Errorf("Softcap(%x) = %x, wrong by %v ulp", worst.at, Softcap(worst.at, 1, 1), worst.error)
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
