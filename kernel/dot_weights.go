package kernel

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

// fusedWeights are the types that sets with Fuses multiply by in machine code.
var fusedWeights = [weights]bool{
	WeightFloat16: true, WeightBFloat16: true, WeightQ8_0: true, WeightQ4_0: true, WeightQ4_1: true,
	WeightQ5_0: true, WeightQ5_1: true, WeightQ4_K: true, WeightQ5_K: true, WeightIQ4_NL: true, WeightMXFP4: true,
}

// Fused reports whether the machine code of a set with Fuses multiplies a vector of so many numbers by
// rows of the type. Set.DotWeights is Go code otherwise, which is slow.
func (w Weight) Fused(depth int) bool {
	const quad = 16 // bytes that machine code takes at a time
	return fusedWeights[w] && (w.Values() > 1 || depth*w.Bytes()%quad == 0)
}

// FusesWeight reports whether DotWeights of rows of so many numbers of the type is machine code.
func (s *Set) FusesWeight(w Weight, depth int) bool { return s.Fuses && w.Fused(depth) }
