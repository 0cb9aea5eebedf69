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

// TestHugePages: the whole ones, none that begins before x or ends behind it.
func TestHugePages(t *testing.T) {
	type odd [34]byte
	mem := Floats(4 * HugePage / 4)
	first := uintptr(unsafe.Pointer(&mem[0]))
	for _, c := range []struct{ from, to, page, pages int }{
		{0, 0, 0, 0}, {0, HugePage - 64, 0, 0}, {0, HugePage, 0, 1}, {64, HugePage + 64, 0, 0},
		{64, 2*HugePage + 64, 1, 1}, {HugePage - 64, 4 * HugePage, 1, 3}, {HugePage, 4*HugePage - 4, 1, 2},
	} {
		at, size := within(mem[c.from/4 : c.to/4])
		if size != uintptr(c.pages*HugePage) || size > 0 && at != first+uintptr(c.page*HugePage) {
			t.Errorf("in bytes %d to %d: %d bytes from byte %d on, want %d pages from page %d on", c.from, c.to, size, at-first, c.pages, c.page)
		}
	}
	for _, c := range []struct{ from, to, page, pages int }{
		{0, 64, 0, 1}, {0, HugePage, 0, 1}, {64, HugePage + 64, 0, 2}, {HugePage - 64, HugePage, 0, 1}, {HugePage + 64, 3*HugePage + 64, 1, 3},
	} {
		if at, size := around(mem[c.from/4 : c.to/4]); at != first+uintptr(c.page*HugePage) || size != uintptr(c.pages*HugePage) {
			t.Errorf("around bytes %d to %d: %d bytes from byte %d on, want %d pages from page %d on", c.from, c.to, size, at-first, c.pages, c.page)
		}
	}
	odds := unsafe.Slice((*odd)(unsafe.Pointer(&mem[0])), 3*HugePage/34)
	if at, size := within(odds); at != first || size != 2*HugePage {
		t.Errorf("%d values of 34 bytes: %d bytes, want two pages", len(odds), size)
	}
	mem[HugePage/4] = 1
	AskHuge(mem)
	AskHuge([]odd(nil))
	GatherHuge(mem)
	GatherHuge(mem[:16])
	if mem[HugePage/4] != 1 {
		t.Errorf("a value is %v after the request, want 1", mem[HugePage/4])
	}
}
