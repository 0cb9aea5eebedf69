package kerneltest

import (
	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// normFaults are sets that each break a clause of Sums or Normalize.
var normFaults = []fault{
	{"begins at 0", "Sums", "want", func(s *kernel.Funcs) {
		s.Sums = func(a *kernel.SumsArgs) { *a.Sums = [kernel.NormSums]float32{}; sums(a) }
	}},
	{"rounds squares", "Sums", "want", func(s *kernel.Funcs) {
		s.Sums = func(a *kernel.SumsArgs) {
			if !a.Squares || a.Add != nil || a.Mean != 0 {
				sums(a)
				return
			}
			for i := range a.N {
				x := *ptr.At(a.X, i)
				a.Sums[i%kernel.NormSums] += float32(x * x)
			}
		}
	}},
	{"adds in another order", "Sums", "want", func(s *kernel.Funcs) {
		s.Sums = func(a *kernel.SumsArgs) {
			for first := (a.N - 1) / kernel.NormSums * kernel.NormSums; first >= 0; first -= kernel.NormSums {
				b := *a
				b.X, b.N = ptr.At(a.X, first), min(kernel.NormSums, a.N-first)
				if a.Add != nil {
					b.Add = ptr.At(a.Add, first)
				}
				sums(&b)
			}
		}
	}},
	{"leaves out the mean", "Sums", "want", func(s *kernel.Funcs) {
		s.Sums = func(a *kernel.SumsArgs) { b := *a; b.Mean = 0; sums(&b) }
	}},
	{"writes back no sum", "Sums", "want", func(s *kernel.Funcs) {
		s.Sums = func(a *kernel.SumsArgs) {
			before := *a.X
			sums(a)
			*a.X = before
		}
	}},
	{"writes beside the row", "Sums", "outside", func(s *kernel.Funcs) {
		s.Sums = func(a *kernel.SumsArgs) {
			sums(a)
			if a.Add != nil {
				*ptr.At(a.X, a.N) = 0
			}
		}
	}},
	{"reads past Add", "Sums", "fault", func(s *kernel.Funcs) {
		s.Sums = func(a *kernel.SumsArgs) {
			if a.Add != nil {
				sink = *ptr.At(a.Add, a.N)
			}
			sums(a)
		}
	}},
	{"scales before the mean", "Normalize", "want", func(s *kernel.Funcs) {
		s.Normalize = func(a *kernel.NormalizeArgs) { b := *a; b.Mean = float32(a.Mean * a.Scale); normalize(&b) }
	}},
	{"rounds weighted elements", "Normalize", "want", func(s *kernel.Funcs) {
		s.Normalize = func(a *kernel.NormalizeArgs) {
			b := *a
			b.Bias = nil
			normalize(&b)
			if a.Bias != nil {
				for i := range a.N {
					*ptr.At(a.Y, i) += *ptr.At(a.Bias, i)
				}
			}
		}
	}},
	{"leaves out weights", "Normalize", "want", func(s *kernel.Funcs) {
		s.Normalize = func(a *kernel.NormalizeArgs) {
			b := *a
			if b.Bias == nil {
				b.Weight = nil
			}
			normalize(&b)
		}
	}},
	{"weights by 1 + w", "Normalize", "want", func(s *kernel.Funcs) {
		s.Normalize = func(a *kernel.NormalizeArgs) {
			normalize(a)
			if a.Weight != nil && a.Bias == nil && a.X != a.Y {
				for i := range a.N {
					y := float32((*ptr.At(a.X, i) - a.Mean) * a.Scale)
					*ptr.At(a.Y, i) = y * (1 + *ptr.At(a.Weight, i))
				}
			}
		}
	}},
	{"reads past Bias", "Normalize", "fault", func(s *kernel.Funcs) {
		s.Normalize = func(a *kernel.NormalizeArgs) {
			if a.Bias != nil {
				sink = *ptr.At(a.Bias, a.N)
			}
			normalize(a)
		}
	}},
	{"writes whole vectors", "Normalize", "outside", func(s *kernel.Funcs) {
		s.Normalize = func(a *kernel.NormalizeArgs) { normalize(a); *ptr.At(a.Y, a.N) = 0 }
	}},
}
