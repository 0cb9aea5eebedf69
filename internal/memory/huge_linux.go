package memory

import "golang.org/x/sys/unix"

// advise is a request that may be refused.
func advise(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }

// adviseAt is advise of memory by its address.
func adviseAt(at, size uintptr) {
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, at, size, unix.MADV_HUGEPAGE)
}

// gatherAt gathers memory in huge pages, from Linux 6.1 on.
func gatherAt(at, size uintptr) {
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, at, size, unix.MADV_COLLAPSE)
}
