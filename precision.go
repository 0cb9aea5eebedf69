package qkv

import "github.com/qkv-go/qkv/kernel"

// A Precision is a numerical class of products and of attention: what the two sides are rounded to before they are
// multiplied, and how products are summed. It is the caller's choice, and never the machine's: within a class
// a result has the same bits on every kernel set, whatever the number of workers and rows and the packing of
// weights. docs/numerics.md says what each class computes, and how far that is from the exact product.
type Precision int

// The classes. Those of attention are in [Call].Precision.
const (
	// PrecisionFloat32, the default, multiplies numbers of float32, or what a type of weights holds, as
	// they are.
	PrecisionFloat32 = Precision(kernel.PrecisionFloat32)
	// PrecisionInt8 multiplies integers: those of weights as their type has them, and those of blocks of
	// 32 values of X, which are quantised once a call.
	PrecisionInt8 = Precision(kernel.PrecisionInt8)
	// PrecisionBFloat16 rounds X and the weights to bfloat16, numbers below 2^-56 to 0, and multiplies
	// them as PrecisionFloat32 does. Packed weights take 2 bytes each.
	PrecisionBFloat16 = Precision(kernel.PrecisionBFloat16)
)

// String returns the name of the class, as "Int8".
func (p Precision) String() string { return kernel.Precision(p).String() }

// check reports a class that there is not.
func (p Precision) check(name string) error {
	if !kernel.Precision(p).Known() {
		return argError(name, int(p), int(PrecisionBFloat16), "%s is the unknown class %v", name, p)
	}
	return nil
}
