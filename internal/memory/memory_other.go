//go:build !linux && !darwin

package memory

func limit() int64 { return 0 }
