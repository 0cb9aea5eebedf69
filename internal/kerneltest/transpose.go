package kerneltest

import (
	"fmt"

	"github.com/qkv-go/qkv/kernel"
)

// dims are head dims around the block sizes of a transposition, and usual ones.
func dims() []int {
	var list []int
	for i := 1; i <= 35; i++ {
		list = append(list, i)
	}
	return append(list, 63, 64, 65, 80, 100, 128, 192, 256)
}

func (s *suite) pack(lanes int) {
	for rows := 1; rows <= lanes; rows++ {
		for _, dim := range dims() {
			all := layouts(rows, dim)
			// Unit strides have code of their own: take one every time.
			for _, l := range []layout{all[s.IntN(3)], all[s.IntN(len(all))]} {
				if s.skip() {
					continue
				}
				s.begin()
				stride := s.stride(lanes)
				g := choose(s.Rand, numbers)
				src, off := s.rows("Src", rows, dim, l, g)
				a := kernel.PackArgs{
					Src: src, Off: off, DimStride: l.inner, Rows: rows, Dim: dim,
					Dst:   s.matrix("Dst", dim, lanes, stride, unwritten),
					Lanes: lanes, Stride: stride,
					Scale: choose(s.Rand, []gen{normal, constant(0.0901684), special}).draw(s.Rand),
				}
				got := a
				what := func() string {
					return fmt.Sprintf("Pack rows=%d dim=%d lanes=%d stride=%d %v %s scale=%g", rows, dim, lanes, stride, l, g.name, a.Scale)
				}
				s.check(what, func() { pack(&a) }, func() { s.set.Pack(&got) })
				// A NaN scale would not equal itself.
				got.Scale, a.Scale = 0, 0
				unchanged(s, what, got, a)
			}
		}
	}
}

func (s *suite) unpack(lanes int) {
	sums := []gen{uniform(1, 100), uniform(1, 100).with(zero, 2), uniform(1, 100).with(special, 4), bits}
	for rows := 1; rows <= lanes; rows++ {
		for _, dim := range dims() {
			all := disjointLayouts(rows, dim)
			for _, l := range []layout{all[s.IntN(3)], all[s.IntN(len(all))]} {
				if s.skip() {
					continue
				}
				s.begin()
				stride := s.stride(lanes)
				g, gs := choose(s.Rand, numbers), choose(s.Rand, sums)
				dst, off := s.rows("Dst", rows, dim, l, unwritten)
				a := kernel.UnpackArgs{
					O:   s.matrix("O", dim, lanes, stride, g),
					Sum: s.matrix("Sum", 1, lanes, lanes, gs),
					Dst: dst, Off: off, DimStride: l.inner, Rows: rows, Dim: dim,
					Lanes: lanes, Stride: stride,
				}
				got := a
				what := func() string {
					return fmt.Sprintf("Unpack rows=%d dim=%d lanes=%d stride=%d %v %s sum=%s", rows, dim, lanes, stride, l, g.name, gs.name)
				}
				s.check(what, func() { unpack(&a) }, func() { s.set.Unpack(&got) })
				unchanged(s, what, got, a)
			}
		}
	}
}
