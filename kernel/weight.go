package kernel

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/kernel/fp"
)

// A Weight is a type that files of models store weights in. A block holds a fixed number of values in a
// fixed number of bytes, at any alignment, with numbers in little-endian order on every machine. A row is
// whole blocks, one behind the other. All arithmetic is in float32: a product by weights of another type
// has the bits of the product by the numbers that Decode returns.
type Weight int

// The types of weights. Those from WeightQ8_0 to WeightIQ4_NL have the layout and the values of
// ggml's types of the same name (block_q8_0 and the others of ggml-common.h).
const (
	WeightFloat32  Weight = iota
	WeightFloat16         // IEEE 754 binary16
	WeightBFloat16        // the upper half of a float32
	WeightInt8            // times a float32 scale for each group of a row, see [WeightRows]
	WeightQ8_0
	WeightQ4_0
	WeightQ4_1
	WeightQ5_0
	WeightQ5_1
	WeightQ2_K
	WeightQ3_K
	WeightQ4_K
	WeightQ5_K
	WeightQ6_K
	WeightIQ4_NL
	WeightMXFP4 // OCP Microscaling Formats v1.0, in ggml's order of values (block_mxfp4)
	weights
)

// maxBlock is the most values of a block.
const maxBlock = 256

// A weight is what there is to know about a type.
type weight struct {
	name          string
	values, bytes int // of a block
	// encode writes one block, or any number where a block is one value. A type without it is only read.
	encode func(b []byte, x []float32)
}

var weightTable = [weights]weight{
	WeightFloat32:  {"float32", 1, 4, encodeFloat32},
	WeightFloat16:  {"Float16", 1, 2, encodeFloat16},
	WeightBFloat16: {"BFloat16", 1, 2, encodeBFloat16},
	WeightInt8:     {"int8", 1, 1, nil},
	WeightQ8_0:     {"Q8_0", 32, 34, encodeQ8_0},
	WeightQ4_0:     {"Q4_0", 32, 18, encodeQ4_0},
	WeightQ4_1:     {"Q4_1", 32, 20, encodeQ4_1},
	WeightQ5_0:     {"Q5_0", 32, 22, encodeQ5_0},
	WeightQ5_1:     {"Q5_1", 32, 24, encodeQ5_1},
	WeightQ2_K:     {"Q2_K", 256, 84, nil},
	WeightQ3_K:     {"Q3_K", 256, 110, nil},
	WeightQ4_K:     {"Q4_K", 256, 144, nil},
	WeightQ5_K:     {"Q5_K", 256, 176, nil},
	WeightQ6_K:     {"Q6_K", 256, 210, nil},
	WeightIQ4_NL:   {"IQ4_NL", 32, 18, encodeIQ4_NL},
	WeightMXFP4:    {"MXFP4", 32, 17, encodeMXFP4},
}

// Weights returns all types of weights, in the order of their numbers.
func Weights() []Weight {
	all := make([]Weight, weights)
	for i := range all {
		all[i] = Weight(i)
	}
	return all
}

// Known reports whether there is such a type.
func (w Weight) Known() bool { return w >= 0 && w < weights }

// String returns the name of the type: ggml's, as "Q4_K", or that of the Go type.
func (w Weight) String() string {
	if !w.Known() {
		return unnamed("Weight", int(w))
	}
	return weightTable[w].name
}

// Values returns the number of values of a block.
func (w Weight) Values() int { return weightTable[w].values }

// Bytes returns the size of a block.
func (w Weight) Bytes() int { return weightTable[w].bytes }

// Decode writes the values of src, whole blocks, to dst, which has as many. The values of WeightInt8
// are the integers.
//
// Value i of a block with a scale d, of binary16, is the product of d and an integer q[i]. Some types
// multiply d by an integer scale for a part of the block first. Some have a second number m of binary16,
// and the value is the sum with m, or the difference from a multiple of m, rounded once. The products are
// exact in float32: 11 bits of a binary16 number, 6 or 7 of a scale and up to 5 of an integer. So it does
// not matter whether the sum is a fused multiply-add. These are the bits of ggml's dequantize_row
// functions, except where the scale of a block of MXFP4 is the NaN of E8M0: its values are NaN.
func (w Weight) Decode(dst []float32, src []byte) {
	t := &weightTable[w]
	if t.values == 1 {
		w.decode(dst, src)
		return
	}
	for len(dst) > 0 {
		w.decode(dst[:t.values], src[:t.bytes])
		dst, src = dst[t.values:], src[t.bytes:]
	}
}

// decode writes the values of one block, or of any number where a block is one value. It calls
// the functions by name: through a table the compiler could not see that none keeps dst, and a dst on a
// stack would be allocated.
func (w Weight) decode(dst []float32, src []byte) {
	switch w {
	case WeightFloat32:
		decodeFloat32(dst, src)
	case WeightFloat16:
		decodeFloat16(dst, src)
	case WeightBFloat16:
		decodeBFloat16(dst, src)
	case WeightInt8:
		decodeInt8(dst, src)
	case WeightQ8_0:
		decodeQ8_0(dst, src)
	case WeightQ4_0:
		decodeQ4_0(dst, src)
	case WeightQ4_1:
		decodeQ4_1(dst, src)
	case WeightQ5_0:
		decodeQ5_0(dst, src)
	case WeightQ5_1:
		decodeQ5_1(dst, src)
	case WeightQ2_K:
		decodeQ2_K(dst, src)
	case WeightQ3_K:
		decodeQ3_K(dst, src)
	case WeightQ4_K:
		decodeQ4_K(dst, src)
	case WeightQ5_K:
		decodeQ5_K(dst, src)
	case WeightQ6_K:
		decodeQ6_K(dst, src)
	case WeightIQ4_NL:
		decodeIQ4_NL(dst, src)
	case WeightMXFP4:
		decodeMXFP4(dst, src)
	}
}

// decodeRange writes the values of a row from first on to dst. first may be any of a block.
func (w Weight) decodeRange(dst []float32, row []byte, first int) {
	t := &weightTable[w]
	row = row[first/t.values*t.bytes:]
	if skip := first % t.values; skip != 0 {
		n := w.part(dst, row, skip)
		dst, row = dst[n:], row[t.bytes:]
	}
	whole := len(dst) / t.values
	w.Decode(dst[:whole*t.values], row)
	if dst = dst[whole*t.values:]; len(dst) > 0 {
		w.part(dst, row[whole*t.bytes:], 0)
	}
}

// part writes the values of one block from first on to dst, and returns how many.
func (w Weight) part(dst []float32, block []byte, first int) int {
	var all [maxBlock]float32
	w.decode(all[:w.Values()], block[:w.Bytes()])
	return copy(dst, all[first:w.Values()])
}

// Encodes reports whether the type has Encode.
func (w Weight) Encodes() bool { return weightTable[w].encode != nil }

// Encode writes blocks that stand for the values of src, whole blocks of them, to dst, as ggml's
// quantize_row_*_ref functions do, to the bit wherever C defines what these do. Of a block with a NaN
// or an infinity, the scale is NaN and all integers are 0, so that none of its values passes for a
// number. If the reciprocal of a scale is not finite, the integers are those of zeros.
func (w Weight) Encode(dst []byte, src []float32) {
	t := &weightTable[w]
	if t.values == 1 {
		t.encode(dst, src)
		return
	}
	for len(src) > 0 {
		t.encode(dst[:t.bytes], src[:t.values])
		dst, src = dst[t.bytes:], src[t.values:]
	}
}

// WeightRows is a matrix of weights: rows of whole blocks, one behind the other. Its values are numbered
// row by row.
type WeightRows struct {
	Type Weight
	Data []byte
	Cols int // values of a row, a multiple of those of a block

	// Scales, of WeightInt8, has a scale for each group of GroupSize values of a row, row after row. The last
	// group of a row may be smaller. A value is the product of scale and integer, rounded.
	Scales    []float32
	GroupSize int
}

// Floats returns the values where they are float32 as this machine has it in memory, and nil where they
// have to be made.
func (r *WeightRows) Floats() *float32 {
	p := unsafe.Pointer(unsafe.SliceData(r.Data))
	if r.Type != WeightFloat32 || !littleEndian || uintptr(p)%unsafe.Alignof(float32(0)) != 0 {
		return nil
	}
	return (*float32)(p)
}

// Values writes the values from number first on to dst, also those of several rows.
func (r *WeightRows) Values(dst []float32, first int) {
	size := r.Cols / r.Type.Values() * r.Type.Bytes()
	for len(dst) > 0 {
		row, col := first/r.Cols, first%r.Cols
		n := min(len(dst), r.Cols-col)
		r.Type.decodeRange(dst[:n], r.Data[row*size:][:size], col)
		if r.Type == WeightInt8 {
			r.scale(dst[:n], row, col)
		}
		dst, first = dst[n:], first+n
	}
}

// scale multiplies integers of a row by the scales of their groups.
func (r *WeightRows) scale(x []float32, row, col int) {
	perRow := (r.Cols-1)/r.GroupSize + 1
	scales := r.Scales[row*perRow:][:perRow]
	for len(x) > 0 {
		scale := scales[col/r.GroupSize]
		n := min(len(x), r.GroupSize-col%r.GroupSize)
		for i := range x[:n] {
			x[i] *= scale
		}
		x, col = x[n:], col+n
	}
}

// scale returns the value of two bytes of a block, binary16.
func scale(b []byte) float32 { return fp.Float16ToFloat32(binary.LittleEndian.Uint16(b)) }

// setScale writes a scale, and reports whether it is a number. If it is not, the rest of the block has
// to be zeros.
func setScale(b []byte, d float32) bool {
	if d != d {
		binary.LittleEndian.PutUint16(b, quietNaN16)
		return false
	}
	binary.LittleEndian.PutUint16(b, fp.Float32ToFloat16(d))
	return true
}

// littleEndian says that numbers of this machine are in the order of those of weights.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

func decodeFloat32(y []float32, b []byte) {
	if littleEndian {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(y))), 4*len(y)), b)
		return
	}
	for i := range y {
		y[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
}

func encodeFloat32(b []byte, x []float32) {
	for i, v := range x {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
	}
}

func decodeFloat16(y []float32, b []byte) {
	for i := range y {
		y[i] = fp.Float16ToFloat32(binary.LittleEndian.Uint16(b[2*i:]))
	}
}

func encodeFloat16(b []byte, x []float32) {
	for i, v := range x {
		binary.LittleEndian.PutUint16(b[2*i:], fp.Float32ToFloat16(v))
	}
}

func decodeBFloat16(y []float32, b []byte) {
	for i := range y {
		y[i] = fp.BFloat16ToFloat32(binary.LittleEndian.Uint16(b[2*i:]))
	}
}

func encodeBFloat16(b []byte, x []float32) {
	for i, v := range x {
		binary.LittleEndian.PutUint16(b[2*i:], fp.Float32ToBFloat16(v))
	}
}

func decodeInt8(y []float32, b []byte) {
	for i := range y {
		y[i] = float32(int8(b[i]))
	}
}
