package qkv_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

// A cacheShape is what caches to compare have in common.
type cacheShape struct {
	kvHeads, dimQK, dimV int
	keyType, valueType   qkv.ElemType
}

func (s cacheShape) String() string {
	return fmt.Sprintf("h=%d,d=%d,dv=%d,k=%v,v=%v", s.kvHeads, s.dimQK, s.dimV, s.keyType, s.valueType)
}

// cacheShapes has each type for both, and some of either.
var cacheShapes = func() (shapes []cacheShape) {
	for _, typ := range elemTypes {
		shapes = append(shapes, cacheShape{2, 32, 64, typ, typ})
	}
	return append(shapes,
		cacheShape{1, 17, 9, qkv.TypeInt8, qkv.TypeFloat16},
		cacheShape{3, 64, 5, qkv.TypeQ8_0, qkv.TypeBFloat16},
	)
}()

// A history is the tokens of a sequence, one behind the other, in float32: [tokens, KV heads,
// dim] of what a cache makes of them.
type history struct {
	k, v []float32
	len  int
}

// tokens returns keys and values to append.
func (s cacheShape) tokens(r *rand.Rand, n int) (k, v *tensor) {
	next := func() float32 { return float32(r.NormFloat64()) }
	k = newTensor(drawn(r, "bhsd", "bshd", "bhds", "gaps", "reversed"), 1, s.kvHeads, n, s.dimQK, next)
	v = newTensor(drawn(r, "bhsd", "bshd", "bhds", "gaps", "reversed"), 1, s.kvHeads, n, s.dimV, next)
	return k, v
}

// append adds what a cache stores of n tokens from one on.
func (h *history) append(s cacheShape, k, v *tensor, first, n int) {
	for t := first; t < first+n; t++ {
		for head := range s.kvHeads {
			h.k = append(h.k, stored(s.keyType, rowOf(k, 0, head, t))...)
			h.v = append(h.v, stored(s.valueType, rowOf(v, 0, head, t))...)
		}
	}
	h.len += n
}

// truncate goes back to the first n tokens.
func (h *history) truncate(s cacheShape, n int) {
	h.k, h.v, h.len = h.k[:n*s.kvHeads*s.dimQK], h.v[:n*s.kvHeads*s.dimV], n
}

// clone returns a copy.
func (h *history) clone() *history {
	return &history{append([]float32(nil), h.k...), append([]float32(nil), h.v...), h.len}
}

// attend returns a problem of the last queries[i] tokens of each history, a ragged batch.
func (s cacheShape) attend(r *rand.Rand, headsPerKV int, histories []*history, queries []int) *problem {
	next := func() float32 { return float32(r.NormFloat64()) }
	cuQ, cuKV := []int{0}, []int{0}
	var k, v []float32
	for i, h := range histories {
		cuQ, cuKV = append(cuQ, cuQ[i]+queries[i]), append(cuKV, cuKV[i]+h.len)
		k, v = append(k, h.k...), append(v, h.v...)
	}
	tokensQ, tokensKV := cuQ[len(queries)], cuKV[len(queries)]
	p := &problem{
		q:    newTensor("bshd", 1, s.kvHeads*headsPerKV, tokensQ, s.dimQK, next),
		k:    newTensor("bshd", 1, s.kvHeads, tokensKV, s.dimQK, next),
		v:    newTensor("bshd", 1, s.kvHeads, tokensKV, s.dimV, next),
		out:  newTensor("bshd", 1, s.kvHeads*headsPerKV, tokensQ, s.dimV, nil),
		lse:  make([]float32, s.kvHeads*headsPerKV*tokensQ),
		cuQ:  cuQ,
		cuKV: cuKV,
		mask: bottomRight,
	}
	copy(p.k.data, k)
	copy(p.v.data, v)
	return p
}

// padSegments returns segments of the tokens of each sequence as a call with page tables has
// them, [sequences, most].
func (p *problem) padSegments() []int32 {
	if p.mask.SegmentsKV == nil || p.cuKV == nil {
		return p.mask.SegmentsKV
	}
	n, most := p.sequences(), 0
	for i := range n {
		most = max(most, p.sequence(i).lenKV)
	}
	padded := make([]int32, n*most)
	for i := range n {
		s := p.sequence(i)
		copy(padded[i*most:], p.mask.SegmentsKV[s.k0:][:s.lenKV])
	}
	return padded
}

// A variant adds features to a problem of a ragged batch.
type variant struct {
	name string
	add  func(r *rand.Rand, p *problem)
}

// pairs returns the shape of pairs of p.
func (p *problem) pairs() [4]int {
	shape := [4]int{p.sequences(), p.q.shape[1], 0, 0}
	for i := range shape[0] {
		s := p.sequence(i)
		shape[2], shape[3] = max(shape[2], s.lenQ), max(shape[3], s.lenKV)
	}
	return shape
}

var variants = []variant{
	{"causal", func(*rand.Rand, *problem) {}},
	{"all", func(_ *rand.Rand, p *problem) { p.mask.Causal = false }},
	{"softcap", func(_ *rand.Rand, p *problem) { p.softcap = 3 }},
	{"alibi", func(r *rand.Rand, p *problem) {
		p.alibi = draw(p.q.shape[1], func() float32 { return 0.1 * r.Float32() })
	}},
	{"sinks", func(r *rand.Rand, p *problem) { p.sinks = draw(p.q.shape[1], r.Float32) }},
	{"bias", func(r *rand.Rand, p *problem) { p.bias = pairsOf(r, p.pairs(), true, r.Float32) }},
	{"segments", func(r *rand.Rand, p *problem) {
		segment := func() int32 { return int32(r.IntN(2)) }
		p.mask.SegmentsQ, p.mask.SegmentsKV = draw(p.q.shape[2], segment), draw(p.k.shape[2], segment)
	}},
	{"keep", func(r *rand.Rand, p *problem) {
		p.keep = pairsOf(r, p.pairs(), true, func() bool { return r.IntN(4) > 0 })
	}},
	{"everything", func(r *rand.Rand, p *problem) {
		for _, v := range variants2 {
			v.add(r, p)
		}
	}},
}

// variants2 is the variants of a problem that add to each other.
var variants2 []variant

func init() { variants2 = variants[2 : len(variants)-1] }

// checkAttend compares a call that attends a cache with p, to the bit, and p with float64.
func (p *problem) checkAttend(t *testing.T, what string, a *qkv.Engine, attend func(*qkv.Call) error) {
	t.Helper()
	p.change = nil
	out, lse := p.run(t, a)
	p.check(t, 4)
	segments := p.padSegments()
	p.attend = func(c *qkv.Call) error {
		c.K, c.V, c.CuLensQ, c.CuLensKV = qkv.View{}, qkv.View{}, nil, nil
		c.Mask.Align, c.Mask.First, c.Mask.SegmentsKV = 0, 0, segments
		return attend(c)
	}
	gotOut, gotLSE := p.run(t, a)
	p.attend = nil
	sameBits(t, what+" out", gotOut, out)
	sameBits(t, what+" lse", gotLSE, lse)
}
