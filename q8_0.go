package qkv

import "github.com/qkv-go/qkv/kernel"

// A BlockQ8_0 is a block of 32 values of ggml's type Q8_0, in its layout:
//
//	type BlockQ8_0 struct {
//		Scale  uint16   // the bits of a Float16
//		Quants [32]int8 // value i is Scale * Quants[i]
//	}
//
// Scale has the byte order of the machine, as all keys and values have. Blocks of a file are little-endian
// on every machine: see [WeightQ8_0].
type BlockQ8_0 = kernel.BlockQ8_0
