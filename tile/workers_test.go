package tile

import (
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// TestDecodeWorkers: a step of decoding has as many workers as the bytes of its keys and values pay for, not those that as many of float32 would have.
func TestDecodeWorkers(t *testing.T) {
	const dim, kvHeads = 128, 8
	e := New(&kernel.Set{Vec: 16, Lanes: 64, DecodeRows: 16}, Caches{}, false, Tuning{})
	unit := new(uint64)
	workers := func(elem kernel.Elem, precision kernel.Precision, keys int) int {
		row := elem.RowBytes(dim)
		kv := KV{Elem: elem, Base: unsafe.Pointer(unit), Stride: [4]int{kvHeads * keys * row, keys * row, row, elem.Unit()}}
		p := Problem{
			Batch: 1, Heads: kvHeads, KVHeads: kvHeads, SeqQ: 1, SeqKV: keys, TokensQ: 1, TokensKV: keys, DimQK: dim, DimV: dim,
			K: kv, V: kv, Mask: Mask{Left: Unbounded, Right: Unbounded}, Precision: precision, Values: precision,
		}
		return e.schedule(&p, 16, new(decoding)).Workers
	}
	for _, c := range []struct {
		elem      kernel.Elem
		precision kernel.Precision
		times     int // keys for which there are as many workers as for one of float32
	}{
		{kernel.Float16, kernel.PrecisionFloat32, 2},
		{kernel.Int8, kernel.PrecisionFloat32, 2}, // arithmetic binds
		{kernel.Int8, kernel.PrecisionInt8, 4},
		{kernel.Q4_0, kernel.PrecisionFloat32, 2},
		{kernel.Q4_0, kernel.PrecisionInt8, 7},
	} {
		for _, keys := range []int{64, 200, 400} {
			want := workers(kernel.Float32, kernel.PrecisionFloat32, keys)
			if got := workers(c.elem, c.precision, keys*c.times); got < want-1 || got > want+1 {
				t.Errorf("%v, class %v, %d keys: %d workers, float32 of %d has %d", c.elem, c.precision, keys*c.times, got, keys, want)
			}
			if got := workers(c.elem, c.precision, keys); got > want || want > 3 && got == want {
				t.Errorf("%v, class %v, %d keys: %d workers, as many of float32 %d", c.elem, c.precision, keys, got, want)
			}
		}
	}
}
