package qkv

import "github.com/qkv-go/qkv/kernel"

// A BlockQ4_0 is a block of 32 values of ggml's type Q4_0, in its layout:
//
//	type BlockQ4_0 struct {
//		Scale  uint16    // the bits of a Float16
//		Quants [16]uint8 // codes of values i, the lower 4 bits of byte i, and i+16, the upper ones
//	}
//
// A value is Scale * (code - 8). Scale has the byte order of the machine, as all keys and values have.
// Blocks of a file are little-endian on every machine: see [WeightQ4_0].
type BlockQ4_0 = kernel.BlockQ4_0

// A BlockQ4_1 is a block of 32 values of ggml's type Q4_1, in its layout: 4 bits a value, with a scale
// and a zero point for each 32.
//
//	type BlockQ4_1 struct {
//		Scale, Min uint16    // the bits of a Float16 each
//		Quants     [16]uint8 // codes of values i, the lower 4 bits of byte i, and i+16, the upper ones
//	}
//
// A value is Scale * code + Min, rounded to float32 once. Scale and Min have the byte order of the
// machine, as all keys and values have. Blocks of a file are little-endian on every machine: see
// [WeightQ4_1].
type BlockQ4_1 = kernel.BlockQ4_1

// QuantizeQ4_0 makes blocks of a row as ggml's quantize_row_q4_0_ref does, to the bit wherever that is
// defined: the scale is the first number of the largest magnitude, divided by -8, and a code is that of
// the integer nearest to the product with the reciprocal, ties upwards, at most 15; only then is the
// scale rounded to binary16. Values off the range of such scales are lost, as with [QuantizeQ8_0]. A
// block with a NaN or an infinity has a scale that is a NaN and codes of 0: all of its values are NaN.
// The error is an [*ArgError] if src has not 32 values for each block.
func QuantizeQ4_0(dst []BlockQ4_0, src []float32) error { return quantize(kernel.Q4_0, dst, src) }

// DequantizeQ4_0 computes the values of blocks, which are exact. The error is an [*ArgError] if dst has
// not 32 values for each block.
func DequantizeQ4_0(dst []float32, src []BlockQ4_0) error { return dequantize(kernel.Q4_0, dst, src) }

// BlocksQ4_0 is [BlocksQ8_0] of these blocks.
func BlocksQ4_0(b []byte) ([]BlockQ4_0, error) { return blocksOf[BlockQ4_0](b) }

// QuantizeQ4_1 makes blocks of a row as ggml's quantize_row_q4_1_ref does, to the bit wherever that is
// defined, but that a Min of zero has no sign: it is the least number, the scale is the 15th part of
// the range, and a code is that of the integer nearest to the product of the difference with the
// reciprocal, ties upwards; only then are both rounded to binary16. Values off the range of such
// numbers are lost, as with [QuantizeQ8_0]. A block with a NaN or an infinity has a scale that is a NaN
// and codes of 0: all of its values are NaN. The error is an [*ArgError] if src has not 32 values for
// each block.
func QuantizeQ4_1(dst []BlockQ4_1, src []float32) error { return quantize(kernel.Q4_1, dst, src) }

// DequantizeQ4_1 computes the values of blocks, each rounded to float32 as a [Call] has it. The error
// is an [*ArgError] if dst has not 32 values for each block.
func DequantizeQ4_1(dst []float32, src []BlockQ4_1) error { return dequantize(kernel.Q4_1, dst, src) }

// BlocksQ4_1 is [BlocksQ8_0] of these blocks.
func BlocksQ4_1(b []byte) ([]BlockQ4_1, error) { return blocksOf[BlockQ4_1](b) }
