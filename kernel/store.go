package kernel

import "unsafe"

// StoreArgs are the operands of Set.Store, which makes rows of keys or values of any type of
// rows of float32. [Elem.SetRow] has the arithmetic.
//
//	for r := range Rows {
//		Elem.SetRow(Dst + r*DstStride, Elem.Unit(), &Scale[r*ScaleStride], &Src[r*SrcStride], 1, Dim)
//	}
type StoreArgs struct {
	Src         *float32       // first row
	SrcStride   int            // elements from one row to the next, any sign, 0 included
	Dst         unsafe.Pointer // first row, written
	DstStride   int            // bytes from one row to the next, any sign; no two rows share memory
	Elem        Elem
	Scale       *float32 // of the first row, written, of Int8; otherwise not touched
	ScaleStride int      // elements from one scale to the next, any sign
	Rows        int      // at least 1
	Dim         int      // at least 1; of blocks, a multiple of BlockValues
}
