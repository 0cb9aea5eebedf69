//go:build !(arm64 || riscv64 || s390x || ppc64 || ppc64le || loong64)

package fp

import (
	"math"

	"github.com/qkv-go/qkv/internal/ptr"
)

// Fused reports whether a fused multiply-add of float32 is an instruction that the
// compiler uses.
const Fused = false

// A Term is an operand of [Chains], a float32 in the bits of a float64.
type Term = float64

// FMA returns x*y + z with one rounding.
func FMA(x, y, z float32) float32 { return ExactFMA(x, y, z) }

// horner returns the polynomial of expPoly from coefficient last on, divided by the power
// of f that it begins with, for |f| at most 1/4: all sums are normal numbers.
func horner(f float32, last int) float32 {
	p, x := wideExpPoly[6], float64(f)
	for i := 5; i >= last; i-- {
		b := math.Float64bits(p*x+wideExpPoly[i]) + half
		if b&dropped == 0 {
			p = float64(ExactFMA(float32(p), f, expPoly[i]))
			continue
		}
		p = math.Float64frombits(b &^ dropped)
	}
	return float32(p)
}

var wideExpPoly = func() (wide [ExpTerms]float64) {
	for i, c := range expPoly {
		wide[i] = float64(c)
	}
	return
}()

// Add adds x[i*step] * y[i] to the sums for each i below n, upwards, each with one rounding.
// xs and ys span x and y, and depth is the number of terms of the whole sums, of which n may
// be a part.
//
// A sum is rounded twice: to float64 by the processor, and then to float32, by adding half a
// last place to its bits and dropping those below. That gives what one rounding gives, except
// where nothing is left to drop: the sum was a tie, or the first rounding made it look like
// one. The lane in which that happens, and those behind it, take ExactFMA for this term. So do
// lanes whose sum leaves the normal range, in which a float32 has 24 bits, unless xs and ys
// rule that out.
func (c *Chains) Add(x *float32, step int, y *[ChainLanes]Term, n int, xs, ys Span, depth int) {
	plain := xs.Plain(ys, depth)
	for i := 0; i < n; i++ {
		var lane int
		if plain {
			i, lane = c.plain(x, step, y, i, n)
		} else {
			i, lane = c.ranged(x, step, y, i, n)
		}
		if i == n {
			return
		}
		for l := lane; l < ChainLanes; l++ {
			c[l] = float64(ExactFMA(*ptr.At(x, i*step), float32(ptr.At(y, i)[l]), float32(c[l])))
		}
	}
}

// plain adds terms i to n-1 to all lanes, or ends before a lane of a term that may round wrong.
// Sums have 24 bits whatever their exponent.
func (c *Chains) plain(x *float32, step int, terms *[ChainLanes]float64, i, n int) (end, lane int) {
	s0, s1, s2, s3, s4, s5, s6, s7 := c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
	for ; i < n; i++ {
		e, y := float64(*ptr.At(x, i*step)), ptr.At(terms, i)
		b := math.Float64bits(e*y[0]+s0) + half
		if b&dropped == 0 {
			lane = 0
			break
		}
		s0 = math.Float64frombits(b &^ dropped)
		b = math.Float64bits(e*y[1]+s1) + half
		if b&dropped == 0 {
			lane = 1
			break
		}
		s1 = math.Float64frombits(b &^ dropped)
		b = math.Float64bits(e*y[2]+s2) + half
		if b&dropped == 0 {
			lane = 2
			break
		}
		s2 = math.Float64frombits(b &^ dropped)
		b = math.Float64bits(e*y[3]+s3) + half
		if b&dropped == 0 {
			lane = 3
			break
		}
		s3 = math.Float64frombits(b &^ dropped)
		b = math.Float64bits(e*y[4]+s4) + half
		if b&dropped == 0 {
			lane = 4
			break
		}
		s4 = math.Float64frombits(b &^ dropped)
		b = math.Float64bits(e*y[5]+s5) + half
		if b&dropped == 0 {
			lane = 5
			break
		}
		s5 = math.Float64frombits(b &^ dropped)
		b = math.Float64bits(e*y[6]+s6) + half
		if b&dropped == 0 {
			lane = 6
			break
		}
		s6 = math.Float64frombits(b &^ dropped)
		b = math.Float64bits(e*y[7]+s7) + half
		if b&dropped == 0 {
			lane = 7
			break
		}
		s7 = math.Float64frombits(b &^ dropped)
	}
	*c = Chains{s0, s1, s2, s3, s4, s5, s6, s7}
	return i, lane
}

// ranged is plain for sums of any size: it ends where one is not a normal float32, or zero.
func (c *Chains) ranged(x *float32, step int, terms *[ChainLanes]float64, i, n int) (end, lane int) {
	s0, s1, s2, s3, s4, s5, s6, s7 := c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
	for ; i < n; i++ {
		e, y := float64(*ptr.At(x, i*step)), ptr.At(terms, i)
		b := math.Float64bits(e*y[0]+s0) + half
		if b&dropped == 0 || outside(b) {
			lane = 0
			break
		}
		s0 = math.Float64frombits(b &^ dropped)
		b = math.Float64bits(e*y[1]+s1) + half
		if b&dropped == 0 || outside(b) {
			lane = 1
			break
		}
		s1 = math.Float64frombits(b &^ dropped)
		b = math.Float64bits(e*y[2]+s2) + half
		if b&dropped == 0 || outside(b) {
			lane = 2
			break
		}
		s2 = math.Float64frombits(b &^ dropped)
		b = math.Float64bits(e*y[3]+s3) + half
		if b&dropped == 0 || outside(b) {
			lane = 3
			break
		}
		s3 = math.Float64frombits(b &^ dropped)
		b = math.Float64bits(e*y[4]+s4) + half
		if b&dropped == 0 || outside(b) {
			lane = 4
			break
		}
		s4 = math.Float64frombits(b &^ dropped)
		b = math.Float64bits(e*y[5]+s5) + half
		if b&dropped == 0 || outside(b) {
			lane = 5
			break
		}
		s5 = math.Float64frombits(b &^ dropped)
		b = math.Float64bits(e*y[6]+s6) + half
		if b&dropped == 0 || outside(b) {
			lane = 6
			break
		}
		s6 = math.Float64frombits(b &^ dropped)
		b = math.Float64bits(e*y[7]+s7) + half
		if b&dropped == 0 || outside(b) {
			lane = 7
			break
		}
		s7 = math.Float64frombits(b &^ dropped)
	}
	*c = Chains{s0, s1, s2, s3, s4, s5, s6, s7}
	return i, lane
}

// outside reports whether a sum, of the bits b after half a last place was added, is neither
// a zero nor normal in float32.
func outside(b uint64) bool {
	const low, high = (1023 - 126) << 53, (1023 + 128) << 53
	return b<<1-low >= high-low && b<<1 > half<<1
}
