package qkv

import (
	"fmt"

	"github.com/qkv-go/qkv/kernel"
)

// An ElemType is a type that keys and values are kept in.
type ElemType int

// The types of keys and values.
const (
	TypeFloat32    = ElemType(kernel.Float32)
	TypeFloat16    = ElemType(kernel.Float16)  // [Float16]
	TypeBFloat16   = ElemType(kernel.BFloat16) // [BFloat16]
	TypeInt8       = ElemType(kernel.Int8)     // int8, with a float32 scale for each row
	TypeQ8_0       = ElemType(kernel.Q8_0)     // [BlockQ8_0]
	TypeFloat8E4M3 = ElemType(kernel.E4M3)     // [Float8E4M3]
	TypeFloat8E5M2 = ElemType(kernel.E5M2)     // [Float8E5M2]
	TypeQ4_0       = ElemType(kernel.Q4_0)     // [BlockQ4_0]
	TypeQ4_1       = ElemType(kernel.Q4_1)     // [BlockQ4_1]
)

var lastType = ElemType(len(kernel.Elems()) - 1)

// String returns the name of the Go type.
func (t ElemType) String() string {
	if !t.known() {
		return fmt.Sprintf("ElemType(%d)", int(t))
	}
	return kernel.Elem(t).String()
}

func (t ElemType) known() bool { return kernel.Elem(t).Known() }
