package qkv

import (
	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

func rotaryGeneric(a *kernel.RotaryArgs) {
	second, step := a.Pairs, 1 // from the first element of a pair, and to the next pair
	if a.Pairing == kernel.Interleaved {
		second, step = 1, 2
	}
	for r := range a.Rows {
		x, y := ptr.At(a.X, r*a.XStride), ptr.At(a.Y, r*a.YStride)
		cos, sin := ptr.At(a.Cos, r*a.TableStride), ptr.At(a.Sin, r*a.TableStride)
		for i := range a.Pairs {
			j, k := i*step, i*step+second
			*ptr.At(y, j), *ptr.At(y, k) = fp.Rotate(*ptr.At(x, j), *ptr.At(x, k), *ptr.At(cos, i), *ptr.At(sin, i))
		}
	}
}
