package onnx

import (
	"math"
	"testing"
)

// Each 16-bit number is its own nearest, and what lies between two goes to the nearer one
// or the even one.
func TestHalf(t *testing.T) {
	for _, f := range []struct {
		name     string
		exponent int
	}{{"float16", 5}, {"bfloat16", 8}} {
		value := func(b uint16) float64 { return float64(halfValue(b, f.exponent)) }
		infinity := uint16(1<<f.exponent-1) << (15 - f.exponent)
		check := func(x float64, want uint16) {
			t.Helper()
			for _, sign := range []uint16{0, 0x8000} {
				if got := half(math.Copysign(x, 1-2*float64(sign>>15)), f.exponent); got != want|sign {
					t.Fatalf("%s: half(%g) = %#x, want %#x", f.name, x, got, want|sign)
				}
			}
		}
		for b := uint16(0); b < infinity; b++ {
			x := value(b)
			check(x, b)
			next := value(b + 1)
			if b+1 == infinity {
				next = x + (x - value(b-1)) // as if the exponents went on
			}
			middle := (x + next) / 2
			check(math.Nextafter(middle, 0), b)
			check(math.Nextafter(middle, math.Inf(1)), b+1)
			check(middle, b+b&1)
		}
		// By the definition of the format.
		fraction, bias := 15-f.exponent, 1<<(f.exponent-1)-1
		for _, b := range []uint16{0, 1, 1<<fraction - 1, 1 << fraction, infinity - 1} {
			e, n := int(b>>fraction), float64(b&(1<<fraction-1))
			if e > 0 {
				n += float64(int(1) << fraction)
			}
			if want := math.Ldexp(n, max(e, 1)-bias-fraction); value(b) != want {
				t.Errorf("%s: %#x has the value %g, want %g", f.name, b, value(b), want)
			}
		}
		check(math.Inf(1), infinity)
		check(math.MaxFloat64, infinity)
		check(0x1p-1074, 0)
		if got := half(math.NaN(), f.exponent); !math.IsNaN(value(got)) {
			t.Errorf("%s: half(NaN) = %#x", f.name, got)
		}
	}
}
