//go:build !unix || aix || solaris || illumos

package mapped

import "os"

// Open reads a file: systems other than Unix map none here.
func Open(path string) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return &File{Data: data}, nil
}
