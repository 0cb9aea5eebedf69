// Package mapped has files of models in memory without reading them first: the operating system brings
// pages of them as they are used, and all processes share them.
package mapped

import "fmt"

// A File is the contents of a file. It is not changed while it is open.
type File struct {
	Data  []byte // read-only
	unmap func() error
}

// Close gives the memory back: Data may not be used any more. Of nil there is none.
func (f *File) Close() error {
	if f == nil {
		return nil
	}
	unmap := f.unmap
	f.Data, f.unmap = nil, nil
	if unmap == nil {
		return nil
	}
	return unmap()
}

// Read opens a file and parses its contents, which what parse returns may be parts of. Close the file when
// that is not used any more.
func Read[T any](path string, parse func(data []byte) (T, error)) (parsed T, file *File, err error) {
	if file, err = Open(path); err != nil {
		return parsed, nil, err
	}
	if parsed, err = parse(file.Data); err != nil {
		file.Close()
		return parsed, nil, fmt.Errorf("%s: %w", path, err)
	}
	return parsed, file, nil
}
