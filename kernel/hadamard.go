package kernel

// HadamardArgs are the operands of Set.Hadamard: rows whose blocks are each multiplied by a Hadamard
// matrix, the one of Sylvester's construction, by the fast Walsh-Hadamard transform (Fino and Algazi,
// 1976), neighbours first.
//
//	for r := range Rows {
//		y := Y[r*YStride:][:Cols]
//		for i := range y {
//			y[i] = X[r*XStride+i] * Scale
//		}
//		for h := 1; h < Block; h *= 2 {
//			for i := range y {
//				if i&h == 0 {
//					y[i], y[i+h] = y[i]+y[i+h], y[i]-y[i+h]
//				}
//			}
//		}
//	}
type HadamardArgs struct {
	X       *float32 // first row
	XStride int      // elements from one row to the next, any sign, 0 included
	Y       *float32 // first row, written; it may be X, with the same stride
	YStride int      // elements from one row to the next, any sign; no two rows share memory
	Rows    int      // at least 1
	Cols    int      // at least 1, a multiple of Block
	Block   int      // a power of two
	Scale   float32
}
