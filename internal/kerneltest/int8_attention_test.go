package kerneltest

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// int8AttentionFaults are sets that each break a clause of attention of class Int8.
var int8AttentionFaults = []fault{
	{"takes integers behind a row", "ConvertInt8", "fault", func(s *kernel.Funcs) {
		s.ConvertInt8 = func(a *kernel.ConvertInt8Args) {
			for r := range a.Rows {
				if u := a.UnitStride; u == a.Elem.Unit() {
					sink = float32(*(*byte)(unsafe.Add(a.Src, a.Off[r]+a.Dim/a.Elem.UnitValues()*u)))
				}
			}
			convertInt8(a)
		}
	}},
	{"leaves what is behind a row", "ConvertInt8", "want", func(s *kernel.Funcs) {
		s.ConvertInt8 = func(a *kernel.ConvertInt8Args) {
			last := (*byte)(unsafe.Add(unsafe.Pointer(a.Dst), (a.Dim+31)/32*kernel.Int8BlockBytes(a.Halves)-20-1))
			old := *last
			if convertInt8(a); a.Dim%32 != 0 {
				*last = old
			}
		}
	}},
	{"sums codes", "ConvertInt8", "want", func(s *kernel.Funcs) {
		s.ConvertInt8 = func(a *kernel.ConvertInt8Args) {
			if convertInt8(a); a.Elem == kernel.Q4_0 {
				*(*int32)(unsafe.Add(unsafe.Pointer(a.Dst), kernel.Int8Integers(a.Halves)+kernel.Int8Whole)) -= 128 * 8 * 32
			}
		}
	}},
	{"keeps the first row's scale", "ConvertInt8", "want", func(s *kernel.Funcs) {
		s.ConvertInt8 = func(a *kernel.ConvertInt8Args) {
			b := *a
			if a.Elem == kernel.Int8 {
				var scales [kernel.KeyBlock]float32
				for i := range scales {
					scales[i] = *a.Scale
				}
				b.Scale = &scales[0]
			}
			convertInt8(&b)
		}
	}},
	{"ignores Min", "ConvertInt8", "want", func(s *kernel.Funcs) {
		s.ConvertInt8 = func(a *kernel.ConvertInt8Args) {
			if convertInt8(a); a.Elem == kernel.Q4_1 {
				*(*float32)(unsafe.Add(unsafe.Pointer(a.Dst), kernel.Int8Integers(a.Halves)+kernel.Int8Sum)) = 0
			}
		}
	}},
	{"ignores RowBytes", "ConvertInt8", "no operand", func(s *kernel.Funcs) {
		s.ConvertInt8 = func(a *kernel.ConvertInt8Args) {
			b := *a
			b.RowBytes = (a.Dim + 31) / 32 * kernel.Int8BlockBytes(a.Halves)
			convertInt8(&b)
		}
	}},
	{"reads a row too many", "PackInt8", "fault", func(s *kernel.Funcs) {
		s.PackInt8 = func(a *kernel.PackInt8Args) { sink = *ptr.At(a.Q, (a.Dim-1)*a.Stride+a.Lanes); packInt8(a) }
	}},
	{"leaves codes behind the last dim", "PackInt8", "want", func(s *kernel.Funcs) {
		s.PackInt8 = func(a *kernel.PackInt8Args) {
			last := (*byte)(unsafe.Add(unsafe.Pointer(a.Codes), (a.Dim+31)/32*32*a.Lanes-1))
			old := *last
			if packInt8(a); a.Dim%32 != 0 {
				*last = old
			}
		}
	}},
	{"has codes with a sign", "PackInt8", "want", func(s *kernel.Funcs) {
		s.PackInt8 = func(a *kernel.PackInt8Args) { packInt8(a); *a.Codes ^= 0x80 }
	}},
	{"has one scale for a query", "PackInt8", "want", func(s *kernel.Funcs) {
		s.PackInt8 = func(a *kernel.PackInt8Args) {
			if packInt8(a); a.Dim > 32 {
				*ptr.At(a.Scales, a.Lanes) = *a.Scales
			}
		}
	}},
	{"writes sums of codes", "PackInt8", "want", func(s *kernel.Funcs) {
		s.PackInt8 = func(a *kernel.PackInt8Args) {
			if packInt8(a); a.Sums != nil {
				*a.Sums += 128 * 32 * *a.Scales
			}
		}
	}},
}
