package kerneltest

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// codeOf returns the code of value k of a row of weights.
func codeOf(w kernel.Weight, row []byte, k int) byte {
	block, i := row[k/w.Values()*w.Bytes():][:w.Bytes()], k%w.Values()
	nibble := func(b byte, upper bool) byte {
		if upper {
			return b >> 4
		}
		return b & 15
	}
	switch w {
	case kernel.WeightInt8:
		return block[0] + 128
	case kernel.WeightQ8_0:
		return block[2+i] + 128
	case kernel.WeightQ5_0:
		return nibble(block[6+i%16], i >= 16) + block[2+i/8]>>(i%8)&1*16 + 128 - 16
	case kernel.WeightQ5_1:
		return nibble(block[8+i%16], i >= 16) + block[4+i/8]>>(i%8)&1*16 + 128
	case kernel.WeightQ4_K:
		return nibble(block[16+i/64*32+i%32], i%64 >= 32)
	case kernel.WeightQ5_K:
		return nibble(block[48+i/64*32+i%32], i%64 >= 32) + block[16+i%32]>>(i/32)&1*16 + 128
	case kernel.WeightQ6_K:
		half, j := i/128, i%128
		return nibble(block[64*half+j%64], j >= 64) + block[128+32*half+j%32]>>(j/32*2)&3*16 + 128 - 32
	}
	return nibble(block[w.Bytes()-16+i%16], i >= 16)
}

// packWeights is a transcription of the contract.
func packWeights(a *kernel.PackWeightsArgs) {
	form, size := a.Type.Int8(), a.Type.Bytes()
	for l := range a.Lanes {
		row := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(a.Src), l*a.RowBytes)), a.Depth/a.Type.Values()*size)
		for k := range a.Depth {
			b, t, code := k/32, k%32, codeOf(a.Type, row, k)
			if form.Table == nil {
				*(*byte)(unsafe.Add(unsafe.Pointer(a.Codes), ((8*b+t/4)*a.Stride+l)*4+t%4)) = code
				continue
			}
			both := (*byte)(unsafe.Add(unsafe.Pointer(a.Codes), ((4*b+t%16/4)*a.Stride+l)*4+t%4))
			if t < 16 {
				*both = code
			} else {
				*both += code * 16
			}
		}
		half := func(to int, b []byte) {
			x := binary.LittleEndian.Uint16(b)
			*(*uint16)(unsafe.Add(unsafe.Pointer(a.Numbers), 2*(to*a.Stride+l))) = x
		}
		integer := func(to int, x byte) { *(*byte)(unsafe.Add(unsafe.Pointer(a.Integers), to*a.Stride+l)) = x }
		for b := range a.Depth / a.Type.Values() {
			block := row[b*size:][:size]
			switch form.Scales {
			case kernel.Int8Half:
				half(b, block)
			case kernel.Int8HalfMin:
				half(2*b, block)
				half(2*b+1, block[2:])
			case kernel.Int8Float:
				if a.Type == kernel.WeightMXFP4 {
					x := uint32(math.Float32bits(float32(math.Ldexp(1, int(block[0])-128))))
					if block[0] == 255 {
						x = 0x7fc00000
					}
					*(*uint32)(unsafe.Add(unsafe.Pointer(a.Numbers), 4*(b*a.Stride+l))) = x
				}
			case kernel.Int8Groups32:
				half(0, block)
				half(1, block[2:])
				for j := range 8 {
					s, t := block[4+j%4]&63, block[8+j%4]&63
					if j >= 4 {
						s, t = block[8+j]&15+block[j]>>6*16, block[8+j]>>4+block[4+j]>>6*16
					}
					integer(2*j, s)
					integer(2*j+1, t)
				}
			case kernel.Int8Groups16:
				half(0, block[208:])
				for j := range 16 {
					integer(j, block[192+j])
				}
			}
		}
	}
}

func (s *suite) packWeights(lanes int) {
	for _, w := range kernel.Weights() {
		form := w.Int8()
		if form == nil {
			continue
		}
		step := max(w.Values(), kernel.Int8Block)
		for depth := step; depth <= kernel.KC; depth += step {
			for range max(1, step/64) {
				if s.skip() {
					continue
				}
				s.begin()
				row := depth / w.Values() * w.Bytes()
				strides := []int{row, row + 1, row + 2, row + 61, -row, -row - 3, 0, 1, w.Bytes()}
				rowBytes, f, stride := strides[s.IntN(len(strides))], fillings[s.IntN(len(fillings))], s.stride(lanes)
				a := kernel.PackWeightsArgs{
					Type: w, Src: s.blocks(w, lanes, depth/w.Values(), rowBytes, f), RowBytes: rowBytes, Depth: depth,
					Lanes: lanes, Stride: stride, Ahead: s.IntN(1<<24) - 1<<23,
				}
				blocks := depth / kernel.Int8Block
				rows := func(name string, rows, size int) *byte { return (*byte)(s.bytes(name, rows, size*lanes, size*stride)) }
				codes := 8 * blocks
				if form.Table != nil {
					codes /= 2
				}
				a.Codes = rows("Codes", codes, 4)
				switch {
				case w == kernel.WeightInt8:
				case form.Scales == kernel.Int8Half:
					a.Numbers = rows("Numbers", blocks, 2)
				case form.Scales == kernel.Int8HalfMin:
					a.Numbers = rows("Numbers", 2*blocks, 2)
				case form.Scales == kernel.Int8Float:
					a.Numbers = rows("Numbers", blocks, 4)
				case form.Scales == kernel.Int8Groups32:
					a.Numbers, a.Integers = rows("Numbers", 2, 2), rows("Integers", 16, 1)
				default:
					a.Numbers, a.Integers = rows("Numbers", 1, 2), rows("Integers", 16, 1)
				}
				got := a
				what := func() string {
					return fmt.Sprintf("PackWeights %v depth=%d lanes=%d of %d, rows %d apart, %s", w, depth, lanes, stride, rowBytes, f.name)
				}
				s.check(what, func() { packWeights(&a) }, func() { s.set.PackWeights(&got) })
				unchanged(s, what, got, a)
			}
		}
	}
}
