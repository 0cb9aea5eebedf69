package qkv

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// int8Order is where each four integers of 16 bits stand.
var int8Order = [4]int{0, 2, 1, 3}

// int8Place returns where integer i of a block of a row is, of 16 bits.
func int8Place(i int) int { return i&^3 + int8Order[i&3] }

func quantizeGeneric(a *kernel.QuantizeArgs) {
	size := kernel.Int8BlockBytes(a.Halves)
	for r := range a.Rows {
		for b := range a.Depth / kernel.Int8Block {
			x := ptr.At(a.X, r*a.RowStride+b*kernel.Int8Block*a.ColStride)
			quantizeBlock(unsafe.Add(unsafe.Pointer(a.Dst), r*a.RowBytes+b*size), x, a.ColStride, a.Halves)
		}
	}
}

// quantizeBlock makes a block of 32 values.
func quantizeBlock(dst unsafe.Pointer, x *float32, step int, halves bool) {
	most := float32(0)
	for i := range kernel.Int8Block {
		// max returns a NaN if one of the two is.
		most = max(most, float32(math.Abs(float64(*ptr.At(x, i*step)))))
	}
	inverse := 127 / most
	d, whole := most/127, true
	if most-most != 0 {
		d, whole = float32(math.NaN()), false
	} else if inverse > math.MaxFloat32 {
		d, whole = 0, false
	}
	var sums [2]int32
	for i := range kernel.Int8Block {
		q := int32(0)
		if whole {
			q = roundEven(float32(*ptr.At(x, i*step) * inverse))
		}
		sums[i/(kernel.Int8Block/2)] += q
		if halves {
			*(*int16)(unsafe.Add(dst, 2*int8Place(i))) = int16(q)
		} else {
			*(*int8)(unsafe.Add(dst, i)) = int8(q)
		}
	}
	behind := unsafe.Add(dst, kernel.Int8Integers(halves))
	*(*float32)(unsafe.Add(behind, kernel.Int8D)) = d
	*(*float32)(unsafe.Add(behind, kernel.Int8Sum)) = d * float32(sums[0]+sums[1])
	*(*int32)(unsafe.Add(behind, kernel.Int8Whole)) = -128 * (sums[0] + sums[1])
	*(*int32)(unsafe.Add(behind, kernel.Int8First)) = -128 * sums[0]
	*(*int32)(unsafe.Add(behind, kernel.Int8Second)) = -128 * sums[1]
}

// roundEven rounds a number of a magnitude below 2^22 to the nearest integer, ties to even.
func roundEven(x float32) int32 {
	const whole = 1.5 * (1 << 23) // numbers of that size have no fraction
	return int32(float32(x+whole) - whole)
}

func unpackInt8Generic(a *kernel.UnpackInt8Args) {
	blocks := a.Depth / kernel.Int8Block
	src := unsafe.Pointer(a.Src)
	halves := func(i int, dst *float32) {
		float16Generic(dst, (*uint16)(unsafe.Add(src, 2*i*a.Lanes)), a.Lanes)
	}
	switch a.Kind {
	case kernel.Int8Half:
		for b := range blocks {
			halves(b, ptr.At(a.Scales, b*a.Lanes))
		}
	case kernel.Int8HalfMin:
		for b := range blocks {
			halves(2*b, ptr.At(a.Scales, b*a.Lanes))
			halves(2*b+1, ptr.At(a.Mins, b*a.Lanes))
		}
	case kernel.Int8Groups32:
		bytes := unsafe.Slice((*int8)(unsafe.Add(src, 4*a.Lanes)), 2*blocks*a.Lanes)
		for l := range a.Lanes {
			d := fp.Float16ToFloat32(*(*uint16)(unsafe.Add(src, 2*l)))
			m := -fp.Float16ToFloat32(*(*uint16)(unsafe.Add(src, 2*(a.Lanes+l))))
			for b := range blocks {
				*ptr.At(a.Scales, b*a.Lanes+l) = d * float32(bytes[2*b*a.Lanes+l])
				*ptr.At(a.Mins, b*a.Lanes+l) = m * float32(bytes[(2*b+1)*a.Lanes+l])
			}
		}
	case kernel.Int8Groups16:
		bytes := unsafe.Slice((*int8)(unsafe.Add(src, 2*a.Lanes)), 2*blocks*a.Lanes)
		for l := range a.Lanes {
			d := fp.Float16ToFloat32(*(*uint16)(unsafe.Add(src, 2*l)))
			for i := range 2 * blocks {
				*ptr.At(a.Scales, i*a.Lanes+l) = d * float32(bytes[i*a.Lanes+l])
			}
		}
	default:
		copy(unsafe.Slice((*byte)(unsafe.Pointer(a.Scales)), 4*blocks*a.Lanes), unsafe.Slice(a.Src, 4*blocks*a.Lanes))
	}
	if a.Codes == nil {
		return
	}
	step := 16 * a.Lanes // bytes of codes of 4 bits of a block
	for b := range blocks {
		codes := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(a.Codes), b*step)), step)
		dst := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(a.Dst), 2*b*step)), 2*step)
		for i, c := range codes {
			dst[i], dst[step+i] = a.Table[c&15], a.Table[c>>4]
		}
	}
}

func packWeightsGeneric(a *kernel.PackWeightsArgs) { kernel.PackWeights(a) }

// int8Rows is how many rows go through a lane of a step together, so that its codes are read once.
const int8Rows = 16

func multiplyInt8Generic(a *kernel.MultiplyInt8Args) {
	part := *a
	for r := 0; r < a.Rows; r += int8Rows {
		part.X, part.C = (*byte)(unsafe.Add(unsafe.Pointer(a.X), r*a.RowBytes)), ptr.At(a.C, r*a.Stride)
		part.Rows = min(int8Rows, a.Rows-r)
		for l := range a.Lanes {
			multiplyInt8Lane(&part, l)
		}
	}
}

// multiplyInt8Lane is MultiplyInt8 of one lane and at most int8Rows rows.
func multiplyInt8Lane(a *kernel.MultiplyInt8Args, l int) {
	var sums [int8Rows]float32
	size, behind := kernel.Int8BlockBytes(a.Halves), kernel.Int8Integers(a.Halves)
	for b := range a.Depth / kernel.Int8Block {
		var w [kernel.Int8Block]int32
		int8Codes(&w, a, b, l)
		for r := range a.Rows {
			x := unsafe.Add(unsafe.Pointer(a.X), r*a.RowBytes+b*size)
			tail := unsafe.Add(x, behind)
			first, second := dotInt8(&w, x, a.Halves)
			d := *(*float32)(unsafe.Add(tail, kernel.Int8D))
			if a.Groups == 1 {
				sum := *(*int32)(unsafe.Add(tail, kernel.Int8Whole)) + first + second
				sums[r] = fp.FMA(float32(sum), float32(*ptr.At(a.Scales, b*a.Lanes+l)*d), sums[r])
			} else {
				sum := *(*int32)(unsafe.Add(tail, kernel.Int8First)) + first
				sums[r] = fp.FMA(float32(sum), float32(*ptr.At(a.Scales, 2*b*a.Lanes+l)*d), sums[r])
				sum = *(*int32)(unsafe.Add(tail, kernel.Int8Second)) + second
				sums[r] = fp.FMA(float32(sum), float32(*ptr.At(a.Scales, (2*b+1)*a.Lanes+l)*d), sums[r])
			}
			if a.Mins != nil {
				sums[r] = fp.FMA(*ptr.At(a.Mins, b*a.Lanes+l), *(*float32)(unsafe.Add(tail, kernel.Int8Sum)), sums[r])
			}
		}
	}
	for r, sum := range sums[:a.Rows] {
		c := ptr.At(a.C, r*a.Stride+l)
		if a.Alpha != nil {
			*c = float32(*c**ptr.At(a.Alpha, l)) + sum
			continue
		}
		var old, bias float32
		if a.Add {
			old = *c
		}
		if a.Bias != nil {
			bias = *ptr.At(a.Bias, l)
		}
		*c = (old + bias) + sum
	}
}

func multiplyRowInt8Generic(a *kernel.MultiplyRowInt8Args) {
	const blocks = kernel.KC / kernel.Int8Block
	var scales [2 * blocks * kernel.MaxLanes]float32
	var mins [blocks * kernel.MaxLanes]float32
	form, w, size := a.Type.Int8(), unsafe.Pointer(a.W), kernel.Int8BlockBytes(a.Halves)
	for p := range a.Panels {
		m := kernel.MultiplyInt8Args{
			Rows: 1, Halves: a.Halves, Table: form.Table, Groups: form.Scales.Groups(), Scales: &scales[0],
			C: ptr.At(a.C, p*a.Lanes), Lanes: a.Lanes, Add: a.Add,
		}
		if a.Bias != nil {
			m.Bias = ptr.At(a.Bias, p*a.Lanes)
		}
		if form.Scales.HasMins() {
			m.Mins = &mins[0]
		}
		for k := 0; k < a.Depth; k += m.Depth {
			m.X, m.W, m.Depth = (*byte)(unsafe.Add(unsafe.Pointer(a.X), k/kernel.Int8Block*size)), (*byte)(w), min(kernel.KC, a.Depth-k)
			unpackInt8Generic(&kernel.UnpackInt8Args{
				Kind: form.Scales, Src: (*byte)(unsafe.Add(w, form.ScalesAt(m.Depth, a.Lanes))), Depth: m.Depth, Lanes: a.Lanes,
				Scales: &scales[0], Mins: m.Mins,
			})
			multiplyInt8Generic(&m)
			m.Add, m.Bias = true, nil
			w = unsafe.Add(w, form.Bytes(m.Depth)*a.Lanes)
		}
	}
}

// int8Codes sets w to the codes of a block in a lane, in the order of the integers of a row.
func int8Codes(w *[kernel.Int8Block]int32, a *kernel.MultiplyInt8Args, block, lane int) {
	quads := 8 // of terms of a block in W
	if a.Table != nil {
		quads = 4
	}
	for q := range quads {
		b := (*[4]byte)(unsafe.Add(unsafe.Pointer(a.W), ((quads*block+q)*a.Lanes+lane)*4))
		for i, code := range b {
			if a.Halves {
				i = int8Order[i]
			}
			if a.Table == nil {
				w[4*q+i] = int32(code)
			} else {
				w[4*q+i], w[16+4*q+i] = int32(a.Table[code&15]), int32(a.Table[code>>4])
			}
		}
	}
}

// dotInt8 returns the sums of products of the halves of a block.
func dotInt8(w *[kernel.Int8Block]int32, x unsafe.Pointer, halves bool) (first, second int32) {
	const half = kernel.Int8Block / 2
	if halves {
		x := (*[kernel.Int8Block]int16)(x)
		for i := range half {
			first += w[i] * int32(x[i])
			second += w[half+i] * int32(x[half+i])
		}
		return first, second
	}
	y := (*[kernel.Int8Block]int8)(x)
	for i := range half {
		first += w[i] * int32(y[i])
		second += w[half+i] * int32(y[half+i])
	}
	return first, second
}

// int8PeakTerms are the products of a round of peakInt8Generic.
const int8PeakTerms = 32

func peakInt8Generic(n int) {
	var w [int8PeakTerms]uint8
	var x [int8PeakTerms]int8
	for i := range w {
		w[i], x[i] = uint8(i), int8(i)
	}
	sum := int32(0)
	for range n {
		for i, w := range &w {
			sum += int32(w) * int32(x[i])
		}
		x[0] ^= 1 // has the sum made anew
	}
	if sum == 1 {
		panic("qkv: a sum of squares is 1") // keeps the sums alive
	}
}
