//go:build !linux

package bench

// thisSystem tells nothing beyond GOOS.
func thisSystem() (name, release string, memory int64) { return "", "", 0 }
