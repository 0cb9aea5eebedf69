package qkv_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

// sequence is one sequence of a batch: where its tokens lie and how many count.
type sequence struct {
	index, batch int
	q0, k0       int
	lenQ, lenKV  int
	rows, keys   int // with padding
	offset       float64
	prefix       int
	first        int
}

func (p *problem) sequences() int {
	if p.cuQ != nil {
		return len(p.cuQ) - 1
	}
	return p.q.shape[0]
}

func (p *problem) sequence(b int) sequence {
	s := sequence{index: b, batch: b, rows: p.q.shape[2], keys: p.k.shape[2]}
	s.lenQ, s.lenKV = s.rows, s.keys
	if p.lensQ != nil {
		s.lenQ = p.lensQ[b]
	}
	if p.lensKV != nil {
		s.lenKV = p.lensKV[b]
	}
	if p.cuQ != nil {
		s.batch, s.q0, s.k0 = 0, p.cuQ[b], p.cuKV[b]
		s.lenQ, s.lenKV = p.cuQ[b+1]-s.q0, p.cuKV[b+1]-s.k0
		s.rows, s.keys = s.lenQ, s.lenKV
	}
	switch p.mask.Align {
	case qkv.BottomRight:
		s.offset = float64(s.lenKV - s.lenQ)
	case qkv.AlignOffset:
		s.offset = float64(p.mask.Offset)
		if p.mask.Offsets != nil {
			s.offset = float64(p.mask.Offsets[b])
		}
	}
	s.prefix = p.mask.Prefix
	s.first = p.mask.First
	if p.mask.Prefixes != nil {
		s.prefix = p.mask.Prefixes[b]
	}
	return s
}

// lseIndex returns the index in the log-sum-exp of a query.
func (p *problem) lseIndex(s *sequence, h, i int) int {
	return (s.batch*p.q.shape[1]+h)*p.q.shape[2] + s.q0 + i
}

// shared returns the element of a tensor of pairs that broadcasts.
func shared[T qkv.Element](x *strided[T], b, h, i, j int) T {
	at := [4]int{b, h, i, j}
	for axis, n := range x.shape {
		if n == 1 {
			at[axis] = 0
		}
	}
	return x.at(at[0], at[1], at[2], at[3])
}

// masked reports whether the mask takes a pair away.
func (p *problem) masked(s *sequence, h, i, j int) bool {
	m := &p.mask
	if j >= s.lenKV {
		return true
	}
	if j >= s.prefix {
		ahead := float64(j) - (float64(i) + s.offset)
		if m.Causal && ahead > 0 {
			return true
		}
		if left, right, ok := m.Window.Bounds(); ok && (j >= s.first && left != qkv.Unbounded && ahead < -float64(left) || right != qkv.Unbounded && ahead > float64(right)) {
			return true
		}
	}
	if m.SegmentsQ != nil && m.SegmentsQ[s.batch*p.q.shape[2]+s.q0+i] != m.SegmentsKV[s.batch*p.k.shape[2]+s.k0+j] {
		return true
	}
	if b := p.blocks; b != nil {
		shape := b.shape
		if !b.Kept(min(s.index, shape[0]-1), min(h, shape[1]-1), i/b.queryBlock, j/b.keyBlock) {
			return true
		}
	}
	return p.keep != nil && !shared(p.keep, s.index, h, i, j)
}

// biasAt returns the bias of a pair, 0 if there is none.
func (p *problem) biasAt(s *sequence, h, i, j int) float64 {
	if p.bias != nil {
		return float64(shared(p.bias, s.index, h, i, j))
	}
	if p.bias16 == nil {
		return 0
	}
	x := shared(p.bias16, s.index, h, i, j)
	exp, frac := int(x>>10&31), float64(x&1023)/1024
	switch {
	case exp == 31 && frac != 0:
		return math.NaN()
	case exp == 31:
		frac = math.Inf(1)
	case exp == 0:
		frac = math.Ldexp(frac, -14)
	default:
		frac = math.Ldexp(1+frac, exp-15)
	}
	if x>>15 == 1 {
		return -frac
	}
	return frac
}

// u is the unit roundoff of float32.
const u = 0x1p-24

// row is one row in float64, and bounds of the error that a float32 computation may
// make in it.
type row struct {
	out, outTol []float64
	lse, lseTol float64
	scores      [4][]float64 // by stage
	scoresTol   [4][]float64
}

// row computes a row by the formula of [qkv.Call], step by step over all keys.
//
// The bound follows the steps; e is the absolute error of a score. A score is a sum of
// dim products, whose rounding errors are at most u * |q|·|k| each in the worst order;
// they nearly cancel, and four times the sum of magnitudes once is a bound that random
// data stay well under. Nothing after it has a slope of more than 1 but ScoreMod, so e is
// carried on, and each step adds the roundings of its own operations:
//
//   - Softcap: tanh comes from a polynomial and a division, and the argument of tanh from
//     a rounded constant; since x tanh'(x) <= tanh(x), all are relative errors of the
//     result, about one for each of its dozen operations.
//   - ALiBi and Bias: a rounded factor, and a fused sum.
//   - ScoreMod: its result is rounded; it scales e by its slope.
//
// A weight exp(s-max) has the error e, that of the rounded difference, u*|s-max|, twice
// where the maximum moved, and that of exp2 for itself and each move. The weight of
// a sink is one of a score that was rounded once. The sums over n keys, in blocks, add
// at most 2 sqrt(n) more. Weights below 2^-126 are lost.
func (p *problem) row(b, h, i int) row {
	if r, ok := p.known[[3]int{b, h, i}]; ok {
		return r
	}
	r := p.newRow(b, h, i)
	if p.known != nil {
		p.known[[3]int{b, h, i}] = r
	}
	return r
}

// newRow computes a row. It reads what nobody writes by then, and is a third of the time of a test
// under the race detector if that looks at it.
//
//go:norace
func (p *problem) newRow(b, h, i int) row {
	s := p.sequence(b)
	dim, dimV, n := p.q.shape[3], p.v.shape[3], s.keys
	var r row
	r.out, r.outTol = make([]float64, dimV), make([]float64, dimV)
	for stage := range r.scores {
		r.scores[stage], r.scoresTol[stage] = make([]float64, n), make([]float64, n)
	}
	scaled, capped, final, probs := r.scores[0], r.scores[1], r.scores[2], r.scores[3]
	r.lse = math.Inf(-1)
	if i >= s.lenQ { // padding
		for j := range n {
			scaled[j], capped[j], final[j] = math.Inf(-1), math.Inf(-1), math.Inf(-1)
		}
		return r
	}

	kh := h / (p.q.shape[1] / p.k.shape[1])
	scale := float64(p.scale)
	if scale == 0 {
		scale = 1 / math.Sqrt(float64(dim))
	}
	top := math.Inf(-1)
	if p.sinks != nil {
		top = float64(p.sinks[h])
	}
	q := make([]float64, dim)
	for d := range q {
		q[d] = float64(p.q.at(s.batch, h, s.q0+i, d)) * scale
	}
	if p.precision == qkv.PrecisionBFloat16 {
		p.roundQuery(q, rowOf(p.q, s.batch, h, s.q0+i), scale)
	}
	score := func(j int) (x, e float64) {
		key := p.k.index(s.batch, kh, s.k0+j, 0)
		for d, q := range q {
			y := q * multiplied(p.k.data[key+d*p.k.stride[3]], p.precision == qkv.PrecisionBFloat16)
			x += y
			e += 4 * u * math.Abs(y)
		}
		return x, e
	}
	if p.precision == qkv.PrecisionInt8 && p.keys != qkv.TypeFloat32 {
		score = p.int8Scores(rowOf(p.q, s.batch, h, s.q0+i), scale, func(j int) []float32 { return rowOf(p.k, s.batch, kh, s.k0+j) })
	}
	for j := range n {
		x, e := score(j)
		scaled[j] = x
		r.scoresTol[qkv.StageScaled][j] = e + 3*u*math.Abs(x)
		if c := float64(p.softcap); c != 0 {
			x = c * math.Tanh(x/c)
			e += 12 * u * math.Abs(x)
		}
		capped[j], r.scoresTol[qkv.StageCapped][j] = x, e+3*u*math.Abs(x)
		if p.alibi != nil {
			y := float64(p.alibi[h]) * math.Abs(float64(i)+s.offset-float64(j))
			x -= y
			e += u * (3*math.Abs(y) + math.Abs(x))
		}
		bias := p.biasAt(&s, h, i, j)
		if bias != 0 {
			x += bias
			e += u * (2*math.Abs(bias) + math.Abs(x))
		}
		if p.scoreMod != nil {
			x = p.scoreMod.at(b, h, i, j, x)
			e = e*p.scoreMod.slope + 3*u*math.Abs(x)
		}
		if p.masked(&s, h, i, j) || math.IsInf(bias, -1) {
			x, e = math.Inf(-1), 0
		}
		final[j], r.scoresTol[qkv.StageMasked][j] = x, e
		if x > math.Inf(-1) {
			r.scoresTol[qkv.StageMasked][j] += 3 * u * math.Abs(x)
		}
		top = max(top, x)
	}
	if math.IsInf(top, -1) { // not a key, and no sink
		p.reweigh(&r, &s, h, i, kh, 0)
		return r
	}

	weigh := func(x, e float64) (w, rel float64) {
		if math.IsInf(x, -1) {
			return 0, 0
		}
		return math.Exp(x - top), e + u*(2*math.Abs(x-top)+4)
	}
	sum, sumTol := 0.0, 0.0
	if p.sinks != nil {
		x := float64(p.sinks[h])
		w, rel := weigh(x, 2*u*math.Abs(x))
		sum, sumTol = w, w*rel
	}
	for j, x := range final {
		w, rel := weigh(x, r.scoresTol[qkv.StageMasked][j])
		probs[j], r.scoresTol[qkv.StageProbs][j] = w, rel
		sum += w
		sumTol += w * rel
	}
	for j := range probs {
		probs[j] /= sum
	}
	blocks := float64(n/128 + 1)
	common := sumTol/sum + u*(2*math.Sqrt(float64(n))+2*blocks+16)
	r.lse = top + math.Log(sum)
	r.lseTol = common + 2*u*math.Abs(r.lse)
	p.reweigh(&r, &s, h, i, kh, common)
	return r
}

// reweigh sums the values by what ProbMod makes of the probabilities, whose tolerances are
// relative and lack what they have in common. It is left out as newRow is.
//
//go:norace
func (p *problem) reweigh(r *row, s *sequence, h, i, kh int, common float64) {
	probs, tol := r.scores[qkv.StageProbs], r.scoresTol[qkv.StageProbs]
	sums := 2*math.Sqrt(float64(len(probs))) + 16
	var integers integerSum
	for j, w := range probs {
		e := math.Expm1(tol[j]+common)*w + 0x1p-126
		if math.IsInf(r.scores[qkv.StageMasked][j], -1) {
			e = 0
		}
		tol[j] = e
		if p.masked(s, h, i, j) || math.IsInf(p.biasAt(s, h, i, j), -1) {
			continue
		}
		if p.probMod != nil {
			w = max(0, p.probMod.at(s.index, h, i, j, w))
			e = e*p.probMod.slope + u*w
		}
		value := rowOf(p.v, s.batch, kh, s.k0+j)
		e += u * w * sums
		if p.roundsValues() { // the weight is rounded, and relative to the largest
			e += 0x1p-8*w + 0x1p-56
		}
		if p.valuePrecision == qkv.PrecisionInt8 && withIntegers(p.values) {
			integers.add(r, j, w, e, int8Key(p.values, value))
			continue
		}
		if p.values != qkv.TypeFloat32 {
			value = stored(p.values, value)
		}
		for d := range r.out {
			v := multiplied(value[d], p.roundsValues())
			r.out[d] += w * v
			r.outTol[d] += e * math.Abs(v)
		}
	}
	integers.end(r)
	for d := range r.outTol {
		r.outTol[d] += 0x1p-126
	}
}

// check compares every row, or a sample of them, with float64, and returns the largest
// error in units of its bound.
func (p *problem) check(t *testing.T, sample int) (worst float64) {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 4))
	total := 0
	for b := range p.sequences() {
		total += p.q.shape[1] * p.sequence(b).rows
	}
	near := func(got float32, want, tol float64) bool {
		g := float64(got)
		if g == want || math.IsNaN(g) && math.IsNaN(want) {
			return true
		}
		diff := math.Abs(g - want)
		if tol > 0 {
			worst = max(worst, diff/tol)
		}
		return diff <= tol
	}
	x := -1
	for b := range p.sequences() {
		s := p.sequence(b)
		for h := range p.q.shape[1] {
			for i := range s.rows {
				x++
				if sample > 0 && total > sample && x != 0 && x != total-1 && r.IntN(total) >= sample {
					continue
				}
				want := p.row(b, h, i)
				for d, y := range want.out {
					if got := p.out.at(s.batch, h, s.q0+i, d); !near(got, y, want.outTol[d]) {
						t.Fatalf("out[%d,%d,%d,%d] = %g, want %g ± %g", b, h, i, d, got, y, want.outTol[d])
					}
				}
				if p.lse != nil {
					if got := p.lse[p.lseIndex(&s, h, i)]; !near(got, want.lse, want.lseTol) {
						t.Fatalf("lse[%d,%d,%d] = %g, want %g ± %g", b, h, i, got, want.lse, want.lseTol)
					}
				}
				if p.scores == nil {
					continue
				}
				for j, y := range want.scores[p.scoresAt] {
					if got := p.scores.at(b, h, i, j); !near(got, y, want.scoresTol[p.scoresAt][j]) {
						t.Fatalf("scores[%d,%d,%d,%d] at stage %d = %g, want %g ± %g",
							b, h, i, j, p.scoresAt, got, y, want.scoresTol[p.scoresAt][j])
					}
				}
			}
		}
	}
	return worst
}

// checkUnwritten reports what was written outside the rows and pairs of the sequences.
func (p *problem) checkUnwritten(t *testing.T) {
	t.Helper()
	checkGaps(t, p.out)
	if p.scores != nil {
		checkGaps(t, p.scores)
	}
	if p.cuQ == nil {
		return
	}
	first, end := p.cuQ[0], p.cuQ[len(p.cuQ)-1]
	for h := range p.q.shape[1] {
		for i := range p.q.shape[2] {
			if i >= first && i < end {
				continue
			}
			if p.out.at(0, h, i, 0) != canary || p.lse != nil && p.lse[h*p.q.shape[2]+i] != canary {
				t.Fatalf("row %d of head %d, of no sequence, was written", i, h)
			}
		}
	}
	if p.scores == nil {
		return
	}
	for b := range p.sequences() {
		s := p.sequence(b)
		for h := range p.q.shape[1] {
			for i := range p.scores.shape[2] {
				for j := range p.scores.shape[3] {
					if (i >= s.lenQ || j >= s.lenKV) && p.scores.at(b, h, i, j) != canary {
						t.Fatalf("scores[%d,%d,%d,%d], of no pair, was written", b, h, i, j)
					}
				}
			}
		}
	}
}
