package kerneltest

import (
	"fmt"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

func sums(a *kernel.SumsArgs) {
	for i := range a.N {
		x := *ptr.At(a.X, i)
		if a.Add != nil {
			x = *ptr.At(a.X, i) + *ptr.At(a.Add, i)
			*ptr.At(a.X, i) = x
		}
		d := x - a.Mean
		if sum := &a.Sums[i%kernel.NormSums]; a.Squares {
			*sum = fp.ExactFMA(d, d, *sum)
		} else {
			*sum += d
		}
	}
}

func normalize(a *kernel.NormalizeArgs) {
	for i := range a.N {
		y := float32((*ptr.At(a.X, i) - a.Mean) * a.Scale)
		switch {
		case a.Bias != nil:
			y = fp.ExactFMA(y, *ptr.At(a.Weight, i), *ptr.At(a.Bias, i))
		case a.Weight != nil:
			y *= *ptr.At(a.Weight, i)
		}
		*ptr.At(a.Y, i) = y
	}
}

// rowLengths are numbers of elements around those that vectors and rounds of loops hold.
func rowLengths() []int {
	var list []int
	for n := 1; n <= 81; n++ {
		list = append(list, n)
	}
	return append(list, 95, 96, 97, 127, 128, 129, 160, 255, 256, 300)
}

// row returns n elements.
func (s *suite) row(name string, n int, g gen) *float32 { return s.matrix(name, 1, n, n, g) }

// sums tests rows by themselves and with a row that is added, plain sums and squares.
func (s *suite) sums(int) {
	for _, n := range rowLengths() {
		for _, squares := range []bool{false, true} {
			for _, add := range []bool{false, true} {
				for range 3 {
					if s.skip() {
						continue
					}
					g, gm, gs := choose(s.Rand, numbers), choose(s.Rand, []gen{zero, normal, special}), choose(s.Rand, []gen{zero, normal, special})
					s.begin()
					a := kernel.SumsArgs{
						X: s.row("X", n, g), N: n, Mean: gm.draw(s.Rand), Squares: squares,
						Sums: (*[kernel.NormSums]float32)(unsafe.Pointer(s.row("Sums", kernel.NormSums, gs))),
					}
					if add {
						a.Add = s.row("Add", n, choose(s.Rand, numbers))
					}
					got := a
					what := func() string {
						return fmt.Sprintf("Sums n=%d squares=%v add=%v X=%s mean=%s Sums=%s", n, squares, add, g.name, gm.name, gs.name)
					}
					s.check(what, func() { sums(&a) }, func() { s.set.Sums(&got) })
					got.Mean, a.Mean = 0, 0 // a NaN would not equal itself
					unchanged(s, what, got, a)
				}
			}
		}
	}
}

// normalize tests rows in place and from one place to another, with weights, with biases too, and
// without.
func (s *suite) normalize(int) {
	for _, n := range rowLengths() {
		for kind := range 3 {
			for _, inPlace := range []bool{false, true} {
				for range 2 {
					if s.skip() {
						continue
					}
					g, gw, gm := choose(s.Rand, numbers), choose(s.Rand, numbers), choose(s.Rand, []gen{zero, normal, special})
					s.begin()
					a := kernel.NormalizeArgs{
						X: s.row("X", n, g), N: n,
						Mean: gm.draw(s.Rand), Scale: choose(s.Rand, []gen{uniform(0, 2), wide, special}).draw(s.Rand),
					}
					if a.Y = a.X; !inPlace {
						a.Y = s.row("Y", n, unwritten)
					}
					if kind > 0 {
						a.Weight = s.row("Weight", n, gw)
					}
					if kind > 1 {
						a.Bias = s.row("Bias", n, choose(s.Rand, numbers))
					}
					got := a
					what := func() string {
						return fmt.Sprintf("Normalize n=%d kind=%d in place=%v X=%s mean=%s scale=%g Weight=%s", n, kind, inPlace, g.name, gm.name, a.Scale, gw.name)
					}
					s.check(what, func() { normalize(&a) }, func() { s.set.Normalize(&got) })
					got.Mean, got.Scale, a.Mean, a.Scale = 0, 0, 0, 0 // a NaN would not equal itself
					unchanged(s, what, got, a)
				}
			}
		}
	}
}
