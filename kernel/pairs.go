package kernel

import (
	"math"

	"github.com/qkv-go/qkv/kernel/fp"
)

// LeastBrain is the least magnitude other than 0 that class BFloat16 multiplies: 2^-56. All numbers
// are multiples of 2^-63 then, and products and their sums multiples of 2^-126. So none of them is
// subnormal, and it does not matter that instructions take subnormal numbers for zeros.
const LeastBrain = 0x1p-56

// Brain returns x as class BFloat16 multiplies it: rounded to bfloat16, ties to even, or +0 if that is
// nearer to zero than [LeastBrain]. A NaN stays one.
func Brain(x float32) float32 {
	r := fp.BFloat16ToFloat32(fp.Float32ToBFloat16(x))
	if math.Abs(float64(r)) < LeastBrain {
		return 0
	}
	return r
}

// Pair returns two terms that follow each other as [Set.MultiplyPairs] has them, which adds the upper
// half of the bits first.
func Pair(first, second float32) uint32 {
	return math.Float32bits(Brain(first)) | math.Float32bits(Brain(second))>>16
}

// PairOfWeights is [Pair] of weights, of which -0 stays.
func PairOfWeights(first, second float32) uint32 {
	return weightBits(first) | weightBits(second)>>16
}

// weightBits returns the bits of a weight as class BFloat16 multiplies it.
func weightBits(x float32) uint32 {
	if b := math.Float32bits(x); b == 1<<31 {
		return b
	}
	return math.Float32bits(Brain(x))
}

// Split returns the terms of a pair.
func Split(pair uint32) (first, second float32) {
	return math.Float32frombits(pair &^ 0xffff), math.Float32frombits(pair << 16)
}

// A PairsKind is what [Set.Pairs] makes of numbers.
type PairsKind int

const (
	// RoundEach rounds each: Dst[i][j] = Brain(Src[i][j]).
	RoundEach PairsKind = iota
	// PairAcross makes pairs of neighbours in a row, of the last number and +0 if it is alone:
	// Dst[i][j] = Pair(Src[i][2*j], Src[i][2*j+1]).
	PairAcross
	// PairDown makes pairs of the numbers of two rows, of the last row and +0 if it is alone:
	// Dst[i][j] = Pair(Src[2*i][j], Src[2*i+1][j]).
	PairDown
	// SplitDown is the inverse: Dst[2*i][j], Dst[2*i+1][j] = Split(Src[i][j]). Rows are those of Dst.
	SplitDown
)

// PairsArgs are the operands of Set.Pairs. Where there are pairs, an element of 32 bits is one.
type PairsArgs struct {
	Kind      PairsKind
	Src       *float32
	RowStride int      // elements from one row of Src to the next, any sign, 0 included
	ColStride int      // elements from one column of Src to the next, any sign, 0 included; 1 of SplitDown
	Rows      int      // at least 1; of numbers
	Cols      int      // at least 1; of numbers
	Dst       *float32 // may be Src, with the same strides, but for SplitDown; otherwise it does not overlap that
	Stride    int      // elements from one row of Dst to the next, at least as many as it has columns
}

// PairWeightsArgs are the operands of Set.PairWeights, which makes pairs of the weights of two keys in their place.
// A last key that is alone has weights of -0 beside it: those that a mask took away.
//
//	for k := range (Keys + 1) / 2 {
//		for l := range Lanes {
//			second := float32(-0.0)
//			if 2*k+1 < Keys {
//				second = P[(2*k+1)*Stride+l]
//			}
//			P[k*Stride+l] = PairOfWeights(P[2*k*Stride+l], second)
//		}
//	}
//
// The other rows stay.
type PairWeightsArgs struct {
	P      *float32 // [Keys][Stride], as Softmax left it: no weight is less than 0
	Keys   int      // 1..KeyBlock
	Lanes  int
	Stride int
}

// columns returns the columns of Dst.
func (a *PairsArgs) columns() int {
	if a.Kind == PairAcross {
		return (a.Cols + 1) / 2
	}
	return a.Cols
}
