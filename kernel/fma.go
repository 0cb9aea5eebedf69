package kernel

import "math"

// FMA returns x*y + z with one rounding, as a hardware float32 fused
// multiply-add does.
func FMA(x, y, z float32) float32 {
	s := WideFMA(x, y, z)
	if Ambiguous(s) {
		s = oddFMA(x, y, z)
	}
	return float32(s)
}

// WideFMA returns x*y + z rounded to float64. Unless it is [Ambiguous], rounding
// it to float32 gives [FMA], which is too large to be inlined: loops take this
// pair, and FMA where it fails.
func WideFMA(x, y, z float32) float64 {
	return float64(x)*float64(y) + float64(z) // the product is exact
}

// Ambiguous reports whether s, a sum rounded to float64, may round to another
// float32 than the exact sum does: where it lies exactly between two float32, or
// below the normal range, where float32 has fewer bits.
func Ambiguous(s float64) bool {
	const minNormal = 1023 - 126 // the float64 exponent field of 2^-126
	b := math.Float64bits(s)
	return b<<35 == 1<<63 || b<<1-1<<53 < (minNormal-1)<<53 // wraps for a zero
}

// oddFMA returns x*y + z rounded to odd in float64, which makes another rounding
// to float32 correct (Boldo and Melquiond, Emulation of FMA and correctly rounded
// sums, 2008).
func oddFMA(x, y, z float32) float64 {
	p, c := float64(x)*float64(y), float64(z)
	s := p + c
	// TwoSum (Knuth): s + e == p + c exactly.
	t := s - p
	e := (p - (s - t)) + (c - t)
	if e != 0 && !math.IsNaN(e) {
		b := math.Float64bits(s)
		if b&1 == 0 {
			if (e > 0) == (s > 0) {
				b++
			} else {
				b--
			}
		}
		s = math.Float64frombits(b)
	}
	return s
}
