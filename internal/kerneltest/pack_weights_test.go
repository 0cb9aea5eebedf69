package kerneltest

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// packWeightsFaults are sets that each break a clause of PackWeights.
var packWeightsFaults = []fault{
	{"reads another byte", "PackWeights", "fault", func(s *kernel.Funcs) {
		s.PackWeights = func(a *kernel.PackWeightsArgs) {
			row := a.Depth / a.Type.Values() * a.Type.Bytes()
			sink = float32(*(*byte)(unsafe.Add(unsafe.Pointer(a.Src), max(0, (a.Lanes-1)*a.RowBytes)+row)))
			packWeights(a)
		}
	}},
	{"writes beside rows of codes", "PackWeights", "no operand", func(s *kernel.Funcs) {
		s.PackWeights = func(a *kernel.PackWeightsArgs) {
			packWeights(a)
			if a.Stride > a.Lanes {
				*(*byte)(unsafe.Add(unsafe.Pointer(a.Codes), 4*a.Lanes)) = 1
			}
		}
	}},
	{"writes beside rows of integers", "PackWeights", "no operand", func(s *kernel.Funcs) {
		s.PackWeights = func(a *kernel.PackWeightsArgs) {
			packWeights(a)
			if a.Integers != nil && a.Stride > a.Lanes+3 {
				*(*byte)(unsafe.Add(unsafe.Pointer(a.Integers), a.Lanes)) = 1
			}
		}
	}},
	{"ignores RowBytes", "PackWeights", "want", func(s *kernel.Funcs) {
		s.PackWeights = func(a *kernel.PackWeightsArgs) {
			b := *a
			if row := a.Depth / a.Type.Values() * a.Type.Bytes(); a.RowBytes > row {
				b.RowBytes = row
			}
			packWeights(&b)
		}
	}},
	{"leaves integers with a sign", "PackWeights", "want", func(s *kernel.Funcs) {
		s.PackWeights = func(a *kernel.PackWeightsArgs) {
			packWeights(a)
			if a.Type == kernel.WeightQ8_0 {
				*a.Codes ^= 0x80
			}
		}
	}},
	{"has a NaN for a number", "PackWeights", "want", func(s *kernel.Funcs) {
		s.PackWeights = func(a *kernel.PackWeightsArgs) {
			packWeights(a)
			if a.Type == kernel.WeightMXFP4 && *a.Src == 255 {
				*(*uint32)(unsafe.Pointer(a.Numbers)) = 0x7f800000
			}
		}
	}},
	{"exchanges scales and minima", "PackWeights", "want", func(s *kernel.Funcs) {
		s.PackWeights = func(a *kernel.PackWeightsArgs) {
			packWeights(a)
			if a.Type == kernel.WeightQ5_K {
				next := (*byte)(unsafe.Add(unsafe.Pointer(a.Integers), a.Stride))
				*a.Integers, *next = *next, *a.Integers
			}
		}
	}},
	{"changes its arguments", "PackWeights", "arguments", func(s *kernel.Funcs) {
		s.PackWeights = func(a *kernel.PackWeightsArgs) { packWeights(a); a.Lanes = 0 }
	}},
}
