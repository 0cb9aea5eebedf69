package qkv

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

func convertGeneric(a *kernel.ConvertArgs) {
	for r := range a.Rows {
		row, scale := unsafe.Add(a.Src, a.Off[r]), rowScale(a.Elem, a.Scale, r)
		for d := range a.Dim {
			*at(a.Dst, r*a.Stride+d) = a.Elem.Value(row, d, a.UnitStride, scale)
		}
	}
}

// rowScale returns the scale of a row of that type.
func rowScale(e kernel.Elem, scale *float32, row int) float32 {
	if e != kernel.Int8 {
		return 1
	}
	return *at(scale, row)
}

func decodeScoresGeneric(a *kernel.DecodeScoresArgs) {
	var row [kernel.BlockValues]float32
	unit := a.Elem.Unit()
	for k := range a.Keys {
		key, scale := unsafe.Add(a.K, a.Off[k]), rowScale(a.Elem, a.Scale, k)
		var acc [kernel.MaxDecodeRows]float32
		for d0 := 0; d0 < a.Dim; d0 += len(row) {
			n := min(len(row), a.Dim-d0)
			for i := range n {
				row[i] = a.Elem.Value(key, d0+i, unit, scale)
			}
			for r := range a.Rows {
				acc[r] = chain(acc[r], row[:n], at(a.Q, d0*a.QStride+r), a.QStride)
			}
		}
		for r := range a.Rows {
			*at(a.S, k*a.Stride+r) = acc[r]
		}
	}
}

// chain returns acc after fused multiply-adds of x by elements of y, stride apart.
func chain(acc float32, x []float32, y *float32, stride int) float32 {
	for i, e := range x {
		t := kernel.WideFMA(e, *at(y, i*stride), acc)
		if kernel.Ambiguous(t) {
			acc = kernel.FMA(e, *at(y, i*stride), acc)
			continue
		}
		acc = float32(t)
	}
	return acc
}

func decodeAccumulateGeneric(a *kernel.DecodeAccumulateArgs) {
	var column [kernel.KeyBlock]float32
	unit := a.Elem.Unit()
	for d := range a.Dim {
		for k := range a.Keys {
			column[k] = a.Elem.Value(unsafe.Add(a.V, a.Off[k]), d, unit, rowScale(a.Elem, a.Scale, k))
		}
		for r := range a.Rows {
			acc := negZero
			for k, x := range column[:a.Keys] {
				acc = addWeighted(acc, x, *at(a.P, k*a.Stride+r), k >= a.MaskFrom)
			}
			o := at(a.O, r*a.OStride+d)
			switch a.Mode {
			case kernel.First:
				*o = 0 + acc
			case kernel.Add:
				*o += acc
			case kernel.Rescale:
				*o = kernel.FMA(*o, *at(a.Alpha, r), acc)
			}
		}
	}
}

func mergeGeneric(a *kernel.MergeArgs) {
	for l := range a.Lanes {
		top, sum := at(a.Max, l), at(a.Sum, l)
		m, s := *at(a.ChunkMax, l), *at(a.ChunkSum, l)
		newTop := *top
		if m > newTop {
			newTop = m
		}
		wa, wb := kernel.Exp2(*top-newTop), kernel.Exp2(m-newTop)
		if s == 0 {
			wa, wb = 1, negZero
		} else if *sum == 0 {
			wa = negZero
		}
		*top = newTop
		*sum = kernel.FMA(*sum, wa, float32(s*wb))
		for d := range a.Dim {
			o := at(a.O, d*a.Stride+l)
			*o = kernel.FMA(*o, wa, float32(*at(a.Chunk, d*a.Stride+l)*wb))
		}
	}
}
