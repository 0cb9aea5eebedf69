package kerneltest

import (
	"fmt"
	"math/rand/v2"

	"github.com/qkv-go/qkv/kernel"
)

// keyCounts are numbers of keys around the sizes of squares, and usual ones.
func keyCounts() []int {
	var list []int
	for i := 1; i <= 35; i++ {
		list = append(list, i)
	}
	return append(list, 63, 64, 65, 100, kernel.KeyBlock-1, kernel.KeyBlock)
}

func (s *suite) softcap(lanes int) {
	// Where the exponential is reduced, where the tangent is 1, and around the least
	// argument.
	kinds := append([]gen{uniform(-2, 2), uniform(-20, 20), uniform(-34, 34), uniform(31.9, 32.1)}, scoreKinds...)
	caps := []struct{ in, out gen }{
		{one, one},
		{uniform(0.01, 0.1), uniform(1, 100)},
		{constant(tiny), constant(huge)},
		{bits, bits},
	}
	for _, keys := range keyCounts() {
		for _, g := range kinds {
			for _, c := range caps {
				if s.skip() {
					continue
				}
				s.begin()
				stride := s.stride(lanes)
				a := kernel.SoftcapArgs{
					S: s.matrix("S", keys, lanes, stride, g), Keys: keys, Lanes: lanes, Stride: stride,
					In: c.in.draw(s.Rand), Out: c.out.draw(s.Rand),
				}
				got := a
				what := func() string {
					return fmt.Sprintf("Softcap keys=%d lanes=%d stride=%d S=%s in=%g out=%g", keys, lanes, stride, g.name, a.In, a.Out)
				}
				s.check(what, func() { softcap(&a) }, func() { s.set.Softcap(&got) })
				// A NaN would not equal itself.
				got.In, got.Out, a.In, a.Out = 0, 0, 0, 0
				unchanged(s, what, got, a)
			}
		}
	}
}

func (s *suite) alibi(lanes int) {
	position := gen{"position", func(r *rand.Rand) float32 { return float32(r.IntN(1<<22) - 1<<21) }}
	positions := []gen{
		{"near", func(r *rand.Rand) float32 { return float32(r.IntN(2 * kernel.KeyBlock)) }},
		position,
		wide, special, bits,
	}
	slopes := []gen{uniform(0, 1), uniform(-1, 0), wide, special, bits}
	for _, keys := range keyCounts() {
		for _, gp := range positions {
			for _, gl := range slopes {
				for _, first := range []int{0, s.IntN(kernel.KeyBlock - keys + 1), kernel.KeyBlock - keys} {
					if s.skip() {
						continue
					}
					s.begin()
					stride := s.stride(lanes)
					gs := choose(s.Rand, scoreKinds)
					a := kernel.ALiBiArgs{
						S: s.matrix("S", keys, lanes, stride, gs), Keys: keys, First: first,
						Pos:   s.matrix("Pos", 1, lanes, lanes, gp),
						Slope: s.matrix("Slope", 1, lanes, lanes, gl),
						Lanes: lanes, Stride: stride,
					}
					got := a
					what := func() string {
						return fmt.Sprintf("ALiBi keys=%d first=%d lanes=%d stride=%d S=%s Pos=%s Slope=%s",
							keys, first, lanes, stride, gs.name, gp.name, gl.name)
					}
					s.check(what, func() { alibi(&a) }, func() { s.set.ALiBi(&got) })
					unchanged(s, what, got, a)
				}
			}
		}
	}
}

func (s *suite) bias(lanes int) {
	biases := append([]gen{normal.with(constant(-inf), 2), normal.with(constant(-inf), 500), constant(-inf)}, numbers...)
	for rows := 1; rows <= lanes; rows++ {
		for _, keys := range keyCounts() {
			layouts := []layout{
				{"contiguous", keys, 1},
				{"padded", keys + 3, 1},
				{"backward", -keys, 1},
				{"one row", 0, 1},
				{"overlapping", 1, 1},
			}
			for range 2 {
				if s.skip() {
					continue
				}
				s.begin()
				l := layouts[s.IntN(len(layouts))]
				stride := s.stride(lanes)
				g, gs := choose(s.Rand, biases), choose(s.Rand, scoreKinds)
				src, off := s.rows("Src", rows, keys, l, g)
				a := kernel.BiasArgs{
					Src: src, Off: off, Rows: rows, Keys: keys,
					S:     s.matrix("S", keys, lanes, stride, gs),
					Mask:  s.mask(keys, 3),
					Scale: choose(s.Rand, []gen{one, constant(0.7213475), normal, special}).draw(s.Rand),
					Lanes: lanes, Stride: stride, Cleared: s.IntN(2) == 0,
				}
				got := a
				what := func() string {
					return fmt.Sprintf("Bias rows=%d keys=%d lanes=%d stride=%d %v Src=%s S=%s scale=%g",
						rows, keys, lanes, stride, l, g.name, gs.name, a.Scale)
				}
				s.check(what, func() { bias(&a) }, func() { s.set.Bias(&got) })
				got.Scale, a.Scale = 0, 0 // a NaN would not equal itself
				unchanged(s, what, got, a)
			}
		}
	}
}
