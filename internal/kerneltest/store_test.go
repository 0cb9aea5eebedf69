package kerneltest

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// storeFaults are sets that each break a clause of Store.
var storeFaults = []fault{
	{"reads another number", "Store", "fault", func(s *kernel.Funcs) {
		s.Store = func(a *kernel.StoreArgs) { sink = *ptr.At(a.Src, (a.Rows-1)*a.SrcStride+a.Dim); store(a) }
	}},
	{"writes another unit", "Store", "outside", func(s *kernel.Funcs) {
		s.Store = func(a *kernel.StoreArgs) {
			store(a)
			*(*byte)(unsafe.Add(a.Dst, max(0, (a.Rows-1)*a.DstStride)+a.Elem.RowBytes(a.Dim))) = 0
		}
	}},
	{"writes beside rows", "Store", "no operand", func(s *kernel.Funcs) {
		s.Store = func(a *kernel.StoreArgs) {
			store(a)
			if row := a.Dim / a.Elem.UnitValues() * a.Elem.Unit(); a.Rows > 1 && a.DstStride > row {
				*(*byte)(unsafe.Add(a.Dst, row)) = 0
			}
		}
	}},
	{"ignores DstStride", "Store", "no operand", func(s *kernel.Funcs) {
		s.Store = func(a *kernel.StoreArgs) {
			b := *a
			if row := a.Dim / a.Elem.UnitValues() * a.Elem.Unit(); a.DstStride > row {
				b.DstStride = row
			}
			store(&b)
		}
	}},
	{"ignores SrcStride", "Store", "want", func(s *kernel.Funcs) {
		s.Store = func(a *kernel.StoreArgs) { b := *a; b.SrcStride = min(a.SrcStride, a.Dim); store(&b) }
	}},
	{"ignores ScaleStride", "Store", "no operand", func(s *kernel.Funcs) {
		s.Store = func(a *kernel.StoreArgs) { b := *a; b.ScaleStride = min(a.ScaleStride, 1); store(&b) }
	}},
	{"has another NaN for a scale", "Store", "want", func(s *kernel.Funcs) {
		s.Store = func(a *kernel.StoreArgs) {
			store(a)
			if a.Elem == kernel.Int8 && *a.Scale != *a.Scale {
				*a.Scale = negNaN
			}
		}
	}},
	{"forgets NaNs", "Store", "want", storeAs(func(x float32) float32 {
		if x != x {
			return 0
		}
		return x
	})},
	{"forgets infinities", "Store", "want", storeAs(func(x float32) float32 { return max(-huge, min(x, huge)) })},
	{"flushes subnormals", "Store", "want", storeAs(func(x float32) float32 {
		if math.Abs(float64(x)) < 0x1p-126 {
			return 0
		}
		return x
	})},
	{"rounds other ties", "Store", "want", func(s *kernel.Funcs) {
		s.Store = func(a *kernel.StoreArgs) {
			store(a)
			for r := range a.Rows {
				if a.Elem == kernel.Int8 {
					scale := *ptr.At(a.Scale, r*a.ScaleStride)
					for i := range a.Dim {
						if q := float64(*ptr.At(a.Src, r*a.SrcStride+i) / scale); math.Abs(q) < 127 {
							*(*int8)(unsafe.Add(a.Dst, r*a.DstStride+i)) = int8(math.Round(q))
						}
					}
				}
			}
		}
	}},
	{"multiplies by the reciprocal", "Store", "want", func(s *kernel.Funcs) {
		s.Store = func(a *kernel.StoreArgs) {
			store(a)
			for r := range a.Rows {
				if a.Elem == kernel.Int8 {
					inverse := 1 / *ptr.At(a.Scale, r*a.ScaleStride)
					for i := range a.Dim {
						if q := float64(*ptr.At(a.Src, r*a.SrcStride+i) * inverse); math.Abs(q) < 127 {
							*(*int8)(unsafe.Add(a.Dst, r*a.DstStride+i)) = int8(math.RoundToEven(q))
						}
					}
				}
			}
		}
	}},
}

// storeAs returns a fault that stores other numbers.
func storeAs(change func(float32) float32) func(*kernel.Funcs) {
	return func(s *kernel.Funcs) {
		s.Store = func(a *kernel.StoreArgs) {
			b := *a
			row := make([]float32, a.Dim)
			for r := range a.Rows {
				for i := range row {
					row[i] = change(*ptr.At(a.Src, r*a.SrcStride+i))
				}
				b.Src, b.Dst, b.Rows = &row[0], unsafe.Add(a.Dst, r*a.DstStride), 1
				if a.Elem == kernel.Int8 {
					b.Scale = ptr.At(a.Scale, r*a.ScaleStride)
				}
				store(&b)
			}
		}
	}
}
