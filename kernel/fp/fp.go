// Package fp is floating-point arithmetic that gives the same bits on every architecture. Package math
// does not: it has assembly on some, and a compiler may fuse a product with a sum, unless a
// conversion stands in between.
//
// What kernels compute is in float32, each operation a sequence that machine code can follow:
// [FMA], [Exp2], [Softcap], [SiLU], [GELU] and [GELUTanh], and the types of 16 bits. Tables and results
// of whole rows are in float64: [Log], [LogParts], [Power], [Sincos].
package fp
