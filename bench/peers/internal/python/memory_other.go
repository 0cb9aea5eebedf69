//go:build !linux

package python

import "os"

// newMemory returns a temporary file that has no name any more.
func newMemory(name string) (*os.File, error) {
	f, err := os.CreateTemp("", name)
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}
