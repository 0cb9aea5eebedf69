package kerneltest

import (
	"math"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// activateAs is a set whose Activate computes f of a number of that kind.
func activateAs(kind kernel.Activation, f func(x float32) float32) func(*kernel.Funcs) {
	return func(s *kernel.Funcs) {
		s.Activate = func(a *kernel.ActivateArgs) {
			if a.Kind != kind {
				activate(a)
				return
			}
			for r := range a.Rows {
				for i := range a.Cols {
					y := f(*ptr.At(a.Gate, r*a.GateStride+i))
					if a.Up != nil {
						y *= *ptr.At(a.Up, r*a.UpStride+i)
					}
					*ptr.At(a.Dst, r*a.DstStride+i) = y
				}
			}
		}
	}
}

// activateFaults are sets that each break a clause of Activate.
var activateFaults = []fault{
	{"computes the other SiLU", "Activate", "want", activateAs(kernel.SiLU, func(x float32) float32 {
		return float32(float64(x) / (1 + math.Exp(-float64(x))))
	})},
	{"computes the other GELU", "Activate", "want", activateAs(kernel.GELU, func(x float32) float32 {
		return float32(float64(x) * math.Erfc(-float64(x)/math.Sqrt2) / 2)
	})},
	{"approximates GELU", "Activate", "want", func(s *kernel.Funcs) {
		s.Activate = func(a *kernel.ActivateArgs) {
			b := *a
			if b.Kind == kernel.GELU {
				b.Kind = kernel.GELUTanh
			}
			activate(&b)
		}
	}},
	{"computes the exact GELUTanh", "Activate", "want", func(s *kernel.Funcs) {
		s.Activate = func(a *kernel.ActivateArgs) {
			b := *a
			if b.Kind == kernel.GELUTanh {
				b.Kind = kernel.GELU
			}
			activate(&b)
		}
	}},
	{"forgets Up", "Activate", "want", func(s *kernel.Funcs) {
		s.Activate = func(a *kernel.ActivateArgs) { b := *a; b.Up = nil; activate(&b) }
	}},
	{"ignores GateStride", "Activate", "want", func(s *kernel.Funcs) {
		s.Activate = func(a *kernel.ActivateArgs) { b := *a; b.GateStride = min(a.GateStride, a.Cols); activate(&b) }
	}},
	{"ignores UpStride", "Activate", "want", func(s *kernel.Funcs) {
		s.Activate = func(a *kernel.ActivateArgs) { b := *a; b.UpStride = min(a.UpStride, a.Cols); activate(&b) }
	}},
	{"ignores DstStride", "Activate", "no operand", func(s *kernel.Funcs) {
		s.Activate = func(a *kernel.ActivateArgs) { b := *a; b.DstStride = min(a.DstStride, a.Cols); activate(&b) }
	}},
	{"reads another number", "Activate", "fault", func(s *kernel.Funcs) {
		s.Activate = func(a *kernel.ActivateArgs) {
			sink = *ptr.At(a.Gate, (a.Rows-1)*max(0, a.GateStride)+a.Cols)
			activate(a)
		}
	}},
	{"reads another factor", "Activate", "fault", func(s *kernel.Funcs) {
		s.Activate = func(a *kernel.ActivateArgs) {
			if a.Up != nil {
				sink = *ptr.At(a.Up, (a.Rows-1)*max(0, a.UpStride)+a.Cols)
			}
			activate(a)
		}
	}},
	{"writes beside rows", "Activate", "no operand", func(s *kernel.Funcs) {
		s.Activate = func(a *kernel.ActivateArgs) {
			activate(a)
			if a.Rows > 1 && a.DstStride > a.Cols {
				*ptr.At(a.Dst, a.Cols) = nan
			}
		}
	}},
	{"stores whole vectors", "Activate", "outside", func(s *kernel.Funcs) {
		s.Activate = func(a *kernel.ActivateArgs) {
			activate(a)
			if a.Cols%4 != 0 && a.DstStride > 0 {
				*ptr.At(a.Dst, (a.Rows-1)*a.DstStride+a.Cols) = 0
			}
		}
	}},
	{"flushes subnormals", "Activate", "want", activateAs(kernel.SiLU, func(x float32) float32 {
		if x < 0 && x > -minNormal {
			return negZero
		}
		return silu(x)
	})},
	{"loses the sign of a zero", "Activate", "want", activateAs(kernel.SiLU, func(x float32) float32 {
		if y := silu(x); y != 0 {
			return y
		}
		return 0
	})},
}

// silu is the activation of one number.
func silu(x float32) float32 {
	activate(&kernel.ActivateArgs{Gate: &x, Dst: &x, Rows: 1, Cols: 1})
	return x
}
