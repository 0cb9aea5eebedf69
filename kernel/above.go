package kernel

// AboveBlock is the number of elements that Set.Above looks at together.
const AboveBlock = 64

// AboveArgs are the operands of Set.Above: the first block of numbers with one above a bound. A NaN is
// not.
//
//	At = N
//	for i := N - AboveBlock; i >= 0; i -= AboveBlock {
//		for _, x := range X[i : i+AboveBlock] {
//			if x > Bound {
//				At = i
//			}
//		}
//	}
type AboveArgs struct {
	X     *float32 // [N]
	N     int      // a positive multiple of AboveBlock
	Bound float32  // not NaN
	At    int      // written
}
