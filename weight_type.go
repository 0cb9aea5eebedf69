package qkv

import (
	"fmt"

	"github.com/qkv-go/qkv/kernel"
)

// A WeightType is a type that files of models store weights in. A block holds a fixed number of values in a
// fixed number of bytes, at any alignment, with numbers in little-endian order on every machine.
// A row is whole blocks, one behind the other. docs/numerics.md has the values that blocks stand for.
type WeightType int

// The types of weights. Those from WeightQ8_0 to WeightIQ4_NL have the layout of ggml's types of that
// name. Their numbers are not ggml's. In GGUF files these are
//
//	F32 0, F16 1, Q4_0 2, Q4_1 3, Q5_0 6, Q5_1 7, Q8_0 8, Q2_K 10, Q3_K 11, Q4_K 12, Q5_K 13, Q6_K 14,
//	IQ4_NL 20, BF16 30, MXFP4 39
const (
	WeightFloat32  = WeightType(kernel.WeightFloat32)
	WeightFloat16  = WeightType(kernel.WeightFloat16)  // [Float16]
	WeightBFloat16 = WeightType(kernel.WeightBFloat16) // [BFloat16]
	WeightInt8     = WeightType(kernel.WeightInt8)     // with float32 scales, see [Int8Matrix]
	WeightQ8_0     = WeightType(kernel.WeightQ8_0)     // 34 bytes for 32 values
	WeightQ4_0     = WeightType(kernel.WeightQ4_0)     // 18 for 32
	WeightQ4_1     = WeightType(kernel.WeightQ4_1)     // 20 for 32
	WeightQ5_0     = WeightType(kernel.WeightQ5_0)     // 22 for 32
	WeightQ5_1     = WeightType(kernel.WeightQ5_1)     // 24 for 32
	WeightQ2_K     = WeightType(kernel.WeightQ2_K)     // 84 for 256
	WeightQ3_K     = WeightType(kernel.WeightQ3_K)     // 110 for 256
	WeightQ4_K     = WeightType(kernel.WeightQ4_K)     // 144 for 256
	WeightQ5_K     = WeightType(kernel.WeightQ5_K)     // 176 for 256
	WeightQ6_K     = WeightType(kernel.WeightQ6_K)     // 210 for 256
	WeightIQ4_NL   = WeightType(kernel.WeightIQ4_NL)   // 18 for 32
	WeightMXFP4    = WeightType(kernel.WeightMXFP4)    // of OCP's Microscaling Formats, as ggml has it: 17 for 32
)

// String returns the name of the type, as "Q4_K".
func (t WeightType) String() string {
	if !t.known() {
		return fmt.Sprintf("WeightType(%d)", int(t))
	}
	return kernel.Weight(t).String()
}

func (t WeightType) known() bool { return kernel.Weight(t).Known() }

// Block returns the values of a block and its bytes, 0 of a type that there is not.
func (t WeightType) Block() (values, bytes int) {
	if !t.known() {
		return 0, 0
	}
	return kernel.Weight(t).Values(), kernel.Weight(t).Bytes()
}

// check reports a type that there is not.
func (t WeightType) check(name string) error {
	if !t.known() {
		return argError(name, int(t), int(WeightMXFP4), "%s is of the unknown type %v", name, t)
	}
	return nil
}

// size returns the bytes of n values. It is an error if they are no whole blocks.
func (t WeightType) size(name string, n int) (int, error) {
	values, bytes := t.Block()
	if n%values != 0 {
		return 0, argError(name, n, values, "%s has %d values, not a multiple of the %d of a block of %v", name, n, values, t)
	}
	return mul(n/values, bytes), nil
}

// Quantize makes blocks of the values of src in dst. Those of ggml's types are what its
// quantize_row_*_ref functions make, see docs/numerics.md. It makes none of WeightInt8, see
// [QuantizeInt8], nor of the types from WeightQ2_K to WeightQ6_K, which are read from files alone. The
// error is an [*ArgError]; nothing has been written then.
func Quantize(t WeightType, dst []byte, src []float32) error {
	if err := t.check("dst"); err != nil {
		return err
	}
	if !kernel.Weight(t).Encodes() {
		instead := ""
		if t == WeightInt8 {
			instead = ": QuantizeInt8 does"
		}
		return argError("dst", int(t), int(WeightQ8_0), "dst is of type %v, which Quantize does not make%s", t, instead)
	}
	size, err := t.size("src", len(src))
	if err != nil {
		return err
	}
	if len(dst) != size {
		return argError("dst", len(dst), size, "dst has %d bytes, %d values of type %v take %d", len(dst), len(src), t, size)
	}
	kernel.Weight(t).Encode(dst, src)
	return nil
}

// Dequantize computes the values of the blocks in src, as many as dst has. Those of WeightInt8 are
// the integers. The error is an [*ArgError]; nothing has been written then.
func Dequantize(t WeightType, dst []float32, src []byte) error {
	if err := t.check("src"); err != nil {
		return err
	}
	size, err := t.size("dst", len(dst))
	if err != nil {
		return err
	}
	if len(src) != size {
		return argError("src", len(src), size, "src has %d bytes, %d values of type %v take %d", len(src), len(dst), t, size)
	}
	kernel.Weight(t).Decode(dst, src)
	return nil
}
