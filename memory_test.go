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
				_, err := qkv.NewCache(cacheShape{7, 1024, 32, typ, qkv.TypeInt8}.config(1<<15, 1<<15))
				return err
			}},
			{"cache", func() error { // the sum is too much
				_, err := qkv.NewCache(cacheShape{32, 1024, 1024, typ, typ}.config(1<<13, 1<<14))
				return err
			}},
			{"cache", func() error { // of all layers
				cfg := cacheShape{8, 256, 256, typ, typ}.config(1<<22, 16)
				for range 31 {
					cfg.Layers = append(cfg.Layers, cfg.Layers[0])
				}
				_, err := qkv.NewCache(cfg)
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
	cfg := cacheShape{shape[1], 32, 32, qkv.TypeFloat32, qkv.TypeFloat32}.config(shape[0], shape[2])
	cfg.Layers[0].K, cfg.Layers[0].V = one, one
	_, err := qkv.NewCache(cfg)
	if errors.As(err, new(*qkv.MemoryError)) {
		t.Errorf("given memory: %v", err)
	}

	// Weights that share their elements cannot be packed at all; those that pad to a vector may be
	// some times as large as they were.
	if _, err := e.Pack(qkv.RowMajor(make([]float32, 64), 64, 1)); err != nil {
		t.Error(err)
	}
}
