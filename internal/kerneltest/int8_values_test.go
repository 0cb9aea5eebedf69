package kerneltest

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// int8ValuesFaults are sets that each break a clause of weighted values of class Int8.
var int8ValuesFaults = []fault{
	{"scales what the mask took away", "PackInt8", "want", func(s *kernel.Funcs) {
		s.PackInt8 = func(a *kernel.PackInt8Args) {
			if a.Factors == nil || a.Mins != nil || a.FactorStride > 0 {
				packInt8(a)
				return
			}
			scaled := make([]float32, a.Dim*a.Lanes)
			for i := range scaled {
				scaled[i] = *ptr.At(a.Q, i/a.Lanes*a.Stride+i%a.Lanes) * *ptr.At(a.Factors, i/a.Lanes)
			}
			b := *a
			b.Q, b.Stride, b.Factors = &scaled[0], a.Lanes, nil
			packInt8(&b)
		}
	}},
	{"adds +0 to a sum of Mins for what the mask took away", "PackInt8", "want", func(s *kernel.Funcs) {
		s.PackInt8 = func(a *kernel.PackInt8Args) {
			if packInt8(a); a.Mins == nil || a.RowOf != nil {
				return
			}
			for i := range a.Dim * a.Lanes {
				if math.Signbit(float64(*ptr.At(a.Q, i/a.Lanes*a.Stride+i%a.Lanes))) {
					*ptr.At(a.Sums, i/a.Lanes/kernel.Int8Block*a.Lanes+i%a.Lanes) += 0
				}
			}
		}
	}},
	{"ignores Factors", "PackInt8", "want", func(s *kernel.Funcs) {
		s.PackInt8 = func(a *kernel.PackInt8Args) {
			b := *a
			b.Factors, b.Mins, b.FactorStride = nil, nil, 0
			packInt8(&b)
		}
	}},
	{"reads a factor too many", "PackInt8", "fault", func(s *kernel.Funcs) {
		s.PackInt8 = func(a *kernel.PackInt8Args) {
			if a.Factors != nil && a.FactorStride == 0 {
				sink = *ptr.At(a.Factors, a.Dim)
			}
			packInt8(a)
		}
	}},
	{"reads the factor of a lane too many", "PackInt8", "fault", func(s *kernel.Funcs) {
		s.PackInt8 = func(a *kernel.PackInt8Args) {
			if a.FactorStride > 0 && a.RowOf == nil {
				sink = *ptr.At(a.Factors, (a.Dim-1)*a.FactorStride+a.Lanes)
			}
			packInt8(a)
		}
	}},
	{"has the factors of the first lane for all", "PackInt8", "want", func(s *kernel.Funcs) {
		s.PackInt8 = func(a *kernel.PackInt8Args) {
			if a.FactorStride == 0 || a.Mins != nil || a.RowOf != nil {
				packInt8(a)
				return
			}
			factors := make([]float32, a.Dim)
			for i := range factors {
				factors[i] = *ptr.At(a.Factors, i*a.FactorStride)
			}
			b := *a
			b.Factors, b.FactorStride = &factors[0], 0
			packInt8(&b)
		}
	}},
	{"has the minima of the first lane for all", "PackInt8", "want", func(s *kernel.Funcs) {
		s.PackInt8 = func(a *kernel.PackInt8Args) {
			b := *a
			if a.FactorStride > 0 && a.Mins != nil && a.RowOf == nil {
				mins := make([]float32, a.Dim*a.FactorStride)
				for i := range mins {
					mins[i] = *ptr.At(a.Mins, i/a.FactorStride*a.FactorStride)
				}
				b.Mins = &mins[0]
			}
			packInt8(&b)
		}
	}},
	{"has the row of the first lane for all", "PackInt8", "want", func(s *kernel.Funcs) {
		s.PackInt8 = func(a *kernel.PackInt8Args) {
			b := *a
			if a.RowOf != nil {
				rows := make([]int32, a.Lanes)
				for i := range rows {
					rows[i] = *a.RowOf
				}
				b.RowOf = &rows[0]
			}
			packInt8(&b)
		}
	}},
	{"has the factors of a lane's row", "PackInt8", "want", func(s *kernel.Funcs) {
		s.PackInt8 = func(a *kernel.PackInt8Args) {
			b := *a
			b.FactorOf = a.RowOf
			packInt8(&b)
		}
	}},
	{"has the scales of a value's first block", "PackInt8", "want", func(s *kernel.Funcs) {
		s.PackInt8 = func(a *kernel.PackInt8Args) {
			b := *a
			if a.V != nil {
				first := make([]int32, a.Lanes)
				b.FactorOf = &first[0]
			}
			packInt8(&b)
		}
	}},
	{"ignores the minima of blocks", "PackInt8", "want", func(s *kernel.Funcs) {
		s.PackInt8 = func(a *kernel.PackInt8Args) {
			packInt8(a)
			if a.V != nil && a.Elem == kernel.Q4_1 && a.Sums != nil {
				clear(unsafe.Slice(a.Sums, (a.Dim+31)/32*a.Lanes))
			}
		}
	}},
	{"reads the row of a lane too many", "PackInt8", "fault", func(s *kernel.Funcs) {
		s.PackInt8 = func(a *kernel.PackInt8Args) {
			if a.RowOf != nil {
				sink = float32(*(*int32)(unsafe.Add(unsafe.Pointer(a.RowOf), 4*a.Lanes)))
			}
			packInt8(a)
		}
	}},
	{"ignores Mins", "PackInt8", "want", func(s *kernel.Funcs) {
		s.PackInt8 = func(a *kernel.PackInt8Args) {
			b := *a
			b.Mins = nil
			packInt8(&b)
		}
	}},
	{"ignores Signed", "PackInt8", "want", func(s *kernel.Funcs) {
		s.PackInt8 = func(a *kernel.PackInt8Args) {
			b := *a
			b.Signed = false
			packInt8(&b)
		}
	}},
	{"reads a value too many", "TransposeInt8", "fault", func(s *kernel.Funcs) {
		s.TransposeInt8 = func(a *kernel.TransposeInt8Args) {
			if a.Keys < kernel.KeyBlock {
				sink = float32(*(*byte)(unsafe.Add(a.Src, a.Off[a.Keys])))
			}
			transposeInt8(a)
		}
	}},
	{"leaves what is behind the keys", "TransposeInt8", "want", func(s *kernel.Funcs) {
		s.TransposeInt8 = func(a *kernel.TransposeInt8Args) {
			last := (*byte)(unsafe.Add(unsafe.Pointer(a.Dst), (a.Keys+31)/32*kernel.Int8BlockBytes(a.Halves)-20-1))
			old := *last
			if transposeInt8(a); a.Keys%32 != 0 {
				*last = old
			}
		}
	}},
	{"sums the first block for all", "TransposeInt8", "want", func(s *kernel.Funcs) {
		s.TransposeInt8 = func(a *kernel.TransposeInt8Args) {
			size := kernel.Int8BlockBytes(a.Halves)
			first := unsafe.Add(unsafe.Pointer(a.Dst), size-20+kernel.Int8Whole)
			if transposeInt8(a); a.Keys > 32 {
				*(*int32)(unsafe.Add(first, size)) = *(*int32)(first)
			}
		}
	}},
	{"ignores RowBytes", "TransposeInt8", "no operand", func(s *kernel.Funcs) {
		s.TransposeInt8 = func(a *kernel.TransposeInt8Args) {
			b := *a
			b.RowBytes = (a.Keys + 31) / 32 * kernel.Int8BlockBytes(a.Halves)
			transposeInt8(&b)
		}
	}},
	{"reads a value too many", "DecodeAccumulateInt8", "fault", func(s *kernel.Funcs) {
		s.DecodeAccumulateInt8 = func(a *kernel.DecodeAccumulateInt8Args) {
			sink = float32(*(*byte)(unsafe.Add(a.V, a.Off[a.Keys])))
			decodeAccumulateInt8(a)
		}
	}},
	{"has the codes of the first group for all", "DecodeAccumulateInt8", "want", func(s *kernel.Funcs) {
		s.DecodeAccumulateInt8 = func(a *kernel.DecodeAccumulateInt8Args) {
			b := *a
			b.GroupCodes = 0
			decodeAccumulateInt8(&b)
		}
	}},
	{"ignores Mins", "DecodeAccumulateInt8", "want", func(s *kernel.Funcs) {
		s.DecodeAccumulateInt8 = func(a *kernel.DecodeAccumulateInt8Args) {
			b := *a
			b.Mins = &new([1 << 12]float32)[0]
			decodeAccumulateInt8(&b)
		}
	}},
	{"takes the first block alone", "DecodeAccumulateInt8", "want", func(s *kernel.Funcs) {
		s.DecodeAccumulateInt8 = func(a *kernel.DecodeAccumulateInt8Args) {
			b := *a
			b.Keys = min(a.Keys, 32)
			decodeAccumulateInt8(&b)
		}
	}},
	{"begins with 0 where there is From", "DecodeAccumulateInt8", "want", func(s *kernel.Funcs) {
		s.DecodeAccumulateInt8 = func(a *kernel.DecodeAccumulateInt8Args) {
			b := *a
			b.From = nil
			decodeAccumulateInt8(&b)
		}
	}},
	{"ignores To", "DecodeAccumulateInt8", "want", func(s *kernel.Funcs) {
		s.DecodeAccumulateInt8 = func(a *kernel.DecodeAccumulateInt8Args) {
			b := *a
			b.To = nil
			if b.Alpha == nil {
				b.Mode = kernel.Add
			}
			decodeAccumulateInt8(&b)
		}
	}},
}
