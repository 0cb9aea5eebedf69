package kerneltest

import (
	"fmt"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// dotWeights is a transcription of the contract.
func dotWeights(a *kernel.DotWeightsArgs) {
	block := a.Type.Bytes()
	w := make([]float32, a.Type.Values())
	for l := range a.Lanes {
		row := unsafe.Add(unsafe.Pointer(a.Src), l*a.RowBytes)
		for k := range a.Depth {
			if k%len(w) == 0 {
				a.Type.Decode(w, unsafe.Slice((*byte)(row), block))
				row = unsafe.Add(row, block)
			}
			c, acc := ptr.At(a.C, k/kernel.KC*a.Stride+l), float32(0)
			if k%kernel.KC > 0 {
				acc = *c
			}
			*c = fp.ExactFMA(w[k%len(w)], *ptr.At(a.X, k), acc)
		}
	}
}

// dotDepths are depths of a type about one part, two, and more, which machine code takes in pairs.
func dotDepths(w kernel.Weight) []int {
	const kc = kernel.KC
	if n := w.Values(); n > 1 {
		return []int{n, 2 * n, kc, kc + n, 2 * kc, 2*kc + n, 3 * kc, 4*kc - n, 4 * kc, 5*kc + n, 6*kc + n}
	}
	return []int{1, 7, 8, 9, 24, kc - 8, kc, kc + 1, kc + 8, 2*kc - 1, 2 * kc, 2*kc + 8, 3 * kc, 4*kc - 8, 4 * kc, 5*kc + 8, 6*kc + 9}
}

func (s *suite) dotWeights(lanes int) {
	for _, w := range kernel.Weights() {
		for _, depth := range dotDepths(w) {
			for _, f := range fillings {
				if s.skip() || s.IntN(2) == 0 {
					continue
				}
				s.begin()
				row := depth / w.Values() * w.Bytes()
				strides := []int{row, row + 1, row + 2, row + 61, -row, -row - 3, 0, 1, w.Bytes()}
				stride, g := strides[s.IntN(len(strides))], choose(s.Rand, numbers)
				a := kernel.DotWeightsArgs{
					Type: w, Src: s.blocks(w, lanes, depth/w.Values(), stride, f), RowBytes: stride, Depth: depth,
					Lanes: lanes, X: s.matrix("X", 1, depth, depth, g), Stride: s.stride(lanes),
				}
				a.C = s.matrix("C", (depth-1)/kernel.KC+1, lanes, a.Stride, unwritten)
				got := a
				what := func() string {
					return fmt.Sprintf("DotWeights %v depth=%d lanes=%d strides %d, %d %s X=%s", w, depth, lanes, stride, a.Stride, f.name, g.name)
				}
				s.check(what, func() { dotWeights(&a) }, func() { s.set.DotWeights(&got) })
				unchanged(s, what, got, a)
			}
		}
	}
}
