package qkv

import "github.com/qkv-go/qkv/kernel"

func rotaryGeneric(a *kernel.RotaryArgs) {
	second, step := a.Pairs, 1 // from the first element of a pair, and to the next pair
	if a.Pairing == kernel.Interleaved {
		second, step = 1, 2
	}
	for r := range a.Rows {
		x, y := at(a.X, r*a.XStride), at(a.Y, r*a.YStride)
		cos, sin := at(a.Cos, r*a.TableStride), at(a.Sin, r*a.TableStride)
		for i := range a.Pairs {
			j, k := i*step, i*step+second
			*at(y, j), *at(y, k) = kernel.Rotate(*at(x, j), *at(x, k), *at(cos, i), *at(sin, i))
		}
	}
}
