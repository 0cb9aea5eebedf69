//go:build !linux

package bench

// markLoad tells nothing: only Linux says how the processors spend their time without cgo.
func markLoad(int) (*loadMark, bool) { return nil, false }
