//go:build !purego

package qkv

import "github.com/qkv-go/qkv/kernel"

func archSets() []*kernel.Set { return nil }
