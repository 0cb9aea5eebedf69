package kerneltest

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// after returns Dequantize with a change of each value that it wrote.
func after(change func(a *kernel.DequantizeArgs, x float32) float32) func(s *kernel.Funcs) {
	return func(s *kernel.Funcs) {
		s.Dequantize = func(a *kernel.DequantizeArgs) {
			dequantize(a)
			for k := range a.Depth {
				for l := range a.Lanes {
					x := ptr.At(a.Dst, k*a.Stride+l)
					*x = change(a, *x)
				}
			}
		}
	}
}

// dequantizeFaults are sets that each break a clause of Dequantize.
var dequantizeFaults = []fault{
	{"reads another byte", "Dequantize", "fault", func(s *kernel.Funcs) {
		s.Dequantize = func(a *kernel.DequantizeArgs) {
			row := a.Depth / a.Type.Values() * a.Type.Bytes()
			sink = float32(*(*byte)(unsafe.Add(unsafe.Pointer(a.Src), max(0, (a.Lanes-1)*a.RowBytes)+row)))
			dequantize(a)
		}
	}},
	{"writes beside rows", "Dequantize", "no operand", func(s *kernel.Funcs) {
		s.Dequantize = func(a *kernel.DequantizeArgs) {
			dequantize(a)
			if a.Depth > 1 && a.Stride > a.Lanes {
				*ptr.At(a.Dst, a.Lanes) = nan
			}
		}
	}},
	{"ignores RowBytes", "Dequantize", "want", func(s *kernel.Funcs) {
		s.Dequantize = func(a *kernel.DequantizeArgs) {
			b := *a
			if row := a.Depth / a.Type.Values() * a.Type.Bytes(); a.RowBytes > row {
				b.RowBytes = row
			}
			dequantize(&b)
		}
	}},
	{"forgets Scales", "Dequantize", "want", func(s *kernel.Funcs) {
		s.Dequantize = func(a *kernel.DequantizeArgs) { b := *a; b.Scales = nil; dequantize(&b) }
	}},
	{"loses the sign of a zero", "Dequantize", "want", after(func(_ *kernel.DequantizeArgs, x float32) float32 { return x + 0 })},
	{"makes infinities NaN", "Dequantize", "want", after(func(_ *kernel.DequantizeArgs, x float32) float32 { return x + (x - x) })},
	{"bounds infinities", "Dequantize", "want", after(func(_ *kernel.DequantizeArgs, x float32) float32 { return min(x, math.MaxFloat32) })},
	{"flushes subnormal scales", "Dequantize", "want", after(func(a *kernel.DequantizeArgs, x float32) float32 {
		if a.Type == kernel.WeightMXFP4 && math.Abs(float64(x)) < 0x1p-126 {
			return 0
		}
		return x
	})},
	{"scales in powers of two", "Dequantize", "want", func(s *kernel.Funcs) {
		s.Dequantize = func(a *kernel.DequantizeArgs) {
			b := *a
			if a.Scales != nil {
				scales := make([]float32, a.Lanes)
				for l := range scales {
					scales[l] = float32(*ptr.At(a.Scales, l)*0x1p-24) * 0x1p24
				}
				b.Scales = &scales[0]
			}
			dequantize(&b)
		}
	}},
	{"changes its arguments", "Dequantize", "arguments", func(s *kernel.Funcs) {
		s.Dequantize = func(a *kernel.DequantizeArgs) { dequantize(a); a.Lanes = 0 }
	}},
}
