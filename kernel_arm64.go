//go:build !purego

package qkv

import "github.com/qkv-go/qkv/kernel"

// archSets returns the kernel sets in machine code, best first.
func archSets() []*kernel.Set { return []*kernel.Set{neonSet} }

// neonSet works on 12 lanes in three vectors: 24 accumulators, a row of B, and an
// element of A.
var neonSet = kernel.Set{
	Name:       "neon",
	Needs:      kernel.ASIMD,
	Vec:        4,
	Lanes:      12,
	Rows:       8,
	DecodeRows: 12,
	TurnFar:    24,
	FewRows:    6,
	PeakFLOPs:  2 * 4 * peakFMAs,
}.With(kernel.Funcs{
	PackQ:            packQWith(packQNEON),
	Scores:           scoresNEON,
	Softcap:          softcapNEON,
	ALiBi:            alibiNEON,
	Bias:             biasNEON,
	Float16:          float16NEON,
	Softmax:          softmaxNEON,
	Accumulate:       accumulateNEON,
	Finish:           finishWith(finishNEON),
	Merge:            mergeNEON,
	Convert:          convertWith(convertNEON),
	Store:            storeNEON,
	DecodeScores:     decodeScoresNEON,
	DecodeAccumulate: decodeAccumulateNEON,
	Multiply:         multiplyNEON,
	MultiplyFew:      multiplyFewWith(multiplyFewNEON),
	Combine:          combineNEON,
	Dots:             dotsNEON,
	Rotary:           rotaryNEON,
	Peak:             peakNEON,
	Read:             readNEON,
})

// packQNEON is packQGeneric where DimStride is 1.
//
//go:noescape
func packQNEON(a *kernel.PackArgs)

// scoresNEON is scoresGeneric.
//
//go:noescape
func scoresNEON(a *kernel.ScoresArgs)

// softcapNEON is softcapGeneric.
//
//go:noescape
func softcapNEON(a *kernel.SoftcapArgs)

// alibiNEON is alibiGeneric.
//
//go:noescape
func alibiNEON(a *kernel.ALiBiArgs)

// biasNEON is biasGeneric.
//
//go:noescape
func biasNEON(a *kernel.BiasArgs)

// softmaxNEON is softmaxGeneric.
//
//go:noescape
func softmaxNEON(a *kernel.SoftmaxArgs)

// accumulateNEON is accumulateGeneric.
//
//go:noescape
func accumulateNEON(a *kernel.AccumulateArgs)

// finishNEON is finishGeneric where DimStride is 1.
//
//go:noescape
func finishNEON(a *kernel.FinishArgs)

// mergeNEON is mergeGeneric.
//
//go:noescape
func mergeNEON(a *kernel.MergeArgs)

// convertNEON is convertGeneric where UnitStride is that of units without gaps.
//
//go:noescape
func convertNEON(a *kernel.ConvertArgs)

// storeNEON is storeGeneric.
//
//go:noescape
func storeNEON(a *kernel.StoreArgs)

// decodeScoresNEON is decodeScoresGeneric.
//
//go:noescape
func decodeScoresNEON(a *kernel.DecodeScoresArgs)

// decodeAccumulateNEON is decodeAccumulateGeneric.
//
//go:noescape
func decodeAccumulateNEON(a *kernel.DecodeAccumulateArgs)

// multiplyNEON is multiplyGeneric.
//
//go:noescape
func multiplyNEON(a *kernel.MultiplyArgs)

// multiplyFewNEON is multiplyFewGeneric where ColStride is 1.
//
//go:noescape
func multiplyFewNEON(a *kernel.MultiplyArgs)

// combineNEON is combineGeneric.
//
//go:noescape
func combineNEON(a *kernel.CombineArgs)

// dotsNEON is dotsGeneric.
//
//go:noescape
func dotsNEON(a *kernel.DotsArgs)

// float16NEON is float16Generic.
//
//go:noescape
func float16NEON(dst *float32, src *uint16, n int)

// rotaryNEON is rotaryGeneric.
//
//go:noescape
func rotaryNEON(a *kernel.RotaryArgs)

// peakNEON runs n rounds of peakFMAs multiply-adds of vectors.
func peakNEON(n int)

// readNEON returns the sum of n values, n a multiple of 256.
//
//go:noescape
func readNEON(p *float32, n int) float32
