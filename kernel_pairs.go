package qkv

import (
	"math"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

func pairsGeneric(a *kernel.PairsArgs) {
	step, each := 1, 1 // rows and columns of numbers that an element of pairs has
	switch a.Kind {
	case kernel.PairAcross:
		each = 2
	case kernel.PairDown, kernel.SplitDown:
		step = 2
	}
	for i := 0; i < a.Rows; i += step {
		one := i+step > a.Rows
		if a.Kind == kernel.SplitDown {
			src, dst := ptr.At(a.Src, i/2*a.RowStride), ptr.At(a.Dst, i*a.Stride)
			for j := range a.Cols {
				first, second := kernel.Split(math.Float32bits(*ptr.At(src, j)))
				*ptr.At(dst, j) = first
				if !one {
					*ptr.At(dst, a.Stride+j) = second
				}
			}
			continue
		}
		src, dst := ptr.At(a.Src, i*a.RowStride), ptr.At(a.Dst, i/step*a.Stride)
		for j := 0; j < a.Cols; j += each {
			first, second := *ptr.At(src, j*a.ColStride), float32(0)
			switch {
			case a.Kind == kernel.RoundEach:
				*ptr.At(dst, j) = kernel.Brain(first)
				continue
			case a.Kind == kernel.PairAcross && j+1 < a.Cols:
				second = *ptr.At(src, (j+1)*a.ColStride)
			case a.Kind == kernel.PairDown && !one:
				second = *ptr.At(src, a.RowStride+j*a.ColStride)
			}
			*ptr.At(dst, j/each) = math.Float32frombits(kernel.Pair(first, second))
		}
	}
}

func multiplyPairsGeneric(a *kernel.MultiplyArgs) { inGo.multiplyPairs(a) }

func multiplyPairsFewGeneric(a *kernel.MultiplyArgs) { inGo.multiplyPairsFew(a) }

// multiplyPairs multiplies by the numbers of the pairs, which is the same.
func (code chainCode) multiplyPairs(a *kernel.MultiplyArgs) {
	var x [kernel.KC]float32
	code.splitPairs(a, func(i int) (*float32, int) {
		for k := range a.Depth {
			x[2*k], x[2*k+1] = kernel.Split(math.Float32bits(*ptr.At(a.A, i*a.RowStride+k*a.ColStride)))
		}
		return &x[0], 1
	})
}

// splitPairs multiplies rows, which row returns with the step from number to number, by pairs.
func (code chainCode) splitPairs(a *kernel.MultiplyArgs, row func(i int) (x *float32, step int)) {
	var b [kernel.KC]terms
	for l := 0; l < a.Lanes; l += fp.ChainLanes {
		lanes := min(fp.ChainLanes, a.Lanes-l)
		for k := range a.Depth {
			pairs := ptr.At(a.B, k*a.Lanes+l)
			for j := range lanes {
				first, second := kernel.Split(math.Float32bits(*ptr.At(pairs, j)))
				b[2*k][j], b[2*k+1][j] = fp.Term(first), fp.Term(second)
			}
		}
		for i := range a.Rows {
			x, step := row(i)
			var sums fp.Chains
			code.add(&sums, x, step, &b[0], 2*a.Depth, fp.AnySpan, fp.AnySpan, kernel.KC)
			addSums(a, i, l, sums[:lanes])
		}
	}
}

func (code chainCode) multiplyPairsFew(a *kernel.MultiplyArgs) {
	part := *a
	for k := 0; k < a.Depth; k += kernel.KC / 2 {
		part.A, part.B, part.Depth = ptr.At(a.A, 2*k*a.ColStride), ptr.At(a.B, k*a.Lanes), min(kernel.KC/2, a.Depth-k)
		code.splitPairs(&part, func(i int) (*float32, int) { return ptr.At(part.A, i*a.RowStride), a.ColStride })
		part.Add, part.Bias = true, nil
	}
}

func scoresPairsGeneric(a *kernel.ScoresArgs) {
	for k := range a.Keys {
		for l := range a.Lanes {
			acc := float32(0)
			for d := range a.Dim {
				k0, k1 := splitAt(a.K, k*a.KeyStride+d*a.DimStride)
				q0, q1 := splitAt(a.Q, d*a.Stride+l)
				acc = fp.FMA(k1, q1, fp.FMA(k0, q0, acc))
			}
			*ptr.At(a.S, k*a.Stride+l) = acc
		}
	}
}

func pairWeightsGeneric(a *kernel.PairWeightsArgs) {
	for k := 0; k < a.Keys; k += 2 {
		row := ptr.At(a.P, k*a.Stride)
		for l := range a.Lanes {
			second := negZero
			if k+1 < a.Keys {
				second = *ptr.At(row, a.Stride+l)
			}
			*ptr.At(a.P, k/2*a.Stride+l) = math.Float32frombits(kernel.PairOfWeights(*ptr.At(row, l), second))
		}
	}
}

func accumulatePairsGeneric(a *kernel.AccumulateArgs) {
	for d := range a.Dim {
		for l := range a.Lanes {
			acc := negZero
			for k := range a.Keys {
				v0, v1 := splitAt(a.V, k*a.KeyStride+d*a.DimStride)
				p0, p1 := splitAt(a.P, k*a.Stride+l)
				if k < a.MaskFrom || math.Float32bits(p0)&signBit == 0 {
					acc = fp.FMA(v0, p0, acc)
				}
				if k < a.MaskFrom || math.Float32bits(p1)&signBit == 0 {
					acc = fp.FMA(v1, p1, acc)
				}
			}
			o := ptr.At(a.O, d*a.Stride+l)
			*o = updated(*o, acc, a.Mode, a.Alpha, l)
		}
	}
}

// splitAt returns the numbers of the pair i elements after p.
func splitAt(p *float32, i int) (first, second float32) {
	return kernel.Split(math.Float32bits(*ptr.At(p, i)))
}
