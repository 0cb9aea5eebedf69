package kerneltest

import (
	"fmt"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// mask returns n words of which about one bit in taken is 0, of all 64: the bits
// past the lanes mean nothing.
func (s *suite) mask(n, taken int) *uint64 {
	if n == 0 {
		return nil
	}
	m := (*uint64)(unsafe.Pointer(unsafe.SliceData(s.arena.exactWords(s.TB, "Mask", 2*n))))
	for i := range n {
		var w uint64
		for b := range 64 {
			if taken == 0 || s.IntN(taken) != 0 {
				w |= 1 << b
			}
		}
		*ptr.At(m, i) = w
	}
	return m
}

func (s *suite) softmax(lanes int) {
	var keyCounts []int
	for i := 1; i <= max(33, 2*s.set.Rows+1); i++ {
		keyCounts = append(keyCounts, i)
	}
	keyCounts = append(keyCounts, 63, 64, 65, 100, kernel.KeyBlock-1, kernel.KeyBlock)
	states := []struct{ max, sum gen }{
		{constant(kernel.InitMax), zero},
		{constant(kernel.InitMax).with(uniform(-4, 4), 4), uniform(1, 100)},
		{uniform(-4, 4), uniform(1, 100)},
		{constant(5), uniform(1, 100)}, // above usual scores: nothing moves
		{uniform(-4, 80), uniform(1, 100).with(constant(nan), 8)},
		{constant(kernel.InitMax).with(special, 4).with(constant(inf), 8), bits},
	}
	for _, keys := range keyCounts {
		for _, gs := range scoreKinds {
			for _, from := range []int{0, s.IntN(keys + 1), keys - 1, keys} {
				if s.skip() {
					continue
				}
				s.begin()
				stride := s.stride(lanes)
				st := states[s.IntN(len(states))]
				taken := []int{0, 1, 2, 8}[s.IntN(4)]
				a := kernel.SoftmaxArgs{
					S:    s.matrix("S", keys, lanes, stride, gs),
					Keys: keys, MaskFrom: from, Mask: s.mask(keys-from, taken),
					Max:   s.matrix("Max", 1, lanes, lanes, st.max),
					Sum:   s.matrix("Sum", 1, lanes, lanes, st.sum),
					Alpha: s.matrix("Alpha", 1, lanes, lanes, unwritten),
					Lanes: lanes, Stride: stride, Moved: s.IntN(2) == 0,
				}
				got := a
				what := func() string {
					return fmt.Sprintf("Softmax keys=%d from=%d lanes=%d stride=%d S=%s Max=%s Sum=%s masked: one in %d",
						keys, from, lanes, stride, gs.name, st.max.name, st.sum.name, taken)
				}
				s.check(what, func() { softmax(&a) }, func() { s.set.Softmax(&got) })
				unchanged(s, what, got, a)
			}
		}
	}
}

func (s *suite) merge(lanes int) {
	maxima := []gen{
		uniform(-4, 4),
		constant(kernel.InitMax),
		uniform(-4, 4).with(constant(kernel.InitMax), 3),
		uniform(-70, 2),
		constant(1), // no difference
		uniform(-4, 4).with(special, 4),
		wide, bits,
	}
	sums := []gen{
		uniform(1, 100),
		uniform(1, 100).with(zero, 2),
		zero.with(constant(negZero), 2),
		uniform(1, 100).with(constant(nan), 4).with(zero, 4),
		uniform(1, 100).with(special, 2),
		bits,
	}
	for _, dim := range dims() {
		for range 6 {
			if s.skip() {
				continue
			}
			s.begin()
			stride := s.stride(lanes)
			gm, gc := choose(s.Rand, maxima), choose(s.Rand, maxima)
			gs, gt := choose(s.Rand, sums), choose(s.Rand, sums)
			g, h := choose(s.Rand, numbers), choose(s.Rand, numbers)
			a := kernel.MergeArgs{
				O:        s.matrix("O", dim, lanes, stride, g),
				Max:      s.matrix("Max", 1, lanes, lanes, gm),
				Sum:      s.matrix("Sum", 1, lanes, lanes, gs),
				Chunk:    s.matrix("Chunk", dim, lanes, stride, h),
				ChunkMax: s.matrix("ChunkMax", 1, lanes, lanes, gc),
				ChunkSum: s.matrix("ChunkSum", 1, lanes, lanes, gt),
				Dim:      dim, Lanes: lanes, Stride: stride,
			}
			got := a
			what := func() string {
				return fmt.Sprintf("Merge dim=%d lanes=%d stride=%d O=%s Max=%s Sum=%s Chunk=%s ChunkMax=%s ChunkSum=%s",
					dim, lanes, stride, g.name, gm.name, gs.name, h.name, gc.name, gt.name)
			}
			s.check(what, func() { merge(&a) }, func() { s.set.Merge(&got) })
			unchanged(s, what, got, a)
		}
	}
}
