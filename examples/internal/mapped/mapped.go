// Package mapped has files of models in memory without reading them first: the operating system brings
// pages of them as they are used, and all processes share them.
package mapped

// A File is the contents of a file. It is not changed while it is open.
type File struct {
	Data  []byte // read-only
	unmap func() error
}

// Close gives the memory back: Data may not be used any more.
func (f *File) Close() error {
	unmap := f.unmap
	f.Data, f.unmap = nil, nil
	if unmap == nil {
		return nil
	}
	return unmap()
}
