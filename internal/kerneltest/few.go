package kerneltest

import (
	"fmt"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

func multiplyFew(a *kernel.MultiplyArgs) {
	part := *a
	for k := 0; k < a.Depth; k += kernel.KC {
		part.A, part.B, part.Depth = ptr.At(a.A, k*a.ColStride), ptr.At(a.B, k*a.Lanes), min(kernel.KC, a.Depth-k)
		multiply(&part)
		part.Add, part.Bias = true, nil
	}
}

func combine(a *kernel.CombineArgs) {
	for l := range a.Lanes {
		acc := float32(0)
		if !a.First {
			acc = *ptr.At(a.C, l)
		}
		for k := range a.Depth {
			acc = fp.ExactFMA(*ptr.At(a.A, k*a.ColStride), *ptr.At(a.B, k*a.BStride+l), acc)
		}
		*ptr.At(a.C, l) = acc
	}
}

func dots(a *kernel.DotsArgs) {
	for r := range a.Rows {
		for l := range a.Lanes {
			acc := float32(0)
			for k := range a.Depth {
				acc = fp.ExactFMA(*ptr.At(a.B, l*a.BStride+k), *ptr.At(a.Q, k*a.QStride+r), acc)
			}
			*ptr.At(a.C, r*a.Stride+l) = acc
		}
	}
}

func (s *suite) multiplyFew(lanes int) {
	const kc = kernel.KC
	for rows := 1; rows <= s.set.FewRows; rows++ {
		for _, depth := range []int{1, 2, 3, 17, kc - 1, kc, kc + 1, 2 * kc, 3*kc + 5, 4 * kc, 5*kc + 3, 8 * kc} {
			if s.skip() {
				continue
			}
			s.begin()
			all := layouts(rows, depth)
			l := all[s.IntN(3)]
			if s.IntN(4) == 0 {
				l = all[s.IntN(len(all))]
			}
			s.product("MultiplyFew", lanes, rows, depth, l, multiplyFew, s.set.MultiplyFew)
		}
	}
}

func (s *suite) combine(lanes int) {
	for _, depth := range []int{1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 100, kernel.KC - 1, kernel.KC} {
		for _, wide := range []int{lanes, 3 * lanes, 33 * s.set.Vec, 257 * s.set.Vec} {
			if s.skip() || wide*depth > 1<<16 {
				continue
			}
			s.begin()
			strides := []int{wide, wide + 3, -wide, 0, 1}
			stride, step := strides[s.IntN(len(strides))], []int{1, 1, 3, -1, 0}[s.IntN(5)]
			ga, gb, gc := choose(s.Rand, numbers), choose(s.Rand, numbers), unwritten
			a := kernel.CombineArgs{
				A: s.strided("A", 1, 0, depth, step, ga), ColStride: step, Depth: depth,
				B: s.strided("B", depth, stride, wide, 1, gb), BStride: stride, Lanes: wide, First: s.IntN(2) == 0,
			}
			if !a.First {
				gc = choose(s.Rand, numbers)
			}
			a.C = s.matrix("C", 1, wide, wide, gc)
			got := a
			what := func() string {
				return fmt.Sprintf("Combine depth=%d lanes=%d first=%v strides %d, %d A=%s B=%s C=%s", depth, wide, a.First, step, stride, ga.name, gb.name, gc.name)
			}
			s.check(what, func() { combine(&a) }, func() { s.set.Combine(&got) })
			unchanged(s, what, got, a)
		}
	}
}

func (s *suite) dots(lanes int) {
	vec := s.set.Vec
	for rows := 1; rows <= kernel.DotsRows; rows++ {
		for _, depth := range []int{vec, vec + 1, 2*vec - 1, 2 * vec, 3*vec + vec/2, 5*vec - 1, 100, kernel.KC - 1, kernel.KC} {
			for _, wide := range []int{lanes, 3 * lanes} {
				if s.skip() {
					continue
				}
				s.begin()
				strides := []int{depth, depth + 3, -depth, 0, 1}
				stride, qStride := strides[s.IntN(len(strides))], rows+s.IntN(2)*3
				gq, gb := choose(s.Rand, numbers), choose(s.Rand, numbers)
				a := kernel.DotsArgs{
					Q: s.matrix("Q", depth, rows, qStride, gq), QStride: qStride, Rows: rows, Depth: depth,
					B: s.strided("B", wide, stride, depth, 1, gb), BStride: stride, Stride: s.stride(wide), Lanes: wide,
				}
				a.C = s.matrix("C", rows, wide, a.Stride, unwritten)
				got := a
				what := func() string {
					return fmt.Sprintf("Dots rows=%d depth=%d lanes=%d strides %d, %d Q=%s B=%s", rows, depth, wide, qStride, stride, gq.name, gb.name)
				}
				s.check(what, func() { dots(&a) }, func() { s.set.Dots(&got) })
				unchanged(s, what, got, a)
			}
		}
	}
}
