package kernel

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel/fp"
)

const (
	// maxQuant is the largest magnitude of an integer that stands for a value.
	maxQuant = 127

	// quietNaN16 is the bits of a NaN of binary16.
	quietNaN16 = 0x7e00
)

// SetRow writes a row of dim numbers, so that [Elem.Values] returns what is nearest to them: to
// units that are stride bytes apart, from numbers that are step elements apart. scale takes the
// scale of a row with a [RowScale]; otherwise it is not touched.
//
// Of Int8 the scale is the largest magnitude divided by 127, and an integer the one nearest to
// the quotient, ties to even: of a scale of 0, it is 0. If a number is NaN or infinite, the
// scale is NaN and all integers are 0. A block of Q8_0 has the scale rounded to binary16, and
// the integers nearest to the product with the reciprocal of what it was before, ties away from
// zero; they are 0 where the reciprocal is not finite, or 0.
//
// Of E4M3 and E5M2 a number beyond the largest finite one, an infinity too, becomes that one, and a NaN
// stays one. Blocks of Q4_0 and Q4_1 are those of [WeightQ4_0] and [WeightQ4_1], but that a Min of zero
// has no sign.
func (e Elem) SetRow(row unsafe.Pointer, stride int, scale, src *float32, step, dim int) {
	switch e {
	case Float32:
		if stride == 4 && step == 1 {
			Copy(unsafe.Slice((*float32)(row), dim), unsafe.Slice(src, dim))
			return
		}
		for i := range dim {
			*(*float32)(unsafe.Add(row, i*stride)) = *ptr.At(src, i*step)
		}
	case Float16:
		for i := range dim {
			*(*uint16)(unsafe.Add(row, i*stride)) = fp.Float32ToFloat16(*ptr.At(src, i*step))
		}
	case BFloat16:
		for i := range dim {
			*(*uint16)(unsafe.Add(row, i*stride)) = fp.Float32ToBFloat16(*ptr.At(src, i*step))
		}
	case Int8:
		*scale = quantizeInt8(row, stride, src, step, dim)
	case Q8_0:
		for i := 0; i < dim; i += BlockValues {
			quantizeQ8_0((*BlockQ8_0)(unsafe.Add(row, i/BlockValues*stride)), ptr.At(src, i*step), step)
		}
	case E4M3:
		for i := range dim {
			*(*uint8)(unsafe.Add(row, i*stride)) = fp.Float32ToFloat8E4M3(*ptr.At(src, i*step))
		}
	case E5M2:
		for i := range dim {
			*(*uint8)(unsafe.Add(row, i*stride)) = fp.Float32ToFloat8E5M2(*ptr.At(src, i*step))
		}
	case Q4_0, Q4_1:
		var x [BlockValues]float32
		for i := 0; i < dim; i += BlockValues {
			for j := range x {
				x[j] = *ptr.At(src, (i+j)*step)
			}
			if at := unsafe.Add(row, i/BlockValues*stride); e == Q4_0 {
				b := (*BlockQ4_0)(at)
				b.Scale, _ = half(quantizeQ4_0(&b.Quants, &x))
			} else {
				b := (*BlockQ4_1)(at)
				least, d := quantizeQ4_1(&b.Quants, &x)
				b.Min = 0
				if scale, ok := half(d); ok {
					b.Scale, b.Min = scale, fp.Float32ToFloat16(least+0)
				} else {
					b.Scale = scale
				}
			}
		}
	default:
		panic("kernel: unknown Elem")
	}
}

// half returns x as binary16, the same NaN for each, and whether it is none.
func half(x float32) (bits uint16, ok bool) {
	if x != x {
		return quietNaN16, false
	}
	return fp.Float32ToFloat16(x), true
}

// quantizeInt8 makes integers of n numbers and returns their scale.
func quantizeInt8(dst unsafe.Pointer, stride int, src *float32, step, n int) float32 {
	scale := largest(src, step, n) / maxQuant
	if !isFinite(scale) {
		scale = float32(math.NaN())
	}
	for i := range n {
		q := int8(0)
		if scale > 0 {
			q = quant(math.RoundToEven(float64(*ptr.At(src, i*step) / scale)))
		}
		*(*int8)(unsafe.Add(dst, i*stride)) = q
	}
	return scale
}

// quantizeQ8_0 makes a block of numbers.
func quantizeQ8_0(dst *BlockQ8_0, src *float32, step int) {
	d := largest(src, step, BlockValues) / maxQuant
	dst.Scale = fp.Float32ToFloat16(d)
	if d != d {
		dst.Scale = quietNaN16
	}
	inverse := float32(0)
	if d != 0 && isFinite(1/d) { // not so small that the scale is 0
		inverse = 1 / d
	}
	for i := range dst.Quants {
		x := float32(*ptr.At(src, i*step) * inverse) // rounded: isFinite subtracts it from itself
		if !isFinite(x) {
			x = 0
		}
		dst.Quants[i] = quant(math.Round(float64(x)))
	}
}

// largest returns the largest magnitude of n numbers, or NaN if one is.
func largest(x *float32, step, n int) float32 {
	most := float32(0)
	for i := range n {
		// max returns a NaN if one of the two is.
		most = max(most, float32(math.Abs(float64(*ptr.At(x, i*step)))))
	}
	return most
}

func isFinite(x float32) bool { return x-x == 0 }

// quant returns a rounded quotient within the integers' range, which it leaves where a scale
// has few bits.
func quant(x float64) int8 { return int8(max(-maxQuant, min(x, maxQuant))) }
