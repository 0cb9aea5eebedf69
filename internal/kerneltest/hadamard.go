package kerneltest

import (
	"fmt"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// hadamard is a transcription of the contract: the sums of a block are those of its halves' halves.
func hadamard(a *kernel.HadamardArgs) {
	var sums func(y []float32)
	sums = func(y []float32) {
		n := len(y) / 2
		if n == 0 {
			return
		}
		sums(y[:n])
		sums(y[n:])
		for i := range n {
			low, high := y[i], y[n+i]
			y[i], y[n+i] = low+high, low-high
		}
	}
	for r := range a.Rows {
		for first := 0; first < a.Cols; first += a.Block {
			y := make([]float32, a.Block)
			for i := range y {
				y[i] = float32(*ptr.At(a.X, r*a.XStride+first+i) * a.Scale)
			}
			sums(y)
			for i, x := range y {
				*ptr.At(a.Y, r*a.YStride+first+i) = x
			}
		}
	}
}

// hadamard tests rows of some blocks of every size, in place and from one place to another.
func (s *suite) hadamard(int) {
	for block := 1; block <= 512; block *= 2 {
		for _, blocks := range []int{1, 2, 3, 16, 16 * 3} {
			cols := block * blocks
			if cols > 1024 {
				continue
			}
			rows := []layout{{"contiguous", cols, 1}, {"padded", cols + 3, 1}, {"backward", -cols, 1}}
			for _, n := range []int{1, 2, 5} {
				if s.skip() {
					continue
				}
				s.begin()
				inPlace := s.IntN(2) == 0
				x, y := rows[s.IntN(len(rows))], rows[s.IntN(len(rows))]
				if !inPlace && s.IntN(4) == 0 {
					x = layout{"one row", 0, 1}
				}
				g := choose(s.Rand, numbers)
				a := kernel.HadamardArgs{
					X: s.strided("X", n, x.outer, cols, 1, g), XStride: x.outer, Rows: n, Cols: cols, Block: block,
					Scale: []float32{1, 0.5, 0.35355338, 0x1p-126, nan}[s.IntN(5)],
				}
				if a.Y, a.YStride = a.X, a.XStride; !inPlace {
					a.Y, a.YStride = s.strided("Y", n, y.outer, cols, 1, unwritten), y.outer
				}
				got := a
				what := func() string {
					return fmt.Sprintf("Hadamard rows=%d of %d in blocks of %d, scale=%g in place=%v X=%v %s Y=%v",
						n, cols, block, a.Scale, inPlace, x, g.name, y)
				}
				s.check(what, func() { hadamard(&a) }, func() { s.set.Hadamard(&got) })
				if got.Scale != got.Scale { // a NaN is not itself
					got.Scale, a.Scale = 0, 0
				}
				unchanged(s, what, got, a)
			}
		}
	}
}
