package memory

import (
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// advise asks for huge pages, which may be refused.
func advise(at, size uintptr) {
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, at, size, unix.MADV_HUGEPAGE)
}

// gather gathers memory in huge pages, from Linux 6.1 on.
func gather(at, size uintptr) {
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, at, size, unix.MADV_COLLAPSE)
}

// neverHuge reports whether the system is set to make no huge pages, which MADV_COLLAPSE does not ask.
var neverHuge = sync.OnceValue(func() bool { return never(os.ReadFile) })

// never is neverHuge of what read returns.
func never(read func(string) ([]byte, error)) bool {
	text, _ := read("/sys/kernel/mm/transparent_hugepage/enabled")
	return strings.Contains(string(text), "[never]")
}
