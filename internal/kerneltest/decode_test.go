package kerneltest

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// decodeFaults are those of the functions for few queries and long sequences.
var decodeFaults = []fault{
	{"scales an empty sum by +0", "Merge", "want", func(s *kernel.Funcs) {
		s.Merge = func(a *kernel.MergeArgs) {
			old := make([]float32, 2*a.Lanes)
			for l := range a.Lanes {
				old[l], old[a.Lanes+l] = *ptr.At(a.Sum, l), *ptr.At(a.ChunkSum, l)
			}
			merge(a)
			for i := range a.Dim * a.Lanes {
				if o := ptr.At(a.O, i/a.Lanes*a.Stride+i%a.Lanes); old[i%a.Lanes] == 0 || old[a.Lanes+i%a.Lanes] == 0 {
					*o += 0
				}
			}
		}
	}},
	{"takes a NaN for an empty sum", "Merge", "want", func(s *kernel.Funcs) {
		s.Merge = func(a *kernel.MergeArgs) {
			for l := range a.Lanes {
				if sum := ptr.At(a.Sum, l); *sum != *sum {
					*sum = 0
				}
			}
			merge(a)
		}
	}},
	{"keeps the weight of an empty chunk", "Merge", "want", func(s *kernel.Funcs) {
		s.Merge = func(a *kernel.MergeArgs) {
			for l := range a.Lanes {
				if sum := ptr.At(a.ChunkSum, l); *sum == 0 {
					defer func(old float32) { *sum = old }(*sum)
					*sum = tiny
				}
			}
			merge(a)
		}
	}},
	{"takes in the maximum of an empty chunk", "Merge", "want", func(s *kernel.Funcs) {
		s.Merge = func(a *kernel.MergeArgs) {
			for l := range a.Lanes {
				if *ptr.At(a.ChunkSum, l) != 0 {
					continue
				}
				if weight := fp.Exp2(*ptr.At(a.Max, l) - *ptr.At(a.ChunkMax, l)); weight < 1 {
					*ptr.At(a.Sum, l) *= weight
					for d := range a.Dim {
						*ptr.At(a.O, d*a.Stride+l) *= weight
					}
				}
			}
			merge(a)
		}
	}},
	{"adds an empty chunk", "Claims", "want", func(s *kernel.Funcs) {
		s.Merge = func(a *kernel.MergeArgs) {
			merge(a)
			for d := range a.Dim {
				for l := range a.Lanes {
					*ptr.At(a.O, d*a.Stride+l) += *ptr.At(a.Chunk, d*a.Stride+l)
				}
			}
		}
	}},
	{"takes the other maximum beside a NaN", "Merge", "want", func(s *kernel.Funcs) {
		s.Merge = func(a *kernel.MergeArgs) {
			for l := range a.Lanes {
				if m := ptr.At(a.Max, l); *m != *m {
					*m = *ptr.At(a.ChunkMax, l)
				}
			}
			merge(a)
		}
	}},
	{"fuses the other product", "Merge", "want", func(s *kernel.Funcs) {
		s.Merge = func(a *kernel.MergeArgs) {
			b := *a
			o, chunk := make([]float32, a.Dim*a.Stride), make([]float32, a.Dim*a.Stride)
			for d := range a.Dim {
				for l := range a.Lanes {
					o[d*a.Stride+l], chunk[d*a.Stride+l] = *ptr.At(a.Chunk, d*a.Stride+l), *ptr.At(a.O, d*a.Stride+l)
				}
			}
			b.O, b.Chunk = &o[0], &chunk[0]
			b.Max, b.ChunkMax = copied(a.ChunkMax, a.Lanes), copied(a.Max, a.Lanes)
			b.Sum, b.ChunkSum = copied(a.ChunkSum, a.Lanes), copied(a.Sum, a.Lanes)
			merge(&b)
			merge(a)
			for d := range a.Dim {
				for l := range a.Lanes {
					*ptr.At(a.O, d*a.Stride+l) = o[d*a.Stride+l]
				}
			}
		}
	}},
	{"reads a row too many", "Merge", "fault", func(s *kernel.Funcs) {
		s.Merge = func(a *kernel.MergeArgs) { sink = *ptr.At(a.Chunk, (a.Dim-1)*a.Stride+a.Lanes); merge(a) }
	}},
	{"reads a value too many", "Convert", "fault", func(s *kernel.Funcs) {
		s.Convert = func(a *kernel.ConvertArgs) {
			for r := range a.Rows {
				if u := a.UnitStride; u == a.Elem.Unit() {
					sink = float32(*(*byte)(unsafe.Add(a.Src, a.Off[r]+a.Dim/a.Elem.UnitValues()*u)))
				}
			}
			convert(a)
		}
	}},
	{"reads whole words", "Convert", "fault", func(s *kernel.Funcs) {
		s.Convert = func(a *kernel.ConvertArgs) {
			for r := range a.Rows {
				if a.UnitStride == 1 {
					sink = *(*float32)(unsafe.Add(a.Src, a.Off[r]+(a.Dim-1)&^3))
				}
			}
			convert(a)
		}
	}},
	{"reads before a row", "Convert", "fault", func(s *kernel.Funcs) {
		s.Convert = func(a *kernel.ConvertArgs) {
			for r := range a.Rows {
				if a.UnitStride == 1 {
					sink = float32(*(*byte)(unsafe.Add(a.Src, a.Off[r]-1)))
				}
			}
			convert(a)
		}
	}},
	{"ignores UnitStride", "Convert", "want", func(s *kernel.Funcs) {
		s.Convert = func(a *kernel.ConvertArgs) {
			b := *a
			if b.UnitStride > b.Elem.Unit() {
				b.UnitStride = b.Elem.Unit()
			}
			convert(&b)
		}
	}},
	{"ignores Off", "Convert", "want", func(s *kernel.Funcs) {
		s.Convert = func(a *kernel.ConvertArgs) {
			b := *a
			b.Off = new([kernel.KeyBlock]int)
			for r := range b.Off {
				b.Off[r] = a.Off[0]
			}
			convert(&b)
		}
	}},
	{"keeps the first row's scale", "Convert", "want", func(s *kernel.Funcs) {
		s.Convert = func(a *kernel.ConvertArgs) { convertScaled(a, func(int) float32 { return *a.Scale }) }
	}},
	{"forgets scales", "Convert", "want", func(s *kernel.Funcs) {
		s.Convert = func(a *kernel.ConvertArgs) { convertScaled(a, func(int) float32 { return 1 }) }
	}},
	{"does not round", "Convert", "want", func(s *kernel.Funcs) {
		s.Convert = func(a *kernel.ConvertArgs) {
			b := *a
			b.Brain = false
			convert(&b)
		}
	}},
	{"flushes subnormals", "Convert", "want", func(s *kernel.Funcs) {
		s.Convert = func(a *kernel.ConvertArgs) {
			convert(a)
			for i := range a.Rows * a.Dim {
				x := ptr.At(a.Dst, i/a.Dim*a.Stride+i%a.Dim)
				if a.Elem == kernel.BFloat16 && math.Abs(float64(*x)) < 0x1p-126 {
					*x = 0
				}
			}
		}
	}},
	{"writes beside rows", "Convert", "no operand", func(s *kernel.Funcs) {
		s.Convert = func(a *kernel.ConvertArgs) {
			convert(a)
			if a.Rows > 1 && a.Stride > a.Dim {
				*ptr.At(a.Dst, a.Dim) = 0
			}
		}
	}},
	{"sums from both ends", "DecodeScores", "want", func(s *kernel.Funcs) {
		s.DecodeScores = func(a *kernel.DecodeScoresArgs) {
			b := *a
			u := a.Elem.UnitValues()
			b.Dim = (a.Dim/u + 1) / 2 * u
			decodeScores(&b)
			if b.Dim == a.Dim {
				return
			}
			s := make([]float32, a.Keys*a.Stride)
			b.K = unsafe.Add(a.K, b.Dim/u*a.Elem.Unit())
			b.Q, b.S, b.Dim = ptr.At(a.Q, b.Dim*a.QStride), &s[0], a.Dim-b.Dim
			decodeScores(&b)
			for k := range a.Keys {
				for r := range a.Rows {
					*ptr.At(a.S, k*a.Stride+r) += s[k*a.Stride+r]
				}
			}
		}
	}},
	{"scales sums", "DecodeScores", "want", func(s *kernel.Funcs) {
		s.DecodeScores = func(a *kernel.DecodeScoresArgs) {
			if a.Elem != kernel.Int8 {
				decodeScores(a)
				return
			}
			b := *a
			ones := make([]float32, a.Keys)
			for k := range ones {
				ones[k] = 1
			}
			b.Scale = &ones[0]
			decodeScores(&b)
			for k := range a.Keys {
				for r := range a.Rows {
					*ptr.At(a.S, k*a.Stride+r) *= *ptr.At(a.Scale, k)
				}
			}
		}
	}},
	{"reads a value too many", "DecodeScores", "fault", func(s *kernel.Funcs) {
		s.DecodeScores = func(a *kernel.DecodeScoresArgs) {
			for k := range a.Keys {
				sink = float32(*(*byte)(unsafe.Add(a.K, a.Off[k]+a.Dim/a.Elem.UnitValues()*a.Elem.Unit())))
			}
			decodeScores(a)
		}
	}},
	{"reads a row too many", "DecodeScores", "fault", func(s *kernel.Funcs) {
		s.DecodeScores = func(a *kernel.DecodeScoresArgs) {
			sink = *ptr.At(a.Q, (a.Dim-1)*a.QStride+a.Rows)
			decodeScores(a)
		}
	}},
	{"writes a row too many", "DecodeScores", "no operand", func(s *kernel.Funcs) {
		s.DecodeScores = func(a *kernel.DecodeScoresArgs) {
			decodeScores(a)
			if a.Keys > 1 && a.Stride > a.Rows {
				*ptr.At(a.S, a.Rows) = 0
			}
		}
	}},
	{"adds masked values", "DecodeAccumulate", "want", func(s *kernel.Funcs) {
		s.DecodeAccumulate = func(a *kernel.DecodeAccumulateArgs) {
			b := *a
			b.MaskFrom = b.Keys
			decodeAccumulate(&b)
		}
	}},
	{"multiplies values below the least", "DecodeAccumulate", "want", func(s *kernel.Funcs) {
		s.DecodeAccumulate = func(a *kernel.DecodeAccumulateArgs) { b := *a; b.Brain = false; decodeAccumulate(&b) }
	}},
	{"multiplies keys below the least", "DecodeScores", "want", func(s *kernel.Funcs) {
		s.DecodeScores = func(a *kernel.DecodeScoresArgs) { b := *a; b.Brain = false; decodeScores(&b) }
	}},
	{"leaves out values before MaskFrom", "DecodeAccumulate", "want", func(s *kernel.Funcs) {
		s.DecodeAccumulate = func(a *kernel.DecodeAccumulateArgs) { b := *a; b.MaskFrom = 0; decodeAccumulate(&b) }
	}},
	{"reads the first output", "DecodeAccumulate", "want", func(s *kernel.Funcs) {
		s.DecodeAccumulate = func(a *kernel.DecodeAccumulateArgs) {
			b := *a
			b.Mode = max(b.Mode, kernel.Add)
			decodeAccumulate(&b)
		}
	}},
	{"begins at the output", "DecodeAccumulate", "want", func(s *kernel.Funcs) {
		s.DecodeAccumulate = func(a *kernel.DecodeAccumulateArgs) {
			for k := range a.Keys {
				b := *a
				b.V, b.P, b.Keys = unsafe.Add(a.V, a.Off[k]), ptr.At(a.P, k*a.Stride), 1
				b.Off, b.MaskFrom = new([2 * kernel.KeyBlock]int), min(1, max(0, a.MaskFrom-k))
				if a.Elem == kernel.Int8 {
					b.Scale = ptr.At(a.Scale, k)
				}
				if k > 0 {
					b.Mode = kernel.Add
				}
				decodeAccumulate(&b)
			}
		}
	}},
	{"rounds products", "DecodeAccumulate", "want", func(s *kernel.Funcs) {
		s.DecodeAccumulate = func(a *kernel.DecodeAccumulateArgs) {
			b := *a
			b.Mode = kernel.First
			old := make([]float32, a.Rows*a.Dim)
			for i := range old {
				old[i] = *ptr.At(a.O, i/a.Dim*a.OStride+i%a.Dim)
			}
			decodeAccumulate(&b)
			for i, x := range old {
				o := ptr.At(a.O, i/a.Dim*a.OStride+i%a.Dim)
				switch a.Mode {
				case kernel.Add:
					*o += x
				case kernel.Rescale:
					*o += float32(x * *ptr.At(a.Alpha, i/a.Dim))
				}
			}
		}
	}},
	{"forgets the sums before", "DecodeAccumulate", "want", func(s *kernel.Funcs) {
		s.DecodeAccumulate = func(a *kernel.DecodeAccumulateArgs) { b := *a; b.From = nil; decodeAccumulate(&b) }
	}},
	{"adds the sums before at the end", "DecodeAccumulate", "want", func(s *kernel.Funcs) {
		s.DecodeAccumulate = func(a *kernel.DecodeAccumulateArgs) {
			b := *a
			if b.From = nil; a.From == nil || a.To == nil {
				decodeAccumulate(a)
				return
			}
			old := make([]float32, a.Rows*a.Dim)
			for i := range old {
				old[i] = *ptr.At(a.From, i/a.Dim*a.OStride+i%a.Dim)
			}
			decodeAccumulate(&b)
			for i, x := range old {
				*ptr.At(a.To, i/a.Dim*a.OStride+i%a.Dim) += x
			}
		}
	}},
	{"updates beside the sums", "DecodeAccumulate", "want", func(s *kernel.Funcs) {
		s.DecodeAccumulate = func(a *kernel.DecodeAccumulateArgs) {
			decodeAccumulate(a)
			if a.To != nil && a.Mode != kernel.First {
				b := *a
				b.To, b.From = nil, nil
				decodeAccumulate(&b)
			}
		}
	}},
	{"reads an Alpha too many", "DecodeAccumulate", "fault", func(s *kernel.Funcs) {
		s.DecodeAccumulate = func(a *kernel.DecodeAccumulateArgs) {
			if a.Mode == kernel.Rescale {
				sink = *ptr.At(a.Alpha, a.Rows)
			}
			decodeAccumulate(a)
		}
	}},
	{"reads a weight too many", "DecodeAccumulate", "fault", func(s *kernel.Funcs) {
		s.DecodeAccumulate = func(a *kernel.DecodeAccumulateArgs) {
			sink = *ptr.At(a.P, (a.Keys-1)*a.Stride+a.Rows)
			decodeAccumulate(a)
		}
	}},
	{"writes beside rows", "DecodeAccumulate", "no operand", func(s *kernel.Funcs) {
		s.DecodeAccumulate = func(a *kernel.DecodeAccumulateArgs) {
			decodeAccumulate(a)
			if a.Rows > 1 && a.OStride > a.Dim {
				*ptr.At(a.O, a.Dim) = 0
			}
		}
	}},
	{"stores whole vectors", "DecodeAccumulate", "outside", func(s *kernel.Funcs) {
		s.DecodeAccumulate = func(a *kernel.DecodeAccumulateArgs) {
			decodeAccumulate(a)
			if a.Dim%8 != 0 {
				*ptr.At(a.O, (a.Rows-1)*a.OStride+a.Dim) = 0
			}
		}
	}},
}

// copied returns a copy of n elements.
func copied(p *float32, n int) *float32 {
	c := make([]float32, n)
	for i := range c {
		c[i] = *ptr.At(p, i)
	}
	return &c[0]
}

// convertScaled is convert with other scales.
func convertScaled(a *kernel.ConvertArgs, scale func(row int) float32) {
	b := *a
	if a.Elem == kernel.Int8 {
		scales := make([]float32, a.Rows)
		for r := range scales {
			scales[r] = scale(r)
		}
		b.Scale = &scales[0]
	}
	convert(&b)
}
