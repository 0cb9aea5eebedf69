package kernel

// MaxFewRows bounds Set.FewRows, and DotsRows the rows of Set.Dots.
const MaxFewRows, DotsRows = 8, 4

// CombineArgs are the operands of Set.Combine, which adds up multiples of rows of B where they
// are.
//
//	for l := range Lanes {
//		acc := float32(0)
//		if !First {
//			acc = C[l]
//		}
//		for k := range Depth {
//			acc = fma(A[k*ColStride], B[k*BStride+l], acc)
//		}
//		C[l] = acc
//	}
//
// It asks for what comes next, too, some of it beyond B.
type CombineArgs struct {
	A         *float32
	ColStride int // elements from one element of A to the next, any sign, 0 included
	Depth     int // 1..KC
	B         *float32
	BStride   int      // elements from one row of B to the next, any sign, 0 included
	C         *float32 // [Lanes], written or updated
	Lanes     int      // a multiple of Set.Vec
	First     bool
}

// DotsArgs are the operands of Set.Dots, the products of a few vectors with rows of B.
//
//	for r := range Rows {
//		for l := range Lanes {
//			acc := float32(0)
//			for k := range Depth {
//				acc = fma(B[l*BStride+k], Q[k*QStride+r], acc)
//			}
//			C[r*Stride+l] = acc
//		}
//	}
//
// It asks for what comes next, too, some of it beyond B.
type DotsArgs struct {
	Q       *float32 // [Depth][QStride]
	QStride int      // at least Rows
	Rows    int      // 1..DotsRows
	Depth   int      // 1..KC
	B       *float32
	BStride int      // elements from one row of B to the next, any sign, 0 included
	C       *float32 // [Rows][Stride], written
	Stride  int      // at least Lanes
	Lanes   int      // rows of B, a multiple of Set.Vec
}
