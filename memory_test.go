package qkv_test

import (
	"errors"
	"math"
	"testing"

	"github.com/qkv-go/qkv"
)

// TestMemoryErrors: what is larger than the memory of any machine is refused by an error, which
// names it and its size. Memory that is given is another matter.
func TestMemoryErrors(t *testing.T) {
	if math.MaxInt == math.MaxInt32 {
		t.Skip("sizes of more than an int are refused before")
	}
	e := newAttention(t, qkv.Config{})
	rotary := func(positions int) error {
		_, err := qkv.NewRotary(qkv.RotaryConfig{Dim: 2, MaxPositions: positions})
		return err
	}
	for _, typ := range elemTypes {
		for _, c := range []struct {
			arg  string
			make func() error
		}{
			{"cache", func() error {
				_, err := qkv.NewCache(qkv.CacheConfig{Sequences: 1 << 15, Capacity: 1 << 15, KVHeads: 4, DimQK: 1024, DimV: 32, KeyType: typ, ValueType: qkv.TypeInt8})
				return err
			}},
			{"cache", func() error { // the sum is too much
				_, err := qkv.NewCache(qkv.CacheConfig{Sequences: 1 << 13, Capacity: 1 << 14, KVHeads: 32, DimQK: 1024, DimV: 1024, KeyType: typ, ValueType: typ})
				return err
			}},
			{"pages", func() error {
				_, err := qkv.NewPagedCache(qkv.PagedConfig{Pages: 1 << 27, PageTokens: 16, KVHeads: 8, DimQK: 256, DimV: 256, KeyType: typ, ValueType: typ})
				return err
			}},
		} {
			err := c.make()
			var m *qkv.MemoryError
			if !errors.As(err, &m) || m.Arg != c.arg || m.Bytes < 1<<42 || m.Limit < 0 {
				t.Errorf("%s of %v: error %v", c.arg, typ, err)
			}
		}
	}
	if err := rotary(1000); err != nil {
		t.Error(err)
	}

	// The same places over memory of a few bytes.
	shape := [4]int{1 << 16, 4, 1 << 16, 32}
	one := qkv.Strided(make([]float32, 32), 0, shape, [4]int{0, 0, 0, 1})
	_, err := qkv.NewCache(qkv.CacheConfig{Sequences: shape[0], Capacity: shape[2], KVHeads: shape[1], DimQK: 32, DimV: 32, K: one, V: one})
	if errors.As(err, new(*qkv.MemoryError)) {
		t.Errorf("given memory: %v", err)
	}

	// Weights that share their elements cannot be packed at all; those that pad to a vector may be
	// some times as large as they were.
	if _, err := e.Pack(qkv.RowMajor(make([]float32, 64), 64, 1)); err != nil {
		t.Error(err)
	}
}
