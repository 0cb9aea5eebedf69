package asmgen

import (
	"reflect"
	"testing"

	"github.com/qkv-go/qkv/kernel"
)

// TestStripShares: how many parts and vectors rows go through at a time depends on the type and the rows alone, not on what was
// written before, and there are registers for them.
func TestStripShares(t *testing.T) {
	for _, arch := range []*Arch{avx512, avx2, neon} {
		shares := func(types []kernel.Weight) map[[2]int][3]int {
			s := newStrips(newFunc(arch, "multiplyStrips", reflect.TypeFor[kernel.MultiplyStripsArgs](), multiplyStripsFormula))
			s.vec = arch.stripVectors() * arch.Lanes
			all := make(map[[2]int][3]int)
			for _, w := range types {
				s.w, s.form = w, w.Strip()
				for rows := 1; rows <= kernel.MaxStripRows; rows++ {
					parts := s.share(rows)
					n := s.vectorsOf(rows, parts, s.vecs)
					all[[2]int{int(w), rows}] = [3]int{parts, s.vecs, n}
					if n > len(arch.Vectors) && s.vecs*parts > 1 {
						t.Errorf("%v, %d rows, %d parts of %d vectors: %d registers", w, rows, parts, s.vecs, n)
					}
					s.parts = parts
					s.registers(rows)
				}
			}
			return all
		}
		types := kernel.StripTypes()
		forward := shares(types)
		for i := range types[:len(types)/2] {
			types[i], types[len(types)-1-i] = types[len(types)-1-i], types[i]
		}
		if backward := shares(types); !reflect.DeepEqual(forward, backward) {
			t.Errorf("shares depend on the order of types: %v, %v", forward, backward)
		}
	}
}
