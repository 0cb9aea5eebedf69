package tile

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/kernel/fp"
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
	return float32(float64(float64(top)*(2*math.Ln2)) + fp.Log(float64(sum)))
}
