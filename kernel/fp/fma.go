package fp

import (
	"math"
	"math/bits"
)

// ExactFMA returns x*y + z with one rounding, as a hardware float32 fused multiply-add
// does, on every architecture. [FMA] is the same and faster where hardware has one.
func ExactFMA(x, y, z float32) float32 {
	s := wideFMA(x, y, z)
	if ambiguous(s) {
		s = oddFMA(x, y, z)
	}
	return float32(s)
}

// wideFMA returns x*y + z rounded to float64. Unless it is ambiguous, rounding it to float32
// gives FMA, which is too large to be inlined where it is ExactFMA.
func wideFMA(x, y, z float32) float64 {
	return float64(x)*float64(y) + float64(z) // the product is exact
}

// A float64 has dropped more bits than a float32 holds; half are those of half a last place.
const (
	dropped = 1<<29 - 1
	half    = 1 << 28
)

// ambiguous reports whether s, a sum rounded to float64, may round to another
// float32 than the exact sum does: where it lies exactly between two float32, or
// below the normal range, where float32 has fewer bits.
func ambiguous(s float64) bool {
	const minNormal = 1023 - 126 // the float64 exponent field of 2^-126
	b := math.Float64bits(s)
	return b&dropped == half || b<<1-1<<53 < (minNormal-1)<<53 // wraps for a zero
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

// Rotate returns a pair rotated by an angle as every Set does it.
func Rotate(x0, x1, cos, sin float32) (y0, y1 float32) {
	p0, p1 := float32(x0*cos), float32(x1*cos)
	if !Fused {
		t0, t1 := wideFMA(-sin, x1, p0), wideFMA(sin, x0, p1)
		if !ambiguous(t0) && !ambiguous(t1) {
			return float32(t0), float32(t1)
		}
	}
	return FMA(-sin, x1, p0), FMA(sin, x0, p1)
}

// AddSquares adds the square of each of at most 16 numbers to a sum of its own, by a fused
// multiply-add.
func AddSquares(sums *[16]float32, x []float32) {
	for i, x := range x {
		s := &sums[i]
		if !Fused {
			if t := wideFMA(x, x, *s); !ambiguous(t) {
				*s = float32(t)
				continue
			}
		}
		*s = FMA(x, x, *s)
	}
}

// ChainLanes is the number of chains of a [Chains].
const ChainLanes = 8

// Chains are sums, a lane each, that [Chains.Add] adds to. A Term holds a float32.
type Chains [ChainLanes]Term

// A Span bounds the exponents of numbers, from [NoSpan] on.
type Span struct{ low, high uint32 }

// NoSpan is the span of no number, and of zeros; AnySpan that of all.
var (
	NoSpan  = Span{low: math.MaxUint32}
	AnySpan = Span{high: math.MaxUint32}
)

// And returns the span of what s spans and x.
func (s Span) And(x float32) Span {
	b := math.Float32bits(x) << 1
	return Span{min(s.low, b-1), max(s.high, b)} // a zero wraps
}

// AndBits returns the span of what s spans and numbers of which the least but for zeros has
// at least the bits low/2, and the largest at most high/2, without their signs; both as far as
// their exponents go.
func (s Span) AndBits(low, high uint32) Span { return Span{min(s.low, low), max(s.high, high)} }

// finite reports whether no number is an infinity or a NaN.
func (s Span) finite() bool { return s.high < 0xff<<24 }

// Plain reports whether no sum of n products of a number of s and one of t overflows, and
// every such sum below the normal range is one that float32 holds: a multiple of the
// product of last places that is at least 2^-149.
func (s Span) Plain(t Span, n int) bool {
	return s.finite() && t.finite() &&
		s.low>>24+t.low>>24 >= 2*(127+23)-149 &&
		s.high>>24+t.high>>24+uint32(bits.Len(uint(n))) <= 2*127+124
}
