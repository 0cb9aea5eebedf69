package kernel

// NormSums is the number of partial sums of a row: element i counts to sum i % NormSums. It is a
// part of the numerical contract, so this is one constant for every Set.
const NormSums = 16

// SumsArgs are the operands of Set.Sums: a row whose elements, or the squares of their distances
// from a mean, are added to partial sums. Another row may be added to it on the way.
//
// The first element is that of sum 0: a longer row is divided at multiples of NormSums.
//
//	for i := range N {
//		x := X[i]
//		if Add != nil {
//			x = X[i] + Add[i]
//			X[i] = x
//		}
//		d := x - Mean
//		if Squares {
//			Sums[i%NormSums] = fma(d, d, Sums[i%NormSums])
//		} else {
//			Sums[i%NormSums] += d
//		}
//	}
type SumsArgs struct {
	X       *float32 // [N], updated if there is Add
	Add     *float32 // [N], or nil
	N       int      // at least 1
	Mean    float32
	Squares bool
	Sums    *[NormSums]float32 // updated
}

// NormalizeArgs are the operands of Set.Normalize: a row whose distances from a mean are scaled, and
// weighted where there are weights.
//
//	for i := range N {
//		y := (X[i] - Mean) * Scale
//		switch {
//		case Bias != nil:
//			y = fma(y, Weight[i], Bias[i])
//		case Weight != nil:
//			y *= Weight[i]
//		}
//		Y[i] = y
//	}
type NormalizeArgs struct {
	X      *float32 // [N]
	Y      *float32 // [N], written; it may be X
	N      int      // at least 1
	Mean   float32
	Scale  float32
	Weight *float32 // [N], or nil
	Bias   *float32 // [N], or nil; there is Weight too
}
