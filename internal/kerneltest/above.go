package kerneltest

import (
	"fmt"
	"math/rand/v2"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

func above(a *kernel.AboveArgs) {
	a.At = a.N
	for i := a.N - kernel.AboveBlock; i >= 0; i -= kernel.AboveBlock {
		for _, x := range unsafe.Slice(a.X, a.N)[i : i+kernel.AboveBlock] {
			if x > a.Bound {
				a.At = i
			}
		}
	}
}

// above tests numbers of every kind, and one number above the bound in each place, among those that are
// not.
func (s *suite) above(int) {
	test := func(blocks int, g gen, bound float32, place int, x float32) {
		if s.skip() {
			return
		}
		s.begin()
		n := blocks * kernel.AboveBlock
		a := kernel.AboveArgs{X: s.row("X", n, g), N: n, Bound: bound, At: -1}
		if place < n {
			unsafe.Slice(a.X, n)[place] = x
		}
		got := a
		what := func() string {
			return fmt.Sprintf("Above n=%d X=%s bound=%g, %g at %d", n, g.name, bound, x, place)
		}
		s.check(what, func() { above(&a) }, func() { s.set.Above(&got) })
		unchanged(s, what, got, a)
	}
	below := gen{"not above", func(r *rand.Rand) float32 {
		return []float32{-1, -0.5, negZero, 0, nan, negNaN, -inf}[r.IntN(7)]
	}}
	for blocks := 1; blocks <= 7; blocks++ {
		n := blocks * kernel.AboveBlock
		for _, g := range numbers {
			for _, bound := range []float32{0, 1, -1, huge, -huge, inf, -inf, tiny, choose(s.Rand, numbers[:5]).draw(s.Rand)} {
				test(blocks, g, bound, n, 0)
			}
		}
		for place := range n {
			test(blocks, below, []float32{0, negZero}[s.IntN(2)], place, []float32{tiny, 1, inf}[s.IntN(3)])
		}
		test(blocks, below, 0, n, 0)
		test(blocks, constant(huge), huge, s.IntN(n), inf)
		test(blocks, constant(-inf), -inf, s.IntN(n), -huge)
	}
}
