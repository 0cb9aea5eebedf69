package kernel

import "slices"

// DotWeightsArgs are the operands of Set.DotWeights, which multiplies a vector by rows of weights as it
// makes float32 of them.
//
//	for p := range parts of KC values of Depth, the last of which may have fewer {
//		for l := range Lanes {
//			acc := float32(0)
//			for k of the part {
//				x := value k of the blocks of Type from Src[l*RowBytes] on // by Weight.Decode
//				acc = fma(x, X[k], acc)
//			}
//			C[p*Stride+l] = acc
//		}
//	}
//
// It asks for what comes next in each row, too, some of it beyond Src.
type DotWeightsArgs struct {
	Type     Weight
	Src      *byte    // no alignment is required
	RowBytes int      // from one row of Src to the next, any sign, 0 included
	Depth    int      // at least 1, whole blocks
	Lanes    int      // rows of Src, a multiple of Set.Vec
	X        *float32 // [Depth]
	C        *float32 // [parts][Stride], written
	Stride   int      // at least Lanes
}

// fusedWeights are the types that sets with Fuses multiply by in machine code. 16-bit types are not among
// them: rows of theirs are often powers of two long, and 16 such rows, which share few sets of the first-level
// cache, leave it between one quad of a line and the next.
var fusedWeights = [weights]bool{
	WeightQ8_0: true, WeightQ4_0: true, WeightQ4_1: true, WeightQ5_0: true, WeightQ5_1: true,
	WeightQ4_K: true, WeightIQ4_NL: true, WeightMXFP4: true,
}

// FusedWeights returns the types for which Fused says so.
func FusedWeights() []Weight {
	return slices.DeleteFunc(Weights(), func(w Weight) bool { return !w.Fused() })
}

// Fused reports whether the machine code of a set with Fuses multiplies a vector by rows of the type.
// Set.DotWeights is Go code otherwise, which is slow.
func (w Weight) Fused() bool { return fusedWeights[w] }

// FusesWeight reports whether DotWeights of the type is machine code.
func (s *Set) FusesWeight(w Weight) bool { return s.Fuses && w.Fused() }
