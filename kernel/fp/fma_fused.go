//go:build arm64 || riscv64 || s390x || ppc64 || ppc64le || loong64

package fp

import "github.com/qkv-go/qkv/internal/ptr"

// Fused reports whether a fused multiply-add of float32 is an instruction that the
// compiler uses.
const Fused = true

// A Term is an operand of [Chains], a float32.
type Term = float32

// FMA returns x*y + z with one rounding: the compiler makes one instruction of it on these
// architectures. (amd64 is none of them: there it does not where an operand comes from memory.)
// The language allows that and does not promise it, so the tests hold the bits of everything
// that uses it against ExactFMA.
func FMA(x, y, z float32) float32 { return x*y + z }

// horner returns the polynomial of expPoly from coefficient last on, divided by the power
// of f that it begins with.
func horner(f float32, last int) float32 {
	p := expPoly[6]
	for i := 5; i >= last; i-- {
		p = FMA(p, f, expPoly[i])
	}
	return p
}

// Add adds x[i*step] * terms[i] to the sums for each i below n, upwards, each with one rounding.
func (c *Chains) Add(x *float32, step int, terms *[ChainLanes]Term, n int, _, _ Span, _ int) {
	s0, s1, s2, s3, s4, s5, s6, s7 := c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
	for i := range n {
		e, y := *ptr.At(x, i*step), ptr.At(terms, i)
		s0 = FMA(e, y[0], s0)
		s1 = FMA(e, y[1], s1)
		s2 = FMA(e, y[2], s2)
		s3 = FMA(e, y[3], s3)
		s4 = FMA(e, y[4], s4)
		s5 = FMA(e, y[5], s5)
		s6 = FMA(e, y[6], s6)
		s7 = FMA(e, y[7], s7)
	}
	*c = Chains{s0, s1, s2, s3, s4, s5, s6, s7}
}
