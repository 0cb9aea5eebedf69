package memory

import (
	"testing"
	"unsafe"
)

// TestFloats: any number of zeros, on a cache line, and on a huge page if they fill one.
func TestFloats(t *testing.T) {
	for _, n := range []int{1, 17, 1000, HugePage/4 - 1, HugePage / 4, 3*HugePage/4 + 5} {
		align := uintptr(64)
		if 4*n >= HugePage {
			align = HugePage
		}
		m := Floats(n)
		if len(m) != n || cap(m) != n || uintptr(unsafe.Pointer(&m[0]))%align != 0 {
			t.Errorf("%d values, want %d, at %p", len(m), n, &m[0])
		}
		for i, x := range m {
			if x != 0 {
				t.Fatalf("value %d of %d is %v", i, n, x)
			}
		}
		m[n-1] = 1
	}
}
