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
	for k := range a.Keys {
		for r := range a.Rows {
			acc := float32(0)
			for d := 0; d < a.Dim; d += kernel.Int8Block {
				q := unsafe.Add(unsafe.Pointer(a.Q), r*a.QBytes+d/kernel.Int8Block*kernel.Int8BlockBytes(a.Halves))
				tail := unsafe.Add(q, kernel.Int8BlockBytes(a.Halves)-20)
				sum := int32(0)
				for i := range min(kernel.Int8Block, a.Dim-d) {
					integer := int32(*(*int8)(unsafe.Add(q, i)))
					if a.Halves {
						integer = int32(*(*int16)(unsafe.Add(q, 2*(i/4*4+[]int{0, 2, 1, 3}[i%4]))))
					}
					sum += keyInteger(a.Elem, unsafe.Add(a.K, a.Off[k]), d+i) * integer
				}
				scale, least := float32(0), float32(0)
				block := unsafe.Add(a.K, a.Off[k]+d/kernel.BlockValues*a.Elem.Unit())
				switch a.Elem {
				case kernel.Int8:
					scale = *ptr.At(a.Scale, k)
				case kernel.Q4_1:
					least = fp.Float16ToFloat32((*kernel.BlockQ4_1)(block).Min)
					fallthrough
				default:
					scale = fp.Float16ToFloat32(*(*uint16)(block))
				}
				factor := scale * *(*float32)(tail)
				acc = fp.ExactFMA(float32(sum), factor, acc)
				if a.Elem == kernel.Q4_1 {
					acc = fp.ExactFMA(least, *(*float32)(unsafe.Add(tail, 4)), acc)
				}
			}
			*ptr.At(a.S, k*a.Stride+r) = acc
		}
	}
}

// keyInteger returns the number of a key that class Int8 multiplies.
func keyInteger(e kernel.Elem, row unsafe.Pointer, dim int) int32 {
	block := unsafe.Add(row, dim/kernel.BlockValues*e.Unit())
	i := dim % kernel.BlockValues
	switch e {
	case kernel.Q8_0:
		return int32((*kernel.BlockQ8_0)(block).Quants[i])
	case kernel.Q4_0:
		return int32((*kernel.BlockQ4_0)(block).Quants[i%16]>>(i/16*4)&15) - 8
	case kernel.Q4_1:
		return int32((*kernel.BlockQ4_1)(block).Quants[i%16] >> (i / 16 * 4) & 15)
	}
	return int32(*(*int8)(unsafe.Add(row, dim)))
}

func (s *suite) decodeScoresInt8(int) {
	for _, sh := range s.decodeShapesOf(kernel.Elem.Integers) {
		s.begin()
		l := s.decodeLayout(sh)
		stride := s.stride(sh.rows)
		gk, gq := choose(s.Rand, numbers), choose(s.Rand, numbers)
		k, off, scale := s.elems("K", sh.elem, sh.keys, sh.dim, l, gk)
		blocks := (sh.dim + kernel.Int8Block - 1) / kernel.Int8Block
		row := blocks*kernel.Int8BlockBytes(s.set.Int8Halves) + 4*s.IntN(3)
		a := kernel.DecodeScoresInt8Args{
			K: k, Off: off, Elem: sh.elem, Scale: scale, Keys: sh.keys, Dim: sh.dim,
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
	blocks := (dim + kernel.Int8Block - 1) / kernel.Int8Block
	return s.int8Rows(rows, blocks, rowBytes, func(i int) float32 {
		if i%(blocks*kernel.Int8Block) >= dim {
			return 0
		}
		return g.draw(s.Rand)
	})
}
