package qkv_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
)

// offset returns the offset of the causal mask that p has.
func (p *problem) offset() int {
	switch p.mask.Align {
	case qkv.BottomRight:
		return p.k.shape[2] - p.q.shape[2]
	case qkv.AlignOffset:
		return p.mask.Offset
	}
	return 0
}

// cut returns the view of x that begins at an element and has other lengths.
func (x *strided[T]) cut(first, shape [4]int) *strided[T] {
	return &strided[T]{x.data, x.index(first[0], first[1], first[2], first[3]), shape, x.stride}
}

// cutPairs returns of a tensor of pairs that broadcasts what belongs to the queries
// [i, i+n) and the keys of one sequence, for heads from h on.
func cutPairs[T qkv.Element](x *strided[T], b, h, heads, i, n, keys int) *strided[T] {
	if x == nil {
		return nil
	}
	first, shape := [4]int{b, h, i, 0}, [4]int{1, heads, n, keys}
	for axis, n := range x.shape {
		if n == 1 {
			first[axis], shape[axis] = 0, 1
		}
	}
	return x.cut(first, shape)
}

// A region is heads and queries of one sequence.
type region struct{ b, h, heads, first, n int }

func (g region) String() string {
	return fmt.Sprintf("sequence %d, heads %d..%d, rows %d..%d", g.b, g.h, g.h+g.heads-1, g.first, g.first+g.n-1)
}

// alone returns the problem of a region, which must have all heads or one of at least one
// sequence with keys. Its outputs are its own.
func (p *problem) alone(g region) *problem {
	s := p.sequence(g.b)
	headsPerKV := p.q.shape[1] / p.k.shape[1]
	kh, kvHeads := g.h/headsPerKV, (g.heads+headsPerKV-1)/headsPerKV
	c := *p
	q := [4]int{s.batch, g.h, s.q0 + g.first, 0}
	k := [4]int{s.batch, kh, s.k0, 0}
	c.q = p.q.cut(q, [4]int{1, g.heads, g.n, p.q.shape[3]})
	c.k = p.k.cut(k, [4]int{1, kvHeads, s.keys, p.k.shape[3]})
	c.v = p.v.cut(k, [4]int{1, kvHeads, s.keys, p.v.shape[3]})
	c.out = newTensor("bshd", 1, g.heads, g.n, p.out.shape[3], nil)
	c.lse = make([]float32, g.heads*g.n)
	c.cuQ, c.cuKV = nil, nil
	if p.lensQ != nil {
		c.lensQ = []int{max(0, min(s.lenQ-g.first, g.n))}
	}
	if p.lensKV != nil {
		c.lensKV = []int{s.lenKV}
	}

	m := &c.mask
	m.Align, m.Offsets, m.Prefixes = qkv.AlignOffset, nil, nil
	m.Offset = int(max(-1<<30, min(s.offset, 1<<30))) + g.first
	m.Prefix = min(s.prefix, s.lenKV)
	if m.SegmentsQ != nil {
		m.SegmentsQ = m.SegmentsQ[s.batch*p.q.shape[2]+s.q0+g.first:][:g.n]
		m.SegmentsKV = m.SegmentsKV[s.batch*p.k.shape[2]+s.k0:][:s.keys]
	}
	if b := p.blocks; b != nil {
		// The blocks of the first query need not begin with it.
		shape := [4]int{1, g.heads, g.n, (s.keys + b.keyBlock - 1) / b.keyBlock}
		c.blocks = newBlocks(1, b.keyBlock, shape, func(_, h, row, column int) bool {
			return b.Kept(min(g.b, b.shape[0]-1), min(g.h+h, b.shape[1]-1), (g.first+row)/b.queryBlock, column)
		})
	}
	c.keep = cutPairs(p.keep, g.b, g.h, g.heads, g.first, g.n, s.keys)
	c.bias = cutPairs(p.bias, g.b, g.h, g.heads, g.first, g.n, s.keys)
	c.bias16 = cutPairs(p.bias16, g.b, g.h, g.heads, g.first, g.n, s.keys)
	if p.alibi != nil {
		c.alibi = p.alibi[g.h:][:g.heads]
	}
	if p.sinks != nil {
		c.sinks = p.sinks[g.h:][:g.heads]
	}
	for _, m := range []**mod{&c.scoreMod, &c.probMod} {
		if *m != nil {
			moved := **m
			moved.base = [3]int{g.b, g.h, g.first}
			*m = &moved
		}
	}
	if p.scores != nil {
		c.scores = newTensor("bhsd", 1, g.heads, g.n, s.keys, nil)
	}
	return &c
}

// pick returns what p last computed for a region.
func (p *problem) pick(g region) (out, lse, scores []float32) {
	s := p.sequence(g.b)
	for h := g.h; h < g.h+g.heads; h++ {
		for i := g.first; i < g.first+g.n; i++ {
			if p.lse != nil {
				lse = append(lse, p.lse[p.lseIndex(&s, h, i)])
			}
		}
	}
	out = p.out.cut([4]int{s.batch, g.h, s.q0 + g.first, 0}, [4]int{1, g.heads, g.n, p.out.shape[3]}).values()
	if p.scores != nil {
		scores = p.scores.cut([4]int{g.b, g.h, g.first, 0}, [4]int{1, g.heads, g.n, s.keys}).values()
	}
	return out, lse, scores
}

// checkAlone computes a region in a call of its own and compares what p last computed.
func (p *problem) checkAlone(t *testing.T, a *qkv.Engine, g region) {
	t.Helper()
	what := fmt.Sprintf("kernel=%s %v", a.Kernel().Name, g)
	out, lse, scores := p.pick(g)
	one := p.alone(g)
	gotOut, gotLSE := one.run(t, a)
	sameBits(t, what+" out", gotOut, out)
	if p.lse != nil {
		sameBits(t, what+" lse", gotLSE, lse)
	}
	if p.scores != nil {
		sameBits(t, what+" scores", one.scores.values(), scores)
	}
}

// reference computes p on the generic set with one worker.
func (p *problem) reference(t *testing.T) (check func(set string, workers int)) {
	t.Helper()
	out, lse := p.run(t, newAttention(t, qkv.Config{Kernel: "generic", Workers: 1}))
	var scores []float32
	if p.scores != nil {
		scores = p.scores.values()
	}
	return func(set string, workers int) {
		t.Helper()
		what := fmt.Sprintf("kernel=%s workers=%d", set, workers)
		gotOut, gotLSE := p.run(t, newAttention(t, qkv.Config{Kernel: set, Workers: workers}))
		sameBits(t, what+" out", gotOut, out)
		sameBits(t, what+" lse", gotLSE, lse)
		if p.scores != nil {
			sameBits(t, what+" scores", p.scores.values(), scores)
		}
	}
}

// workerCounts returns numbers of workers that must give the same bits, without 1 under the race
// detector: one alone races nobody.
func workerCounts(counts ...int) []int {
	if raceEnabled {
		counts = slices.DeleteFunc(counts, func(n int) bool { return n == 1 })
	}
	return counts
}

// checkSame computes p in every way that must give the same bits: each kernel set,
// numbers of workers, the queries of a sequence in chunks, a row alone, a head alone.
func (p *problem) checkSame(t *testing.T) {
	t.Helper()
	check := p.reference(t)
	heads := p.q.shape[1]
	for _, set := range p.sets() {
		for _, workers := range workerCounts(1, 2, 7) {
			check(set, workers)
		}
		a := newAttention(t, qkv.Config{Kernel: set})
		chunks := []int{1, 5, 16, 64, 100}
		if raceEnabled {
			chunks = []int{5, 100} // they differ in their bits, if at all
		}
		for _, n := range chunks {
			for b := range p.sequences() {
				rows := p.sequence(b).rows
				step := n
				if n == 1 {
					step = max(1, rows/3) // rows alone: a sample
				}
				for first := 0; first < rows && heads > 0; first += step {
					p.checkAlone(t, a, region{b, 0, heads, first, min(n, rows-first)})
				}
			}
		}
		if b := p.sequences() - 1; heads > 0 && b >= 0 {
			p.checkAlone(t, a, region{b, heads / 2, 1, 0, p.sequence(b).rows})
		}
	}
}

func TestSameBits(t *testing.T) {
	t.Parallel()
	more := []struct {
		dims
		mask qkv.Mask
	}{
		{dims{1, 4, 1, 100, 300, 33, 31}, bottomRight},
		{dims{1, 7, 1, 40, 150, 16, 16}, topLeft},
		{dims{2, 2, 2, 257, 257, 24, 8}, topLeft},
		{dims{1, 1, 1, 193, 520, 32, 100}, none},
	}
	for i, s := range append(shapes, more...) {
		t.Run(fmt.Sprintf("%v,mask=%v", s.dims, s.mask), func(t *testing.T) {
			layout := []string{"bhsd", "bshd", "gaps"}[i%3]
			newProblem(s.dims, layout, s.mask, normal(uint64(i))).checkSame(t)
		})
	}
}

// Values for which zeros, subnormals and infinities come out keep the promise too.
func TestSameBitsExtreme(t *testing.T) {
	values := map[string][]float32{
		"tiny":      {1e-38, -1e-38, 1e-45, -1e-45, 0, float32(math.Copysign(0, -1)), 3, -3},
		"huge":      {1e38, -1e38, 3e38, 1, -1, 1e19, -1e19, 0},
		"infinite":  {float32(math.Inf(1)), float32(math.Inf(-1)), 1, -1, 2, -2, 0.5, 3},
		"nan":       {float32(math.NaN()), math.Float32frombits(0xffc00123), 1, -1, 2, -2, 0.5, 3},
		"underflow": {20, -20, 11, -11, 13, 9, -8, 14},
	}
	for name, set := range values {
		for _, every := range []uint64{8, 50} {
			t.Run(fmt.Sprintf("%s,every=%d", name, every), func(t *testing.T) {
				r := rand.New(rand.NewPCG(7, every))
				next := func() float32 {
					if i := r.Uint64N(every); i < uint64(len(set)) {
						return set[i]
					}
					return float32(r.NormFloat64())
				}
				newProblem(dims{1, 3, 1, 70, 140, 9, 11}, "bhsd", topLeft, next).checkSame(t)
				newProblem(dims{1, 2, 2, 20, 300, 2, 3}, "bshd", bottomRight, next).checkSame(t)
			})
		}
	}
}

// Combinations of everything that a call may have keep it.
func TestSameBitsFeatures(t *testing.T) {
	t.Parallel()
	n := 150
	if brief() {
		n = 30
	}
	sampleFeatures(t, n, func(t *testing.T, seed uint64, p *problem) {
		p.checkSameSample(t, rand.New(rand.NewPCG(seed, 12)), p.sets())
	})
}

// checkSameSample is checkSame for some sets, but of chosen workers and regions.
func (p *problem) checkSameSample(t *testing.T, r *rand.Rand, sets []string) {
	t.Helper()
	check := p.reference(t)
	for _, set := range sets {
		check(set, drawn(r, 1, 2, 7))
		p.checkUnwritten(t)
		b, heads := r.IntN(p.sequences()), p.q.shape[1]
		rows := p.sequence(b).rows
		if rows == 0 {
			continue
		}
		a := newAttention(t, qkv.Config{Kernel: set})
		first := r.IntN(rows)
		p.checkAlone(t, a, region{b, 0, heads, first, 1 + r.IntN(rows-first)})
		p.checkAlone(t, a, region{b, r.IntN(heads), 1, 0, rows})
	}
}
