package kernel

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel/fp"
)

// An Elem is the type that keys and values are stored in. All arithmetic is in float32:
// a kernel that reads another type computes with exactly the numbers that Values returns.
type Elem int

// The element types. Files hold their numbers: none is given to another type.
const (
	Float32  Elem = iota
	Float16       // IEEE 754 binary16
	BFloat16      // the upper half of a float32
	Int8          // times a float32 scale for each row, symmetric
	Q8_0          // ggml's blocks of 32 values, see [BlockQ8_0]
	E4M3          // 8 bits of floating point: 4 of exponent, no infinities
	E5M2          // the upper half of a binary16
	Q4_0          // blocks of 32 values of 4 bits, see [BlockQ4_0]
	Q4_1          // likewise, with a number that is added, see [BlockQ4_1]
	elems
)

// A ScaleKind says where the scale is that integers of a type are multiplied by.
type ScaleKind int

const (
	NoScale    ScaleKind = iota
	RowScale             // a float32 for each row, an operand of its own
	BlockScale           // in each unit
)

// elemTypes is the table of element types: what there is to know of one but its code, which is
// in [Elem.Values] and [Elem.SetRow].
var elemTypes = [elems]struct {
	name, goType string
	unit, align  int // bytes of what strides count, and what its address is a multiple of
	values       int // of a unit
	scale        ScaleKind
	direct       bool // decode kernels read it
}{
	Float32:  {"float32", "float32", 4, 4, 1, NoScale, true},
	Float16:  {"float16", "Float16", 2, 2, 1, NoScale, true},
	BFloat16: {"bfloat16", "BFloat16", 2, 2, 1, NoScale, true},
	Int8:     {"int8", "int8", 1, 1, 1, RowScale, true},
	Q8_0:     {"q8_0", "BlockQ8_0", int(unsafe.Sizeof(BlockQ8_0{})), int(unsafe.Alignof(BlockQ8_0{})), BlockValues, BlockScale, true},
	E4M3:     {"e4m3", "Float8E4M3", 1, 1, 1, NoScale, false},
	E5M2:     {"e5m2", "Float8E5M2", 1, 1, 1, NoScale, false},
	Q4_0:     {"q4_0", "BlockQ4_0", int(unsafe.Sizeof(BlockQ4_0{})), int(unsafe.Alignof(BlockQ4_0{})), BlockValues, BlockScale, false},
	Q4_1:     {"q4_1", "BlockQ4_1", int(unsafe.Sizeof(BlockQ4_1{})), int(unsafe.Alignof(BlockQ4_1{})), BlockValues, BlockScale, false},
}

// Elems returns all element types, in the order of their numbers.
func Elems() []Elem {
	all := make([]Elem, elems)
	for i := range all {
		all[i] = Elem(i)
	}
	return all
}

// Known reports whether there is such a type.
func (e Elem) Known() bool { return e >= 0 && e < elems }

// Name returns the name of the type in texts: "float32", "float16", "bfloat16", "int8", "q8_0", "e4m3",
// "e5m2", "q4_0", "q4_1".
func (e Elem) Name() string { return elemTypes[e].name }

// String returns the name of the Go type.
func (e Elem) String() string {
	if !e.Known() {
		return unnamed("Elem", int(e))
	}
	return elemTypes[e].goType
}

// ElemNamed returns the type that has the name in texts, and whether there is one.
func ElemNamed(name string) (Elem, bool) {
	for _, e := range Elems() {
		if e.Name() == name {
			return e, true
		}
	}
	return 0, false
}

// Unit returns the bytes of what strides count: an element, or a block.
func (e Elem) Unit() int { return elemTypes[e].unit }

// Align returns what the address of a unit is a multiple of.
func (e Elem) Align() int { return elemTypes[e].align }

// UnitValues returns the number of values in a unit: 1 unless that is a block.
func (e Elem) UnitValues() int { return elemTypes[e].values }

// Scale says where the scale of the values is.
func (e Elem) Scale() ScaleKind { return elemTypes[e].scale }

// Direct reports whether DecodeScores and DecodeAccumulate read rows of the type. Rows of another are
// made float32 by Convert first, a few at a time.
func (e Elem) Direct() bool { return elemTypes[e].direct }

// RowBytes returns the bytes of the units of a row of dim values, without a scale of the row.
func (e Elem) RowBytes(dim int) int { return dim / e.UnitValues() * e.Unit() }

// BlockValues is the number of values of a block.
const BlockValues = 32

// A BlockQ8_0 is a block of ggml's type Q8_0 (block_q8_0 of ggml-common.h): value i is
// Scale * Quants[i]. Scale has the byte order of the machine, as in ggml's memory. Files have
// [WeightQ8_0], little-endian everywhere.
type BlockQ8_0 struct {
	Scale  uint16 // binary16
	Quants [BlockValues]int8
}

// A BlockQ4_0 is a block of ggml's type Q4_0 (block_q4_0 of ggml-common.h): byte i has the codes of value i,
// in its lower 4 bits, and of value i+16, and a value is Scale * (code - 8). Scale has the byte order
// of the machine.
type BlockQ4_0 struct {
	Scale  uint16 // binary16
	Quants [BlockValues / 2]uint8
}

// A BlockQ4_1 is a block of ggml's type Q4_1 (block_q4_1 of ggml-common.h): the codes lie as in a
// [BlockQ4_0], and a value is Scale * code + Min, a product that is exact and a sum that is rounded to
// float32. Both have the byte order of the machine.
type BlockQ4_1 struct {
	Scale, Min uint16 // binary16
	Quants     [BlockValues / 2]uint8
}

// Values sets dst to the values of the row at p from the first on, whose units are stride bytes
// apart. scale is that of a row with a [RowScale], by which a value is multiplied and rounded to
// float32; a product of a block is exact, and what is added to it is rounded once.
func (e Elem) Values(dst []float32, p unsafe.Pointer, first, stride int, scale float32) {
	switch e {
	case Float32:
		for i := range dst {
			dst[i] = *(*float32)(unsafe.Add(p, (first+i)*stride))
		}
	case Float16:
		for i := range dst {
			dst[i] = fp.Float16ToFloat32(*(*uint16)(unsafe.Add(p, (first+i)*stride)))
		}
	case BFloat16:
		for i := range dst {
			dst[i] = fp.BFloat16ToFloat32(*(*uint16)(unsafe.Add(p, (first+i)*stride)))
		}
	case Int8:
		for i := range dst {
			dst[i] = scale * float32(*(*int8)(unsafe.Add(p, (first+i)*stride)))
		}
	case Q8_0:
		for len(dst) > 0 {
			b := (*BlockQ8_0)(unsafe.Add(p, first/BlockValues*stride))
			scale, from := fp.Float16ToFloat32(b.Scale), first%BlockValues
			n := min(BlockValues-from, len(dst))
			for i, q := range b.Quants[from:][:n] {
				dst[i] = scale * float32(q)
			}
			dst, first = dst[n:], first+n
		}
	case E4M3:
		for i := range dst {
			dst[i] = fp.Float8E4M3ToFloat32(*(*uint8)(unsafe.Add(p, (first+i)*stride)))
		}
	case E5M2:
		for i := range dst {
			dst[i] = fp.Float8E5M2ToFloat32(*(*uint8)(unsafe.Add(p, (first+i)*stride)))
		}
	case Q4_0, Q4_1:
		for len(dst) > 0 {
			var d, m float32
			var quants *[BlockValues / 2]uint8
			if at := unsafe.Add(p, first/BlockValues*stride); e == Q4_0 {
				b := (*BlockQ4_0)(at)
				d, quants = fp.Float16ToFloat32(b.Scale), &b.Quants
			} else {
				b := (*BlockQ4_1)(at)
				d, m, quants = fp.Float16ToFloat32(b.Scale), fp.Float16ToFloat32(b.Min), &b.Quants
			}
			from := first % BlockValues
			n := min(BlockValues-from, len(dst))
			for i := range dst[:n] {
				q := quants[(from+i)%len(quants)] >> ((from + i) / len(quants) * 4) & 15
				if e == Q4_0 {
					dst[i] = d * float32(int(q)-8)
				} else {
					dst[i] = float32(d*float32(q)) + m
				}
			}
			dst, first = dst[n:], first+n
		}
	default:
		panic("kernel: unknown Elem")
	}
}

// Value returns value i of the row at p, as [Elem.Values] does.
func (e Elem) Value(p unsafe.Pointer, i, stride int, scale float32) float32 {
	var v [1]float32
	e.Values(v[:], p, i, stride, scale)
	return v[0]
}
