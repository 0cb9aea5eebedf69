package gguf

import (
	"fmt"

	"github.com/qkv-go/qkv"
)

// A Tensor is one of a file.
type Tensor struct {
	Name string
	Dims []int // 1 to 4; the first is that of a row, whose elements lie side by side
	Type Type
	Data []byte // part of the file

	size uint64
}

// A Type is a type of tensors, by its number in ggml.
type Type uint32

// typeInfo says how a type is laid out.
type typeInfo struct {
	name          string
	values, bytes int            // of a block
	weight        qkv.WeightType // if the library has the type
	known         bool
}

// types are those of ggml.h. The library has those with a WeightType; of others a file may have tensors
// that nobody asks for.
var types = map[Type]typeInfo{
	0:  {"F32", 1, 4, qkv.WeightFloat32, true},
	1:  {"F16", 1, 2, qkv.WeightFloat16, true},
	2:  {"Q4_0", 32, 18, qkv.WeightQ4_0, true},
	3:  {"Q4_1", 32, 20, qkv.WeightQ4_1, true},
	6:  {"Q5_0", 32, 22, qkv.WeightQ5_0, true},
	7:  {"Q5_1", 32, 24, qkv.WeightQ5_1, true},
	8:  {"Q8_0", 32, 34, qkv.WeightQ8_0, true},
	9:  {name: "Q8_1", values: 32, bytes: 36},
	10: {"Q2_K", 256, 84, qkv.WeightQ2_K, true},
	11: {"Q3_K", 256, 110, qkv.WeightQ3_K, true},
	12: {"Q4_K", 256, 144, qkv.WeightQ4_K, true},
	13: {"Q5_K", 256, 176, qkv.WeightQ5_K, true},
	14: {"Q6_K", 256, 210, qkv.WeightQ6_K, true},
	15: {name: "Q8_K", values: 256, bytes: 292},
	16: {name: "IQ2_XXS", values: 256, bytes: 66},
	17: {name: "IQ2_XS", values: 256, bytes: 74},
	18: {name: "IQ3_XXS", values: 256, bytes: 98},
	19: {name: "IQ1_S", values: 256, bytes: 50},
	20: {"IQ4_NL", 32, 18, qkv.WeightIQ4_NL, true},
	21: {name: "IQ3_S", values: 256, bytes: 110},
	22: {name: "IQ2_S", values: 256, bytes: 82},
	23: {name: "IQ4_XS", values: 256, bytes: 136},
	24: {name: "I8", values: 1, bytes: 1},
	25: {name: "I16", values: 1, bytes: 2},
	26: {name: "I32", values: 1, bytes: 4},
	27: {name: "I64", values: 1, bytes: 8},
	28: {name: "F64", values: 1, bytes: 8},
	29: {name: "IQ1_M", values: 256, bytes: 56},
	30: {"BF16", 1, 2, qkv.WeightBFloat16, true},
	34: {name: "TQ1_0", values: 256, bytes: 54},
	35: {name: "TQ2_0", values: 256, bytes: 66},
	39: {"MXFP4", 32, 17, qkv.WeightMXFP4, true},
}

// String returns the name that ggml gives the type.
func (t Type) String() string {
	if info, ok := types[t]; ok {
		return info.name
	}
	return fmt.Sprintf("Type(%d)", uint32(t))
}

// Rows returns how many rows the tensor has, over all dims behind the first.
func (t *Tensor) Rows() int {
	n := 1
	for _, d := range t.Dims[1:] {
		n *= d
	}
	return n
}

// Size returns the rows and columns of the tensor as a matrix.
func (t *Tensor) Size() (rows, cols int) { return t.Rows(), t.Dims[0] }

// Matrix returns the tensor as a matrix [Rows, Dims[0]] of weights, in the file. The error is for a type
// that the library has not.
func (t *Tensor) Matrix() (qkv.Matrix, error) {
	info := types[t.Type]
	if !info.known {
		return qkv.Matrix{}, fmt.Errorf("gguf: tensor %q is of type %v, which is not supported", t.Name, t.Type)
	}
	return qkv.WeightMatrix(info.weight, t.Data, t.Rows(), t.Dims[0]), nil
}

// Float32 returns a copy of the elements. The error is that of [Tensor.Matrix].
func (t *Tensor) Float32() ([]float32, error) {
	info := types[t.Type]
	if !info.known {
		_, err := t.Matrix()
		return nil, err
	}
	x := make([]float32, t.Rows()*t.Dims[0])
	if err := qkv.Dequantize(info.weight, x, t.Data); err != nil {
		return nil, fmt.Errorf("gguf: tensor %q: %w", t.Name, err)
	}
	return x, nil
}
