package memory

import (
	"runtime"
	"unsafe"
)

// HugePage is the size of the pages that Floats asks for, in bytes.
const HugePage = 2 << 20

// Floats returns n values, all 0, that begin on a cache line. Those that fill a huge page begin on one,
// and lie in such pages where the operating system grants them. Fewer share them with other memory, if
// they are sharesHuge bytes or more. They are memory of Go's heap.
func Floats(n int) []float32 {
	align := 64
	if 4*n >= HugePage {
		align = HugePage
	}
	mem := make([]float32, n+align/4-1)
	skip := -int(uintptr(unsafe.Pointer(&mem[0]))/4) & (align/4 - 1)
	mem = mem[skip:][:n:n]
	if 4*n < HugePage {
		askAround(mem)
	} else {
		AskHuge(mem)
	}
	return mem
}

// sharesHuge is the least size of what shares huge pages with others, in bytes.
const sharesHuge = 64 << 10

// askAround asks for the huge pages that x, memory of Go's heap, has a part of. The rest of them is heap, too.
func askAround(x []float32) {
	if 4*len(x) >= sharesHuge {
		advise(around(x))
		runtime.KeepAlive(x)
	}
}

// GatherHuge has the operating system gather in huge pages what lies in small ones of x, memory of Floats that is
// written, as far as it does that at once, unless it is set to make no huge pages. What lies beside x
// in its first and last one is gathered, too, and takes memory even where nothing was there.
func GatherHuge(x []float32) {
	if 4*len(x) >= sharesHuge && !neverHuge() {
		gather(around(x))
		runtime.KeepAlive(x)
	}
}

// around returns the huge pages that x has a part of, as an address and a size.
func around(x []float32) (at, size uintptr) {
	first := uintptr(unsafe.Pointer(unsafe.SliceData(x)))
	at = first &^ (HugePage - 1)
	return at, (first + uintptr(4*len(x)) - at + HugePage - 1) &^ (HugePage - 1)
}

// AskHuge asks the operating system for huge pages, those that lie in x as a whole: others may have a
// part of the first and the last. x must have no pointers. Its values stay what they are.
func AskHuge[T any](x []T) {
	if at, size := within(x); size > 0 {
		advise(at, size)
	}
	runtime.KeepAlive(x)
}

// within returns the huge pages that lie in x as a whole, as an address and a size.
func within[T any](x []T) (at, size uintptr) {
	first := uintptr(unsafe.Pointer(unsafe.SliceData(x)))
	end := first + uintptr(len(x))*unsafe.Sizeof(*new(T))
	if at = (first + HugePage - 1) &^ (HugePage - 1); at >= end {
		return at, 0
	}
	return at, (end - at) &^ (HugePage - 1)
}
