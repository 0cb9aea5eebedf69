package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"

	"github.com/qkv-go/qkv"
)

// littleEndian is whether numbers lie in memory as they do in Data.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// alias returns data as a slice of its elements, which shares memory with it, where they
// lie as this machine's do. T must be of numbers, every pattern of bits one of them.
func alias[T float32 | float64 | qkv.Float16](data []byte) ([]T, bool) {
	size := int(unsafe.Sizeof(*new(T)))
	p := unsafe.Pointer(unsafe.SliceData(data))
	if !littleEndian || uintptr(p)%uintptr(size) != 0 {
		return nil, false
	}
	return unsafe.Slice((*T)(p), len(data)/size), true
}

// isFloat reports a type that the operators compute with.
func isFloat(t ElementType) bool {
	return t == Float || t == Float16 || t == BFloat16 || t == Double
}

// floats returns the values of a tensor for which isFloat holds. They may share memory
// with its Data.
func floats[T float32 | float64](t *Tensor) []T {
	if t.Type.Bits() == 8*int(unsafe.Sizeof(*new(T))) {
		if v, ok := alias[T](t.Data); ok {
			return v
		}
	}
	v := make([]T, t.Len())
	le := binary.LittleEndian
	switch t.Type {
	case Float:
		for i := range v {
			v[i] = T(math.Float32frombits(le.Uint32(t.Data[4*i:])))
		}
	case Double:
		for i := range v {
			v[i] = T(math.Float64frombits(le.Uint64(t.Data[8*i:])))
		}
	case Float16:
		for i := range v {
			v[i] = T(halfValue(le.Uint16(t.Data[2*i:]), 5))
		}
	case BFloat16:
		for i := range v {
			v[i] = T(halfValue(le.Uint16(t.Data[2*i:]), 8))
		}
	}
	return v
}

// float16s returns the values of a tensor of type [Float16], which may share memory with
// its Data.
func float16s(t *Tensor) []qkv.Float16 {
	if v, ok := alias[qkv.Float16](t.Data); ok {
		return v
	}
	v := make([]qkv.Float16, t.Len())
	for i := range v {
		v[i] = qkv.Float16(binary.LittleEndian.Uint16(t.Data[2*i:]))
	}
	return v
}

// bools returns the values of a tensor of type [Bool]. They share memory with its Data,
// where a byte other than 0 and 1, which no Go bool has, is an error.
func bools(t *Tensor) ([]bool, error) {
	for i, b := range t.Data {
		if b > 1 {
			return nil, fmt.Errorf("element %d is %d, a boolean is 0 or 1", i, b)
		}
	}
	return unsafe.Slice((*bool)(unsafe.Pointer(unsafe.SliceData(t.Data))), len(t.Data)), nil
}

// int64s returns the values of a tensor of type [Int64].
func int64s(t *Tensor) []int64 {
	v := make([]int64, t.Len())
	for i := range v {
		v[i] = int64(binary.LittleEndian.Uint64(t.Data[8*i:]))
	}
	return v
}

// encode returns values as the Data of a type for which isFloat holds, rounded to
// nearest, ties to even. It may share memory with v.
func encode[T float32 | float64](typ ElementType, v []T) []byte {
	size := int(unsafe.Sizeof(*new(T)))
	if littleEndian && typ.Bits() == 8*size {
		return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), size*len(v))
	}
	data := make([]byte, 0, typ.Bits()/8*len(v))
	le := binary.LittleEndian
	switch typ {
	case Float:
		for _, x := range v {
			data = le.AppendUint32(data, math.Float32bits(float32(x)))
		}
	case Double:
		for _, x := range v {
			data = le.AppendUint64(data, math.Float64bits(float64(x)))
		}
	case Float16:
		for _, x := range v {
			data = le.AppendUint16(data, half(float64(x), 5))
		}
	case BFloat16:
		for _, x := range v {
			data = le.AppendUint16(data, half(float64(x), 8))
		}
	}
	return data
}

// halfValue returns the value of the bits of a 16-bit number that has so many bits of
// exponent: 5 in binary16, 8 in bfloat16.
func halfValue(b uint16, exponent int) float32 {
	if exponent == 8 { // the upper half of a float32
		return math.Float32frombits(uint32(b) << 16)
	}
	return qkv.Float16(b).Float32()
}

// half returns the bits of the 16-bit number nearest to x, ties to even. It is the
// inverse of halfValue.
func half(x float64, exponent int) uint16 {
	fraction, bias := 15-exponent, 1<<(exponent-1)-1
	sign := uint16(math.Float64bits(x) >> 48 & 0x8000)
	infinity := uint16(1<<exponent-1) << fraction
	switch x = math.Abs(x); {
	case math.IsNaN(x):
		return sign | infinity | 1<<(fraction-1)
	case math.IsInf(x, 0):
		return sign | infinity
	case x == 0:
		return sign
	}
	// x = n * 2^(e-fraction), where n has a bit above the fraction if x is normal.
	_, e := math.Frexp(x)
	e = max(e-1, 1-bias)
	n := uint64(math.RoundToEven(math.Ldexp(x, fraction-e)))
	if e > bias {
		return sign | infinity
	}
	// The bit above the fraction adds 1 to the exponent, as does a carry into the next.
	return sign | uint16(min(uint64(e-1+bias)<<fraction+n, uint64(infinity)))
}
