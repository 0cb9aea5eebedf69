//go:build purego || (!amd64 && !arm64)

package qkv

import "github.com/qkv-go/qkv/kernel"

// archSets returns the kernel sets in machine code, best first: none here.
func archSets() []*kernel.Set { return nil }
