//go:build amd64 && !purego

package qkv

import (
	"sync"

	"golang.org/x/sys/unix"
)

// askTiles asks Linux, once, to let all threads of the process use tiles of AMX, and reports whether it does. Linux
// saves the 8 KiB of tiles only for processes that have asked. It refuses where the signal stack of a thread has no
// room for them; the signal stacks of Go have 32 KiB, of which a signal takes some 11 KiB then.
var askTiles = sync.OnceValue(func() bool {
	const (
		archReqXcompPerm = 0x1023
		xfeatureXTile    = 18
	)
	_, _, errno := unix.Syscall(unix.SYS_ARCH_PRCTL, archReqXcompPerm, xfeatureXTile, 0)
	return errno == 0
})
