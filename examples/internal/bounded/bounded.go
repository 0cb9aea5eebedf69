// Package bounded reads whole files into memory, of which each reader says how long they may be.
package bounded

import (
	"fmt"
	"io"
	"os"
)

// Config bounds the bytes of a config.json.
const Config = 4 << 20

// A SizeError is of a file that is too long.
type SizeError struct {
	Path       string
	Size, Most int64 // bytes; the Size is -1 where the file does not say, as a pipe
}

func (e *SizeError) Error() string {
	if e.Size < 0 {
		return fmt.Sprintf("%s has more than %d bytes", e.Path, e.Most)
	}
	return fmt.Sprintf("%s has %d bytes, up to %d are read", e.Path, e.Size, e.Most)
}

// ReadFile returns the contents of a file of at most so many bytes. The error is a [*SizeError] for a longer one, of
// which it reads no more than that, and otherwise that of the operating system.
func ReadFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if size := info.Size(); info.Mode().IsRegular() && size > most {
		return nil, &SizeError{path, size, most}
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, &SizeError{path, -1, most}
	}
	return data, nil
}
