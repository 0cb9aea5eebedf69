package fp

import (
	"math"
	"testing"
)

// TestQuotients: the product of a number and the reciprocal of a scale, corrected once, rounds to
// the same integer as their quotient, for scales of every fraction (or a sample, without
// -exhaustive) and numbers about where the integer changes. Store of Int8 divides so; a power of
// two of the scale changes nothing while all numbers are normal.
func TestQuotients(t *testing.T) {
	const one = 0x3f800000
	stride := strideOf(1009, 10007)
	eachFloat(0, (1<<23-1)/stride, func(lo, hi uint32) worstCase {
		for i := lo; i <= hi; i++ {
			s := math.Float32frombits(one + i*stride)
			r := 1 / s
			for k := range 127 {
				near := math.Float32bits((float32(k) + 0.5) * s)
				for b := near - 3; b <= near+3; b++ {
					x := math.Float32frombits(b)
					q := float32(x * r)
					q = FMA(FMA(-q, s, x), r, q)
					if got, want := math.RoundToEven(float64(q)), math.RoundToEven(float64(x/s)); got != want {
						t.Errorf("%v / %v: %v, want %v", x, s, got, want)
						return worstCase{}
					}
				}
			}
		}
		return worstCase{}
	})
}
