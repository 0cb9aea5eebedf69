package kerneltest

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// dotWeightsFaults are sets that each break a clause of DotWeights.
var dotWeightsFaults = []fault{
	{"reads another byte", "DotWeights", "fault", func(s *kernel.Funcs) {
		s.DotWeights = func(a *kernel.DotWeightsArgs) {
			row := a.Depth / a.Type.Values() * a.Type.Bytes()
			sink = float32(*(*byte)(unsafe.Add(unsafe.Pointer(a.Src), max(0, (a.Lanes-1)*a.RowBytes)+row)))
			dotWeights(a)
		}
	}},
	{"reads another number", "DotWeights", "fault", func(s *kernel.Funcs) {
		s.DotWeights = func(a *kernel.DotWeightsArgs) { sink = *ptr.At(a.X, a.Depth); dotWeights(a) }
	}},
	{"writes beside rows", "DotWeights", "no operand", func(s *kernel.Funcs) {
		s.DotWeights = func(a *kernel.DotWeightsArgs) {
			dotWeights(a)
			if a.Depth > kernel.KC && a.Stride > a.Lanes {
				*ptr.At(a.C, a.Lanes) = nan
			}
		}
	}},
	{"ignores RowBytes", "DotWeights", "want", func(s *kernel.Funcs) {
		s.DotWeights = func(a *kernel.DotWeightsArgs) {
			b := *a
			if row := a.Depth / a.Type.Values() * a.Type.Bytes(); a.RowBytes > row {
				b.RowBytes = row
			}
			dotWeights(&b)
		}
	}},
	{"adds parts up", "DotWeights", "want", func(s *kernel.Funcs) {
		s.DotWeights = func(a *kernel.DotWeightsArgs) {
			dotWeights(a)
			for p := 1; p*kernel.KC < a.Depth; p++ {
				for l := range a.Lanes {
					*ptr.At(a.C, p*a.Stride+l) += *ptr.At(a.C, (p-1)*a.Stride+l)
				}
			}
		}
	}},
	{"rounds products", "DotWeights", "want", dotting(func(x, y, acc float32) float32 { return float32(x*y) + acc })},
	{"begins with -0", "DotWeights", "want", dotting(func(x, y, acc float32) float32 {
		if acc == 0 {
			acc = negZero
		}
		return fp.ExactFMA(x, y, acc)
	})},
	{"skips zeros", "DotWeights", "want", dotting(func(x, y, acc float32) float32 {
		if x == 0 {
			return acc
		}
		return fp.ExactFMA(x, y, acc)
	})},
	{"changes its arguments", "DotWeights", "arguments", func(s *kernel.Funcs) {
		s.DotWeights = func(a *kernel.DotWeightsArgs) { dotWeights(a); a.Depth = 0 }
	}},
}

// dotting returns DotWeights with another step.
func dotting(step func(x, y, acc float32) float32) func(s *kernel.Funcs) {
	return func(s *kernel.Funcs) {
		s.DotWeights = func(a *kernel.DotWeightsArgs) {
			row := make([]float32, a.Depth)
			for l := range a.Lanes {
				a.Type.Decode(row, unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(a.Src), l*a.RowBytes)), a.Depth/a.Type.Values()*a.Type.Bytes()))
				acc := float32(0)
				for k, x := range row {
					if k%kernel.KC == 0 {
						acc = 0
					}
					acc = step(x, *ptr.At(a.X, k), acc)
					*ptr.At(a.C, k/kernel.KC*a.Stride+l) = acc
				}
			}
		}
	}
}
