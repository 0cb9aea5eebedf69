//go:build !linux && !darwin

package kerneltest

import (
	"testing"
	"unsafe"
)

// faults says that an access past a region faults.
const faults = false

// newRegion allocates memory between words that are checked at the end.
func newRegion(t testing.TB) []byte {
	t.Helper()
	const guard = 4096
	words := make([]uint32, (regionBytes+2*guard)/4)
	fill(words, poison)
	t.Cleanup(func() {
		for i, w := range words {
			if inside := i >= guard/4 && i < (guard+regionBytes)/4; !inside && w != poison {
				t.Errorf("wrote outside an operand, %d bytes from the start of its guard", 4*i)
				return
			}
		}
	})
	mem := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 4*len(words))
	return mem[guard:][:regionBytes:regionBytes]
}
