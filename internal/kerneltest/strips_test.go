package kerneltest

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// stripFaults are sets that each break a clause of MultiplyStrips or DequantizeStrips.
var stripFaults = []fault{
	{"reads another byte", "MultiplyStrips", "fault", func(s *kernel.Funcs) {
		s.MultiplyStrips = func(a *kernel.MultiplyStripsArgs) {
			sink = float32(*(*byte)(unsafe.Add(unsafe.Pointer(a.Src), (a.Lanes/a.Vec-1)*a.StripBytes+a.Type.StripBytes(a.Depth)*a.Vec)))
			multiplyStrips(a)
		}
	}},
	{"reads another number", "MultiplyStrips", "fault", func(s *kernel.Funcs) {
		s.MultiplyStrips = func(a *kernel.MultiplyStripsArgs) {
			sink = *ptr.At(a.A, max(0, (a.Rows-1)*a.RowStride)+a.Depth)
			multiplyStrips(a)
		}
	}},
	{"writes beside rows", "MultiplyStrips", "no operand", func(s *kernel.Funcs) {
		s.MultiplyStrips = func(a *kernel.MultiplyStripsArgs) {
			multiplyStrips(a)
			if a.Rows > 1 && a.Stride > a.Lanes {
				*ptr.At(a.C, a.Lanes) = nan
			}
		}
	}},
	{"ignores StripBytes", "MultiplyStrips", "want", stripping(func(a *kernel.MultiplyStripsArgs) {
		a.StripBytes = a.Type.StripBytes(a.Depth) * a.Vec
	})},
	{"ignores RowStride", "MultiplyStrips", "want", stripping(func(a *kernel.MultiplyStripsArgs) { a.RowStride = 0 })},
	{"forgets Add", "MultiplyStrips", "want", stripping(func(a *kernel.MultiplyStripsArgs) { a.Add = false })},
	{"forgets Bias", "MultiplyStrips", "want", stripping(func(a *kernel.MultiplyStripsArgs) { a.Bias = nil })},
	{"adds Bias to each part", "MultiplyStrips", "want", func(s *kernel.Funcs) {
		s.MultiplyStrips = func(a *kernel.MultiplyStripsArgs) {
			b := *a
			for k := 0; k < a.Depth; k += kernel.KC {
				b.Src, b.A, b.Depth = ptr.At(a.Src, a.Type.StripBytes(k)*a.Vec), ptr.At(a.A, k), min(kernel.KC, a.Depth-k)
				multiplyStrips(&b)
				b.Add = true
			}
		}
	}},
	{"takes one row fewer", "MultiplyStrips", "want", stripping(func(a *kernel.MultiplyStripsArgs) { a.Rows = max(1, a.Rows-1) })},
	{"changes its arguments", "MultiplyStrips", "arguments", func(s *kernel.Funcs) {
		s.MultiplyStrips = func(a *kernel.MultiplyStripsArgs) { multiplyStrips(a); a.Depth = 0 }
	}},
	{"reads another byte", "DequantizeStrips", "fault", func(s *kernel.Funcs) {
		s.DequantizeStrips = func(a *kernel.DequantizeStripsArgs) {
			sink = float32(*(*byte)(unsafe.Add(unsafe.Pointer(a.Src), (a.Lanes/a.Vec-1)*a.StripBytes+a.Type.StripBytes(a.Depth)*a.Vec)))
			dequantizeStrips(a)
		}
	}},
	{"writes beside rows", "DequantizeStrips", "no operand", func(s *kernel.Funcs) {
		s.DequantizeStrips = func(a *kernel.DequantizeStripsArgs) {
			dequantizeStrips(a)
			if a.Depth > 1 && a.Stride > a.Lanes {
				*ptr.At(a.Dst, a.Lanes) = nan
			}
		}
	}},
	{"loses the sign of a zero", "DequantizeStrips", "want", afterStrips(func(_ *kernel.DequantizeStripsArgs, x float32) float32 { return x + 0 })},
	{"makes infinities NaN", "DequantizeStrips", "want", afterStrips(func(_ *kernel.DequantizeStripsArgs, x float32) float32 { return x + (x - x) })},
	{"flushes subnormal scales", "DequantizeStrips", "want", afterStrips(func(a *kernel.DequantizeStripsArgs, x float32) float32 {
		if a.Type == kernel.WeightMXFP4 && -0x1p-126 < x && x < 0x1p-126 {
			return 0
		}
		return x
	})},
	{"changes its arguments", "DequantizeStrips", "arguments", func(s *kernel.Funcs) {
		s.DequantizeStrips = func(a *kernel.DequantizeStripsArgs) { dequantizeStrips(a); a.Lanes = 0 }
	}},
}

// stripping returns MultiplyStrips of other arguments.
func stripping(change func(a *kernel.MultiplyStripsArgs)) func(s *kernel.Funcs) {
	return func(s *kernel.Funcs) {
		s.MultiplyStrips = func(a *kernel.MultiplyStripsArgs) {
			b := *a
			change(&b)
			multiplyStrips(&b)
		}
	}
}

// afterStrips returns DequantizeStrips with a change of each value that it wrote.
func afterStrips(change func(a *kernel.DequantizeStripsArgs, x float32) float32) func(s *kernel.Funcs) {
	return func(s *kernel.Funcs) {
		s.DequantizeStrips = func(a *kernel.DequantizeStripsArgs) {
			dequantizeStrips(a)
			for k := range a.Depth {
				for l := range a.Lanes {
					x := ptr.At(a.Dst, k*a.Stride+l)
					*x = change(a, *x)
				}
			}
		}
	}
}
