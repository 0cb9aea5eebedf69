package kerneltest

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// int8Faults are sets that each break a clause of class Int8.
var int8Faults = []fault{
	{"takes the first block alone", "DecodeScoresInt8", "want", func(s *kernel.Funcs) {
		s.DecodeScoresInt8 = func(a *kernel.DecodeScoresInt8Args) {
			b := *a
			b.Dim = min(a.Dim, kernel.Int8Block)
			decodeScoresInt8(&b)
		}
	}},
	{"reads a dim too many", "DecodeScoresInt8", "fault", func(s *kernel.Funcs) {
		s.DecodeScoresInt8 = func(a *kernel.DecodeScoresInt8Args) {
			decodeScoresInt8(a)
			for k := range a.Keys {
				sink = float32(*(*byte)(unsafe.Add(a.K, a.Off[k]+a.Elem.RowBytes(a.Dim))))
			}
		}
	}},
	{"reads the scale of a key too many", "DecodeScoresInt8", "fault", func(s *kernel.Funcs) {
		s.DecodeScoresInt8 = func(a *kernel.DecodeScoresInt8Args) {
			decodeScoresInt8(a)
			if a.Elem == kernel.Int8 {
				sink = *ptr.At(a.Scale, a.Keys)
			}
		}
	}},
	{"writes a row too many", "DecodeScoresInt8", "no operand", func(s *kernel.Funcs) {
		s.DecodeScoresInt8 = func(a *kernel.DecodeScoresInt8Args) {
			decodeScoresInt8(a)
			if a.Keys > 1 && a.Stride > a.Rows {
				*ptr.At(a.S, a.Rows) = 0
			}
		}
	}},
	{"rounds ties away from zero", "Quantize", "want", func(s *kernel.Funcs) {
		s.Quantize = func(a *kernel.QuantizeArgs) {
			quantize(a)
			if !a.Halves {
				for i := range kernel.Int8Block {
					x, q := *ptr.At(a.X, i*a.ColStride), (*int8)(unsafe.Add(unsafe.Pointer(a.Dst), i))
					if d := *(*float32)(unsafe.Add(unsafe.Pointer(a.Dst), kernel.Int8Block)); d > 0 && x/d-float32(*q) >= 0.5 {
						*q++
					}
				}
			}
		}
	}},
	{"reads the value behind the last", "Quantize", "fault", func(s *kernel.Funcs) {
		s.Quantize = func(a *kernel.QuantizeArgs) {
			sink = *ptr.At(a.X, (a.Rows-1)*a.RowStride+(a.Depth-1)*a.ColStride+1)
			quantize(a)
		}
	}},
	{"ignores RowBytes", "Quantize", "no operand", func(s *kernel.Funcs) {
		s.Quantize = func(a *kernel.QuantizeArgs) {
			b := *a
			b.RowBytes = a.Depth / kernel.Int8Block * kernel.Int8BlockBytes(a.Halves)
			quantize(&b)
		}
	}},
	{"has a sum of the first half alone", "Quantize", "want", func(s *kernel.Funcs) {
		s.Quantize = func(a *kernel.QuantizeArgs) {
			quantize(a)
			tail := unsafe.Add(unsafe.Pointer(a.Dst), kernel.Int8Integers(a.Halves))
			*(*int32)(unsafe.Add(tail, kernel.Int8Whole)) = *(*int32)(unsafe.Add(tail, kernel.Int8First))
		}
	}},
	{"adds minima instead of subtracting them", "UnpackInt8", "want", func(s *kernel.Funcs) {
		s.UnpackInt8 = func(a *kernel.UnpackInt8Args) {
			unpackInt8(a)
			if a.Kind == kernel.Int8Groups32 {
				*a.Mins = -*a.Mins
			}
		}
	}},
	{"exchanges the codes of a byte", "UnpackInt8", "want", func(s *kernel.Funcs) {
		s.UnpackInt8 = func(a *kernel.UnpackInt8Args) {
			unpackInt8(a)
			if a.Codes != nil {
				high := (*byte)(unsafe.Add(unsafe.Pointer(a.Dst), 16*a.Lanes))
				*a.Dst, *high = *high, *a.Dst
			}
		}
	}},
	{"writes minima that there are not", "UnpackInt8", "outside", func(s *kernel.Funcs) {
		s.UnpackInt8 = func(a *kernel.UnpackInt8Args) {
			unpackInt8(a)
			if a.Mins == nil {
				*ptr.At(a.Scales, a.Depth/kernel.Int8Block*a.Kind.Groups()*a.Lanes) = 0
			}
		}
	}},
	{"ignores Mins", "MultiplyInt8", "want", func(s *kernel.Funcs) {
		s.MultiplyInt8 = func(a *kernel.MultiplyInt8Args) { b := *a; b.Mins = nil; multiplyInt8(&b) }
	}},
	{"ignores Add", "MultiplyInt8", "want", func(s *kernel.Funcs) {
		s.MultiplyInt8 = func(a *kernel.MultiplyInt8Args) { b := *a; b.Add = false; multiplyInt8(&b) }
	}},
	{"ignores Bias", "MultiplyInt8", "want", func(s *kernel.Funcs) {
		s.MultiplyInt8 = func(a *kernel.MultiplyInt8Args) { b := *a; b.Bias = nil; multiplyInt8(&b) }
	}},
	{"has one scale for two groups", "MultiplyInt8", "want", func(s *kernel.Funcs) {
		s.MultiplyInt8 = func(a *kernel.MultiplyInt8Args) { b := *a; b.Groups = 1; multiplyInt8(&b) }
	}},
	{"reads W behind its end", "MultiplyInt8", "fault", func(s *kernel.Funcs) {
		s.MultiplyInt8 = func(a *kernel.MultiplyInt8Args) {
			bytes := a.Depth * a.Lanes
			if a.Table != nil {
				bytes /= 2
			}
			sink = float32(*(*byte)(unsafe.Add(unsafe.Pointer(a.W), bytes)))
			multiplyInt8(a)
		}
	}},
	{"changes X", "MultiplyInt8", "want", func(s *kernel.Funcs) {
		s.MultiplyInt8 = func(a *kernel.MultiplyInt8Args) { multiplyInt8(a); *a.X ^= 1 }
	}},
	{"takes the first panel alone", "MultiplyRowInt8", "want", func(s *kernel.Funcs) {
		s.MultiplyRowInt8 = func(a *kernel.MultiplyRowInt8Args) { b := *a; b.Panels = 1; multiplyRowInt8(&b) }
	}},
	{"takes the first step alone", "MultiplyRowInt8", "want", func(s *kernel.Funcs) {
		s.MultiplyRowInt8 = func(a *kernel.MultiplyRowInt8Args) {
			b := *a
			b.Panels, b.Depth = 1, min(a.Depth, kernel.KC)
			multiplyRowInt8(&b)
		}
	}},
	{"ignores Add", "MultiplyRowInt8", "want", func(s *kernel.Funcs) {
		s.MultiplyRowInt8 = func(a *kernel.MultiplyRowInt8Args) { b := *a; b.Add = false; multiplyRowInt8(&b) }
	}},
	{"ignores Bias", "MultiplyRowInt8", "want", func(s *kernel.Funcs) {
		s.MultiplyRowInt8 = func(a *kernel.MultiplyRowInt8Args) { b := *a; b.Bias = nil; multiplyRowInt8(&b) }
	}},
	{"reads what it asks for", "MultiplyRowInt8", "fault", func(s *kernel.Funcs) {
		s.MultiplyRowInt8 = func(a *kernel.MultiplyRowInt8Args) {
			sink = float32(*(*byte)(unsafe.Add(unsafe.Pointer(a.W), a.Panels*a.Type.Int8().Bytes(a.Depth)*a.Lanes)))
			multiplyRowInt8(a)
		}
	}},
	{"changes X", "MultiplyRowInt8", "want", func(s *kernel.Funcs) {
		s.MultiplyRowInt8 = func(a *kernel.MultiplyRowInt8Args) { multiplyRowInt8(a); *a.X ^= 1 }
	}},
}
