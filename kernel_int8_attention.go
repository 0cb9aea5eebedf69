package qkv

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

func convertInt8Generic(a *kernel.ConvertInt8Args) {
	size, behind := kernel.Int8BlockBytes(a.Halves), kernel.Int8Integers(a.Halves)
	var q [kernel.Int8Block]int8
	for r := range a.Rows {
		row, scale := unsafe.Add(a.Src, a.Off[r]), rowScale(a.Elem, a.Scale, r)
		for b := range kernel.Int8Blocks(a.Dim) {
			d, least := a.Elem.Block(&q, row, b, a.Dim, a.UnitStride, scale)
			dst := unsafe.Add(unsafe.Pointer(a.Dst), r*a.RowBytes+b*size)
			sum := int32(0)
			for i, x := range q {
				sum += int32(x)
				if a.Halves {
					*(*int16)(unsafe.Add(dst, 2*int8Place(i))) = int16(x)
				} else {
					*(*int8)(unsafe.Add(dst, i)) = x
				}
			}
			tail := unsafe.Add(dst, behind)
			*(*float32)(unsafe.Add(tail, kernel.Int8D)) = d
			*(*float32)(unsafe.Add(tail, kernel.Int8Sum)) = least
			*(*int32)(unsafe.Add(tail, kernel.Int8Whole)) = -128 * sum
			*(*int32)(unsafe.Add(tail, kernel.Int8First)) = 0
			*(*int32)(unsafe.Add(tail, kernel.Int8Second)) = 0
		}
	}
}

func packInt8Generic(a *kernel.PackInt8Args) {
	var x [kernel.Int8Block]float32
	var block [kernel.Int8Block/4 + 5]float32
	q, offset := unsafe.Pointer(&block), 128
	if a.Signed {
		offset = 0
	}
	for b := range kernel.Int8Blocks(a.Dim) {
		first := b * kernel.Int8Block
		n := min(kernel.Int8Block, a.Dim-first)
		for l := range a.Lanes {
			row := l
			if a.RowOf != nil {
				row = int(*(*int32)(unsafe.Add(unsafe.Pointer(a.RowOf), 4*l)))
			}
			for i := range n {
				x[i] = *ptr.At(a.Q, (first+i)*a.Stride+row)
			}
			clear(x[n:])
			least := float32(0)
			if a.Factors != nil || a.V != nil {
				least = scaleWeights(&x, a, first, n, l)
			}
			quantizeBlock(q, &x[0], 1, false)
			for i, k := range (*[kernel.Int8Block]int8)(q) {
				*(*byte)(unsafe.Add(unsafe.Pointer(a.Codes), ((8*b+i/4)*a.Lanes+l)*4+i%4)) = byte(int(k) + offset)
			}
			tail := unsafe.Add(q, kernel.Int8Integers(false))
			*ptr.At(a.Scales, b*a.Lanes+l) = *(*float32)(unsafe.Add(tail, kernel.Int8D))
			if a.Mins != nil || a.V != nil && a.Elem.HasMin() && a.Sums != nil {
				*ptr.At(a.Sums, b*a.Lanes+l) = least
			} else if a.Sums != nil {
				*ptr.At(a.Sums, b*a.Lanes+l) = *(*float32)(unsafe.Add(tail, kernel.Int8Sum))
			}
		}
	}
}

// scaleWeights multiplies n numbers of a block of a lane by their factors, and returns the sum of those by Mins.
func scaleWeights(x *[kernel.Int8Block]float32, a *kernel.PackInt8Args, first, n, lane int) (sum float32) {
	step := a.FactorStride
	switch {
	case a.FactorOf != nil:
		lane = int(*(*int32)(unsafe.Add(unsafe.Pointer(a.FactorOf), 4*lane)))
	case step == 0:
		step, lane = 1, 0
	}
	for i, p := range x[:n] {
		if math.Float32bits(p)&signBit != 0 {
			x[i] = 0
			continue
		}
		if a.V != nil {
			block := unsafe.Add(a.V, a.Off[first+i]+lane*a.Elem.Unit())
			if a.Elem.HasMin() {
				sum = fp.FMA(p, fp.Float16ToFloat32((*kernel.BlockQ4_1)(block).Min), sum)
			}
			x[i] = p * fp.Float16ToFloat32(*(*uint16)(block))
			continue
		}
		at := (first+i)*step + lane
		if a.Mins != nil {
			sum = fp.FMA(p, *ptr.At(a.Mins, at), sum)
		}
		x[i] = p * *ptr.At(a.Factors, at)
	}
	return sum
}
