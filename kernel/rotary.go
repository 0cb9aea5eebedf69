package kernel

// A Pairing says which two elements of a row are rotated together.
type Pairing int

const (
	// HalfSplit pairs element i with element Pairs+i, as GPT-NeoX and Llama do.
	HalfSplit Pairing = iota
	// Interleaved pairs element 2*i with element 2*i+1, as RoFormer and GPT-J do.
	Interleaved
)

// RotaryArgs are the operands of Set.Rotary: rows whose pairs of elements are each
// rotated by an angle. With a TableStride of 0 they are the heads of a token, otherwise
// tokens.
//
//	for r := range Rows {
//		for i := range Pairs {
//			j, k := i, Pairs+i
//			if Pairing == Interleaved {
//				j, k = 2*i, 2*i+1
//			}
//			x0, x1 := X[r*XStride+j], X[r*XStride+k]
//			cos, sin := Cos[r*TableStride+i], Sin[r*TableStride+i]
//			Y[r*YStride+j] = fma(-sin, x1, x0*cos)
//			Y[r*YStride+k] = fma(sin, x0, x1*cos)
//		}
//	}
type RotaryArgs struct {
	X           *float32 // first row
	XStride     int      // elements from one row to the next, any sign, 0 included
	Y           *float32 // first row, written; it may be X, with the same stride
	YStride     int      // elements from one row to the next, any sign
	Cos, Sin    *float32 // tables of the first row
	TableStride int      // elements from one row's tables to the next, any sign, 0 included
	Rows        int      // at least 1
	Pairs       int      // pairs of a row, at least 1
	Pairing     Pairing
}
