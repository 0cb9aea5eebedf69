//go:build !linux

package bench

import (
	"syscall"
	"time"
)

// allowedCPUs returns nil: other systems do not tell which processors a process may use, and do not
// keep threads to them.
func allowedCPUs() []int { return nil }

func siblingsOf(int) []int { return nil }

func pinThread(int) error { return nil }

func pinTo([]int, int) (undo func(), err error) { return func() {}, nil }

func processTime(int) time.Duration { return 0 }

func diesWithParent() *syscall.SysProcAttr { return nil }
