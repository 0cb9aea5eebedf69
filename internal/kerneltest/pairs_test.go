package kerneltest

import (
	"math"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// pairsFaults are sets that each break a clause of Pairs or of MultiplyPairs.
var pairsFaults = []fault{
	{"keeps what is small", "Pairs", "want", func(s *kernel.Funcs) {
		s.Pairs = roundEach(func(b uint32) uint32 { return (b + 0x7fff + b>>16&1) &^ 0xffff })
	}},
	{"drops the least", "Pairs", "want", func(s *kernel.Funcs) {
		s.Pairs = roundEach(func(b uint32) uint32 {
			if r := math.Float32bits(brain(math.Float32frombits(b))); r&^signBit > 71<<23 {
				return r
			}
			return 0
		})
	}},
	{"rounds ties up", "Pairs", "want", func(s *kernel.Funcs) {
		s.Pairs = roundEach(func(b uint32) uint32 {
			return math.Float32bits(brain(math.Float32frombits((b + 1<<15) &^ 0xffff)))
		})
	}},
	{"reads past a row", "Pairs", "fault", func(s *kernel.Funcs) {
		s.Pairs = func(a *kernel.PairsArgs) {
			if a.Kind == kernel.PairAcross {
				sink = *ptr.At(a.Src, (a.Rows-1)*a.RowStride+(a.Cols+a.Cols%2-1)*a.ColStride)
			}
			pairs(a)
		}
	}},
	{"writes a row too many", "Pairs", "Dst", func(s *kernel.Funcs) {
		s.Pairs = func(a *kernel.PairsArgs) {
			pairs(a)
			if a.Kind == kernel.SplitDown && a.Rows%2 == 1 {
				*ptr.At(a.Dst, a.Rows*a.Stride) = 0
			}
		}
	}},
	{"adds lower halves first", "MultiplyPairs", "want", func(s *kernel.Funcs) {
		s.MultiplyPairs = func(a *kernel.MultiplyArgs) {
			swap(a.A, a.Rows, a.RowStride, a.Depth, a.ColStride)
			swap(a.B, a.Depth, a.Lanes, a.Lanes, 1)
			multiplyPairs(a)
			swap(a.A, a.Rows, a.RowStride, a.Depth, a.ColStride)
			swap(a.B, a.Depth, a.Lanes, a.Lanes, 1)
		}
	}},
	{"adds lower halves of dims first", "ScoresPairs", "want", func(s *kernel.Funcs) {
		s.ScoresPairs = func(a *kernel.ScoresArgs) {
			swap(a.K, a.Keys, a.KeyStride, a.Dim, a.DimStride)
			swap(a.Q, a.Dim, a.Stride, a.Lanes, 1)
			scoresPairs(a)
			swap(a.K, a.Keys, a.KeyStride, a.Dim, a.DimStride)
			swap(a.Q, a.Dim, a.Stride, a.Lanes, 1)
		}
	}},
	{"multiplies what is masked", "AccumulatePairs", "want", func(s *kernel.Funcs) {
		s.AccumulatePairs = func(a *kernel.AccumulateArgs) {
			b := *a
			b.MaskFrom = a.Keys
			accumulatePairs(&b)
		}
	}},
	{"masks whole pairs", "AccumulatePairs", "want", func(s *kernel.Funcs) {
		s.AccumulatePairs = func(a *kernel.AccumulateArgs) {
			for k := a.MaskFrom; k < a.Keys; k++ {
				for l := range a.Lanes {
					if p := ptr.At(a.P, k*a.Stride+l); math.Float32bits(*p)&0x8000_8000 != 0 {
						*p = math.Float32frombits(0x8000_8000)
					}
				}
			}
			accumulatePairs(a)
		}
	}},
	{"loses what is masked", "PairWeights", "want", func(s *kernel.Funcs) {
		s.PairWeights = func(a *kernel.PairWeightsArgs) {
			pairs(&kernel.PairsArgs{Kind: kernel.PairDown, Src: a.P, RowStride: a.Stride, ColStride: 1, Rows: a.Keys, Cols: a.Lanes, Dst: a.P, Stride: a.Stride})
		}
	}},
	{"takes parts of KC pairs", "MultiplyPairsFew", "want", func(s *kernel.Funcs) {
		s.MultiplyPairsFew = func(a *kernel.MultiplyArgs) { multiplyPairsInParts(a, kernel.KC) }
	}},
}

// roundEach returns a Pairs that rounds each number otherwise.
func roundEach(round func(uint32) uint32) func(*kernel.PairsArgs) {
	return func(a *kernel.PairsArgs) {
		if a.Kind != kernel.RoundEach {
			pairs(a)
			return
		}
		for i := range a.Rows {
			for j := range a.Cols {
				x := *ptr.At(a.Src, i*a.RowStride+j*a.ColStride)
				if x == x {
					x = math.Float32frombits(round(math.Float32bits(x)))
				} else {
					x = brain(x)
				}
				*ptr.At(a.Dst, i*a.Stride+j) = x
			}
		}
	}
}

// swap exchanges the halves of pairs. Where strides are 0 they may be exchanged twice.
func swap(p *float32, rows, rowStride, cols, colStride int) {
	for i := range rows {
		for j := range cols {
			x := ptr.At(p, i*rowStride+j*colStride)
			b := math.Float32bits(*x)
			*x = math.Float32frombits(b<<16 | b>>16)
		}
	}
}
