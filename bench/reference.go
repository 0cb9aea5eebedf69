package bench

import "math"

// A ReferenceRow is one row of attention in float64, and how far from it a float32
// result may be.
type ReferenceRow struct {
	Out      []float64
	OutBound []float64
	LSE      float64
	LSEBound float64
}

// Reference computes the row of a query as it is written down: scores, their
// maximum, exponentials, a weighted mean. It shares no code with the kernels.
//
// The bounds follow to first order from the float32 arithmetic that docs/numerics.md
// lays down, u = 2^-24, d = DimQK, n keys in b = ceil(n/128) blocks:
//
//   - A score s = c Σ q·k is a chain of d fused operations on a query that was
//     multiplied by a rounded c: its error is at most (d+3)u A, A = c Σ |q·k|. The
//     difference to the running maximum m rounds once for each time that m moves, by
//     at most u|s-m| in sum, and so often does exp2 err by 2u (1 ulp). So a weight w has
//     the relative error η = (d+3)u A + u|s-m| + 2u(b+1).
//   - A sum over keys is a chain within a block and a chain of blocks: ρ = (min(n, 128)
//   - b)u more.
//   - Out = N/l with N = Σ w v, l = Σ w. With weights that sum to 1, N errs by at most
//     Σ w(η+ρ)|v|, l by Σ wη + ρ, and 1/l and the product by it round: 2u|out|.
//   - LSE = m + ln l errs by the relative error of l and one rounding.
//
// Products of two such terms, and weights below 2^-126, are allowed for by a hundredth
// more and by 1e-30.
func (o *Operands) Reference(batch, head, query int) ReferenceRow {
	const u = 1.0 / (1 << 24)
	s := o.Shape
	kvHead := batch*s.KVHeads + head/(s.Heads/s.KVHeads)
	q := o.Q[((batch*s.Heads+head)*s.SeqQ+query)*s.DimQK:][:s.DimQK]
	keys := s.Keys(query)
	r := ReferenceRow{
		Out:      make([]float64, s.DimV),
		OutBound: make([]float64, s.DimV),
		LSE:      math.Inf(-1),
	}
	if keys == 0 {
		return r
	}

	scale := 1 / math.Sqrt(float64(s.DimQK))
	score := make([]float64, keys)
	size := make([]float64, keys) // A
	top := math.Inf(-1)
	for j := range score {
		k := o.K[(kvHead*s.SeqKV+j)*s.DimQK:][:s.DimQK]
		var dot, abs float64
		for i, x := range q {
			p := float64(x) * float64(k[i])
			dot += p
			abs += math.Abs(p)
		}
		score[j], size[j] = scale*dot, scale*abs
		top = max(top, score[j])
	}

	weight := score
	var sum float64
	blocks := float64((keys + 127) / 128)
	relative := size // η
	for j := range weight {
		relative[j] = (float64(s.DimQK+3)*size[j] + (top - score[j]) + 2*(blocks+1)) * u
		weight[j] = math.Exp(score[j] - top)
		sum += weight[j]
	}

	rho := (float64(min(keys, 128)) + blocks) * u
	sumError := rho
	for j, w := range weight {
		w /= sum
		sumError += w * relative[j]
		v := o.V[(kvHead*s.SeqKV+j)*s.DimV:][:s.DimV]
		for i, x := range v {
			r.Out[i] += w * float64(x)
			r.OutBound[i] += w * (relative[j] + rho) * math.Abs(float64(x))
		}
	}
	const second, least = 1.01, 1e-30
	for i, x := range r.Out {
		r.OutBound[i] = second*(r.OutBound[i]+math.Abs(x)*(sumError+2*u)) + least
	}
	r.LSE = top + math.Log(sum)
	r.LSEBound = second*(sumError+u*math.Abs(r.LSE)) + least
	return r
}
