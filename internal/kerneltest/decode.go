package kerneltest

import (
	"fmt"
	"slices"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// A decodeShape is what a call of DecodeScores or DecodeAccumulate spans.
type decodeShape struct {
	elem            kernel.Elem
	keys, dim, rows int
	brain           bool
}

// decodeShapes are those of the types that DecodeScores and DecodeAccumulate read.
func (s *suite) decodeShapes() []decodeShape { return s.decodeShapesOf(kernel.Elem.Direct) }

// decodeShapesOf returns every number of rows with some of keys and dims, and the other way
// around, of some types.
func (s *suite) decodeShapesOf(some func(kernel.Elem) bool) []decodeShape {
	keyCounts := []int{1, 2, 3, 5, 8, 15, 16, 17, 33}
	rowCount := func() int { return 1 + s.IntN(s.set.DecodeRows) }
	var list []decodeShape
	elems := kernel.Elems()
	if s.set.BrainRows {
		elems = append(elems, kernel.BFloat16)
	}
	for i, e := range elems {
		if !some(e) {
			continue
		}
		brain := i == len(kernel.Elems())
		dims := elemDims(e)
		dim := func() int { return dims[s.IntN(len(dims))] }
		keys := func() int { return keyCounts[s.IntN(len(keyCounts))] }
		for rows := 1; rows <= s.set.DecodeRows; rows++ {
			list = append(list, decodeShape{e, keys(), dim(), rows, brain}, decodeShape{e, keys(), dim(), rows, brain})
		}
		for _, dim := range dims {
			list = append(list, decodeShape{e, keys(), dim, rowCount(), brain})
		}
		for rows := 4; rows <= s.set.DecodeRows; rows += 4 { // some sets take these by many keys
			list = append(list, decodeShape{e, 16 + s.IntN(kernel.KeyBlock-15), 32 * (1 + s.IntN(4)), rows, brain})
		}
		for _, keys := range append(keyCounts, 4, 6, 7, 9, 64, 100, kernel.KeyBlock-1, kernel.KeyBlock) {
			list = append(list, decodeShape{e, keys, dim(), rowCount(), brain})
		}
	}
	return slices.DeleteFunc(list, func(decodeShape) bool { return s.skip() })
}

// decodeLayout returns a layout of rows, which have unit strides.
func (s *suite) decodeLayout(sh decodeShape) layout {
	return elemLayouts(sh.elem, sh.dim/sh.elem.UnitValues())[s.IntN(5)]
}

// decodeKind chooses a kind of numbers of rows: of class BFloat16, also ones about the least, and -0.
func (s *suite) decodeKind(sh decodeShape) gen {
	if sh.brain && s.IntN(2) == 0 {
		return uniform(-0x1p-55, 0x1p-55).with(constant(negZero), 4)
	}
	return choose(s.Rand, numbers)
}

func (s *suite) decodeScores(int) {
	for _, sh := range s.decodeShapes() {
		s.begin()
		sh.dim = max(sh.dim, s.set.Vec)
		l := s.decodeLayout(sh)
		qStride, stride := s.stride(sh.rows), s.stride(sh.rows)
		gk, gq := s.decodeKind(sh), choose(s.Rand, numbers)
		k, off, scale := s.elems("K", sh.elem, sh.keys, sh.dim, l, gk)
		a := kernel.DecodeScoresArgs{
			Near: s.IntN(2) == 0, Brain: sh.brain,
			K: k, Off: off, Elem: sh.elem, Scale: scale, Keys: sh.keys, Dim: sh.dim,
			Q: s.matrix("Q", sh.dim, sh.rows, qStride, gq), QStride: qStride, Rows: sh.rows,
			S: s.matrix("S", sh.keys, sh.rows, stride, unwritten), Stride: stride,
		}
		got := a
		what := func() string {
			return fmt.Sprintf("DecodeScores %+v strides=%d,%d %v K=%s Q=%s", sh, qStride, stride, l, gk.name, gq.name)
		}
		s.check(what, func() { decodeScores(&a) }, func() { s.set.DecodeScores(&got) })
		unchanged(s, what, got, a)
	}
}

func (s *suite) decodeAccumulate(int) {
	for _, sh := range s.decodeShapesOf(func(e kernel.Elem) bool { return e.Direct() || s.set.AnyValues }) {
		dims := s.set.DecodeDims
		if sh.brain || !sh.elem.Direct() {
			dims = s.set.Vec
		}
		sh.dim = (sh.dim + dims - 1) / dims * dims
		for _, mode := range []kernel.UpdateMode{kernel.First, kernel.Add, kernel.Rescale} {
			s.begin()
			l := s.decodeLayout(sh)
			from := []int{0, s.IntN(sh.keys + 1), sh.keys}[s.IntN(3)]
			stride, oStride := s.stride(sh.rows), s.stride(sh.dim)
			gv, gp, gOld := s.decodeKind(sh), choose(s.Rand, weightKinds), unwritten
			if mode != kernel.First {
				gOld = choose(s.Rand, numbers)
			}
			if s.IntN(4) == 0 {
				gp = gp.with(constant(negZero), 4) // of keys that are kept, too
			}
			v, off, scale := s.elems("V", sh.elem, sh.keys, sh.dim, l, gv)
			a := kernel.DecodeAccumulateArgs{
				Near: s.IntN(2) == 0, Brain: sh.brain,
				V: v, Off: off, Elem: sh.elem, Scale: scale, Keys: sh.keys, MaskFrom: from, Dim: sh.dim,
				P: s.matrix("P", sh.keys, sh.rows, stride, gp), Stride: stride, Rows: sh.rows,
				O: s.matrix("O", sh.rows, sh.dim, oStride, gOld), OStride: oStride, Mode: mode,
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
			for k := from; k < sh.keys; k++ {
				taken := []int{1, 2, 8, 1 << 30}[s.IntN(4)] // of as many one is masked: all to none
				for r := range sh.rows {
					if s.IntN(taken) == 0 {
						*ptr.At(a.P, k*stride+r) = negZero
					}
				}
			}
			if mode == kernel.Rescale {
				a.Alpha = s.matrix("Alpha", 1, sh.rows, sh.rows, choose(s.Rand, weightKinds))
			}
			got := a
			what := func() string {
				return fmt.Sprintf("DecodeAccumulate %+v masked from %d strides=%d,%d mode=%d from=%t to=%t %v V=%s P=%s O=%s",
					sh, from, stride, oStride, mode, a.From != nil, a.To != nil, l, gv.name, gp.name, gOld.name)
			}
			s.check(what, func() { decodeAccumulate(&a) }, func() { s.set.DecodeAccumulate(&got) })
			unchanged(s, what, got, a)
		}
	}
}
