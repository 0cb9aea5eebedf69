package kerneltest

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// aboveFaults are sets that each break a clause of Above.
var aboveFaults = []fault{
	{"takes a NaN", "Above", "arguments", func(s *kernel.Funcs) {
		s.Above = findBlock(func(x, bound float32) bool { return !(x <= bound) })
	}},
	{"takes equals", "Above", "arguments", func(s *kernel.Funcs) {
		s.Above = findBlock(func(x, bound float32) bool { return x >= bound })
	}},
	{"says the element", "Above", "arguments", func(s *kernel.Funcs) {
		s.Above = func(a *kernel.AboveArgs) {
			for a.At = 0; a.At < a.N && !(*ptr.At(a.X, a.At) > a.Bound); a.At++ {
			}
		}
	}},
	{"leaves out the last block", "Above", "arguments", func(s *kernel.Funcs) {
		s.Above = func(a *kernel.AboveArgs) {
			b := *a
			if b.N > kernel.AboveBlock {
				b.N -= kernel.AboveBlock
			}
			above(&b)
			if a.At = b.At; a.At == b.N {
				a.At = a.N
			}
		}
	}},
	{"reads past the last block", "Above", "fault", func(s *kernel.Funcs) {
		s.Above = func(a *kernel.AboveArgs) { sink = *ptr.At(a.X, a.N); above(a) }
	}},
}

// findBlock returns a function that finds the first block with an element for which is holds.
func findBlock(is func(x, bound float32) bool) func(*kernel.AboveArgs) {
	return func(a *kernel.AboveArgs) {
		for i, x := range unsafe.Slice(a.X, a.N) {
			if is(x, a.Bound) {
				a.At = i / kernel.AboveBlock * kernel.AboveBlock
				return
			}
		}
		a.At = a.N
	}
}
