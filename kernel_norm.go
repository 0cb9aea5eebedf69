package qkv

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

func sumsGeneric(a *kernel.SumsArgs) {
	const block = kernel.NormSums
	for i := 0; i < a.N; i += block {
		var d [block]float32
		n := min(block, a.N-i)
		x := unsafe.Slice(ptr.At(a.X, i), n)
		if a.Add != nil {
			for j, y := range unsafe.Slice(ptr.At(a.Add, i), n) {
				x[j] += y
			}
		}
		for j := range x {
			d[j] = x[j] - a.Mean
		}
		if a.Squares {
			fp.AddSquares(a.Sums, d[:n])
			continue
		}
		for j, x := range d[:n] {
			a.Sums[j] += x
		}
	}
}

func normalizeGeneric(a *kernel.NormalizeArgs) {
	x, y := unsafe.Slice(a.X, a.N), unsafe.Slice(a.Y, a.N)
	for i := range x {
		y[i] = float32((x[i] - a.Mean) * a.Scale)
	}
	if a.Weight == nil {
		return
	}
	w := unsafe.Slice(a.Weight, a.N)
	if a.Bias == nil {
		for i := range y {
			y[i] *= w[i]
		}
		return
	}
	for i, b := range unsafe.Slice(a.Bias, a.N) {
		y[i] = fp.FMA(y[i], w[i], b)
	}
}
