package qkv_test

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// A softmaxState is the result over some keys as docs/numerics.md has it.
type softmaxState struct {
	m, l float32
	o    []float32
}

// block adds keys with their weights relative to the state's maximum, and the values of those
// that are attended.
func (x *softmaxState) block(scores []float32, value func(k, d int) float32) {
	m := x.m
	for _, s := range scores {
		m = max(m, s)
	}
	alpha := fp.Exp2(x.m - m)
	sum := float32(0)
	p := make([]float32, len(scores))
	for k, s := range scores {
		p[k] = fp.Exp2(s - m)
		sum += p[k]
	}
	x.m, x.l = m, fp.FMA(x.l, alpha, sum)
	for d := range x.o {
		x.o[d] = fp.FMA(x.o[d], alpha, weighted(p, d, value))
	}
}

// weighted returns the sum of weighted values of a block of keys.
func weighted(p []float32, d int, value func(k, d int) float32) float32 {
	a := float32(math.Copysign(0, -1))
	for k, w := range p {
		a = fp.FMA(value(k, d), w, a)
	}
	return a
}

// merge adds the result over other keys.
func (x *softmaxState) merge(y *softmaxState) {
	m := max(x.m, y.m)
	a, b := fp.Exp2(x.m-m), fp.Exp2(y.m-m)
	x.l = fp.FMA(x.l, a, float32(y.l*b))
	for d := range x.o {
		x.o[d] = fp.FMA(x.o[d], a, float32(y.o[d]*b))
	}
	x.m = m
}

// halves returns the result over the chunks [first, first+n), n a power of 2, nil if none of
// them is there: that of the left half merged with that of the right.
func halves(first, n int, leaf func(chunk int) *softmaxState, merge func(x, y *softmaxState)) *softmaxState {
	if n == 1 {
		return leaf(first)
	}
	x := halves(first, n/2, leaf, merge)
	y := halves(first+n/2, n/2, leaf, merge)
	if x == nil || y == nil {
		if x == nil {
			x = y
		}
		return x
	}
	merge(x, y)
	return x
}

// row32 computes a row by the steps of docs/numerics.md, in their order: the bits that every
// path has. Nothing changes the scores or the values but the mask, a sink and ProbMod.
func (p *problem) row32(b, h, i int) (out []float32, lse float32) {
	const initMax = -math.MaxFloat32
	s := p.sequence(b)
	dim, dimV, headsPerKV := p.q.shape[3], p.v.shape[3], p.q.shape[1]/p.k.shape[1]
	c := float32(1 / math.Sqrt(float64(dim)))
	c = float32(float64(c) * (math.Log2E / 2))
	chunks := (s.lenKV + kernel.KeyChunk - 1) / kernel.KeyChunk
	all := 1 << bits.Len(uint(max(chunks, 1)-1))
	score := func(j int) float32 {
		x := float32(0)
		for d := range dim {
			x = fp.FMA(p.q.at(s.batch, h, s.q0+i, d)*c, p.k.at(s.batch, h/headsPerKV, s.k0+j, d), x)
		}
		return x
	}
	// eachBlock calls f with the keys of each block of a chunk that the row attends, and
	// their scores.
	eachBlock := func(chunk int, f func(keys []int, scores []float32)) {
		for key0 := chunk * kernel.KeyChunk; key0 < min(s.lenKV, (chunk+1)*kernel.KeyChunk); key0 += kernel.KeyBlock {
			var keys []int
			var scores []float32
			for j := key0; j < min(s.lenKV, key0+kernel.KeyBlock); j++ {
				if !p.masked(&s, h, i, j) {
					keys, scores = append(keys, j), append(scores, score(j))
				}
			}
			if len(keys) > 0 {
				f(keys, scores)
			}
		}
	}
	value := func(keys []int) func(k, d int) float32 {
		return func(k, d int) float32 { return p.v.at(s.batch, h/headsPerKV, s.k0+keys[k], d) }
	}
	total := halves(0, all, func(chunk int) *softmaxState {
		var x *softmaxState
		eachBlock(chunk, func(keys []int, scores []float32) {
			if x == nil {
				x = &softmaxState{m: initMax, o: make([]float32, dimV)}
			}
			x.block(scores, value(keys))
		})
		return x
	}, (*softmaxState).merge)
	if p.sinks != nil {
		sink := &softmaxState{m: float32(float64(p.sinks[h]) * (math.Log2E / 2)), l: 1, o: make([]float32, dimV)}
		if total != nil {
			sink.merge(total)
		}
		total = sink
	}
	out = make([]float32, dimV)
	if total == nil {
		return out, float32(math.Inf(-1))
	}
	lse = float32(float64(float64(total.m)*(2*math.Ln2)) + fp.Log(float64(total.l)))
	if p.probMod == nil {
		for d := range out {
			out[d] = total.o[d] * (1 / total.l)
		}
		return out, lse
	}
	sum := halves(0, all, func(chunk int) *softmaxState {
		var x *softmaxState
		eachBlock(chunk, func(keys []int, scores []float32) {
			if x == nil {
				x = &softmaxState{o: make([]float32, dimV)}
			}
			w := make([]float32, len(keys))
			for k, j := range keys {
				w[k] = fp.Exp2(scores[k]-total.m) * (1 / total.l)
				w[k] = max(0, float32(p.probMod.at(s.index, h, i, j, float64(w[k]))))
			}
			for d := range x.o {
				x.o[d] += weighted(w, d, value(keys))
			}
		})
		return x
	}, func(x, y *softmaxState) {
		for d := range x.o {
			x.o[d] += y.o[d]
		}
	})
	if sum != nil {
		copy(out, sum.o)
	}
	return out, lse
}

// chunkMasks are masks under which rows lack some of the chunks of keys.
var chunkMasks = []struct {
	name string
	add  func(r *rand.Rand, p *problem)
}{
	{"none", func(*rand.Rand, *problem) {}},
	{"causal", func(r *rand.Rand, p *problem) {
		p.mask = qkv.Mask{Causal: true, Align: qkv.AlignOffset, Offset: r.IntN(p.k.shape[2])}
	}},
	{"window", func(r *rand.Rand, p *problem) {
		p.mask = bottomRight
		p.mask.Window = qkv.Sliding(r.IntN(p.k.shape[2]), 0)
	}},
	{"first and window", func(r *rand.Rand, p *problem) {
		p.mask = bottomRight
		p.mask.First, p.mask.Window = r.IntN(p.k.shape[2]), qkv.Sliding(r.IntN(4*kernel.KeyChunk), 0)
	}},
	{"blocks", func(r *rand.Rand, p *problem) {
		shape := [4]int{1, p.q.shape[1], p.q.shape[2], (p.k.shape[2] + 127) / 128}
		some := 1 + r.IntN(16)
		p.blocks = newBlocks(1, 128, shape, func(b, h, row, column int) bool { return r.IntN(8*some) < 4 })
	}},
	{"keep", func(r *rand.Rand, p *problem) {
		shape := [4]int{1, p.q.shape[1], p.q.shape[2], p.k.shape[2]}
		p.keep = pairsOf(r, shape, false, func() bool { return r.IntN(300) == 0 })
	}},
}

// TestChunkTree: results over many chunks have the bits of the tree by which docs/numerics.md
// merges them, whichever of them a row, or what shares a score block with it, lacks: on every set and
// path, of any number of workers.
func TestChunkTree(t *testing.T) {
	t.Parallel()
	n := 8
	if brief() {
		n = 2
	}
	for _, mask := range chunkMasks {
		t.Run(mask.name, func(t *testing.T) {
			for seed := range uint64(n) {
				r := rand.New(rand.NewPCG(seed, 61))
				d := dims{1, 2, 1, 1 + r.IntN(3)*r.IntN(20), 1 + r.IntN(24*kernel.KeyChunk), 16, 16}
				if seed%4 == 0 {
					d.seqKV = kernel.KeyChunk * (1 + r.IntN(9)) // whole chunks
				}
				p := newProblem(d, "bhsd", none, func() float32 { return float32(2 * r.NormFloat64()) })
				mask.add(r, p)
				if r.IntN(3) == 0 {
					p.sinks = draw(d.heads, func() float32 { return float32(3 * r.NormFloat64()) })
				}
				if r.IntN(4) == 0 {
					p.probMod = &mod{f: func(_, _, _, key int, x float64) float64 {
						if key%7 == 0 {
							return 0
						}
						return x + 1e-5
					}, slope: 1}
				}
				h, i := r.IntN(d.heads), r.IntN(d.seqQ)
				want, wantLSE := p.row32(0, h, i)
				for _, set := range sets() {
					workers := drawn(r, 1, 2, 7)
					a := newAttention(t, qkv.Config{Kernel: set, Workers: workers})
					what := fmt.Sprintf("seed=%d %v kernel=%s workers=%d row %d of head %d", seed, d, set, workers, i, h)
					p.run(t, a)
					sameBits(t, what, rowOf(p.out, 0, h, i), want)
					sameBits(t, what+" lse", p.lse[h*d.seqQ+i:][:1], []float32{wantLSE})
					p.checkAlone(t, a, region{0, 0, d.heads, i, 1})
				}
			}
		})
	}
}

// TestManyKeys: the error does not grow with the number of keys beyond what their chunks have.
func TestManyKeys(t *testing.T) {
	t.Parallel()
	const most = 1e-6
	for _, set := range sets() {
		keys := 1 << 20
		if set == "generic" || brief() {
			keys = 1 << 17
		}
		a := newAttention(t, qkv.Config{Kernel: set})
		for _, dim := range []int{16, 15} { // decoded, and not
			for _, c := range []struct {
				name string
				call qkv.Call
			}{
				{"plain", qkv.Call{}},
				{"sink", qkv.Call{Sinks: []float32{-20}}},
				{"ProbMod", qkv.Call{ProbMod: func(*qkv.ScoreBlock) {}}},
			} {
				const value = 0.7
				q, out, lse := make([]float32, dim), make([]float32, dim), make([]float32, 1)
				v := draw(dim, func() float32 { return value })
				shape, stride := [4]int{1, 1, keys, dim}, [4]int{0, 0, 0, 1} // of one key and value
				call := c.call
				call.Q, call.Out, call.LSE = qkv.BHSD(q, 1, 1, 1, dim), qkv.BHSD(out, 1, 1, 1, dim), lse
				call.K, call.V = qkv.Strided(q, 0, shape, stride), qkv.Strided(v, 0, shape, stride)
				if err := a.Run(&call); err != nil {
					t.Fatal(err)
				}
				for d, x := range out {
					if e := math.Abs(float64(x)/float64(v[d]) - 1); e > most {
						t.Fatalf("%s, kernel=%s, head dim %d: out[%d] is %v, want %v within %v, off by %.2g", c.name, set, dim, d, x, v[d], most, e)
					}
				}
				if e := math.Abs(float64(lse[0]) - math.Log(float64(keys))); e > 1e-6 {
					t.Errorf("%s, kernel=%s, head dim %d: log-sum-exp %v, want %v", c.name, set, dim, lse[0], math.Log(float64(keys)))
				}
			}
		}
	}
}
