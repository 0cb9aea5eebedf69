package qkv

import "fmt"

// An ElemType is a type that keys and values are kept in.
type ElemType int

// The types of keys and values.
const (
	TypeFloat32  = ElemType(kindFloat32)
	TypeFloat16  = ElemType(kindFloat16)  // [Float16]
	TypeBFloat16 = ElemType(kindBFloat16) // [BFloat16]
	TypeInt8     = ElemType(kindInt8)     // int8, with a float32 scale for each row
	TypeQ8_0     = ElemType(kindQ8_0)     // [BlockQ8_0]
)

// String returns the name of the Go type.
func (t ElemType) String() string {
	if !t.known() {
		return fmt.Sprintf("ElemType(%d)", int(t))
	}
	return elemKind(t).String()
}

func (t ElemType) known() bool { return t >= TypeFloat32 && t <= TypeQ8_0 }
