package kerneltest

import (
	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// hadamardFaults are those of Hadamard.
var hadamardFaults = []fault{
	{"scales at the end", "Hadamard", "want", func(s *kernel.Funcs) {
		s.Hadamard = func(a *kernel.HadamardArgs) {
			b := *a
			b.Scale = 1
			hadamard(&b)
			for i := range a.Rows * a.Cols {
				*ptr.At(a.Y, i/a.Cols*a.YStride+i%a.Cols) *= a.Scale
			}
		}
	}},
	{"takes rows for blocks", "Hadamard", "want", func(s *kernel.Funcs) {
		s.Hadamard = func(a *kernel.HadamardArgs) {
			b := *a
			if b.Cols&(b.Cols-1) == 0 {
				b.Block = b.Cols
			}
			hadamard(&b)
		}
	}},
	{"transforms half blocks", "Hadamard", "want", func(s *kernel.Funcs) {
		s.Hadamard = func(a *kernel.HadamardArgs) { b := *a; b.Block = max(1, a.Block/2); hadamard(&b) }
	}},
	{"reads a number too many", "Hadamard", "fault", func(s *kernel.Funcs) {
		s.Hadamard = func(a *kernel.HadamardArgs) {
			sink = *ptr.At(a.X, max(0, (a.Rows-1)*a.XStride)+a.Cols)
			hadamard(a)
		}
	}},
	{"writes a number too many", "Hadamard", "outside", func(s *kernel.Funcs) {
		s.Hadamard = func(a *kernel.HadamardArgs) {
			hadamard(a)
			*ptr.At(a.Y, max(0, (a.Rows-1)*a.YStride)+a.Cols) = 0
		}
	}},
}
