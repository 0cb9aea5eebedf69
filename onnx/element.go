package onnx

import "fmt"

// An ElementType is the type of a tensor's elements: TensorProto.DataType.
type ElementType int32

// Element types, with the numbers of the schema.
const (
	Undefined      ElementType = 0
	Float          ElementType = 1
	Uint8          ElementType = 2
	Int8           ElementType = 3
	Uint16         ElementType = 4
	Int16          ElementType = 5
	Int32          ElementType = 6
	Int64          ElementType = 7
	String         ElementType = 8
	Bool           ElementType = 9
	Float16        ElementType = 10
	Double         ElementType = 11
	Uint32         ElementType = 12
	Uint64         ElementType = 13
	Complex64      ElementType = 14
	Complex128     ElementType = 15
	BFloat16       ElementType = 16
	Float8E4M3FN   ElementType = 17
	Float8E4M3FNUZ ElementType = 18
	Float8E5M2     ElementType = 19
	Float8E5M2FNUZ ElementType = 20
	Uint4          ElementType = 21
	Int4           ElementType = 22
	Float4E2M1     ElementType = 23
	Float8E8M0     ElementType = 24
)

// elementTypes has the schema's name of each type; its width in raw_data; and the
// number of the typed data field that may hold it instead. Bits is 0 for types that
// have no width.
var elementTypes = [...]struct {
	name  string
	bits  int
	field int32
}{
	Undefined:      {"UNDEFINED", 0, 0},
	Float:          {"FLOAT", 32, fieldFloatData},
	Uint8:          {"UINT8", 8, fieldInt32Data},
	Int8:           {"INT8", 8, fieldInt32Data},
	Uint16:         {"UINT16", 16, fieldInt32Data},
	Int16:          {"INT16", 16, fieldInt32Data},
	Int32:          {"INT32", 32, fieldInt32Data},
	Int64:          {"INT64", 64, fieldInt64Data},
	String:         {"STRING", 0, 0},
	Bool:           {"BOOL", 8, fieldInt32Data},
	Float16:        {"FLOAT16", 16, fieldInt32Data},
	Double:         {"DOUBLE", 64, fieldDoubleData},
	Uint32:         {"UINT32", 32, fieldUint64Data},
	Uint64:         {"UINT64", 64, fieldUint64Data},
	Complex64:      {"COMPLEX64", 64, fieldFloatData},
	Complex128:     {"COMPLEX128", 128, fieldDoubleData},
	BFloat16:       {"BFLOAT16", 16, fieldInt32Data},
	Float8E4M3FN:   {"FLOAT8E4M3FN", 8, fieldInt32Data},
	Float8E4M3FNUZ: {"FLOAT8E4M3FNUZ", 8, fieldInt32Data},
	Float8E5M2:     {"FLOAT8E5M2", 8, fieldInt32Data},
	Float8E5M2FNUZ: {"FLOAT8E5M2FNUZ", 8, fieldInt32Data},
	Uint4:          {"UINT4", 4, fieldInt32Data},
	Int4:           {"INT4", 4, fieldInt32Data},
	Float4E2M1:     {"FLOAT4E2M1", 4, fieldInt32Data},
	Float8E8M0:     {"FLOAT8E8M0", 8, fieldInt32Data},
}

func (t ElementType) String() string {
	if t < 0 || int(t) >= len(elementTypes) {
		return fmt.Sprintf("ElementType(%d)", int32(t))
	}
	return elementTypes[t].name
}

// Bits returns the width of an element, 0 for types that have none or are unknown.
func (t ElementType) Bits() int {
	if t < 0 || int(t) >= len(elementTypes) {
		return 0
	}
	return elementTypes[t].bits
}
