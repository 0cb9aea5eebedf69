package memory

import "unsafe"

// HugePage is the size of the pages that Floats asks for, in bytes.
const HugePage = 2 << 20

// Floats returns n values, all 0, that begin on a cache line. Those that fill a huge page begin on one,
// and lie in such pages where the operating system grants them. They are memory of Go's heap.
func Floats(n int) []float32 {
	align := 64
	if 4*n >= HugePage {
		align = HugePage
	}
	mem := make([]float32, n+align/4-1)
	skip := -int(uintptr(unsafe.Pointer(&mem[0]))/4) & (align/4 - 1)
	mem = mem[skip:][:n:n]
	if whole := 4 * n / HugePage * HugePage; whole > 0 { // none that others have a part of
		advise(unsafe.Slice((*byte)(unsafe.Pointer(&mem[0])), whole))
	}
	return mem
}
