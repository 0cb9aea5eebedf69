package kernel

// An Activation is a function of one number.
type Activation int

// The activations.
const (
	SiLU     Activation = iota // fp.SiLU
	GELU                       // fp.GELU
	GELUTanh                   // fp.GELUTanh
	activations
)

// Activations returns all activations, in the order of their numbers.
func Activations() []Activation { return []Activation{SiLU, GELU, GELUTanh} }

// Known reports whether there is such an activation.
func (k Activation) Known() bool { return k >= 0 && k < activations }

// String returns the name of the constant.
func (k Activation) String() string {
	if !k.Known() {
		return unnamed("Activation", int(k))
	}
	return [activations]string{"SiLU", "GELU", "GELUTanh"}[k]
}

// ActivateArgs are the operands of Set.Activate, which applies an activation to each number of some rows
// and, in a gated network (GLU; Shazeer, 2020), multiplies it by another.
//
//	for r := range Rows {
//		for i := range Cols {
//			y := Kind(Gate[r*GateStride+i])
//			if Up != nil {
//				y = y * Up[r*UpStride+i]
//			}
//			Dst[r*DstStride+i] = y
//		}
//	}
type ActivateArgs struct {
	Gate       *float32 // first row
	GateStride int      // elements from one row to the next, any sign, 0 included
	Up         *float32 // first row; nil for none
	UpStride   int      // elements from one row to the next, any sign, 0 included
	// Dst is the first row, written. It may be Gate, Up, or both, with the same stride.
	Dst       *float32
	DstStride int // elements from one row to the next, any sign
	Rows      int // at least 1
	Cols      int // at least 1
	Kind      Activation
}
