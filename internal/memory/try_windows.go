package memory

import (
	"math"

	"golang.org/x/sys/windows"
)

// try asks for memory as Go does, and gives it back.
func try(n int64) bool {
	if n > math.MaxInt {
		return false
	}
	at, err := windows.VirtualAlloc(0, uintptr(n), windows.MEM_RESERVE|windows.MEM_COMMIT, windows.PAGE_READWRITE)
	if err != nil {
		return false
	}
	windows.VirtualFree(at, 0, windows.MEM_RELEASE)
	return true
}
