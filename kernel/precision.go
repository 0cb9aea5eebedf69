package kernel

import "strconv"

// A Precision is a numerical class of matrix products: what the two sides are rounded to before they are
// multiplied, and how products are summed. The bits of a result depend on the class, and on nothing about
// the machine: a set without instructions for a class computes the same bits more slowly.
type Precision int

// The classes. docs/numerics.md says what each computes.
const (
	// PrecisionFloat32 multiplies numbers of float32, or what a type of weights holds, as they are.
	PrecisionFloat32 Precision = iota
	// PrecisionInt8 multiplies integers: those of weights as their type has them, and those of blocks of
	// 32 values of the other side, which is quantised.
	PrecisionInt8
	// PrecisionBFloat16 multiplies numbers that are rounded to bfloat16, as PrecisionFloat32 does.
	PrecisionBFloat16
	precisions
)

var precisionNames = [precisions]string{"Float32", "Int8", "BFloat16"}

// Precisions returns all classes, in the order of their numbers.
func Precisions() []Precision {
	all := make([]Precision, precisions)
	for i := range all {
		all[i] = Precision(i)
	}
	return all
}

// Known reports whether there is such a class.
func (p Precision) Known() bool { return p >= 0 && p < precisions }

// String returns the name of the class, as "Int8".
func (p Precision) String() string {
	if !p.Known() {
		return unnamed("Precision", int(p))
	}
	return precisionNames[p]
}

// unnamed is what a value is called that its type does not have.
func unnamed(typ string, value int) string { return typ + "(" + strconv.Itoa(value) + ")" }
