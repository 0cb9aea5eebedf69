package qkv

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// QuantizeInt8 makes integers of the values of a row and returns their scale, which is the
// largest magnitude divided by 127: value i is about scale * dst[i]. An integer is the one
// nearest to the quotient, ties to even: a value is off by half the scale, and by 2^-143 where
// the scale is subnormal. Zeros have scale 0. If a value is NaN or infinite, the scale is NaN,
// so that no value of the row passes for a number. The error is an [*ArgError] for slices of
// different lengths.
func QuantizeInt8(dst []int8, src []float32) (scale float32, err error) {
	if len(dst) != len(src) {
		return 0, argError("dst", len(dst), len(src), "dst has %d integers, src has %d values", len(dst), len(src))
	}
	kernel.Int8.SetRow(unsafe.Pointer(unsafe.SliceData(dst)), kernel.Int8.Unit(), &scale, unsafe.SliceData(src), 1, len(src))
	return scale, nil
}

// DequantizeInt8 computes the values that QuantizeInt8 made integers of: each is the product
// of scale and the integer, rounded to float32, as a [Call] has it. The error is an
// [*ArgError] for slices of different lengths.
func DequantizeInt8(dst []float32, src []int8, scale float32) error {
	if len(dst) != len(src) {
		return argError("dst", len(dst), len(src), "dst has %d values, src has %d integers", len(dst), len(src))
	}
	kernel.Int8.Values(dst, unsafe.Pointer(unsafe.SliceData(src)), 0, kernel.Int8.Unit(), scale)
	return nil
}

// QuantizeQ8_0 makes blocks of a row as ggml's quantize_row_q8_0_ref does, to the bit
// wherever that is defined: the scale is the largest magnitude divided by 127, an integer
// the one nearest to the product with the reciprocal, ties away from zero, and only then is
// the scale rounded to binary16. Values off the range of such scales are lost: of a block whose
// largest magnitude is below 127·2^-25, 3.8e-6, the scale is 0, below 2^-7 it has fewer bits,
// and from 127·65520, 8.3e6, it is infinite. A block with a NaN or an infinity has a scale that is
// a NaN and integers of 0: all of its values are NaN. The error is an
// [*ArgError] if src has not 32 values for each block.
func QuantizeQ8_0(dst []BlockQ8_0, src []float32) error { return quantize(kernel.Q8_0, dst, src) }

// DequantizeQ8_0 computes the values of blocks, which are exact. The error is an
// [*ArgError] if dst has not 32 values for each block.
func DequantizeQ8_0(dst []float32, src []BlockQ8_0) error { return dequantize(kernel.Q8_0, dst, src) }

// BlocksQ8_0 returns the memory of b as blocks, in the byte order of the machine: the cache
// of an engine that has ggml's layout. On a big-endian machine the blocks of a file need the bytes
// of their scales swapped first. The error is an [*ArgError] if b does not have the bytes of whole
// blocks, or begins at an odd address.
func BlocksQ8_0(b []byte) ([]BlockQ8_0, error) { return blocksOf[BlockQ8_0](b) }

// quantize makes blocks of a row.
func quantize[T any](e kernel.Elem, dst []T, src []float32) error {
	if n := mul(len(dst), kernel.BlockValues); n != len(src) {
		return argError("src", len(src), n, "src has %d values, dst has blocks of %d", len(src), n)
	}
	e.SetRow(unsafe.Pointer(unsafe.SliceData(dst)), e.Unit(), nil, unsafe.SliceData(src), 1, len(src))
	return nil
}

// dequantize computes the values of blocks.
func dequantize[T any](e kernel.Elem, dst []float32, src []T) error {
	if n := mul(len(src), kernel.BlockValues); n != len(dst) {
		return argError("dst", len(dst), n, "dst has %d values, src has blocks of %d", len(dst), n)
	}
	e.Values(dst, unsafe.Pointer(unsafe.SliceData(src)), 0, e.Unit(), 1)
	return nil
}

// blocksOf returns the memory of b as blocks.
func blocksOf[T any](b []byte) ([]T, error) {
	var block T
	size, align := int(unsafe.Sizeof(block)), unsafe.Alignof(block)
	if len(b)%size != 0 {
		return nil, argError("b", len(b), size, "b has %d bytes, not a multiple of the %d of a block", len(b), size)
	}
	at := unsafe.Pointer(unsafe.SliceData(b))
	if len(b) == 0 {
		return nil, nil
	}
	if off := int(uintptr(at) % align); off != 0 {
		return nil, argError("b", off, int(align), "b begins %d bytes from a multiple of %d", off, int(align))
	}
	return unsafe.Slice((*T)(at), len(b)/size), nil
}
