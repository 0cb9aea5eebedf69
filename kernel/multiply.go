package kernel

// KC is the number of terms of a matrix product that share a sum: the inner dimension
// is cut at multiples of KC, each part is summed by itself, and the parts are added in
// order. That keeps rounding errors small and is part of the numerical contract, so
// this is one constant for every Set.
const KC = 256

// MultiplyArgs are the operands of Set.Multiply, a block of a matrix product: rows of A
// by a panel of B.
//
//	for i := range Rows {
//		for l := range Lanes {
//			acc := float32(0)
//			for k := range Depth {
//				acc = fma(A[i*RowStride+k*ColStride], B[k*Lanes+l], acc)
//			}
//			c := float32(0)
//			if Add {
//				c = C[i*Stride+l]
//			}
//			b := float32(0)
//			if Bias != nil {
//				b = Bias[l]
//			}
//			C[i*Stride+l] = (c + b) + acc
//		}
//	}
//
// Set.MultiplyFew takes up to Set.FewRows rows and any depth, and computes what calls of Multiply
// do, one for each part of KC terms, with Add and without a Bias after the first. It asks for what
// it reads next, beyond B too.
//
// Set.MultiplyPairs computes the same of pairs of numbers that [Brain] leaves: an element of A and B is a
// pair, the bits of a uint32, see [Pair], and Depth, KC/2 in the place of KC, counts pairs.
//
//	a0, a1 := Split(A[i*RowStride+k*ColStride])
//	b0, b1 := Split(B[k*Lanes+l])
//	acc = fma(a1, b1, fma(a0, b0, acc))
//
// Set.MultiplyPairsFew is MultiplyFew of such a B. A has numbers, two for each pair.
//
//	a0, a1 := A[i*RowStride+2*k*ColStride], A[i*RowStride+(2*k+1)*ColStride]
//
// The memory from Next to NextEnd, and then ThenBytes of each of ThenRows rows, is what will be read
// next. Multiply may ask the CPU to bring it into the second-level cache while it computes, at most
// about NextRow bytes with KC steps over Depth of each row, and moves Next on by what it has asked for. With
// each of the rows that it comes to it sets Next and NextEnd to that, and moves Then on and counts
// ThenRows down. Nothing is read: no address there needs to be valid.
type MultiplyArgs struct {
	A         *float32
	RowStride int      // elements from one row of A to the next, any sign, 0 included
	ColStride int      // elements from one column of A to the next, any sign, 0 included
	Rows      int      // at least 1
	Depth     int      // 1..KC, of MultiplyFew at least 1
	B         *float32 // [Depth][Lanes]
	Bias      *float32 // [Lanes], or nil
	C         *float32 // [Rows][Stride], of either sign, written or updated; no two elements share memory
	Stride    int      // elements from one row of C to the next, any sign
	Lanes     int
	Add       bool

	// Near says that one row of MultiplyFew reads B in one ascending stream, which it asks for into the first-level cache
	// further ahead, in the place of several parts in turns. Only code for panels whose rows are 64 bytes or more does.
	Near bool

	Next, NextEnd uintptr // addresses, which keep nothing alive; nothing is asked for unless Next is below NextEnd
	NextRow       int     // at least 0

	Then                            uintptr // an address, too
	ThenRows, ThenStride, ThenBytes int     // ThenStride is the bytes from one row to the next
}
