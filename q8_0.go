package qkv

import "github.com/qkv-go/qkv/kernel"

// A BlockQ8_0 is a block of 32 values of ggml's type Q8_0, in its layout: value i is
// Scale, the bits of a [Float16], times Quants[i].
type BlockQ8_0 = kernel.BlockQ8_0
