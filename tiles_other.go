//go:build !linux || !amd64 || purego

package qkv

// askTiles reports that the process may not have tiles of AMX.
func askTiles() bool { return false }
