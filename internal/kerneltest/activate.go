package kerneltest

import (
	"fmt"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// activate tests rows of every remainder of a vector, with and without what they are multiplied by, in
// place of either and from one place to another.
func (s *suite) activate(int) {
	var counts []int // of columns
	for i := 1; i <= 70; i++ {
		counts = append(counts, i)
	}
	// Where the functions vary, around the ends of their ranges, and everywhere.
	gates := append([]gen{
		uniform(-4, 4), uniform(-20, 20), uniform(-15, -9), uniform(9, 15), uniform(-100, 100), uniform(-89.5, -87),
		uniform(fp.GELUTanhMin-0.02, fp.GELUTanhMin+0.05), uniform(fp.GELUMax-0.2, fp.GELUMax+0.2), uniform(-4, 4).with(special, 8),
	}, numbers...)
	for _, cols := range append(counts, 96, 127, 128, 129, 200) {
		rows := []layout{{"contiguous", cols, 1}, {"padded", cols + 3, 1}, {"backward", -cols, 1}}
		for _, kind := range kernel.Activations() {
			for _, g := range gates {
				if s.skip() {
					continue
				}
				n := 1 + s.IntN(3)
				read := append([]layout{{"one row", 0, 1}, {"overlapping", 1, 1}}, rows...)
				gate, up, dst := read[s.IntN(len(read))], read[s.IntN(len(read))], rows[s.IntN(len(rows))]
				gu := choose(s.Rand, []gen{one, normal, normal.with(special, 8), bits})
				place := s.IntN(5)
				inGate, inUp := place&1 != 0, place&2 != 0 // Dst is Gate, Up, both or, for 0 and 4, neither
				gated := inUp || s.IntN(3) > 0
				if inGate {
					gate = dst
				}
				if inUp {
					up = dst
				}
				s.begin()
				a := kernel.ActivateArgs{
					Gate: s.strided("Gate", n, gate.outer, cols, 1, g), GateStride: gate.outer,
					DstStride: dst.outer, Rows: n, Cols: cols, Kind: kind,
				}
				switch {
				case inGate && inUp:
					a.Up, a.UpStride = a.Gate, a.GateStride
				case gated:
					a.Up, a.UpStride = s.strided("Up", n, up.outer, cols, 1, gu), up.outer
				}
				switch {
				case inGate:
					a.Dst = a.Gate
				case inUp:
					a.Dst = a.Up
				default:
					a.Dst = s.strided("Dst", n, dst.outer, cols, 1, unwritten)
				}
				got := a
				what := func() string {
					return fmt.Sprintf("Activate %v rows=%d cols=%d Gate=%v %s Up=%v %v %s Dst=%v in Gate=%v, in Up=%v",
						kind, n, cols, gate, g.name, gated, up, gu.name, dst, inGate, inUp)
				}
				s.check(what, func() { activate(&a) }, func() { s.set.Activate(&got) })
				unchanged(s, what, got, a)
			}
		}
	}
}
