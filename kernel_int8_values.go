package qkv

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

func transposeInt8Generic(a *kernel.TransposeInt8Args) {
	const side = kernel.Int8Block
	size, behind := kernel.Int8BlockBytes(a.Halves), kernel.Int8Integers(a.Halves)
	for b := range kernel.Int8Blocks(a.Keys) {
		keys := min(side, a.Keys-b*side)
		for d := 0; d < a.Dim; d += side {
			var rows [side][side]int8
			for k := range keys {
				a.Elem.Block(&rows[k], unsafe.Add(a.Src, a.Off[b*side+k]), d/side, a.Dim, a.UnitStride, 1)
			}
			for i := range min(side, a.Dim-d) {
				dst := unsafe.Add(unsafe.Pointer(a.Dst), (d+i)*a.RowBytes+b*size)
				sum := int32(0)
				for k := range side {
					x := rows[k][i]
					sum += int32(x)
					if a.Halves {
						*(*int16)(unsafe.Add(dst, 2*int8Place(k))) = int16(x)
					} else {
						*(*int8)(unsafe.Add(dst, k)) = x
					}
				}
				tail := unsafe.Add(dst, behind)
				*(*float32)(unsafe.Add(tail, kernel.Int8D)) = 1
				*(*float32)(unsafe.Add(tail, kernel.Int8Sum)) = 1
				*(*int32)(unsafe.Add(tail, kernel.Int8Whole)) = -128 * sum
				*(*int32)(unsafe.Add(tail, kernel.Int8First)) = 0
				*(*int32)(unsafe.Add(tail, kernel.Int8Second)) = 0
			}
		}
	}
}

func decodeAccumulateInt8Generic(a *kernel.DecodeAccumulateInt8Args) {
	const side = kernel.Int8Block
	for d := 0; d < a.Dim; d += side {
		n := min(side, a.Dim-d)
		var accs [kernel.MaxDecodeRows][side]float32
		if a.From != nil {
			for r := range a.Rows {
				copy(accs[r][:n], unsafe.Slice(ptr.At(a.From, r*a.OStride+d), n))
			}
		}
		group := 0
		if a.Elem.UnitValues() > 1 {
			group = d / side
		}
		for b := range kernel.Int8Blocks(a.Keys) {
			var sums [kernel.MaxDecodeRows][side]int32
			for k := range min(side, a.Keys-b*side) {
				var row [side]int8
				a.Elem.Block(&row, unsafe.Add(a.V, a.Off[b*side+k]), d/side, a.Dim, a.Elem.Unit(), 1)
				for r := range a.Rows {
					code := int32(*(*int8)(unsafe.Add(unsafe.Pointer(a.Codes), group*a.GroupCodes+((8*b+k/4)*a.Lanes+r)*4+k%4)))
					for i, x := range row[:n] {
						sums[r][i] += int32(x) * code
					}
				}
			}
			for r := range a.Rows {
				at := group*a.GroupScales + b*a.Lanes + r
				scale, least := *ptr.At(a.Scales, at), float32(0)
				if a.Elem.HasMin() {
					least = *ptr.At(a.Mins, at)
				}
				for i := range n {
					accs[r][i] = fp.FMA(float32(sums[r][i]), scale, accs[r][i])
					if a.Elem.HasMin() {
						accs[r][i] += least
					}
				}
			}
		}
		for r := range a.Rows {
			for i, acc := range accs[r][:n] {
				at := r*a.OStride + d + i
				if a.To != nil {
					*ptr.At(a.To, at) = acc
					continue
				}
				o := ptr.At(a.O, at)
				switch a.Mode {
				case kernel.First:
					*o = 0 + acc
				case kernel.Add:
					*o += acc
				case kernel.Rescale:
					*o = float32(*o**ptr.At(a.Alpha, r)) + acc
				}
			}
		}
	}
}
