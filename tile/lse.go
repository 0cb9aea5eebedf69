package tile

import (
	"math"
	"unsafe"
)

// writeLSE writes the log-sum-exp of a lane group's rows.
func (g *laneGroup) writeLSE(at *cursor) {
	maxs, sums := unsafe.Slice(g.max, g.lanes), unsafe.Slice(g.sum, g.lanes)
	for l := range g.rows {
		head, pos := g.of(l)
		*at.problem.lse(&at.seq, head, pos) = logSumExp(maxs[l], sums[l])
	}
}

// lse returns the address of the log-sum-exp of a head and position.
func (p *Problem) lse(s *seq, head, pos int) *float32 {
	tokens := p.TokensQ // of a sequence on the operands' seq axis
	if p.CuQ == nil {
		tokens = p.SeqQ
	}
	return (*float32)(unsafe.Add(p.LSE, 4*((s.batch*p.Heads+head)*tokens+s.q0+pos)))
}

// logSumExp returns the natural logarithm of the sum of exponentials of a row: its
// maximum in units of log2(e)/2, and the sum of weights relative to it.
func logSumExp(top, sum float32) float32 {
	if sum == 0 {
		return float32(math.Inf(-1))
	}
	return float32(float64(float64(top)*(2*math.Ln2)) + Log(float64(sum)))
}

var oddReciprocals = [7]float64{1, 1. / 3, 1. / 5, 1. / 7, 1. / 9, 1. / 11, 1. / 13}

// Log returns the natural logarithm of x >= 1 to a relative 2e-12, far below what
// float32 resolves. The functions of package math differ in their last bits between
// architectures; this one does not: each product is rounded (the conversions
// forbid fusing).
func Log(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return x
	}
	m, e := math.Frexp(x) // m in [1/2, 1)
	if m < math.Sqrt2/2 {
		m, e = 2*m, e-1
	}
	// log m = 2 artanh(s) = 2 (s + s^3/3 + s^5/5 + ...), |s| < 0.172.
	s := (m - 1) / (m + 1)
	z := float64(s * s)
	t := 0.0
	for i := len(oddReciprocals) - 1; i >= 0; i-- {
		t = float64(t*z) + oddReciprocals[i]
	}
	return float64(float64(e)*math.Ln2) + float64(2*float64(s*t))
}
