package kerneltest

import (
	"fmt"
	"math"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

func (s *suite) scores(lanes int) {
	s.scoresOf("Scores", lanes, itself, scores, s.set.Scores, func() bool { return false })
}

// scoresOf checks the scores of elements by set against want.
func (s *suite) scoresOf(name string, lanes int, of func(gen) gen, want, set func(*kernel.ScoresArgs), skip func() bool) {
	for _, sh := range s.shapes(kernel.KeyBlock, 256) {
		if skip() {
			continue
		}
		keys, dim := sh.tile, sh.loop
		all := layouts(keys, dim)
		for _, l := range []layout{all[s.IntN(3)], all[s.IntN(len(all))]} {
			s.begin()
			stride := s.stride(lanes)
			gk, gq := choose(s.Rand, numbers), choose(s.Rand, numbers)
			a := kernel.ScoresArgs{
				K:         s.strided("K", keys, l.outer, dim, l.inner, of(gk)),
				KeyStride: l.outer, DimStride: l.inner, Keys: keys, Dim: dim,
				Q:     s.matrix("Q", dim, lanes, stride, of(gq)),
				S:     s.matrix("S", keys, lanes, stride, unwritten),
				Lanes: lanes, Stride: stride,
			}
			got := a
			what := func() string {
				return fmt.Sprintf("%s keys=%d dim=%d lanes=%d stride=%d %v K=%s Q=%s", name, keys, dim, lanes, stride, l, gk.name, gq.name)
			}
			s.check(what, func() { want(&a) }, func() { set(&got) })
			unchanged(s, what, got, a)
		}
	}
}

func (s *suite) accumulate(lanes int) {
	const keys = kernel.KeyBlock
	mask := func(p *float32) { *p = negZero }
	s.accumulateOf("Accumulate", lanes, keys, itself, mask, accumulate, s.set.Accumulate, func() bool { return false })
}

// accumulateOf checks the sums of elements by set against want, of up to so many keys. mask takes away a weight.
func (s *suite) accumulateOf(name string, lanes, most int, of func(gen) gen, mask func(*float32), want, set func(*kernel.AccumulateArgs), skip func() bool) {
	for _, sh := range s.shapes(256, most) {
		if skip() {
			continue
		}
		dim, keys := sh.tile, sh.loop
		all := layouts(keys, dim)
		// Each mode with one of where masks begin, in turns: over the edges and lanes with all.
		masked := []int{0, s.IntN(keys + 1), keys}
		for i, mode := range []kernel.UpdateMode{kernel.First, kernel.Add, kernel.Rescale} {
			from := masked[(i+s.turn)%len(masked)]
			s.begin()
			l := all[s.IntN(len(all))]
			stride := s.stride(lanes)
			gv, gp := choose(s.Rand, numbers), choose(s.Rand, weightKinds)
			a := kernel.AccumulateArgs{
				V:         s.strided("V", keys, l.outer, dim, l.inner, of(gv)),
				KeyStride: l.outer, DimStride: l.inner, Keys: keys, MaskFrom: from, Dim: dim,
				P:     s.matrix("P", keys, lanes, stride, of(gp)),
				O:     s.matrix("O", dim, lanes, stride, unwritten),
				Lanes: lanes, Stride: stride, Mode: mode,
			}
			for k := from; k < keys; k++ {
				taken := []int{1, 2, 8, 1 << 30}[s.IntN(4)] // of as many one is masked: all to none
				for i := range lanes {
					if s.IntN(taken) == 0 {
						mask(ptr.At(a.P, k*stride+i))
					}
				}
			}
			if mode != kernel.First {
				g := choose(s.Rand, numbers)
				for d := range dim {
					for i := range lanes {
						*ptr.At(a.O, d*stride+i) = g.draw(s.Rand)
					}
				}
			}
			if mode == kernel.Rescale {
				a.Alpha = s.matrix("Alpha", 1, lanes, lanes, choose(s.Rand, weightKinds))
			}
			got := a
			what := func() string {
				return fmt.Sprintf("%s keys=%d from=%d dim=%d lanes=%d stride=%d mode=%d %v V=%s P=%s",
					name, keys, from, dim, lanes, stride, mode, l, gv.name, gp.name)
			}
			s.check(what, func() { want(&a) }, func() { set(&got) })
			unchanged(s, what, got, a)
		}
	}
}

func (s *suite) multiply(lanes int) {
	for _, sh := range s.shapes(300, kernel.KC) {
		all := layouts(sh.tile, sh.loop)
		s.begin()
		s.product("Multiply", lanes, sh.tile, sh.loop, all[s.IntN(len(all))], multiply, s.asking(s.set.Multiply))
	}
}

// asking returns a Multiply that is told, every other time, of memory to ask for. That changes
// nothing, wherever it lies. What is noted of it in the arguments is checked, and taken back.
func (s *suite) asking(multiply func(*kernel.MultiplyArgs)) func(*kernel.MultiplyArgs) {
	if s.IntN(2) == 0 {
		return multiply
	}
	var (
		first  = []uintptr{0, 3, 1 << 20, math.MaxInt / 2}[s.IntN(4)]
		bytes  = s.IntN(1 << 16)
		each   = s.IntN(1<<10) << s.IntN(10)
		then   = first + 1<<20
		rows   = s.IntN(2) * s.IntN(100)
		stride = s.IntN(1<<13) - 1<<12
		run    = s.IntN(1 << 11)
	)
	return func(a *kernel.MultiplyArgs) {
		before := *a
		a.Next, a.NextEnd, a.NextRow = first, first+uintptr(bytes), each
		a.Then, a.ThenRows, a.ThenStride, a.ThenBytes = then, rows, stride, run
		told := *a
		multiply(a)

		const line = 64
		lines := func(bytes int) int { return (bytes + line - 1) / line }
		taken := rows - a.ThenRows
		asked := int(a.Next-first) / line
		if taken > 0 {
			told.Next = then + uintptr((taken-1)*stride)
			told.NextEnd = told.Next + uintptr(run)
			asked = lines(bytes) + (taken-1)*lines(run) + int(a.Next-told.Next)/line
		}
		told.Then += uintptr(taken * stride)
		told.ThenRows -= taken
		beyond := int(a.Next - told.Next)
		told.Next = a.Next
		// With each row there may be a line that counts for the next one, too.
		most := int64(each)*int64(a.Rows*a.Depth)/kernel.KC/line + int64(a.Rows)
		if *a != told || taken < 0 || beyond < 0 || beyond > line*lines(int(told.NextEnd-(told.Next-uintptr(beyond)))) || int64(asked) > most {
			s.Fatalf("Multiply asked for %d lines of at most %d and left %+v, want %+v", asked, most, *a, told)
		}
		*a = before
	}
}

// tinyNegative are products that vanish below the normal range, which leave sums of -0.
var tinyNegative = constant(-1e-30)

// product checks a product of rows in a layout, with a bias and old values or without, by set
// against want.
func (s *suite) product(name string, lanes, rows, depth int, l layout, want, set func(*kernel.MultiplyArgs)) {
	s.productOf(name, lanes, rows, depth, l, elements{itself, 1, itself}, want, set)
}

// elements is what is made of the numbers of A and of B, and how many of A there are for a step.
type elements struct {
	a    func(gen) gen
	each int
	b    func(gen) gen
}

func itself(g gen) gen { return g }

// productOf is product of such elements.
func (s *suite) productOf(name string, lanes, rows, depth int, l layout, of elements, want, set func(*kernel.MultiplyArgs)) {
	// C has rows in either direction, with gaps between them every other time.
	c := layout{outer: s.stride(lanes) * (1 - 2*s.IntN(2)), inner: 1}
	ga, gb, gc := choose(s.Rand, numbers), choose(s.Rand, numbers), unwritten
	if s.IntN(4) == 0 {
		ga, gb = tinyNegative, constant(1e-30)
	}
	a := kernel.MultiplyArgs{
		A:         s.strided("A", rows, l.outer, of.each*depth, l.inner, of.a(ga)),
		RowStride: l.outer, ColStride: l.inner, Rows: rows, Depth: depth,
		B:      s.matrix("B", depth, lanes, lanes, of.b(gb)),
		Stride: c.outer, Lanes: lanes, Add: s.IntN(2) == 0, Near: s.IntN(2) == 0,
	}
	if a.Add {
		gc = choose(s.Rand, numbers).with(constant(negZero), 3)
	}
	a.C = s.strided("C", rows, c.outer, lanes, c.inner, gc)
	if s.IntN(2) == 0 {
		a.Bias = s.matrix("Bias", 1, lanes, lanes, choose(s.Rand, numbers).with(constant(negZero), 3))
	}
	got := a
	what := func() string {
		return fmt.Sprintf("%s rows=%d depth=%d lanes=%d stride=%d add=%v bias=%v near=%v %v A=%s B=%s C=%s",
			name, rows, depth, lanes, a.Stride, a.Add, a.Bias != nil, a.Near, l, ga.name, gb.name, gc.name)
	}
	s.check(what, func() { want(&a) }, func() { set(&got) })
	unchanged(s, what, got, a)
}
