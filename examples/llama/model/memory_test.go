package model

import (
	"runtime"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/internal/gguf"
)

// TestMemory: beside the file, whose matrices stay where they are, a model takes one copy of its matrices at most.
func TestMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	e, err := qkv.New(qkv.Config{})
	must(err)
	f, err := gguf.Open("../testdata/tiny.gguf")
	must(err)
	defer f.Close()
	matrices := 0
	for i := range f.Tensors {
		matrices += len(f.Tensors[i].Data)
	}
	for _, c := range []struct {
		class  qkv.Precision
		packed bool
		most   float64 // bytes, of those of the file's matrices
	}{
		{qkv.PrecisionFloat32, true, 1.3},
		{qkv.PrecisionInt8, true, 1.3},
		{qkv.PrecisionBFloat16, true, 2.5}, // of 16 bits, from Q8_0, and what workers decode into
		{qkv.PrecisionFloat32, false, 0.2},
		{qkv.PrecisionInt8, false, 0.2},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w, err := FromGGUF(f)
		must(err)
		m, err := NewOf(e, w, c.class, c.packed)
		must(err)
		runtime.ReadMemStats(&after)
		n := float64(after.TotalAlloc-before.TotalAlloc) / float64(matrices)
		t.Logf("class %v, packed %v: %.2f of %d bytes", c.class, c.packed, n, matrices)
		if n > c.most || c.packed && n < 1 {
			t.Errorf("class %v, packed %v: %.2f times the bytes of the file's matrices are allocated, at most %v are allowed", c.class, c.packed, n, c.most)
		}
		runtime.KeepAlive(m)
	}
}
