package qkv_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
)

// A feature is a part of a call that a fuzzer turns on.
type feature uint32

const (
	withCausal feature = 1 << iota
	withWindow
	withBottomRight
	withOffsets
	withPrefix
	withFirst
	withSegments
	withBlocks
	withKeep
	withSoftcap
	withALiBi
	withBias
	withBias16
	withScoreMod
	withSinks
	withProbMod
	withLens
	withRagged
	withScores
	withoutLSE
	features = iota
)

var featureNames = [features]string{
	"causal", "window", "bottom-right", "offsets", "prefix", "first", "segments", "blocks", "keep", "softcap",
	"alibi", "bias", "bias16", "scoremod", "sinks", "probmod", "lens", "ragged", "scores", "nolse",
}

func (f feature) String() string {
	var s string
	for i, name := range featureNames {
		if f>>i&1 == 1 {
			s += "+" + name
		}
	}
	return s
}

// drawn returns a value of xs.
func drawn[T any](r *rand.Rand, xs ...T) T { return xs[r.IntN(len(xs))] }

// pairsOf returns a tensor of pairs that broadcasts to the lengths: each axis full or 1,
// in any order in memory, some reversed, some with gaps, some of stride 0. A long
// tensor may have longer seq axes than it needs to.
func pairsOf[T qkv.Element](r *rand.Rand, shape [4]int, long bool, next func() T) *strided[T] {
	x := &strided[T]{}
	for axis, n := range shape {
		if r.IntN(3) == 0 {
			n = 1
		} else if long && axis >= 2 && r.IntN(2) == 0 {
			n += r.IntN(4)
		}
		x.shape[axis] = n
	}
	size := 1 + r.IntN(2)
	for _, axis := range drawn(r, []int{3, 2, 1, 0}, []int{3, 1, 2, 0}, []int{2, 3, 1, 0}, r.Perm(4)) {
		if n := x.shape[axis]; r.IntN(8) > 0 && n > 0 {
			x.stride[axis] = size
			size = size*n + r.IntN(2)*r.IntN(3)
			if r.IntN(6) == 0 {
				x.offset += (n - 1) * x.stride[axis]
				x.stride[axis] = -x.stride[axis]
			}
		}
	}
	x.data = make([]T, size)
	for i := range x.data {
		x.data[i] = next()
	}
	return x
}

// fuzzFeatures makes a problem of a fuzzer's numbers: which features it has, its lengths,
// and everything else.
func fuzzFeatures(which feature, shape, seed uint64) *problem {
	return fuzzFeaturesOf(which, shape, seed, sizes{seqQ: 150, seqKV: 400, dims: 24, dimStep: 1})
}

// sizes bounds the lengths of a problem, exclusively, and has the number of head dims to
// choose from.
type sizes struct{ seqQ, seqKV, dims, dimStep int }

func fuzzFeaturesOf(which feature, shape, seed uint64, most sizes) *problem {
	field := func(n uint64) int {
		x := shape % n
		shape /= n
		return int(x)
	}
	r := rand.New(rand.NewPCG(seed, uint64(which)))
	has := func(f feature) bool { return which&f != 0 }

	kvHeads := 1 + field(2)
	d := dims{
		batch: 1 + field(3), heads: kvHeads * (1 + field(4)), kvHeads: kvHeads,
		seqQ: field(uint64(most.seqQ)), seqKV: field(uint64(most.seqKV)),
		dimQK: most.dimStep * (1 + field(uint64(most.dims))), dimV: most.dimStep * (1 + field(uint64(most.dims))),
	}
	lenQ, lenKV, n := d.seqQ, d.seqKV, d.batch // of the longest, and the sequences
	var cuQ, cuKV []int
	if has(withRagged) {
		n = 1 + field(4)
		d.batch = 1
		cut := func(tokens int) (cu []int, longest int) {
			for range n + 1 {
				cu = append(cu, r.IntN(tokens+1))
			}
			slices.Sort(cu)
			for i := range n {
				longest = max(longest, cu[i+1]-cu[i])
			}
			return cu, longest
		}
		cuQ, lenQ = cut(d.seqQ)
		cuKV, lenKV = cut(d.seqKV)
	}
	next := func() float32 { return float32(r.NormFloat64()) }
	p := newProblem(d, layouts[field(uint64(len(layouts)))], qkv.Mask{}, next)
	p.cuQ, p.cuKV = cuQ, cuKV
	p.scale = drawn[float32](r, 0, 0, 1, -0.3)
	if has(withLens) && !has(withRagged) {
		if r.IntN(3) > 0 {
			p.lensQ = draw(n, func() int { return r.IntN(lenQ + 1) })
		}
		if r.IntN(3) > 0 || p.lensQ == nil {
			p.lensKV = draw(n, func() int { return r.IntN(lenKV + 1) })
		}
	}

	m := &p.mask
	m.Causal = has(withCausal)
	if has(withWindow) {
		side := func() int { return drawn(r, 0, 1, r.IntN(20), r.IntN(200), qkv.Unbounded, qkv.Unbounded-1) }
		m.Window = qkv.Sliding(side(), side())
	}
	switch offset := func() int { return r.IntN(lenQ+lenKV+1) - lenQ }; {
	case has(withOffsets) && r.IntN(2) == 0:
		m.Align, m.Offset = qkv.AlignOffset, offset()
	case has(withOffsets):
		m.Align, m.Offsets = qkv.AlignOffset, draw(n, offset)
	case has(withBottomRight):
		m.Align = qkv.BottomRight
	default:
		m.Align = qkv.TopLeft
	}
	if has(withPrefix) {
		if r.IntN(2) == 0 {
			m.Prefix = r.IntN(lenKV + 1)
		} else {
			m.Prefixes = draw(n, func() int { return r.IntN(lenKV + 1) })
		}
	}
	if has(withFirst) && m.Prefix == 0 && m.Prefixes == nil {
		m.First = r.IntN(lenKV + 1)
	}
	if has(withSegments) {
		// Runs, as packed documents are, or any order.
		every := drawn(r, 1, 10, 60)
		segments := func(tokens int) []int32 {
			id := int32(0)
			return draw(d.batch*tokens, func() int32 {
				if r.IntN(every) == 0 {
					id = int32(r.IntN(4))
				}
				return id
			})
		}
		m.SegmentsQ, m.SegmentsKV = segments(d.seqQ), segments(d.seqKV)
	}
	if has(withBlocks) {
		q, k := 1+r.IntN(40), drawn(r, 1+r.IntN(40), 64, 128, 130, 256)
		shape := [4]int{drawn(r, 1, n), drawn(r, 1, d.heads), (lenQ + q - 1) / q, (lenKV + k - 1) / k}
		p.blocks = newBlocks(q, k, shape, func(_, _, _, _ int) bool { return r.IntN(2) == 0 })
	}
	pairs := [4]int{n, d.heads, lenQ, lenKV}
	if has(withKeep) {
		rate := drawn(r, 2, 2, 30)
		p.keep = pairsOf(r, pairs, has(withRagged), func() bool { return r.IntN(rate) > 0 })
	}

	if has(withSoftcap) {
		p.softcap = drawn[float32](r, 0.5, 3, 50)
	}
	if has(withALiBi) {
		p.alibi = draw(d.heads, func() float32 { return drawn[float32](r, 0, 0.5, 0.01, -0.02) })
	}
	if rate := drawn(r, 0, 3, 30); has(withBias) {
		p.bias = pairsOf(r, pairs, has(withRagged), func() float32 {
			if rate > 0 && r.IntN(rate) == 0 {
				return negInf
			}
			return next()
		})
	} else if has(withBias16) {
		p.bias16 = pairsOf(r, pairs, has(withRagged), func() qkv.Float16 {
			if rate > 0 && r.IntN(rate) == 0 {
				return 0xfc00 // -Inf
			}
			// Any of magnitude below 4, subnormals included.
			return qkv.Float16(r.IntN(0x4400) | r.IntN(2)<<15)
		})
	}
	if has(withScoreMod) {
		p.scoreMod = drawn(r,
			&mod{slope: 1, f: func(b, h, i, j int, x float64) float64 { return x + 0.1*float64((b+3*h+5*i+7*j)%11) }},
			&mod{slope: 0.5, f: func(b, h, i, j int, x float64) float64 {
				if (i+j)%5 == 0 {
					return math.Inf(-1) // a weight of 0
				}
				return -0.5 * x
			}},
		)
	}
	if has(withSinks) {
		p.sinks = draw(d.heads, func() float32 { return drawn(r, negInf, 0, 3, -20, next()) })
	}
	if has(withProbMod) {
		p.probMod = drawn(r,
			&mod{slope: 1.25, f: func(b, h, i, j int, x float64) float64 { // dropout
				if (b+3*h+5*i+7*j)%5 == 0 {
					return 0
				}
				return 1.25 * x
			}},
			&mod{slope: 1, f: func(b, h, i, j int, x float64) float64 { return x - 0.01 + 0.02*float64(j%2) }},
		)
	}
	if has(withScores) {
		order := drawn(r, "bhsd", "bshd", "bhds", "gaps", "reversed")
		if has(withRagged) {
			lenQ, lenKV = lenQ+r.IntN(3), lenKV+r.IntN(3)
		}
		p.scores = newTensor(order, n, d.heads, lenQ, lenKV, nil)
		p.scoresAt = qkv.Stage(r.IntN(4))
		if p.scores.shape == [4]int{} {
			p.scores = nil
		}
	}
	if has(withoutLSE) {
		p.lse = nil
	}
	return p
}

func draw[T any](n int, next func() T) []T {
	x := make([]T, n)
	for i := range x {
		x[i] = next()
	}
	return x
}

// newBlocks makes a block mask by what it keeps.
func newBlocks(queryBlock, keyBlock int, shape [4]int, keep func(b, h, row, column int) bool) *blocks {
	m, err := qkv.NewBlockMask(queryBlock, keyBlock, shape[0], shape[1], shape[2], shape[3])
	if err != nil {
		panic(err)
	}
	for b := range shape[0] {
		for h := range shape[1] {
			for row := range shape[2] {
				for column := range shape[3] {
					m.Set(b, h, row, column, keep(b, h, row, column))
				}
			}
		}
	}
	return &blocks{queryBlock, keyBlock, shape, m}
}

// sampleFeatures calls f with n problems of a few features each, every one of them alone
// among the first.
func sampleFeatures(t *testing.T, n int, f func(t *testing.T, seed uint64, p *problem)) {
	for seed := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, 11))
		which := feature(1) << seed
		if seed >= features {
			which = feature(r.Uint32()) & feature(r.Uint32()|r.Uint32()) & (1<<features - 1)
			if r.IntN(4) > 0 {
				which &^= withRagged
			}
		}
		t.Run(fmt.Sprintf("seed=%d,with=%v", seed, which), func(t *testing.T) {
			f(t, seed, fuzzFeatures(which, r.Uint64(), seed))
		})
	}
}

// checkFeatures compares every kernel set with float64, and what Explain counts with what
// the mask keeps.
func (p *problem) checkFeatures(t *testing.T, seed uint64) (worst float64) {
	p.known = make(map[[3]int]row)
	for _, set := range p.sets() {
		a := newAttention(t, qkv.Config{Kernel: set, Workers: 1 + int(seed%3)})
		p.run(t, a)
		worst = max(worst, p.check(t, 12))
		p.checkUnwritten(t)
		p.checkPlan(t, a)
	}
	return worst
}

// checkPlan counts the pairs and blocks that the mask keeps one by one.
func (p *problem) checkPlan(t *testing.T, a *qkv.Engine) {
	t.Helper()
	plan, err := a.Explain(p.call())
	if err != nil {
		t.Fatal(err)
	}
	headsPerKV := p.q.shape[1] / p.k.shape[1]
	var blocks, skipped, full, pairs int64
	for b := range p.sequences() {
		s := p.sequence(b)
		for head := 0; head < p.q.shape[1]; head += headsPerKV {
			for row := 0; row < headsPerKV*s.lenQ; row += plan.Lanes {
				rows := min(plan.Lanes, headsPerKV*s.lenQ-row)
				for key := 0; key < s.lenKV; key += plan.KeyBlock {
					keys := min(plan.KeyBlock, s.lenKV-key)
					kept := 0
					for x := range rows * keys {
						r := row + x/keys
						if !p.masked(&s, head+r%headsPerKV, r/headsPerKV, key+x%keys) {
							kept++
						}
					}
					blocks++
					pairs += int64(kept)
					switch kept {
					case 0:
						skipped++
					case rows * keys:
						full++
					}
				}
			}
		}
	}
	if got, want := [4]int64{plan.ScoreBlocks, plan.Skipped, plan.Full, plan.Pairs}, [4]int64{blocks, skipped, full, pairs}; got != want {
		t.Fatalf("kernel=%s: blocks, skipped, full, pairs %v, want %v", plan.Kernel, got, want)
	}
	if plan.Masked != plan.ScoreBlocks-plan.Skipped-plan.Full {
		t.Fatalf("kernel=%s: %d masked of %d blocks, %d skipped, %d full", plan.Kernel, plan.Masked, plan.ScoreBlocks, plan.Skipped, plan.Full)
	}
}

func TestFeatures(t *testing.T) {
	t.Parallel()
	n := 300
	if brief() {
		n = 40
	}
	worst := 0.0
	sampleFeatures(t, n, func(t *testing.T, seed uint64, p *problem) {
		worst = max(worst, p.checkFeatures(t, seed))
	})
	t.Logf("largest error: %.3g of its bound", worst)
}

func FuzzFeatures(f *testing.F) {
	for i := range features {
		f.Add(uint32(1)<<i, uint64(0x123456789abcdef)<<i, uint64(i))
	}
	f.Fuzz(func(t *testing.T, which uint32, shape, seed uint64) {
		fuzzFeatures(feature(which), shape, seed).checkFeatures(t, seed)
	})
}
