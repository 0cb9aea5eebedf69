package bench

import (
	"os"

	"golang.org/x/sys/unix"
)

// thisSystem returns the name of the operating system, the version of its kernel and the size
// of memory.
func thisSystem() (name, release string, memory int64) {
	if text, err := os.ReadFile("/etc/os-release"); err == nil {
		name = systemName(string(text))
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		release = unix.ByteSliceToString(u.Release[:])
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		memory = int64(uint64(info.Totalram) * uint64(info.Unit))
	}
	return name, release, memory
}
