package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// brain rounds x to bfloat16, ties to even, and makes +0 of what is below 2^-56.
func brain(x float32) float32 {
	if x != x {
		return math.Float32frombits(math.Float32bits(x)&^0xffff | 1<<22)
	}
	b := math.Float32bits(x)
	low, up := b&0xffff, b&^0xffff
	if low > 1<<15 || low == 1<<15 && up>>16&1 == 1 {
		up += 1 << 16
	}
	if up&^signBit < 71<<23 {
		return 0
	}
	return math.Float32frombits(up)
}

const signBit = 1 << 31

func pairOf(first, second float32) float32 {
	return math.Float32frombits(math.Float32bits(brain(first)) | math.Float32bits(brain(second))>>16)
}

func pairs(a *kernel.PairsArgs) {
	src := func(i, j int) float32 {
		if i >= a.Rows || j >= a.Cols {
			return 0
		}
		return *ptr.At(a.Src, i*a.RowStride+j*a.ColStride)
	}
	for i := range a.Rows {
		for j := range a.Cols {
			switch a.Kind {
			case kernel.RoundEach:
				*ptr.At(a.Dst, i*a.Stride+j) = brain(src(i, j))
			case kernel.PairAcross:
				if j%2 == 0 {
					*ptr.At(a.Dst, i*a.Stride+j/2) = pairOf(src(i, j), src(i, j+1))
				}
			case kernel.PairDown:
				if i%2 == 0 {
					*ptr.At(a.Dst, i/2*a.Stride+j) = pairOf(src(i, j), src(i+1, j))
				}
			case kernel.SplitDown:
				b := math.Float32bits(*ptr.At(a.Src, i/2*a.RowStride+j))
				*ptr.At(a.Dst, i*a.Stride+j) = math.Float32frombits(b << (i % 2 * 16) &^ 0xffff)
			}
		}
	}
}

func multiplyPairs(a *kernel.MultiplyArgs) {
	multiplyByPairs(a, func(i, k int) (float32, float32) { return halves(*ptr.At(a.A, i*a.RowStride+k*a.ColStride)) })
}

func halves(x float32) (first, second float32) {
	b := math.Float32bits(x)
	return math.Float32frombits(b &^ 0xffff), math.Float32frombits(b << 16)
}

// multiplyByPairs multiplies by pairs of B what terms returns of A.
func multiplyByPairs(a *kernel.MultiplyArgs, terms func(i, k int) (float32, float32)) {
	for i := range a.Rows {
		for l := range a.Lanes {
			acc := float32(0)
			for k := range a.Depth {
				x0, x1 := terms(i, k)
				w0, w1 := halves(*ptr.At(a.B, k*a.Lanes+l))
				acc = fp.ExactFMA(x1, w1, fp.ExactFMA(x0, w0, acc))
			}
			c, b := float32(0), float32(0)
			if a.Add {
				c = *ptr.At(a.C, i*a.Stride+l)
			}
			if a.Bias != nil {
				b = *ptr.At(a.Bias, l)
			}
			*ptr.At(a.C, i*a.Stride+l) = (c + b) + acc
		}
	}
}

func multiplyPairsFew(a *kernel.MultiplyArgs) { multiplyPairsInParts(a, kernel.KC/2) }

// multiplyPairsInParts is multiplyPairsFew with parts of kc pairs.
func multiplyPairsInParts(a *kernel.MultiplyArgs, kc int) {
	part := *a
	for k := 0; k < a.Depth; k += kc {
		part.B, part.Depth = ptr.At(a.B, k*a.Lanes), min(kc, a.Depth-k)
		multiplyByPairs(&part, func(i, j int) (float32, float32) {
			x := i*a.RowStride + 2*(k+j)*a.ColStride
			return *ptr.At(a.A, x), *ptr.At(a.A, x+a.ColStride)
		})
		part.Add, part.Bias = true, nil
	}
}

// brains are numbers around what class BFloat16 takes for 0, and on both sides of ties.
var brains = []gen{
	{"least", func(r *rand.Rand) float32 { return float32(math.Ldexp(r.Float64()*2-1, -55-r.IntN(3))) }},
	{"ties", func(r *rand.Rand) float32 {
		return math.Float32frombits(r.Uint32()&0xffff_0000 | uint32(1<<15-1+r.IntN(3)))
	}},
	{"largest", func(r *rand.Rand) float32 { return math.Float32frombits(0x7f7f_0000 | r.Uint32()&0x8000_ffff) }},
}

// brainOf draws a number of g as class BFloat16 multiplies it.
func brainOf(g gen) gen {
	return gen{g.name, func(r *rand.Rand) float32 { return brain(g.draw(r)) }}
}

// pairsOf draws two numbers of g as a pair.
func pairsOf(g gen) gen {
	return gen{"pairs of " + g.name, func(r *rand.Rand) float32 { return pairOf(g.draw(r), g.draw(r)) }}
}

// exact returns a matrix whose bits all count, [rows][stride], with cols operands in a row.
func (s *suite) exact(name string, rows, cols, stride int, g gen) *float32 {
	w := s.arena.exactWords(s.TB, name, (rows-1)*stride+cols)
	for i := range rows {
		for j := range cols {
			w[i*stride+j] = math.Float32bits(g.draw(s.Rand))
		}
	}
	return (*float32)(unsafe.Pointer(&w[0]))
}

func (s *suite) pairs(lanes int) {
	all := append(append([]gen(nil), numbers...), brains...)
	for kind := kernel.RoundEach; kind <= kernel.SplitDown; kind++ {
		for _, rows := range []int{1, 2, 3, 4, 7, 16} {
			for _, cols := range []int{1, 2, 3, lanes - 1, lanes, lanes + 1, lanes + 2, 2*lanes + 3, 100} {
				if s.skip() || cols == 0 {
					continue
				}
				s.begin()
				g := choose(s.Rand, all)
				l := layout{"rows", cols + s.IntN(2)*s.IntN(9), 1}
				if other := layouts(rows, cols); s.IntN(3) == 0 && kind != kernel.SplitDown {
					l = other[s.IntN(len(other))]
				}
				a := kernel.PairsArgs{Kind: kind, RowStride: l.outer, ColStride: l.inner, Rows: rows, Cols: cols}
				from, to, wide := rows, rows, cols
				switch kind {
				case kernel.PairAcross:
					wide = (cols + 1) / 2
				case kernel.PairDown:
					to = (rows + 1) / 2
				case kernel.SplitDown:
					from, g = (rows+1)/2, pairsOf(g)
				}
				a.Stride = s.stride(wide)
				a.Src = s.strided("Src", from, l.outer, cols, l.inner, g)
				if l.name == "rows" && kind != kernel.SplitDown && s.IntN(3) == 0 {
					a.Dst, a.Stride = a.Src, l.outer
				} else {
					a.Dst = s.exact("Dst", to, wide, a.Stride, unwritten)
				}
				got := a
				what := func() string {
					return fmt.Sprintf("Pairs kind=%d rows=%d cols=%d stride=%d %v Src=%s", kind, rows, cols, a.Stride, l, g.name)
				}
				s.check(what, func() { pairs(&a) }, func() { s.set.Pairs(&got) })
				unchanged(s, what, got, a)
			}
		}
	}
}

// inPairs are elements of MultiplyPairs.
var inPairs = elements{pairsOf, 1, pairsOf}

func (s *suite) multiplyPairs(lanes int) {
	for _, sh := range s.shapes(300, kernel.KC/2) {
		if s.skipMost() {
			continue
		}
		all := layouts(sh.tile, sh.loop)
		s.begin()
		s.productOf("MultiplyPairs", lanes, sh.tile, sh.loop, all[s.IntN(len(all))], inPairs, multiplyPairs, s.asking(s.set.MultiplyPairs))
	}
}

func (s *suite) multiplyPairsFew(lanes int) {
	const kc = kernel.KC / 2
	for rows := 1; rows <= s.set.FewRows; rows++ {
		for _, depth := range []int{1, 2, 3, 17, kc - 1, kc, kc + 1, 2 * kc, 3*kc + 5, 4 * kc, 5*kc + 3, 8 * kc} {
			if s.skip() {
				continue
			}
			s.begin()
			all := layouts(rows, 2*depth)
			l := all[s.IntN(3)]
			if s.IntN(4) == 0 {
				l = all[s.IntN(len(all))]
			}
			s.productOf("MultiplyPairsFew", lanes, rows, depth, l, elements{brainOf, 2, pairsOf}, multiplyPairsFew, s.set.MultiplyPairsFew)
		}
	}
}

func scoresPairs(a *kernel.ScoresArgs) {
	for k := range a.Keys {
		for l := range a.Lanes {
			acc := float32(0)
			for d := range a.Dim {
				k0, k1 := halves(*ptr.At(a.K, k*a.KeyStride+d*a.DimStride))
				q0, q1 := halves(*ptr.At(a.Q, d*a.Stride+l))
				acc = fp.ExactFMA(k1, q1, fp.ExactFMA(k0, q0, acc))
			}
			*ptr.At(a.S, k*a.Stride+l) = acc
		}
	}
}

func accumulatePairs(a *kernel.AccumulateArgs) {
	for d := range a.Dim {
		for l := range a.Lanes {
			acc := negZero
			for k := range a.Keys {
				v0, v1 := halves(*ptr.At(a.V, k*a.KeyStride+d*a.DimStride))
				p0, p1 := halves(*ptr.At(a.P, k*a.Stride+l))
				if k < a.MaskFrom || !math.Signbit(float64(p0)) {
					acc = fp.ExactFMA(v0, p0, acc)
				}
				if k < a.MaskFrom || !math.Signbit(float64(p1)) {
					acc = fp.ExactFMA(v1, p1, acc)
				}
			}
			update(a, d, l, acc)
		}
	}
}

func pairWeights(a *kernel.PairWeightsArgs) {
	weight := func(k, l int) uint32 {
		if k >= a.Keys {
			return signBit
		}
		p := *ptr.At(a.P, k*a.Stride+l)
		if math.Float32bits(p) == signBit {
			return signBit
		}
		return math.Float32bits(brain(p))
	}
	for k := range (a.Keys + 1) / 2 {
		for l := range a.Lanes {
			*ptr.At(a.P, k*a.Stride+l) = math.Float32frombits(weight(2*k, l) | weight(2*k+1, l)>>16)
		}
	}
}

func (s *suite) scoresPairs(lanes int) {
	s.scoresOf("ScoresPairs", lanes, pairsOf, scoresPairs, s.set.ScoresPairs, s.skipMost)
}

func (s *suite) accumulatePairs(lanes int) {
	const keys = kernel.KeyBlock / 2
	mask := func(p *float32) { // either half or both
		b, gone := math.Float32bits(*p), []uint32{0xffff, 0xffff_0000, 0xffff_ffff}[s.IntN(3)]
		*p = math.Float32frombits(b&^gone | 0x8000_8000&gone)
	}
	s.accumulateOf("AccumulatePairs", lanes, keys, pairsOf, mask, accumulatePairs, s.set.AccumulatePairs, s.skipMost)
}

func (s *suite) pairWeights(lanes int) {
	kinds := append([]gen{uniform(0, 1), uniform(0x1p-57, 0x1p-55)}, weightKinds...)
	for keys := 1; keys <= kernel.KeyBlock; keys++ {
		if s.skip() || keys > 9 && keys < kernel.KeyBlock-2 && s.IntN(8) != 0 {
			continue
		}
		s.begin()
		kind := choose(s.Rand, kinds)
		g := gen{kind.name, func(r *rand.Rand) float32 {
			if x := kind.draw(r); x != x || x >= 0 && r.IntN(8) > 0 {
				return x
			}
			return negZero
		}}
		stride := s.stride(lanes)
		a := kernel.PairWeightsArgs{P: s.matrix("P", keys, lanes, stride, g), Keys: keys, Lanes: lanes, Stride: stride}
		got := a
		what := func() string {
			return fmt.Sprintf("PairWeights keys=%d lanes=%d stride=%d P=%s", keys, lanes, stride, g.name)
		}
		s.check(what, func() { pairWeights(&a) }, func() { s.set.PairWeights(&got) })
		unchanged(s, what, got, a)
	}
}

// skipMost reports whether a case of pairs is to be left out: three of four on a set without an instruction for
// them, and half of them on others.
func (s *suite) skipMost() bool {
	if s.set.Paired {
		return s.IntN(2) != 0
	}
	return s.IntN(4) != 0
}
