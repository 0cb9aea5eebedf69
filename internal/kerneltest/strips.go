package kerneltest

import (
	"fmt"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// multiplyStrips is a transcription of the contract.
func multiplyStrips(a *kernel.MultiplyStripsArgs) {
	values := make([]float32, a.Depth*a.Lanes)
	x := make([]float32, a.Depth)
	for l := range a.Lanes {
		a.Type.StripValues(x, ptr.At(a.Src, l/a.Vec*a.StripBytes), a.Vec, l%a.Vec)
		for k, v := range x {
			values[k*a.Lanes+l] = v
		}
	}
	multiplyFew(&kernel.MultiplyArgs{
		A: a.A, RowStride: a.RowStride, ColStride: 1, Rows: a.Rows, Depth: a.Depth, B: &values[0],
		Bias: a.Bias, C: a.C, Stride: a.Stride, Lanes: a.Lanes, Add: a.Add,
	})
}

// dequantizeStrips is a transcription of the contract.
func dequantizeStrips(a *kernel.DequantizeStripsArgs) {
	x := make([]float32, a.Depth)
	for l := range a.Lanes {
		a.Type.StripValues(x, ptr.At(a.Src, l/a.Vec*a.StripBytes), a.Vec, l%a.Vec)
		for k, v := range x {
			*ptr.At(a.Dst, k*a.Stride+l) = v
		}
	}
}

// stripLanes chooses the lanes of strips for a row of so many.
func (s *suite) stripLanes(lanes int) int {
	if n := s.set.StripLanes; lanes%n == 0 && s.IntN(4) != 0 {
		return n
	}
	return s.set.Vec
}

// strips returns strips of vec lanes, of so many values a lane, of blocks of a filling, flush against the guard to the byte.
func (s *suite) strips(w kernel.Weight, vec, lanes, depth, stride int, f filling) *byte {
	size := w.StripBytes(depth) * vec
	base := s.bytes("Src", lanes/vec, size, stride)
	rows := kernel.WeightRows{Type: w, Data: make([]byte, vec*depth/w.Values()*w.Bytes()), Cols: depth}
	for i := range lanes / vec {
		for at := 0; at < len(rows.Data); at += w.Bytes() {
			f.fill(s.Rand, rows.Data[at:][:w.Bytes()])
		}
		rows.PackStrip(unsafe.Slice((*byte)(unsafe.Add(base, i*stride)), size), vec, 0, vec, depth)
	}
	return (*byte)(base)
}

func (s *suite) multiplyStrips(lanes int) {
	for _, w := range kernel.StripTypes() {
		for _, depth := range dotDepths(w) {
			for rows := 1; rows <= kernel.MaxStripRows; rows++ {
				if s.skip() || s.IntN(8) != 0 {
					continue
				}
				s.begin()
				f, ga, gb, gc := fillings[s.IntN(len(fillings))], choose(s.Rand, numbers), choose(s.Rand, numbers), choose(s.Rand, numbers)
				vec := s.stripLanes(lanes)
				size := w.StripBytes(depth) * vec
				bytes, row := size+[]int{0, 0, 1, 61}[s.IntN(4)], []int{depth, depth + 3, -depth, 0, 1}[s.IntN(5)]
				a := kernel.MultiplyStripsArgs{
					Type: w, Src: s.strips(w, vec, lanes, depth, bytes, f), StripBytes: bytes, Vec: vec, Depth: depth, Lanes: lanes, Near: s.IntN(2) == 0,
					A: s.strided("A", rows, row, depth, 1, ga), RowStride: row, Rows: rows, Stride: s.stride(lanes), Add: s.IntN(2) == 0,
				}
				if s.IntN(2) == 0 {
					a.Bias = s.matrix("Bias", 1, lanes, lanes, gb)
				}
				if !a.Add {
					gc = unwritten
				}
				a.C = s.matrix("C", rows, lanes, a.Stride, gc)
				got := a
				what := func() string {
					return fmt.Sprintf("MultiplyStrips %v vec=%d rows=%d depth=%d lanes=%d strides %d, %d, %d %s A=%s C=%s add=%v bias=%v near=%v",
						w, vec, rows, depth, lanes, bytes, row, a.Stride, f.name, ga.name, gc.name, a.Add, a.Bias != nil, a.Near)
				}
				s.check(what, func() { multiplyStrips(&a) }, func() { s.set.MultiplyStrips(&got) })
				unchanged(s, what, got, a)
			}
		}
	}
}

func (s *suite) dequantizeStrips(lanes int) {
	for _, w := range kernel.StripTypes() {
		depths := []int{1, 3, 4, 5, 9, kernel.KC - 1, kernel.KC}
		if n := w.Values(); n > 1 {
			depths = []int{n, 2 * n, kernel.KC - n, kernel.KC}
		}
		for _, depth := range depths {
			for _, f := range fillings {
				if s.skip() || depth < 1 || depth > kernel.KC {
					continue
				}
				s.begin()
				vec := s.stripLanes(lanes)
				bytes := w.StripBytes(depth)*vec + []int{0, 1, 61}[s.IntN(3)]
				a := kernel.DequantizeStripsArgs{
					Type: w, Src: s.strips(w, vec, lanes, depth, bytes, f), StripBytes: bytes, Vec: vec, Depth: depth,
					Lanes: lanes, Stride: s.stride(lanes),
				}
				a.Dst = s.matrix("Dst", depth, lanes, a.Stride, unwritten)
				got := a
				what := func() string {
					return fmt.Sprintf("DequantizeStrips %v vec=%d depth=%d lanes=%d strides %d, %d %s", w, vec, depth, lanes, bytes, a.Stride, f.name)
				}
				s.check(what, func() { dequantizeStrips(&a) }, func() { s.set.DequantizeStrips(&got) })
				unchanged(s, what, got, a)
			}
		}
	}
}
