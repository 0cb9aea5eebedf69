package qkv

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

func decodeScoresInt8Generic(a *kernel.DecodeScoresInt8Args) {
	size, behind := kernel.Int8BlockBytes(a.Halves), kernel.Int8Integers(a.Halves)
	for k := range a.Keys {
		var sums [kernel.MaxDecodeRows]float32
		for d := 0; d < a.Dim; d += kernel.Int8Block {
			var key [kernel.Int8Block]int32
			scale, least := keyIntegers(&key, a, k, d)
			for r := range a.Rows {
				q := unsafe.Add(unsafe.Pointer(a.Q), r*a.QBytes+d/kernel.Int8Block*size)
				first, second := dotInt8(&key, q, a.Halves)
				tail := unsafe.Add(q, behind)
				factor := float32(scale * *(*float32)(unsafe.Add(tail, kernel.Int8D)))
				sums[r] = fp.FMA(float32(first+second), factor, sums[r])
				if a.Elem.HasMin() {
					sums[r] = fp.FMA(least, *(*float32)(unsafe.Add(tail, kernel.Int8Sum)), sums[r])
				}
			}
		}
		copy(unsafe.Slice(ptr.At(a.S, k*a.Stride), a.Rows), sums[:])
	}
}

// keyIntegers sets dst to the integers of a key from a dim on, in the order of those of a block of a row, and
// returns their scale and what is added to their products.
func keyIntegers(dst *[kernel.Int8Block]int32, a *kernel.DecodeScoresInt8Args, key, dim int) (scale, least float32) {
	var block [kernel.Int8Block]int8
	row, scale := unsafe.Add(a.K, a.Off[key]), rowScale(a.Elem, a.Scale, key)
	scale, least = a.Elem.Block(&block, row, dim/kernel.Int8Block, a.Dim, a.Elem.Unit(), scale)
	for i, x := range block {
		if a.Halves {
			i = int8Place(i)
		}
		dst[i] = int32(x)
	}
	return scale, least
}
