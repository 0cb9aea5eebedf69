package memory

import "golang.org/x/sys/unix"

// limit is some times the physical memory: swap grows with use, and what is written is compressed.
func limit() int64 {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0
	}
	return 4 * int64(n)
}
