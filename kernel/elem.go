package kernel

import (
	"math"
	"unsafe"
)

// An Elem is the type that keys and values are stored in. All arithmetic is in float32:
// a kernel that reads another type computes with exactly the numbers that Value returns.
type Elem int

const (
	Float32  Elem = iota
	Float16       // IEEE 754 binary16
	BFloat16      // the upper half of a float32
	Int8          // times a float32 scale for each row, symmetric
	Q8_0          // ggml's blocks of 32 values, see [BlockQ8_0]
	elems
)

// Elems lists the element types.
var Elems = [elems]Elem{Float32, Float16, BFloat16, Int8, Q8_0}

func (e Elem) String() string {
	return [elems]string{"float32", "Float16", "BFloat16", "int8", "BlockQ8_0"}[e]
}

// BlockValues is the number of values of a BlockQ8_0.
const BlockValues = 32

// A BlockQ8_0 is a block of ggml's type Q8_0 (block_q8_0 of ggml-common.h): value i is
// Scale * Quants[i].
type BlockQ8_0 struct {
	Scale  uint16 // binary16
	Quants [BlockValues]int8
}

// Unit returns the bytes of what strides count: an element, or a block.
func (e Elem) Unit() int { return [elems]int{4, 2, 2, 1, int(unsafe.Sizeof(BlockQ8_0{}))}[e] }

// UnitValues returns the number of values in a unit.
func (e Elem) UnitValues() int {
	if e == Q8_0 {
		return BlockValues
	}
	return 1
}

// Value returns value i of the row at p, whose units are stride bytes apart. scale is that
// of an Int8 row, by which the value is multiplied and rounded to float32; a product of a
// block is exact.
func (e Elem) Value(p unsafe.Pointer, i, stride int, scale float32) float32 {
	switch e {
	case Float16:
		return Float16ToFloat32(*(*uint16)(unsafe.Add(p, i*stride)))
	case BFloat16:
		return BFloat16ToFloat32(*(*uint16)(unsafe.Add(p, i*stride)))
	case Int8:
		return scale * float32(*(*int8)(unsafe.Add(p, i*stride)))
	case Q8_0:
		b := (*BlockQ8_0)(unsafe.Add(p, i/BlockValues*stride))
		return Float16ToFloat32(b.Scale) * float32(b.Quants[i%BlockValues])
	}
	return *(*float32)(unsafe.Add(p, i*stride))
}

// BFloat16ToFloat32 returns the value of the bits of a bfloat16 number.
func BFloat16ToFloat32(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// Float32ToBFloat16 returns the bits of the bfloat16 number nearest to f, ties to even: an
// infinity where that is beyond the finite ones, a quiet NaN for a NaN.
func Float32ToBFloat16(f float32) uint16 {
	b := math.Float32bits(f)
	if f != f {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}
