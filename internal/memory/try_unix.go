//go:build unix && !aix && !solaris && !illumos

package memory

import (
	"math"

	"golang.org/x/sys/unix"
)

// try asks for memory as Go does, and gives it back: limits of the process count, and what the
// operating system promises.
func try(n int64) bool {
	if n > math.MaxInt {
		return false
	}
	m, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return false
	}
	unix.Munmap(m)
	return true
}
