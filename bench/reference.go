package bench

import (
	"context"
	"math"
)

// A ReferenceRow is one row of attention in float64, and how far from it a float32
// result may be.
type ReferenceRow struct {
	Out      []float64
	OutBound []float64
	LSE      float64
	LSEBound float64
}

// A referenceKey is a key that a row attends, or the sink of its head, which has no value.
type referenceKey struct {
	value []float32
	index int // in its sequence
	row   int // of V
	score float64
	error float64 // of the score, at most
}

// Reference computes the row of a query as it is written down: scores and what changes
// them, their maximum, exponentials, a weighted mean. It shares no code with the kernels.
//
// The bounds follow to first order from the float32 arithmetic that docs/numerics.md
// lays down, u = 2^-24, d = DimQK, n keys in b blocks of 128:
//
//   - A score s = c Σ q·k is a chain of d fused operations on a query that was
//     multiplied by a rounded c: its error ε is at most (d+3)u A, A = c Σ |q·k|.
//   - Softcap makes s' = C tanh(s/C) of it, whose slope is 1 - (s'/C)². Two roundings of
//     the argument err by 2u|s| times that, at most 2u|s'|, and a dozen roundings in the
//     tangent and its factor, some of which count twice, by at most 14u|s'|:
//     ε' = (1 - (s'/C)²) ε + 16u|s'|.
//   - ALiBi adds t = -slope·distance. Slope, position and distance round, then the sum:
//     ε' = ε + 3u|t| + u|s'|. A bias t has a rounded factor: ε' = ε + u|t| + u|s'|.
//   - The difference to the running maximum m rounds once for each time that m moves, by
//     at most u|s-m| in sum, and so often does exp2 err by 2u (1 ulp). So a weight w has
//     the relative error η = ε + u|s-m| + 2u(b+1).
//   - A sink is a score that rounds once, ε = u|s|, with a value of 0.
//   - A sum over keys is a chain within a block and a chain of blocks, which errs by
//     ρ = (min(n, 128) + b)u more.
//   - Where chunks of blocks are summed apart and merged, a weight goes through the blocks of
//     its chunk and one merge for each chunk: no more than b + 1 in all.
//   - Out = N/l with N = Σ w v, l = Σ w. With weights that sum to 1, N errs by at most
//     Σ w(η+ρ)|v|, l by Σ wη + ρ, and 1/l and the product by it round: 2u|out|.
//   - LSE = m + ln l errs by the relative error of l and one rounding.
//
// What a class rounds besides is added, see Shape.scoreError and addIntegerError.
//
// Keys and values are the numbers that their type stores: how they were rounded to it
// does not count. Products of two such terms, and weights below 2^-126, are allowed for by a hundredth
// more and by 1e-30.
func (o *Operands) Reference(batch, head, query int) ReferenceRow {
	return o.reference(context.Background(), batch, head, query)
}

// reference is Reference, of fewer keys once the context is done.
func (o *Operands) reference(ctx context.Context, batch, head, query int) ReferenceRow {
	s := o.Shape
	r := ReferenceRow{
		Out:      make([]float64, s.DimV),
		OutBound: make([]float64, s.DimV),
		LSE:      math.Inf(-1),
	}
	p := newPairs(s)
	if queries, _ := p.length(batch); query >= queries {
		return r // padding
	}
	keys, blocks := o.referenceKeys(ctx, p, batch, head, query)
	attended := len(keys)
	if o.Sinks != nil {
		x := float64(o.Sinks[head])
		keys = append(keys, referenceKey{score: x, error: unit * math.Abs(x)})
	}
	if len(keys) == 0 {
		return r
	}

	top := math.Inf(-1)
	for _, k := range keys {
		top = max(top, k.score)
	}
	var sum float64
	weight, relative := make([]float64, len(keys)), make([]float64, len(keys)) // w, η
	for j, k := range keys {
		relative[j] = k.error + ((top-k.score)+2*float64(blocks+1))*unit
		weight[j] = math.Exp(k.score - top)
		sum += weight[j]
	}

	rho := float64(min(attended, 128)+blocks) * unit
	rounds := 0.0 // of a weight and of a value
	if s.roundedValues() {
		rounds = 2.0 / (1 << 8)
	}
	sumError := rho
	for j := range weight {
		weight[j] /= sum
	}
	if s.integerValues() {
		o.addIntegerError(&r, keys[:attended], weight)
	}
	for j, w := range weight {
		sumError += w * relative[j]
		for i, x := range keys[j].value {
			r.Out[i] += w * float64(x)
			r.OutBound[i] += w * (relative[j] + rho + rounds) * math.Abs(float64(x))
		}
	}
	const second, least = 1.01, 1e-30
	for i, x := range r.Out {
		if attended > 0 {
			r.OutBound[i] = second*(r.OutBound[i]+math.Abs(x)*(sumError+2*unit)) + least
		}
	}
	r.LSE = top + math.Log(sum)
	r.LSEBound = second*(sumError+unit*math.Abs(r.LSE)) + least
	return r
}

// unit is the largest relative error of a float32 rounding.
const unit = 1.0 / (1 << 24)

// referenceKeys returns the keys that a query attends, and in how many blocks they are.
func (o *Operands) referenceKeys(ctx context.Context, p *pairs, batch, head, query int) (keys []referenceKey, blocks int) {
	s := o.Shape
	kvHead := head / (s.Heads / s.KVHeads)
	q := o.Q[o.queryRow(batch, head, query)*s.DimQK:][:s.DimQK]
	position := p.position(batch, query)
	scale := 1 / math.Sqrt(float64(s.DimQK))
	last := -1 // block
	room := make([]float32, s.DimQK)
	for _, x := range p.of(batch, query) {
		for j := x.from; j < x.to; j++ {
			if !s.Mask.kept(query, j) {
				continue
			}
			if j/128 != last {
				last = j / 128
				blocks++
				if ctx.Err() != nil {
					return keys, blocks
				}
			}
			var dot, abs float64
			row := o.keyRow(batch, kvHead, j)
			key := o.K.row(row, room)
			for i, k := range key {
				p := float64(q[i]) * float64(k)
				dot += p
				abs += math.Abs(p)
			}
			k := referenceKey{
				value: o.V.row(row, nil),
				index: j,
				row:   row,
				score: scale * dot,
				error: scale * (float64(s.DimQK+3)*unit*abs + s.scoreError(q, key)),
			}
			if c := float64(float32(s.Values.Softcap)); c != 0 {
				t := math.Tanh(k.score / c)
				k.score = c * t
				k.error = (1-t*t)*k.error + 16*unit*math.Abs(k.score)
			}
			if o.ALiBi != nil {
				k.add(-float64(o.ALiBi[head])*math.Abs(float64(position-int64(j))), 3)
			}
			if s.Values.Bias.Given {
				k.add(o.bias(head, query, j), 1)
			}
			keys = append(keys, k)
		}
	}
	return keys, blocks
}

// add adds to the score what has that many roundings of its own.
func (k *referenceKey) add(x, roundings float64) {
	k.score += x
	k.error += unit * (roundings*math.Abs(x) + math.Abs(k.score))
}
