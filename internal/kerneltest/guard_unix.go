//go:build linux || darwin

package kerneltest

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// faults says that an access past a region faults.
const faults = true

// newRegion maps memory between two pages that fault.
func newRegion(t testing.TB) []byte {
	t.Helper()
	page := os.Getpagesize()
	mem, err := unix.Mmap(-1, 0, regionBytes+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(mem); err != nil {
			t.Error(err)
		}
	})
	for _, guard := range [][]byte{mem[:page], mem[page+regionBytes:]} {
		if err := unix.Mprotect(guard, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	return mem[page:][:regionBytes:regionBytes]
}
