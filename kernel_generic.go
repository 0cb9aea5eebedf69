package qkv

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// genericSet is the contract in Go. It runs on every architecture, and is what
// machine code is compared with.
var genericSet = kernel.Set{
	Name:              "generic",
	Vec:               4,
	Lanes:             16,
	Rows:              1,
	DecodeRows:        kernel.MaxDecodeRows,
	FewRows:           6,
	PeakFLOPs:         2 * fp.ChainLanes,
	PeakInt8Ops:       2 * int8PeakTerms,
	PeakBFloat16FLOPs: 2 * fp.ChainLanes,
	WholePanels:       true,
	StripLanes:        8,
	SpreadsLanes:      true,
	SpreadsBlocks:     true,
}.With(genericFuncs)

var genericFuncs = kernel.Funcs{
	Pack:                 packGeneric,
	Scores:               scoresGeneric,
	Softcap:              softcapGeneric,
	ALiBi:                alibiGeneric,
	Bias:                 biasGeneric,
	Softmax:              softmaxGeneric,
	Accumulate:           accumulateGeneric,
	Unpack:               unpackGeneric,
	Merge:                mergeGeneric,
	Convert:              convertGeneric,
	Store:                storeGeneric,
	DecodeScores:         decodeScoresGeneric,
	DecodeAccumulate:     decodeAccumulateGeneric,
	DecodeScoresInt8:     decodeScoresInt8Generic,
	DecodeAccumulateInt8: decodeAccumulateInt8Generic,
	Multiply:             multiplyGeneric,
	MultiplyFew:          multiplyFewGeneric,
	Combine:              combineGeneric,
	Dots:                 dotsGeneric,
	Dequantize:           dequantizeGeneric,
	DotWeights:           dotWeightsGeneric,
	Pairs:                pairsGeneric,
	MultiplyPairs:        multiplyPairsGeneric,
	MultiplyPairsFew:     multiplyPairsFewGeneric,
	ScoresPairs:          scoresPairsGeneric,
	PairWeights:          pairWeightsGeneric,
	AccumulatePairs:      accumulatePairsGeneric,
	Quantize:             quantizeGeneric,
	UnpackInt8:           unpackInt8Generic,
	MultiplyInt8:         multiplyInt8Generic,
	MultiplyRowInt8:      multiplyRowInt8Generic,
	ConvertInt8:          convertInt8Generic,
	PackWeights:          packWeightsGeneric,
	PackInt8:             packInt8Generic,
	TransposeInt8:        transposeInt8Generic,
	MultiplyStrips:       multiplyStripsGeneric,
	DequantizeStrips:     dequantizeStripsGeneric,
	Float16:              float16Generic,
	Rotary:               rotaryGeneric,
	Activate:             activateGeneric,
	Sums:                 sumsGeneric,
	Normalize:            normalizeGeneric,
	Hadamard:             hadamardGeneric,
	Above:                aboveGeneric,
	Peak:                 peakGeneric,
	PeakInt8:             peakInt8Generic,
	PeakBFloat16:         peakGeneric,
	Read:                 readGeneric,
}

const signBit = 1 << 31 // of the bits of a float32

var negZero = math.Float32frombits(signBit)

// quad returns the four elements from i float32 after p on.
func quad(p *float32, i int) *[4]float32 {
	return (*[4]float32)(unsafe.Pointer(ptr.At(p, i)))
}

func packGeneric(a *kernel.PackArgs) {
	for l := range a.Rows {
		src := ptr.At(a.Src, a.Off[l])
		for d := range a.Dim {
			*ptr.At(a.Dst, d*a.Stride+l) = *ptr.At(src, d*a.DimStride) * a.Scale
		}
	}
	for d := range a.Dim {
		for l := a.Rows; l < a.Lanes; l++ {
			*ptr.At(a.Dst, d*a.Stride+l) = 0
		}
	}
}

// terms are rows of operands of fp.Chains.
type terms = [fp.ChainLanes]fp.Term

// load fills t with n numbers from p on, the rest with zeros.
func load(t *terms, p *float32, n int) {
	if n == len(t) {
		for i, x := range (*[fp.ChainLanes]float32)(unsafe.Pointer(p)) {
			t[i] = fp.Term(x)
		}
		return
	}
	*t = terms{}
	for i, x := range unsafe.Slice(p, n) {
		t[i] = fp.Term(x)
	}
}

// worthSpan is the number of rows that have to share operands for their span to be worth
// knowing: it costs about what one row loses without it.
const worthSpan = 2

// A chainCode is the code that adds to fp.Chains.
type chainCode int

const (
	inGo   chainCode = iota
	inSSE2           // on amd64, see kernel_sse2.go
)

// worth reports whether to know the span of operands that so many rows share.
func (code chainCode) worth(rows int) bool { return code != inGo || rows >= worthSpan }

// span returns what n numbers, step apart, and s span, where fp.Chains asks for it.
func span(p *float32, step, n int, s fp.Span) fp.Span {
	if fp.Fused {
		return s
	}
	for i := range n {
		s = s.And(*ptr.At(p, i*step))
	}
	return s
}

// spanRows returns the span of rows of n numbers, step apart.
func spanRows(p *float32, rowStep, rows, step, n int) fp.Span {
	s := fp.NoSpan
	for r := range rows {
		s = span(ptr.At(p, r*rowStep), step, n, s)
	}
	return s
}

func scoresGeneric(a *kernel.ScoresArgs) { inGo.scores(a) }

func (code chainCode) scores(a *kernel.ScoresArgs) {
	var q [kernel.KeyBlock]terms
	keys := code.span(a.K, a.KeyStride, a.Keys, a.DimStride, a.Dim)
	for l := 0; l < a.Lanes; l += fp.ChainLanes {
		lanes := min(fp.ChainLanes, a.Lanes-l)
		queries := fp.NoSpan
		for d0 := 0; d0 < a.Dim; d0 += len(q) {
			dims := min(len(q), a.Dim-d0)
			for i := range dims {
				row := ptr.At(a.Q, (d0+i)*a.Stride+l)
				load(&q[i], row, lanes)
				queries = span(row, 1, lanes, queries)
			}
			for k := range a.Keys {
				s := unsafe.Slice(ptr.At(a.S, k*a.Stride+l), lanes)
				var c fp.Chains
				if d0 > 0 {
					for i, x := range s {
						c[i] = fp.Term(x)
					}
				}
				code.add(&c, ptr.At(a.K, k*a.KeyStride+d0*a.DimStride), a.DimStride, &q[0], dims, keys, queries, a.Dim)
				for i := range s {
					s[i] = float32(c[i])
				}
			}
		}
	}
}

func softcapGeneric(a *kernel.SoftcapArgs) {
	for k := range a.Keys {
		for l := range a.Lanes {
			s := ptr.At(a.S, k*a.Stride+l)
			*s = fp.Softcap(*s, a.In, a.Out)
		}
	}
}

func alibiGeneric(a *kernel.ALiBiArgs) {
	for k := range a.Keys {
		key := float32(a.First + k)
		for l := range a.Lanes {
			s := ptr.At(a.S, k*a.Stride+l)
			distance := math.Float32frombits(math.Float32bits(*ptr.At(a.Pos, l)-key) &^ signBit)
			*s = fp.FMA(*ptr.At(a.Slope, l), distance, *s)
		}
	}
}

func biasGeneric(a *kernel.BiasArgs) {
	mask := unsafe.Slice(a.Mask, a.Keys)
	a.Cleared = false
	for l := range a.Lanes {
		for k := range a.Keys {
			b := float32(0)
			if l < a.Rows {
				b = *ptr.At(a.Src, a.Off[l]+k)
			}
			if b < -math.MaxFloat32 {
				mask[k] &^= 1 << l
				a.Cleared = true
			}
			s := ptr.At(a.S, k*a.Stride+l)
			*s = fp.FMA(b, a.Scale, *s)
		}
	}
}

func float16Generic(dst *float32, src *uint16, n int) {
	for i, h := range unsafe.Slice(src, n) {
		*ptr.At(dst, i) = fp.Float16ToFloat32(h)
	}
}

func softmaxGeneric(a *kernel.SoftmaxArgs) {
	masked := unsafe.Slice(a.Mask, a.Keys-a.MaskFrom)
	a.Moved = false
	for l := range a.Lanes {
		s := ptr.At(a.S, l)
		oldMax := *ptr.At(a.Max, l)
		m := oldMax
		for k := range a.MaskFrom {
			if x := *ptr.At(s, k*a.Stride); x > m {
				m = x
			}
		}
		for i, word := range masked {
			if x := *ptr.At(s, (a.MaskFrom+i)*a.Stride); word>>l&1 == 1 && x > m {
				m = x
			}
		}

		alpha := fp.Exp2(oldMax - m)
		var sum float32
		for k := range a.MaskFrom {
			e := ptr.At(s, k*a.Stride)
			p := fp.Exp2(*e - m)
			*e = p
			sum += p
		}
		for i, word := range masked {
			e := ptr.At(s, (a.MaskFrom+i)*a.Stride)
			if word>>l&1 == 0 {
				*e = math.Float32frombits(signBit)
				continue // adding -0 changes nothing
			}
			p := fp.Exp2(*e - m)
			*e = p
			sum += p
		}

		*ptr.At(a.Max, l) = m
		*ptr.At(a.Alpha, l) = alpha
		*ptr.At(a.Sum, l) = fp.FMA(*ptr.At(a.Sum, l), alpha, sum)
		if alpha != 1 {
			a.Moved = true
		}
	}
}

func accumulateGeneric(a *kernel.AccumulateArgs) { inGo.accumulate(a) }

func (code chainCode) accumulate(a *kernel.AccumulateArgs) {
	var p [kernel.KeyBlock]terms
	values := code.span(a.V, a.KeyStride, a.Keys, a.DimStride, a.Dim)
	for l := 0; l < a.Lanes; l += fp.ChainLanes {
		lanes := min(fp.ChainLanes, a.Lanes-l)
		weights := fp.NoSpan
		for k := range a.Keys {
			row := ptr.At(a.P, k*a.Stride+l)
			load(&p[k], row, lanes)
			weights = span(row, 1, lanes, weights)
		}
		for d := range a.Dim {
			c := negZeros
			code.add(&c, ptr.At(a.V, d*a.DimStride), a.KeyStride, &p[0], a.Keys, values, weights, a.Keys)
			for i := range lanes {
				acc, lane := float32(c[i]), l+i
				if a.MaskFrom < a.Keys && tainted(acc) {
					acc = weigh(negZero, ptr.At(a.V, d*a.DimStride), a.KeyStride, ptr.At(a.P, lane), a.Stride, a.Keys, a.MaskFrom)
				}
				o := ptr.At(a.O, d*a.Stride+lane)
				*o = updated(*o, acc, a.Mode, a.Alpha, lane)
			}
		}
	}
}

var negZeros = fp.Chains{
	fp.Term(negZero), fp.Term(negZero), fp.Term(negZero), fp.Term(negZero),
	fp.Term(negZero), fp.Term(negZero), fp.Term(negZero), fp.Term(negZero),
}

// tainted reports whether acc may differ from the sum without masked keys, whose weights are
// -0: such a product changes nothing but the sign of a zero, unless the value is not finite.
func tainted(acc float32) bool { return acc == 0 || acc-acc != 0 }

// weigh returns the sum of acc and n values weighted by p, each step apart, without those from
// maskFrom on that are masked.
func weigh(acc float32, v *float32, vStep int, p *float32, pStep, n, maskFrom int) float32 {
	for k := range n {
		w := *ptr.At(p, k*pStep)
		if k < maskFrom || math.Float32bits(w)&signBit == 0 {
			acc = fp.FMA(*ptr.At(v, k*vStep), w, acc)
		}
	}
	return acc
}

// updated returns an output after a block of keys that adds acc.
func updated(o, acc float32, mode kernel.UpdateMode, alpha *float32, lane int) float32 {
	switch mode {
	case kernel.First:
		return 0 + acc // +0, where the sum is -0
	case kernel.Add:
		return o + acc
	}
	weight := *ptr.At(alpha, lane)
	if weight == 1 {
		return o + acc // the same, and a sum of like numbers is a tie often, which takes FMA long
	}
	return fp.FMA(o, weight, acc)
}

func unpackGeneric(a *kernel.UnpackArgs) {
	for l := range a.Rows {
		var r float32
		if sum := *ptr.At(a.Sum, l); sum != 0 {
			r = 1 / sum
		}
		dst := ptr.At(a.Dst, a.Off[l])
		for d := range a.Dim {
			*ptr.At(dst, d*a.DimStride) = *ptr.At(a.O, d*a.Stride+l) * r
		}
	}
}

func multiplyGeneric(a *kernel.MultiplyArgs) { inGo.multiply(a) }

func (code chainCode) multiply(a *kernel.MultiplyArgs) {
	var b [kernel.KC]terms
	rows := code.span(a.A, a.RowStride, a.Rows, a.ColStride, a.Depth)
	for l := 0; l < a.Lanes; l += fp.ChainLanes {
		lanes := min(fp.ChainLanes, a.Lanes-l)
		panel := fp.AnySpan
		if code.worth(a.Rows) {
			panel = fp.NoSpan
		}
		for k := range a.Depth {
			row := ptr.At(a.B, k*a.Lanes+l)
			load(&b[k], row, lanes)
			if code.worth(a.Rows) {
				panel = span(row, 1, lanes, panel)
			}
		}
		for i := range a.Rows {
			var sums fp.Chains
			code.add(&sums, ptr.At(a.A, i*a.RowStride), a.ColStride, &b[0], a.Depth, rows, panel, a.Depth)
			addSums(a, i, l, sums[:lanes])
		}
	}
}

// addSums adds the sums of a row, from a lane on, to C and the bias.
func addSums(a *kernel.MultiplyArgs, row, lane int, sums []fp.Term) {
	for j, sum := range sums {
		c := ptr.At(a.C, row*a.Stride+lane+j)
		var old, bias float32
		if a.Add {
			old = *c
		}
		if a.Bias != nil {
			bias = *ptr.At(a.Bias, lane+j)
		}
		*c = (old + bias) + float32(sum)
	}
}

func peakGeneric(n int) { inGo.peak(n) }

func (code chainCode) peak(n int) {
	const depth = 64
	x, y, c := float32(1), [depth]terms{}, fp.Chains{}
	ones := fp.NoSpan.And(x)
	for i := range y {
		for l := range y[i] {
			y[i][l] = 1
		}
	}
	for ; n > 0; n -= depth {
		code.add(&c, &x, 0, &y[0], min(n, depth), ones, ones, depth)
	}
	if c[0] < 0 {
		panic("qkv: a sum of positive products is negative") // keeps the sums alive
	}
}

func readGeneric(p *float32, n int) float32 {
	var s0, s1, s2, s3 float32
	for i := 0; i < n; i += 4 {
		v := quad(p, i)
		s0 += v[0]
		s1 += v[1]
		s2 += v[2]
		s3 += v[3]
	}
	return s0 + s1 + s2 + s3
}
