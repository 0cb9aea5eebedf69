package qkv

import (
	"fmt"

	"github.com/qkv-go/qkv/internal/memory"
)

// A MemoryError reports memory that this process cannot have: more than the machine, or its
// control group, has with its swap, or more than the operating system promises. Nothing has been
// allocated or written when it is returned. That there is no error does not mean that the memory
// stays there: others may take it.
type MemoryError struct {
	Arg   string // what it is for, in this package: "cache", "pages", "w" or the name of other weights, "maxPositions" or "workspace"
	Bytes int64  // its size
	Limit int64  // the most that the process can have, 0 where that is not known
}

func (e *MemoryError) Error() string {
	if e.Limit == 0 || e.Bytes <= e.Limit {
		return fmt.Sprintf("qkv: %s takes %d bytes, which cannot be had", e.Arg, e.Bytes)
	}
	return fmt.Sprintf("qkv: %s takes %d bytes, there are %d", e.Arg, e.Bytes, e.Limit)
}

// checkMemory reports a size that cannot be had. Go ends the process where it cannot have what it
// is to make.
func checkMemory(arg string, bytes int64) error {
	if memory.Has(bytes) {
		return nil
	}
	return &MemoryError{Arg: arg, Bytes: bytes, Limit: memory.Limit()}
}
