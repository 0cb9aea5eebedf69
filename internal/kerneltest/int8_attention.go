package kerneltest

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// int8Block returns the integers of 32 dims of a key, their scale and what is added.
func int8Block(e kernel.Elem, row unsafe.Pointer, block, dim, step int, scale float32) (q [32]int32, d, least float32) {
	half := func(at int) float32 { return fp.Float16ToFloat32(*(*uint16)(unsafe.Add(row, block*step+at))) }
	for i := range q {
		switch at := 32*block + i; e {
		case kernel.Int8:
			if d = scale; at < dim {
				q[i] = int32(*(*int8)(unsafe.Add(row, at*step)))
			}
		case kernel.Q8_0:
			d, q[i] = half(0), int32(*(*int8)(unsafe.Add(row, block*step+2+i)))
		case kernel.Q4_0, kernel.Q4_1:
			codes, zero := 2, int32(8)
			if d = half(0); e == kernel.Q4_1 {
				least, codes, zero = half(2), 4, 0
			}
			q[i] = int32(*(*uint8)(unsafe.Add(row, block*step+codes+i%16))>>(i/16*4)&15) - zero
		}
	}
	return q, d, least
}

// convertInt8 is a transcription of the contract.
func convertInt8(a *kernel.ConvertInt8Args) {
	for r := range a.Rows {
		dst := unsafe.Add(unsafe.Pointer(a.Dst), r*a.RowBytes)
		for b := 0; b*32 < a.Dim; b++ {
			scale := float32(0)
			if a.Elem == kernel.Int8 {
				scale = *ptr.At(a.Scale, r)
			}
			q, d, least := int8Block(a.Elem, unsafe.Add(a.Src, a.Off[r]), b, a.Dim, a.UnitStride, scale)
			block := unsafe.Slice((*byte)(dst), kernel.Int8BlockBytes(a.Halves))
			sum := int32(0)
			for i, x := range q {
				sum += x
				if a.Halves {
					binary.NativeEndian.PutUint16(block[2*(i/4*4+[]int{0, 2, 1, 3}[i%4]):], uint16(x))
				} else {
					block[i] = byte(x)
				}
			}
			for i, bits := range []uint32{math.Float32bits(d), math.Float32bits(least), uint32(-128 * sum), 0, 0} {
				binary.NativeEndian.PutUint32(block[len(block)-20+4*i:], bits)
			}
			dst = unsafe.Add(dst, len(block))
		}
	}
}

// packInt8 is a transcription of the contract.
func packInt8(a *kernel.PackInt8Args) {
	offset := byte(0x80)
	if a.Signed {
		offset = 0
	}
	for l := range a.Lanes {
		for b := 0; b*32 < a.Dim; b++ {
			var x [32]float32
			least := float32(0)
			for i := range min(32, a.Dim-32*b) {
				row, factor := l, l
				if a.RowOf != nil {
					row, factor = int(unsafe.Slice(a.RowOf, a.Lanes)[l]), int(unsafe.Slice(a.FactorOf, a.Lanes)[l])
				}
				x[i] = *ptr.At(a.Q, (32*b+i)*a.Stride+row)
				if a.Factors == nil && a.V == nil {
					continue
				}
				if math.Signbit(float64(x[i])) {
					x[i] = 0
					continue
				}
				if a.V != nil {
					half := func(at int) float32 {
						return fp.Float16ToFloat32(*(*uint16)(unsafe.Add(a.V, a.Off[32*b+i]+factor*a.Elem.Unit()+at)))
					}
					if a.Elem == kernel.Q4_1 {
						least = fp.ExactFMA(x[i], half(2), least)
					}
					x[i] *= half(0)
					continue
				}
				at := 32*b + i
				if a.FactorStride > 0 {
					at = at*a.FactorStride + factor
				}
				if a.Mins != nil {
					least = fp.ExactFMA(x[i], *ptr.At(a.Mins, at), least)
				}
				x[i] *= *ptr.At(a.Factors, at)
			}
			var block [13]float32
			q := unsafe.Pointer(&block)
			quantize(&kernel.QuantizeArgs{X: &x[0], ColStride: 1, Rows: 1, Depth: 32, Dst: (*byte)(q)})
			for i := range x {
				*(*byte)(unsafe.Add(unsafe.Pointer(a.Codes), ((b*8+i/4)*a.Lanes+l)*4+i%4)) = byte(*(*int8)(unsafe.Add(q, i))) ^ offset
			}
			*ptr.At(a.Scales, b*a.Lanes+l) = block[8]
			if a.Mins != nil || a.V != nil && a.Elem == kernel.Q4_1 && a.Sums != nil {
				*ptr.At(a.Sums, b*a.Lanes+l) = least
			} else if a.Sums != nil {
				*ptr.At(a.Sums, b*a.Lanes+l) = block[9]
			}
		}
	}
}

// plainNaNs makes one NaN of each that blocks of rows have for D and Sum.
func plainNaNs(dst *byte, rows, rowBytes, blocks int, halves bool) {
	size := kernel.Int8BlockBytes(halves)
	for i := range rows * blocks {
		tail := unsafe.Add(unsafe.Pointer(dst), i/blocks*rowBytes+i%blocks*size+kernel.Int8Integers(halves))
		for _, at := range []int{kernel.Int8D, kernel.Int8Sum} {
			if x := (*float32)(unsafe.Add(tail, at)); *x != *x {
				*x = nan
			}
		}
	}
}

func (s *suite) convertInt8(lanes int) {
	if lanes != s.set.Vec {
		return
	}
	for _, e := range kernel.Elems() {
		if !e.Integers() {
			continue
		}
		for _, dim := range elemDims(e) {
			all := elemLayouts(e, dim/e.UnitValues())
			for _, l := range []layout{all[s.IntN(3)], all[s.IntN(3)], all[s.IntN(len(all))]} {
				if s.skip() {
					continue
				}
				s.begin()
				halves := s.set.Int8Halves
				rows := 1 + s.IntN([]int{1, 9, kernel.KeyBlock}[s.IntN(3)])
				blocks := (dim + 31) / 32
				bytes := blocks * kernel.Int8BlockBytes(halves)
				rowBytes := bytes + 4*s.IntN(3)
				g := choose(s.Rand, numbers)
				src, off, scale := s.elems("Src", e, rows, dim, l, g)
				a := kernel.ConvertInt8Args{
					Src: src, Off: (*[kernel.KeyBlock]int)(off[:]), Elem: e, UnitStride: l.inner, Scale: scale, Rows: rows, Dim: dim,
					Halves: halves, Dst: (*byte)(s.bytes("Dst", rows, bytes, rowBytes)), RowBytes: rowBytes,
				}
				got := a
				what := func() string { return fmt.Sprintf("ConvertInt8 %v rows=%d dim=%d %v %s", e, rows, dim, l, g.name) }
				s.check(what, func() {
					convertInt8(&a)
					plainNaNs(a.Dst, rows, rowBytes, blocks, halves)
				}, func() {
					s.set.ConvertInt8(&got)
					plainNaNs(a.Dst, rows, rowBytes, blocks, halves)
				})
				unchanged(s, what, got, a)
			}
		}
	}
}

// places returns n numbers from 0 to before most.
func (s *suite) places(name string, n, most int) *int32 {
	words := s.arena.exactWords(s.TB, name, n)
	for i := range words {
		*(*int32)(unsafe.Pointer(&words[i])) = int32(s.IntN(most))
	}
	return (*int32)(unsafe.Pointer(unsafe.SliceData(words)))
}

func (s *suite) packInt8(lanes int) {
	for _, dim := range append(dims(), 31, 32, 33, 64, 96, 128, 160, 256) {
		for range 2 {
			if s.skip() {
				continue
			}
			s.begin()
			blocks, stride := (dim+31)/32, s.stride(lanes)
			g := choose(s.Rand, numbers)
			if s.IntN(4) == 0 {
				g = choose(s.Rand, weightKinds).with(constant(negZero), 4)
			}
			mins := choose(s.Rand, numbers)
			if s.IntN(4) == 0 { // their products underflow to -0, to which what the mask took away adds nothing
				g, mins = constant(tiny).with(constant(negZero), 2), constant(-0.25)
			}
			a := kernel.PackInt8Args{
				Q: s.matrix("Q", dim, lanes, stride, g), Dim: dim, Lanes: lanes, Stride: stride,
				Codes:  (*byte)(s.bytes("Codes", 1, 32*blocks*lanes, 0)),
				Scales: s.matrix("Scales", blocks, lanes, lanes, unwritten),
			}
			if s.IntN(2) == 0 {
				a.Sums = s.matrix("Sums", blocks, lanes, lanes, unwritten)
			}
			switch kind := s.IntN(5); {
			case kind == 0 && s.set.SpreadsBlocks && dim <= kernel.KeyBlock:
				a.Elem = []kernel.Elem{kernel.Q8_0, kernel.Q4_0, kernel.Q4_1}[s.IntN(3)]
				blocks := kernel.PackedBlocks + s.IntN(2)
				l := layout{outer: blocks*a.Elem.Unit() + 2*s.IntN(3), inner: a.Elem.Unit()}
				a.V, a.Off, _ = s.elems("V", a.Elem, dim, blocks*kernel.BlockValues, l, choose(s.Rand, numbers))
				a.Stride = s.stride(s.set.Vec)
				a.Q = s.matrix("Q of rows", dim, s.set.Vec, a.Stride, g)
				a.RowOf, a.FactorOf = s.places("RowOf", lanes, s.set.Vec), s.places("FactorOf", lanes, kernel.PackedBlocks)
			case kind < 3:
				rows, cols, step := 1, dim, dim
				switch s.IntN(3) {
				case 0:
					rows, cols, step = dim, lanes, s.stride(lanes)
					a.FactorStride = step
				case 1:
					if !s.set.SpreadsLanes {
						break
					}
					vec := s.set.Vec // values that may be read
					a.FactorStride = 1 + s.IntN(vec+2)
					cols, step = (dim-1)*a.FactorStride+vec, (dim-1)*a.FactorStride+vec
					a.Stride = s.stride(vec)
					a.Q = s.matrix("Q of rows", dim, vec, a.Stride, g)
					a.RowOf, a.FactorOf = s.places("RowOf", lanes, vec), s.places("FactorOf", lanes, vec)
				}
				a.Factors = s.matrix("Factors", rows, cols, step, choose(s.Rand, numbers))
				if a.Sums != nil && s.IntN(2) == 0 {
					a.Mins = s.matrix("Mins", rows, cols, step, mins)
				}
			}
			a.Signed = s.IntN(2) == 0
			got := a
			what := func() string {
				return fmt.Sprintf("PackInt8 dim=%d lanes=%d stride=%d spread=%t V=%t of %v sums=%v factors=%v factorStride=%d mins=%v signed=%v Q=%s",
					dim, lanes, a.Stride, a.RowOf != nil, a.V != nil, a.Elem, a.Sums != nil, a.Factors != nil, a.FactorStride, a.Mins != nil, a.Signed, g.name)
			}
			s.check(what, func() { packInt8(&a) }, func() { s.set.PackInt8(&got) })
			unchanged(s, what, got, a)
		}
	}
}
