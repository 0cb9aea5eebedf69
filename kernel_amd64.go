//go:build !purego

package qkv

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// archSets returns the kernel sets in machine code, best first.
func archSets() []*kernel.Set { return []*kernel.Set{avx512Set, avx2Set, sse2Set} }

// avx512Set works on 64 lanes in four vectors: 24 accumulators, a row of B, and an
// element of A.
var avx512Set = kernel.Set{
	Name:       "avx512",
	Needs:      kernel.AVX512F | kernel.AVX512DQ | kernel.AVX512BW | kernel.AVX512VL,
	Vec:        16,
	Lanes:      64,
	Rows:       6,
	DecodeRows: 16,
	Turn:       256,
	TurnFar:    48,
	FewRows:    6,
	PeakFLOPs:  2 * 16 * peakFMAs,
}.With(kernel.Funcs{
	PackQ:            packQWith(packQAVX512),
	Scores:           scoresAVX512,
	Softcap:          softcapAVX512,
	ALiBi:            alibiAVX512,
	Bias:             biasAVX512,
	Float16:          float16AVX512,
	Softmax:          softmaxAVX512,
	Accumulate:       accumulateAVX512,
	Finish:           finishWith(finishAVX512),
	Merge:            mergeAVX512,
	Convert:          convertWith(convertAVX512),
	Store:            storeAVX512,
	DecodeScores:     decodeScoresAVX512,
	DecodeAccumulate: decodeAccumulateAVX512,
	Multiply:         multiplyAVX512,
	MultiplyFew:      multiplyFewWith(multiplyFewAVX512),
	Combine:          combineAVX512,
	Dots:             dotsAVX512,
	Rotary:           rotaryAVX512,
	Peak:             peakAVX512,
	Read:             readAVX512,
})

// avx2Set works on 16 lanes in two vectors: 12 accumulators, a row of B, and an
// element of A.
var avx2Set = kernel.Set{
	Name:       "avx2",
	Needs:      kernel.AVX2 | kernel.FMA3 | kernel.F16C,
	Vec:        8,
	Lanes:      16,
	Rows:       6,
	DecodeRows: 12,
	Turn:       32,
	TurnFar:    16,
	FewRows:    6,
	PeakFLOPs:  2 * 8 * peakFMAs,
}.With(kernel.Funcs{
	PackQ:            packQWith(packQAVX2),
	Scores:           scoresAVX2,
	Softcap:          softcapAVX2,
	ALiBi:            alibiAVX2,
	Bias:             biasAVX2,
	Float16:          float16AVX2,
	Softmax:          softmaxAVX2,
	Accumulate:       accumulateAVX2,
	Finish:           finishWith(finishAVX2),
	Merge:            mergeAVX2,
	Convert:          convertWith(convertAVX2),
	Store:            storeAVX2,
	DecodeScores:     decodeScoresAVX2,
	DecodeAccumulate: decodeAccumulateAVX2,
	Multiply:         multiplyAVX2,
	MultiplyFew:      multiplyFewWith(multiplyFewAVX2),
	Combine:          combineAVX2,
	Dots:             dotsAVX2,
	Rotary:           rotaryAVX2,
	Peak:             peakAVX2,
	Read:             readAVX2,
})

// sse2Set is the generic set with kernel.Chains in machine code.
var sse2Set = func() *kernel.Set {
	set, f := *genericSet, genericFuncs
	set.Name = "sse2"
	f.Scores = inSSE2.scores
	f.Softmax = softmaxSSE2
	f.Accumulate = inSSE2.accumulate
	f.DecodeScores = decodeScoresSSE2
	f.DecodeAccumulate = decodeAccumulateSSE2
	f.Multiply = inSSE2.multiply
	f.MultiplyFew = inSSE2.multiplyFew
	f.Combine = inSSE2.combine
	f.Dots = inSSE2.dots
	f.Peak = inSSE2.peak
	return set.With(f)
}()

// packQAVX512 is packQGeneric where DimStride is 1.
//
//go:noescape
func packQAVX512(a *kernel.PackArgs)

// scoresAVX512 is scoresGeneric.
//
//go:noescape
func scoresAVX512(a *kernel.ScoresArgs)

// softcapAVX512 is softcapGeneric.
//
//go:noescape
func softcapAVX512(a *kernel.SoftcapArgs)

// alibiAVX512 is alibiGeneric.
//
//go:noescape
func alibiAVX512(a *kernel.ALiBiArgs)

// biasAVX512 is biasGeneric.
//
//go:noescape
func biasAVX512(a *kernel.BiasArgs)

// softmaxAVX512 is softmaxGeneric.
//
//go:noescape
func softmaxAVX512(a *kernel.SoftmaxArgs)

// accumulateAVX512 is accumulateGeneric.
//
//go:noescape
func accumulateAVX512(a *kernel.AccumulateArgs)

// finishAVX512 is finishGeneric where DimStride is 1.
//
//go:noescape
func finishAVX512(a *kernel.FinishArgs)

// mergeAVX512 is mergeGeneric.
//
//go:noescape
func mergeAVX512(a *kernel.MergeArgs)

// convertAVX512 is convertGeneric where UnitStride is that of units without gaps.
//
//go:noescape
func convertAVX512(a *kernel.ConvertArgs)

// storeAVX512 is storeGeneric.
//
//go:noescape
func storeAVX512(a *kernel.StoreArgs)

// decodeScoresAVX512 is decodeScoresGeneric.
//
//go:noescape
func decodeScoresAVX512(a *kernel.DecodeScoresArgs)

// decodeAccumulateAVX512 is decodeAccumulateGeneric.
//
//go:noescape
func decodeAccumulateAVX512(a *kernel.DecodeAccumulateArgs)

// multiplyAVX512 is multiplyGeneric.
//
//go:noescape
func multiplyAVX512(a *kernel.MultiplyArgs)

// multiplyFewAVX512 is multiplyFewGeneric where ColStride is 1.
//
//go:noescape
func multiplyFewAVX512(a *kernel.MultiplyArgs)

// combineAVX512 is combineGeneric.
//
//go:noescape
func combineAVX512(a *kernel.CombineArgs)

// dotsAVX512 is dotsGeneric.
//
//go:noescape
func dotsAVX512(a *kernel.DotsArgs)

// float16AVX512 is float16Generic.
//
//go:noescape
func float16AVX512(dst *float32, src *uint16, n int)

// rotaryAVX512 is rotaryGeneric.
//
//go:noescape
func rotaryAVX512(a *kernel.RotaryArgs)

// peakAVX512 runs n rounds of peakFMAs multiply-adds of vectors.
func peakAVX512(n int)

// readAVX512 returns the sum of n values, n a multiple of 256.
//
//go:noescape
func readAVX512(p *float32, n int) float32

// packQAVX2 is packQGeneric where DimStride is 1.
//
//go:noescape
func packQAVX2(a *kernel.PackArgs)

// scoresAVX2 is scoresGeneric.
//
//go:noescape
func scoresAVX2(a *kernel.ScoresArgs)

// softcapAVX2 is softcapGeneric.
//
//go:noescape
func softcapAVX2(a *kernel.SoftcapArgs)

// alibiAVX2 is alibiGeneric.
//
//go:noescape
func alibiAVX2(a *kernel.ALiBiArgs)

// biasAVX2 is biasGeneric.
//
//go:noescape
func biasAVX2(a *kernel.BiasArgs)

// softmaxAVX2 is softmaxGeneric.
//
//go:noescape
func softmaxAVX2(a *kernel.SoftmaxArgs)

// accumulateAVX2 is accumulateGeneric.
//
//go:noescape
func accumulateAVX2(a *kernel.AccumulateArgs)

// finishAVX2 is finishGeneric where DimStride is 1.
//
//go:noescape
func finishAVX2(a *kernel.FinishArgs)

// mergeAVX2 is mergeGeneric.
//
//go:noescape
func mergeAVX2(a *kernel.MergeArgs)

// convertAVX2 is convertGeneric where UnitStride is that of units without gaps.
//
//go:noescape
func convertAVX2(a *kernel.ConvertArgs)

// storeAVX2 is storeGeneric.
//
//go:noescape
func storeAVX2(a *kernel.StoreArgs)

// decodeScoresAVX2 is decodeScoresGeneric.
//
//go:noescape
func decodeScoresAVX2(a *kernel.DecodeScoresArgs)

// decodeAccumulateAVX2 is decodeAccumulateGeneric.
//
//go:noescape
func decodeAccumulateAVX2(a *kernel.DecodeAccumulateArgs)

// multiplyAVX2 is multiplyGeneric.
//
//go:noescape
func multiplyAVX2(a *kernel.MultiplyArgs)

// multiplyFewAVX2 is multiplyFewGeneric where ColStride is 1.
//
//go:noescape
func multiplyFewAVX2(a *kernel.MultiplyArgs)

// combineAVX2 is combineGeneric.
//
//go:noescape
func combineAVX2(a *kernel.CombineArgs)

// dotsAVX2 is dotsGeneric.
//
//go:noescape
func dotsAVX2(a *kernel.DotsArgs)

// float16AVX2 is float16Generic.
//
//go:noescape
func float16AVX2(dst *float32, src *uint16, n int)

// rotaryAVX2 is rotaryGeneric.
//
//go:noescape
func rotaryAVX2(a *kernel.RotaryArgs)

// peakAVX2 runs n rounds of peakFMAs multiply-adds of vectors.
func peakAVX2(n int)

// readAVX2 returns the sum of n values, n a multiple of 256.
//
//go:noescape
func readAVX2(p *float32, n int) float32

// chainsSSE2 is kernel.Chains.Add where no sum leaves the normal range, for n at least 1.
//
//go:noescape
func chainsSSE2(c *kernel.Chains, x *float32, step int, y *terms, n int)

// keyChainsSSE2 is addKeys, for n at least 1.
//
//go:noescape
func keyChainsSSE2(c *kernel.Chains, k unsafe.Pointer, off *int, q *[2]float64, n int)

// valueChainsSSE2 is addValues, for n at least 1.
//
//go:noescape
func valueChainsSSE2(c *kernel.Chains, v unsafe.Pointer, off, ahead *int, p *[2]float64, n int, bias uint32) (all uint32)

// spanSSE2 returns the bounds of rows of n numbers that kernel.Span.AndBits takes, for n at
// least 1.
//
//go:noescape
func spanSSE2(p unsafe.Pointer, off *int, rows, n int) (low, high uint32)

// columnMaxSSE2 raises four maxima to scores of a column, for keys at least 1.
//
//go:noescape
func columnMaxSSE2(s *float32, stride, keys int, top *float32)

// columnExpSSE2 makes weights of the scores of a column, for keys at least 1.
//
//go:noescape
func columnExpSSE2(s *float32, stride, keys int, top *float32)

// columnSumSSE2 adds the weights of a column to four sums, for keys at least 1.
//
//go:noescape
func columnSumSSE2(s *float32, stride, keys int, sum *float32)

// withinSSE2 returns the bits that all of rows of n numbers have when bias is added to theirs,
// for n at least 4.
//
//go:noescape
func withinSSE2(p unsafe.Pointer, off *int, rows, n int, bias uint32) (all uint32)
