package memory

import "golang.org/x/sys/unix"

// advise is a request that may be refused.
func advise(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }
