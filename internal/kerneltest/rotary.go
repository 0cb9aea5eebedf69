package kerneltest

import (
	"fmt"

	"github.com/qkv-go/qkv/kernel"
)

// rotary tests rows in place and from one place to another, with tables that they share
// and with tables of their own.
func (s *suite) rotary(int) {
	var counts []int // of pairs
	for i := 1; i <= 35; i++ {
		counts = append(counts, i)
	}
	for _, pairs := range append(counts, 40, 48, 63, 64, 65, 128) {
		dim := 2 * pairs
		rows := []layout{{"contiguous", dim, 1}, {"padded", dim + 3, 1}, {"backward", -dim, 1}}
		tables := []layout{{"one", 0, 1}, {"contiguous", pairs, 1}, {"padded", pairs + 5, 1}, {"backward", -pairs, 1}, {"overlapping", 1, 1}}
		for _, pairing := range []kernel.Pairing{kernel.HalfSplit, kernel.Interleaved} {
			for _, n := range []int{1, 2, 5} {
				for _, table := range tables {
					if s.skip() {
						continue
					}
					inPlace := s.IntN(2) == 0
					x, y := rows[s.IntN(len(rows))], rows[s.IntN(len(rows))]
					if !inPlace && s.IntN(4) == 0 {
						x = layout{"one row", 0, 1}
					}
					g, gt := choose(s.Rand, numbers), choose(s.Rand, []gen{uniform(-1, 1), uniform(-1, 1), normal, special, bits})
					s.begin()
					a := kernel.RotaryArgs{
						X: s.strided("X", n, x.outer, dim, 1, g), XStride: x.outer,
						Cos:         s.strided("Cos", n, table.outer, pairs, 1, gt),
						Sin:         s.strided("Sin", n, table.outer, pairs, 1, gt),
						TableStride: table.outer, Rows: n, Pairs: pairs, Pairing: pairing,
					}
					if a.Y, a.YStride = a.X, a.XStride; !inPlace {
						a.Y, a.YStride = s.strided("Y", n, y.outer, dim, 1, unwritten), y.outer
					}
					got := a
					what := func() string {
						return fmt.Sprintf("Rotary rows=%d pairs=%d pairing=%d in place=%v X=%v %s Y=%v tables=%v %s",
							n, pairs, pairing, inPlace, x, g.name, y, table, gt.name)
					}
					s.check(what, func() { rotary(&a) }, func() { s.set.Rotary(&got) })
					unchanged(s, what, got, a)
				}
			}
		}
	}
}
