package kerneltest

import (
	"fmt"
	"math/rand/v2"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// dequantize is a transcription of the contract.
func dequantize(a *kernel.DequantizeArgs) {
	block := a.Type.Bytes()
	x := make([]float32, a.Type.Values())
	for l := range a.Lanes {
		row := unsafe.Add(unsafe.Pointer(a.Src), l*a.RowBytes)
		for k := range a.Depth {
			if k%len(x) == 0 {
				a.Type.Decode(x, unsafe.Slice((*byte)(row), block))
				row = unsafe.Add(row, block)
			}
			v := x[k%len(x)]
			if a.Scales != nil {
				v *= *ptr.At(a.Scales, l)
			}
			*ptr.At(a.Dst, k*a.Stride+l) = v
		}
	}
}

// A filling writes a block of a type of weights.
type filling struct {
	name string
	fill func(r *rand.Rand, block []byte)
}

// specialHalves are numbers of binary16: zeros, infinities, NaNs, subnormal numbers, and others.
var specialHalves = []uint16{
	0x0000, 0x8000, 0x7c00, 0xfc00, 0x7e00, 0xfe01, 0x7c01, 0x0001, 0x8001, 0x03ff, 0x83ff, 0x0400, 0x3c00, 0xbc00, 0x7bff, 0xfbff,
}

func randomBytes(r *rand.Rand, block []byte) {
	for i := range block {
		block[i] = byte(r.Uint32())
	}
}

// putHalf writes a special number of binary16 from byte i on, as far as the block goes.
func putHalf(r *rand.Rand, block []byte, i int) {
	h := specialHalves[r.IntN(len(specialHalves))]
	for _, b := range []byte{byte(h), byte(h >> 8)} {
		if i < len(block) {
			block[i] = b
			i++
		}
	}
}

var fillings = []filling{
	{"random", randomBytes},
	// The scales of a block are its first bytes, or its last.
	{"special scales", func(r *rand.Rand, block []byte) {
		randomBytes(r, block)
		for _, i := range []int{0, 2, len(block) - 4, len(block) - 2} {
			if r.IntN(2) == 0 {
				putHalf(r, block, max(i, 0))
			}
		}
	}},
	{"special halves", func(r *rand.Rand, block []byte) {
		for i := 0; i < len(block); i += 2 {
			putHalf(r, block, i)
		}
	}},
	{"a byte", func(r *rand.Rand, block []byte) {
		b := []byte{0, 0x80, 0x88, 0xff, 0x7f, 0x08, 1, 254, 2}[r.IntN(9)]
		for i := range block {
			block[i] = b
		}
		if r.IntN(2) == 0 {
			putHalf(r, block, 0)
		}
	}},
}

// blocks returns rows of blocks, flush against the guard to the byte.
func (s *suite) blocks(w kernel.Weight, rows, blocks, stride int, f filling) *byte {
	base := s.bytes("Src", rows, blocks*w.Bytes(), stride)
	for r := range rows {
		for i := range blocks {
			f.fill(s.Rand, unsafe.Slice((*byte)(unsafe.Add(base, r*stride+i*w.Bytes())), w.Bytes()))
		}
	}
	return (*byte)(base)
}

func (s *suite) dequantize(lanes int) {
	for _, w := range kernel.Weights() {
		var depths []int
		if n := w.Values(); n > 1 {
			for depth := n; depth <= kernel.KC; depth += n {
				depths = append(depths, depth)
			}
		} else {
			for depth := 1; depth <= 33; depth++ {
				depths = append(depths, depth)
			}
			depths = append(depths, 63, 64, 100, kernel.KC-1, kernel.KC)
		}
		for _, depth := range depths {
			for range 2 + 32/len(depths) {
				if s.skip() {
					continue
				}
				s.begin()
				row := depth / w.Values() * w.Bytes()
				strides := []int{row, row + 1, row + 2, row + 61, -row, -row - 3, 0, 1, w.Bytes()}
				stride, f := strides[s.IntN(len(strides))], fillings[s.IntN(len(fillings))]
				a := kernel.DequantizeArgs{
					Type: w, Src: s.blocks(w, lanes, depth/w.Values(), stride, f), RowBytes: stride, Depth: depth,
					Lanes: lanes, Stride: s.stride(lanes),
				}
				if w == kernel.WeightInt8 && s.IntN(3) > 0 {
					a.Scales = s.matrix("Scales", 1, lanes, lanes, choose(s.Rand, numbers))
				}
				a.Dst = s.matrix("Dst", depth, lanes, a.Stride, unwritten)
				got := a
				what := func() string {
					return fmt.Sprintf("Dequantize %v depth=%d lanes=%d strides %d, %d %s scales=%v", w, depth, lanes, stride, a.Stride, f.name, a.Scales != nil)
				}
				s.check(what, func() { dequantize(&a) }, func() { s.set.Dequantize(&got) })
				unchanged(s, what, got, a)
			}
		}
	}
}
