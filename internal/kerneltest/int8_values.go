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

// transposeInt8 is a transcription of the contract.
func transposeInt8(a *kernel.TransposeInt8Args) {
	size := kernel.Int8BlockBytes(a.Halves)
	for d := range a.Dim {
		for b := 0; b*32 < a.Keys; b++ {
			block := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(a.Dst), d*a.RowBytes+b*size)), size)
			sum := int32(0)
			for i := range 32 {
				x := int32(0)
				if k := b*32 + i; k < a.Keys {
					q, _, _ := int8Block(a.Elem, unsafe.Add(a.Src, a.Off[k]), d/32, a.Dim, a.UnitStride, 1)
					x = q[d%32]
				}
				sum += x
				if a.Halves {
					binary.NativeEndian.PutUint16(block[2*(i/4*4+[]int{0, 2, 1, 3}[i%4]):], uint16(x))
				} else {
					block[i] = byte(x)
				}
			}
			for i, bits := range []uint32{math.Float32bits(1), math.Float32bits(1), uint32(-128 * sum), 0, 0} {
				binary.NativeEndian.PutUint32(block[size-20+4*i:], bits)
			}
		}
	}
}

// decodeAccumulateInt8 is a transcription of the contract.
func decodeAccumulateInt8(a *kernel.DecodeAccumulateInt8Args) {
	for r := range a.Rows {
		for d := range a.Dim {
			acc := float32(0)
			if a.From != nil {
				acc = *ptr.At(a.From, r*a.OStride+d)
			}
			g := 0
			if a.Elem != kernel.Int8 {
				g = d / 32
			}
			for b := 0; b*32 < a.Keys; b++ {
				sum := int32(0)
				for k := b * 32; k < min(b*32+32, a.Keys); k++ {
					q, _, _ := int8Block(a.Elem, unsafe.Add(a.V, a.Off[k]), d/32, a.Dim, a.Elem.Unit(), 1)
					sum += q[d%32] * int32(*(*int8)(unsafe.Add(unsafe.Pointer(a.Codes), g*a.GroupCodes+((b*8+k%32/4)*a.Lanes+r)*4+k%4)))
				}
				acc = fp.ExactFMA(float32(sum), *ptr.At(a.Scales, g*a.GroupScales+b*a.Lanes+r), acc)
				if a.Elem == kernel.Q4_1 {
					acc += *ptr.At(a.Mins, g*a.GroupScales+b*a.Lanes+r)
				}
			}
			o := ptr.At(a.O, r*a.OStride+d)
			switch {
			case a.To != nil:
				*ptr.At(a.To, r*a.OStride+d) = acc
			case a.Mode == kernel.First:
				*o = 0 + acc
			case a.Mode == kernel.Add:
				*o += acc
			default:
				*o = float32(*o**ptr.At(a.Alpha, r)) + acc
			}
		}
	}
}

func (s *suite) transposeInt8(lanes int) {
	if lanes != s.set.Vec {
		return
	}
	for _, e := range kernel.Elems() {
		if !e.Integers() {
			continue
		}
		for _, dim := range elemDims(e) {
			all := elemLayouts(e, dim/e.UnitValues())
			for _, l := range []layout{all[s.IntN(3)], all[s.IntN(len(all))]} {
				if s.skip() {
					continue
				}
				s.begin()
				halves := s.set.Int8Halves
				keys := 1 + s.IntN([]int{4, 33, 100, kernel.KeyBlock}[s.IntN(4)])
				bytes := (keys + 31) / 32 * kernel.Int8BlockBytes(halves)
				rowBytes := bytes + 4*s.IntN(3)
				src, off, _ := s.elems("Src", e, keys, dim, l, normal)
				a := kernel.TransposeInt8Args{
					Src: src, Off: (*[kernel.KeyBlock]int)(off[:]), Elem: e, UnitStride: l.inner, Keys: keys, Dim: dim,
					Halves: halves, Dst: (*byte)(s.bytes("Dst", dim, bytes, rowBytes)), RowBytes: rowBytes,
				}
				got := a
				what := func() string { return fmt.Sprintf("TransposeInt8 %v keys=%d dim=%d %v", e, keys, dim, l) }
				s.check(what, func() { transposeInt8(&a) }, func() { s.set.TransposeInt8(&got) })
				unchanged(s, what, got, a)
			}
		}
	}
}

// codes returns codes of some blocks and lanes: with zeros behind the keys. Each run of words begins with the first key.
func (s *suite) codes(words, run, lanes, keys int) *int8 {
	all := s.arena.exactWords(s.TB, "Codes", words)
	return s.fillCodes(all, run, lanes, keys)
}

func (s *suite) fillCodes(words []uint32, run, lanes, keys int) *int8 {
	all := unsafe.Slice((*int8)(unsafe.Pointer(unsafe.SliceData(words))), 4*len(words))
	plain := s.IntN(2) == 0 // as weights by scales above 0 have it
	for i := range all {
		q := int8(s.IntN(255) - 127)
		if plain {
			q = max(q, -q)
		}
		if s.IntN(8) == 0 {
			q = []int8{-127, 127, 0}[s.IntN(3)]
			if plain {
				q = max(q, -q)
			}
		}
		if i/4%run/lanes*4+i%4 >= keys {
			q = 0
		}
		all[i] = q
	}
	return &all[0]
}

func (s *suite) decodeAccumulateInt8(int) {
	for _, sh := range s.decodeShapesOf(kernel.Elem.Integers) {
		sh.dim = (sh.dim + s.set.Vec - 1) / s.set.Vec * s.set.Vec
		for _, mode := range []kernel.UpdateMode{kernel.First, kernel.Add, kernel.Rescale} {
			s.begin()
			l := s.decodeLayout(sh)
			lanes, oStride := s.stride(sh.rows), s.stride(sh.dim)
			blocks, groups := (sh.keys+31)/32, sh.elem.Int8Groups(sh.dim)
			apart := blocks + s.IntN(2)
			run := apart * 8 * lanes // words of the codes of a group
			groupCodes, groupScales, scales := 4*run, apart*lanes, (groups-1)*apart*lanes+blocks*lanes
			words := (groups-1)*run + blocks*8*lanes
			if s.IntN(2) == 0 { // groups in lanes beside each other
				beside := sh.rows + s.IntN(3)
				lanes = s.stride(groups * beside)
				groupCodes, groupScales, scales = 4*beside, beside, blocks*lanes
				words, run = blocks*8*lanes, blocks*8*lanes
			}
			gs, gOld := choose(s.Rand, numbers), unwritten
			if mode != kernel.First {
				gOld = choose(s.Rand, numbers)
			}
			v, off, _ := s.elems("V", sh.elem, sh.keys, sh.dim, l, normal)
			a := kernel.DecodeAccumulateInt8Args{
				Near: s.IntN(2) == 0,
				V:    v, Off: off, Elem: sh.elem, Keys: sh.keys, Dim: sh.dim,
				Codes: s.codes(words, run, lanes, sh.keys), Scales: s.matrix("Scales", 1, scales, scales, gs),
				GroupCodes: groupCodes, GroupScales: groupScales, Lanes: lanes, Rows: sh.rows,
				O: s.matrix("O", sh.rows, sh.dim, oStride, gOld), OStride: oStride, Mode: mode,
			}
			if sh.elem.HasMin() {
				a.Mins = s.matrix("Mins", 1, scales, scales, choose(s.Rand, numbers))
			}
			if s.IntN(3) == 0 {
				a.From = s.matrix("From", sh.rows, sh.dim, oStride, choose(s.Rand, numbers))
			}
			switch s.IntN(6) {
			case 0:
				a.To = s.matrix("To", sh.rows, sh.dim, oStride, unwritten)
			case 1:
				a.To = a.From
			}
			if mode == kernel.Rescale {
				a.Alpha = s.matrix("Alpha", 1, sh.rows, sh.rows, choose(s.Rand, weightKinds))
			}
			got := a
			what := func() string {
				return fmt.Sprintf("DecodeAccumulateInt8 %+v lanes=%d groupCodes=%d stride=%d mode=%d from=%t to=%t %v Scales=%s O=%s",
					sh, lanes, groupCodes, oStride, mode, a.From != nil, a.To != nil, l, gs.name, gOld.name)
			}
			s.check(what, func() { decodeAccumulateInt8(&a) }, func() { s.set.DecodeAccumulateInt8(&got) })
			unchanged(s, what, got, a)
		}
	}
}
