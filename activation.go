package qkv

import (
	"fmt"

	"github.com/qkv-go/qkv/kernel"
)

// An Activation is a function of one number that a [Product] applies to its sums. docs/numerics.md has the
// values, which are the same on every machine.
type Activation int

// The activations.
const (
	NoActivation Activation = 0
	SiLU                    = Activation(kernel.SiLU) + 1     // x / (1 + e^-x); gated, SwiGLU
	GELU                    = Activation(kernel.GELU) + 1     // x Φ(x), by the error function; gated, GeGLU
	GELUTanh                = Activation(kernel.GELUTanh) + 1 // GELU approximated by a hyperbolic tangent
)

// String returns the name of the constant.
func (a Activation) String() string {
	switch {
	case a == NoActivation:
		return "NoActivation"
	case !a.known():
		return fmt.Sprintf("Activation(%d)", int(a))
	}
	return a.kernel().String()
}

func (a Activation) known() bool { return a == NoActivation || a.kernel().Known() }

// check reports an activation that there is not.
func (a Activation) check(name string) error {
	if !a.known() {
		return argError(name, int(a), int(GELUTanh), "%s is Activation(%d), which is unknown: the last is GELUTanh, %d", name, int(a), int(GELUTanh))
	}
	return nil
}

// kernel returns the activation, not NoActivation, as kernels know it.
func (a Activation) kernel() kernel.Activation { return kernel.Activation(a - 1) }
