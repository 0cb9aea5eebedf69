package qkv_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

// pairedEngine returns an Engine of a set with an instruction for pairs, or skips the test.
func pairedEngine(t *testing.T) *qkv.Engine {
	t.Helper()
	for _, set := range classSets() {
		if e := newAttention(t, qkv.Config{Kernel: set, Workers: 2}); e.Kernel().Paired {
			return e
		}
	}
	t.Skip("no kernel set has an instruction for pairs")
	return nil
}

// checkPairs compares the bits of a problem of class BFloat16, and of class Int8 with values in bfloat16, in pairs
// with those in numbers.
func (p *problem) checkPairs(t *testing.T, e *qkv.Engine) {
	t.Helper()
	p.precision, p.valuePrecision = qkv.PrecisionInt8, qkv.PrecisionBFloat16
	p.checkPairsOfClass(t, e)
	p.precision, p.valuePrecision = qkv.PrecisionBFloat16, qkv.PrecisionFloat32
	p.checkPairsOfClass(t, e)
}

func (p *problem) checkPairsOfClass(t *testing.T, e *qkv.Engine) {
	t.Helper()
	result := func(pairs bool) [3][]float32 {
		e.TakePairs(pairs)
		out, lse := p.run(t, e)
		var scores []float32
		if p.scores != nil {
			scores = p.scores.values()
		}
		return [3][]float32{out, lse, scores}
	}
	want := result(false)
	for i, got := range result(true) {
		sameBits(t, []string{"out", "lse", "scores"}[i]+" of class "+p.precision.String()+" in pairs", got, want[i])
	}
}

// strange replaces some numbers of a tensor by those that class BFloat16 rounds to zeros, ties and infinities, and,
// if asked to, by infinities and NaN.
func strange(r *rand.Rand, x *tensor, one int, notFinite bool) {
	special := []float32{
		0, float32(math.Copysign(0, -1)), 0x1p-56, -0x1.fefffep-57, 0x1.ffp-57, -0x1p-56, 1e-30, -math.SmallestNonzeroFloat32, 0x1.01p0, 0x1.03p0, -0x1p-40,
	}
	if notFinite {
		special = append(special, posInf, negInf, nan, 3.4e38)
	}
	x.each(func(i int) {
		if r.IntN(one) == 0 {
			x.data[i] = special[r.IntN(len(special))]
		}
	})
}

// TestAttentionPairs: prefill of class BFloat16 has the same bits in pairs and in numbers: with any features, dims and
// types, of numbers of any kind.
func TestAttentionPairs(t *testing.T) {
	t.Parallel()
	e := pairedEngine(t)
	n := 250
	if brief() {
		n = 50
	}
	for seed := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, 91))
		which := feature(r.Uint32()) & (1<<features - 1) & feature(r.Uint32())
		if seed < features {
			which = feature(1) << seed
		}
		typ := drawn(r, append(elemTypes, qkv.TypeFloat32, qkv.TypeFloat32, qkv.TypeFloat32)...)
		most := drawn(r, sizes{seqQ: 300, seqKV: 400}, sizes{seqQ: 100, seqKV: 1300}, sizes{seqQ: 40, seqKV: 60})
		most.dims, most.dimStep = 260, 1
		if inBlocks(typ) {
			most.dims, most.dimStep = 8, 32
		}
		p := fuzzFeaturesOf(which, r.Uint64(), seed, most)
		p.keys, p.values = typ, typ
		if seed%2 == 1 {
			for _, x := range []*tensor{p.q, p.k, p.v} {
				strange(r, x, 1+r.IntN(40), false)
			}
		}
		if seed%4 == 3 && typ == qkv.TypeFloat32 {
			strange(r, drawn(r, p.q, p.k, p.v), 200, true)
		}
		t.Run(fmt.Sprintf("seed=%d,%v,with=%v", seed, typ, which), func(t *testing.T) { p.checkPairs(t, e) })
	}
}

// TestBFloat16DecodedInPlace: decoding of class BFloat16 has the same bits of keys and values in bfloat16, which kernels of
// some sets read where they are, as of the float32 numbers that these are rounded from: of numbers of any kind.
func TestBFloat16DecodedInPlace(t *testing.T) {
	t.Parallel()
	e := newAttention(t, qkv.Config{Workers: 2})
	n := 120
	if brief() {
		n = 40
	}
	for seed := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, 92))
		which := feature(r.Uint32()) & (1<<features - 1) & feature(r.Uint32())
		most := drawn(r, sizes{seqQ: 1, seqKV: 600}, sizes{seqQ: 3, seqKV: 300}, sizes{seqQ: 2, seqKV: 1300})
		most.dims, most.dimStep = 17, 16
		p := fuzzFeaturesOf(which, r.Uint64(), seed, most)
		p.precision = qkv.PrecisionBFloat16
		for _, x := range []*tensor{p.q, p.k, p.v} {
			strange(r, x, 1+r.IntN(40), false)
		}
		if seed%2 == 1 { // about the least number, which then decides
			p.q.each(func(i int) { p.q.data[i] *= 0x1p57 })
			for _, x := range []*tensor{p.k, p.v} {
				x.each(func(i int) { x.data[i] = (2*r.Float32() - 1) * 0x1p-55 })
			}
		}
		t.Run(fmt.Sprintf("seed=%d,with=%v", seed, which), func(t *testing.T) {
			p.keys, p.values = qkv.TypeFloat32, qkv.TypeFloat32
			out, lse := p.run(t, e)
			p.keys, p.values = qkv.TypeBFloat16, qkv.TypeBFloat16
			gotOut, gotLSE := p.run(t, e)
			sameBits(t, "out", gotOut, out)
			sameBits(t, "lse", gotLSE, lse)
		})
	}
}

// TestAttentionPairsDims: likewise at head dims and numbers of keys around pairs, vectors and blocks, with masks that
// begin and end within pairs.
func TestAttentionPairsDims(t *testing.T) {
	t.Parallel()
	e := pairedEngine(t)
	seed := uint64(0)
	for _, dims2 := range [][2]int{{1, 1}, {2, 3}, {40, 40}, {63, 65}, {64, 64}, {80, 96}, {128, 128}, {192, 128}, {255, 17}, {256, 256}} {
		for _, keys := range []int{1, 2, 127, 128, 129, 255, 300} {
			for _, mask := range []qkv.Mask{none, bottomRight, {Window: qkv.Sliding(16, 3), Align: qkv.BottomRight}} {
				seed++
				if brief() && seed%5 != 0 {
					continue
				}
				p := newProblem(dims{1, 4, 2, 70, keys, dims2[0], dims2[1]}, "bshd", mask, normal(seed))
				t.Run(fmt.Sprintf("dims=%v,keys=%d,mask=%v", dims2, keys, mask), func(t *testing.T) { p.checkPairs(t, e) })
			}
		}
	}
}

// TestAttentionPairsNegativeZero: a block of keys whose weights all vanish leaves -0 beside an output that underflowed
// to -0, in pairs as in numbers.
func TestAttentionPairsNegativeZero(t *testing.T) {
	e := pairedEngine(t)
	const keys, dim = 3 * 128, 2
	p := newProblem(dims{1, 1, 1, 64, keys, dim, dim}, "bhsd", none, func() float32 { return 0 })
	p.scale = 1
	for i := range 64 {
		p.q.data[p.q.index(0, 0, i, 0)] = 1
	}
	// Of the first block one key has the weight 1 and a value of 0, and another one 2^-55. In the second block
	// their output, of 2^-111, shrinks by 2^-40, to -0. Weights of the other keys are below 2^-56.
	for j := range keys {
		score, value := float32(-200), float32(-0x1p-56)
		switch j {
		case 0:
			score, value = -28, 0
		case 1:
			score = -28 - 55*math.Ln2
		case 128:
			score, value = 0, 0
		}
		p.k.data[p.k.index(0, 0, j, 0)] = score
		p.v.data[p.v.index(0, 0, j, 0)] = value
	}
	p.checkPairs(t, e)
	for i := range 64 {
		if x := p.out.at(0, 0, i, 0); math.Float32bits(x) != 1<<31 {
			t.Fatalf("out of row %d is %v, want -0", i, x)
		}
	}
}
