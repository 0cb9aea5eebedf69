package kerneltest

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// claims tests what the contract claims to follow from it.
func (s *suite) claims(lanes int) {
	for _, keys := range []int{1, 7, kernel.KeyBlock} {
		for _, g := range numbers {
			s.updateModes(lanes, keys, g)
			s.maskedValues(lanes, keys, g)
			s.maskedBlock(lanes, keys, g)
		}
		s.ahead(lanes, keys)
	}
	for _, g := range numbers {
		s.emptyChunk(lanes, g)
	}
}

// gaps are those between rows that a kernel asks for.
var gaps = [...]int{100, -1000, 0, 1 << 30, -64, 7, 7, 7}

// ahead: asking for memory changes no result, whatever is at the address, and never
// asks for more rows than there are.
func (s *suite) ahead(lanes, keys int) {
	const dim = 19
	for _, base := range []uintptr{0, 1<<20 + 7, ^uintptr(0) - 4096} {
		for _, hint := range []kernel.Ahead{
			{Rows: 1, Lines: 8, Left: 8, Every: 1},
			{Rows: 5, Lines: 1, Left: 1, Gap: -576, Every: 4},
			{Rows: 1000, Lines: 3, Left: 2, Gap: -192, Every: 2},
			{Rows: 1000, Lines: 3, Left: 3, Every: 100},
			{Rows: len(gaps), Lines: 2, Left: 1, Gap: 1 << 30, Gaps: uintptr(unsafe.Pointer(&gaps[0])), Every: 2},
		} {
			hint.Base = base
			s.begin()
			sc := kernel.ScoresArgs{
				K: s.matrix("K", keys, dim, dim, normal), KeyStride: dim, DimStride: 1,
				Keys: keys, Dim: dim, Q: s.matrix("Q", dim, lanes, lanes, normal),
				S: s.matrix("S", keys, lanes, lanes, unwritten), Lanes: lanes, Stride: lanes,
			}
			ac := kernel.AccumulateArgs{
				V: s.matrix("V", keys, dim, dim, normal), KeyStride: dim, DimStride: 1,
				Keys: keys, MaskFrom: keys, Dim: dim,
				P: s.matrix("P", keys, lanes, lanes, normal),
				O: s.matrix("O", dim, lanes, lanes, unwritten), Lanes: lanes, Stride: lanes,
			}
			run := func(h kernel.Ahead) func() {
				return func() {
					sc.Ahead, ac.Ahead = h, h
					s.set.Scores(&sc)
					s.set.Accumulate(&ac)
					for _, left := range []kernel.Ahead{sc.Ahead, ac.Ahead} {
						if left.Rows < 0 || left.Rows > h.Rows || h.Rows > 0 && (left.Left < 1 || left.Left > h.Lines) {
							s.Errorf("ahead: %d rows left of %d, %d lines of %d", left.Rows, h.Rows, left.Left, h.Lines)
						}
						asked := (h.Rows-left.Rows)*h.Lines + h.Left - left.Left
						gap := (h.Rows - left.Rows) * h.Gap
						if h.Gaps != 0 {
							gap = 0
							for _, g := range gaps[:h.Rows-left.Rows] {
								gap += g
							}
							if want := h.Gaps + uintptr(8*(h.Rows-left.Rows)); left.Gaps != want {
								s.Errorf("ahead: the next gap is at %#x, want %#x", left.Gaps, want)
							}
						}
						if want := h.Base + uintptr(asked*64+gap); left.Base != want {
							s.Errorf("ahead: %#x is next after %d lines from %#x on, want %#x", left.Base, asked, h.Base, want)
						}
					}
				}
			}
			what := func() string { return fmt.Sprintf("ahead keys=%d lanes=%d %+v", keys, lanes, hint) }
			s.check(what, run(kernel.Ahead{}), run(hint))
		}
	}
}

// updateModes: Rescale with an Alpha of 1 gives the bits of Add, and First those
// of either on an output of +0.
func (s *suite) updateModes(lanes, keys int, g gen) {
	const dim = 19
	for _, old := range []gen{zero, normal.with(constant(negZero), 4)} {
		s.begin()
		a := kernel.AccumulateArgs{
			V: s.matrix("V", keys, dim, dim, g), KeyStride: dim, DimStride: 1,
			Keys: keys, MaskFrom: keys, Dim: dim,
			P: s.matrix("P", keys, lanes, lanes, choose(s.Rand, weightKinds)),
			O: s.matrix("O", dim, lanes, lanes, old), Lanes: lanes, Stride: lanes,
			Alpha: s.matrix("Alpha", 1, lanes, lanes, one),
		}
		run := func(m kernel.UpdateMode) func() {
			return func() { a.Mode = m; s.set.Accumulate(&a) }
		}
		what := func() string { return fmt.Sprintf("modes keys=%d lanes=%d V=%s O=%s", keys, lanes, g.name, old.name) }
		s.check(what, run(kernel.Add), run(kernel.Rescale))
		if old.name == zero.name {
			s.check(what, run(kernel.Add), run(kernel.First))
		}
	}
}

// maskedValues: neither the score nor the value of a masked key changes a bit.
func (s *suite) maskedValues(lanes, keys int, g gen) {
	const dim = 19
	s.begin()
	k0 := s.IntN(keys) // masked for every lane
	v := s.matrix("V", keys, dim, dim, normal)
	sm := kernel.SoftmaxArgs{
		S:    s.matrix("S", keys, lanes, lanes, uniform(-4, 4)),
		Keys: keys, MaskFrom: 0, Mask: s.mask(keys, 2),
		Max:   s.matrix("Max", 1, lanes, lanes, constant(kernel.InitMax)),
		Sum:   s.matrix("Sum", 1, lanes, lanes, zero),
		Alpha: s.matrix("Alpha", 1, lanes, lanes, unwritten),
		Lanes: lanes, Stride: lanes,
	}
	mask := unsafe.Slice(sm.Mask, keys)
	mask[k0] = 0
	acc := kernel.AccumulateArgs{
		V: v, KeyStride: dim, DimStride: 1, Keys: keys, Dim: dim, P: sm.S,
		O:     s.matrix("O", dim, lanes, lanes, unwritten),
		Alpha: sm.Alpha, Lanes: lanes, Stride: lanes, Mode: kernel.First,
	}
	hidden := make([]float32, dim)
	run := func(g gen) func() {
		return func() {
			for k := range keys {
				for l := range lanes {
					if mask[k]>>l&1 == 0 {
						*ptr.At(sm.S, k*lanes+l) = g.draw(s.Rand)
					}
				}
			}
			for d := range hidden {
				hidden[d] = *ptr.At(v, k0*dim+d)
				*ptr.At(v, k0*dim+d) = g.draw(s.Rand)
			}
			s.set.Softmax(&sm)
			s.set.Accumulate(&acc)
			for d := range hidden {
				*ptr.At(v, k0*dim+d) = hidden[d]
			}
		}
	}
	s.check(func() string { return fmt.Sprintf("masked values keys=%d lanes=%d %s", keys, lanes, g.name) }, run(zero), run(g))
}

// maskedBlock: a block that is masked in whole leaves a lane as it was.
func (s *suite) maskedBlock(lanes, keys int, g gen) {
	const dim = 19
	s.begin()
	sm := kernel.SoftmaxArgs{
		S:    s.matrix("S", keys, lanes, lanes, g),
		Keys: keys, MaskFrom: 0, Mask: s.mask(keys, 1),
		Max:   s.matrix("Max", 1, lanes, lanes, constant(kernel.InitMax).with(uniform(-4, 4), 2)),
		Sum:   s.matrix("Sum", 1, lanes, lanes, uniform(1, 100).with(zero, 3)),
		Alpha: s.matrix("Alpha", 1, lanes, lanes, unwritten),
		Lanes: lanes, Stride: lanes,
	}
	acc := kernel.AccumulateArgs{
		V:         s.matrix("V", keys, dim, dim, g),
		KeyStride: dim, DimStride: 1, Keys: keys, Dim: dim, P: sm.S,
		O:     s.matrix("O", dim, lanes, lanes, normal.with(constant(negZero), 2).with(zero, 4)),
		Alpha: sm.Alpha, Lanes: lanes, Stride: lanes, Mode: kernel.Rescale,
	}
	nothing := func() {
		for i := range keys * lanes {
			*ptr.At(sm.S, i) = negZero
		}
		for l := range lanes {
			*ptr.At(sm.Alpha, l) = 1
		}
	}
	s.check(func() string { return fmt.Sprintf("masked block keys=%d lanes=%d %s", keys, lanes, g.name) }, nothing, func() {
		s.set.Softmax(&sm)
		s.set.Accumulate(&acc)
	})
	if sm.Moved {
		s.Fatal("a masked block moved the maximum")
	}
}

// emptyChunk: a chunk without any weight leaves a lane as it was.
func (s *suite) emptyChunk(lanes int, g gen) {
	const dim = 19
	s.begin()
	a := kernel.MergeArgs{
		O:        s.matrix("O", dim, lanes, lanes, g),
		Max:      s.matrix("Max", 1, lanes, lanes, uniform(-4, 80).with(constant(kernel.InitMax), 3)),
		Sum:      s.matrix("Sum", 1, lanes, lanes, g),
		Chunk:    s.matrix("Chunk", dim, lanes, lanes, zero),
		ChunkMax: s.matrix("ChunkMax", 1, lanes, lanes, constant(kernel.InitMax)),
		ChunkSum: s.matrix("ChunkSum", 1, lanes, lanes, zero),
		Dim:      dim, Lanes: lanes, Stride: lanes,
	}
	s.check(func() string { return fmt.Sprintf("empty chunk lanes=%d %s", lanes, g.name) }, func() {}, func() { s.set.Merge(&a) })
}

// attention runs all functions in turn and compares the result with attention in
// float64: the contract and not only its transcription.
func (s *suite) attention(lanes int) {
	const dim, valDim, blocks = 24, 20, 3
	const keys = kernel.KeyBlock * blocks
	s.begin()
	unit := lanes // the stride of every matrix
	q := s.matrix("query", lanes, dim, dim, normal)
	k := s.matrix("K", keys, dim, dim, normal)
	v := s.matrix("V", keys, valDim, valDim, normal)
	out := s.matrix("out", lanes, valDim, valDim, unwritten)
	packed := s.matrix("packed", dim, lanes, unit, unwritten)
	p := s.matrix("S", kernel.KeyBlock, lanes, unit, unwritten)
	o := s.matrix("O", valDim, lanes, unit, unwritten)
	top := s.matrix("Max", 1, lanes, lanes, constant(kernel.InitMax))
	sum := s.matrix("Sum", 1, lanes, lanes, zero)
	alpha := s.matrix("Alpha", 1, lanes, lanes, unwritten)

	scale := 1 / math.Sqrt(dim)
	var in, to [kernel.MaxLanes]int
	for l := range lanes {
		in[l], to[l] = l*dim, l*valDim
	}
	s.set.Pack(&kernel.PackArgs{
		Src: q, Off: &in, DimStride: 1, Rows: lanes, Dim: dim, Dst: packed,
		Lanes: lanes, Stride: unit, Scale: float32(scale * math.Log2E / 2),
	})
	for b := range blocks {
		s.set.Scores(&kernel.ScoresArgs{
			K: ptr.At(k, b*kernel.KeyBlock*dim), KeyStride: dim, DimStride: 1, Keys: kernel.KeyBlock,
			Dim: dim, Q: packed, S: p, Lanes: lanes, Stride: unit,
		})
		s.set.Softmax(&kernel.SoftmaxArgs{
			S: p, Keys: kernel.KeyBlock, MaskFrom: kernel.KeyBlock,
			Max: top, Sum: sum, Alpha: alpha, Lanes: lanes, Stride: unit,
		})
		mode := kernel.Rescale
		if b == 0 {
			mode = kernel.First
		}
		s.set.Accumulate(&kernel.AccumulateArgs{
			V: ptr.At(v, b*kernel.KeyBlock*valDim), KeyStride: valDim, DimStride: 1, Keys: kernel.KeyBlock,
			MaskFrom: kernel.KeyBlock, Dim: valDim, P: p, O: o, Alpha: alpha,
			Lanes: lanes, Stride: unit, Mode: mode,
		})
	}
	s.set.Unpack(&kernel.UnpackArgs{
		O: o, Sum: sum, Dst: out, Off: &to, DimStride: 1, Rows: lanes, Dim: valDim, Lanes: lanes, Stride: unit,
	})

	for l := range lanes {
		var norm float64
		want := make([]float64, valDim)
		for j := range keys {
			var dot float64
			for d := range dim {
				dot += float64(*ptr.At(q, l*dim+d)) * float64(*ptr.At(k, j*dim+d))
			}
			w := math.Exp(scale * dot)
			norm += w
			for d := range valDim {
				want[d] += w * float64(*ptr.At(v, j*valDim+d))
			}
		}
		for d := range valDim {
			// Scores have an absolute error of some 2^-24 * dim/2, as have the
			// logarithms of weights; values average to less than 1.
			if got := float64(*ptr.At(out, l*valDim+d)); !(math.Abs(got-want[d]/norm) < 2e-6) {
				s.Fatalf("lanes=%d: output[%d][%d] = %v, want %v", lanes, l, d, got, want[d]/norm)
			}
		}
	}
}

// read tests that the result depends on every element.
func (s *suite) read(int) {
	for _, n := range []int{256, 1024} {
		s.begin()
		p := s.matrix("p", 1, n, n, zero)
		s.check(func() string { return fmt.Sprint("Read ", n) }, func() {}, func() { s.set.Read(p, n) })
		base := math.Float32bits(s.set.Read(p, n))
		for i := range n {
			*ptr.At(p, i) = 1
			if math.Float32bits(s.set.Read(p, n)) == base {
				s.Fatalf("Read(p, %d) does not depend on p[%d]", n, i)
			}
			*ptr.At(p, i) = 0
		}
	}
}
