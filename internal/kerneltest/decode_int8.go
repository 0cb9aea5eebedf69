package kerneltest

import (
	"fmt"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// decodeScoresInt8 is a transcription of the contract.
func decodeScoresInt8(a *kernel.DecodeScoresInt8Args) {
	size := kernel.Int8BlockBytes(a.Halves)
	for k := range a.Keys {
		scale := float32(0)
		if a.Elem == kernel.Int8 {
			scale = *ptr.At(a.Scale, k)
		}
		for r := range a.Rows {
			acc := float32(0)
			for b := 0; b*32 < a.Dim; b++ {
				key, d, least := int8Block(a.Elem, unsafe.Add(a.K, a.Off[k]), b, a.Dim, a.Elem.Unit(), scale)
				q := unsafe.Add(unsafe.Pointer(a.Q), r*a.QBytes+b*size)
				sum := int32(0)
				for i, x := range key {
					if a.Halves {
						sum += x * int32(*(*int16)(unsafe.Add(q, 2*(i/4*4+[]int{0, 2, 1, 3}[i%4]))))
					} else {
						sum += x * int32(*(*int8)(unsafe.Add(q, i)))
					}
				}
				tail := unsafe.Add(q, size-20)
				factor := float32(d * *(*float32)(tail))
				acc = fp.ExactFMA(float32(sum), factor, acc)
				if a.Elem == kernel.Q4_1 {
					acc = fp.ExactFMA(least, *(*float32)(unsafe.Add(tail, 4)), acc)
				}
			}
			*ptr.At(a.S, k*a.Stride+r) = acc
		}
	}
}

func (s *suite) decodeScoresInt8(int) {
	shapes := s.decodeShapesOf(kernel.Elem.Integers)
	for _, e := range kernel.Elems() {
		if !e.Integers() {
			continue
		}
		for _, keys := range []int{15, 16, 17, 24, 31, kernel.KeyBlock} { // whole vectors of dims by four rows
			shapes = append(shapes, decodeShape{e, keys, 64 * (1 + s.IntN(5)), 4, false})
		}
	}
	for _, sh := range shapes {
		s.begin()
		l := s.decodeLayout(sh)
		stride := s.stride(sh.rows)
		gk, gq := choose(s.Rand, numbers), choose(s.Rand, numbers)
		k, off, scale := s.elems("K", sh.elem, sh.keys, sh.dim, l, gk)
		blocks := kernel.Int8Blocks(sh.dim)
		row := blocks*kernel.Int8BlockBytes(s.set.Int8Halves) + 4*s.IntN(3)
		a := kernel.DecodeScoresInt8Args{
			Near: s.IntN(2) == 0,
			K:    k, Off: off, Elem: sh.elem, Scale: scale, Keys: sh.keys, Dim: sh.dim,
			Q: s.int8Queries(sh.rows, sh.dim, row, gq), QBytes: row, Halves: s.set.Int8Halves, Rows: sh.rows,
			S: s.matrix("S", sh.keys, sh.rows, stride, unwritten), Stride: stride,
		}
		got := a
		what := func() string {
			return fmt.Sprintf("DecodeScoresInt8 %+v stride=%d %v K=%s Q=%s", sh, stride, l, gk.name, gq.name)
		}
		s.check(what, func() { decodeScoresInt8(&a) }, func() { s.set.DecodeScoresInt8(&got) })
		unchanged(s, what, got, a)
	}
}

// int8Queries returns rows of quantised blocks of so many dims, with zeros up to a whole block.
func (s *suite) int8Queries(rows, dim, rowBytes int, g gen) *byte {
	blocks := kernel.Int8Blocks(dim)
	return s.int8Rows(rows, blocks, rowBytes, func(i int) float32 {
		if i%(blocks*kernel.Int8Block) >= dim {
			return 0
		}
		return g.draw(s.Rand)
	})
}
