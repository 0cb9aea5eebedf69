package onnx

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// An AttributeType says which value an [Attribute] has: AttributeProto.AttributeType.
type AttributeType int32

// Attribute types, with the numbers of the schema. Others exist (tensors, graphs);
// the values of those are not read.
const (
	AttrUndefined AttributeType = 0
	AttrFloat     AttributeType = 1
	AttrInt       AttributeType = 2
	AttrString    AttributeType = 3
	AttrFloats    AttributeType = 6
	AttrInts      AttributeType = 7
	AttrStrings   AttributeType = 8
)

func (t AttributeType) String() string {
	switch t {
	case AttrUndefined:
		return "UNDEFINED"
	case AttrFloat:
		return "FLOAT"
	case AttrInt:
		return "INT"
	case AttrString:
		return "STRING"
	case AttrFloats:
		return "FLOATS"
	case AttrInts:
		return "INTS"
	case AttrStrings:
		return "STRINGS"
	}
	return fmt.Sprintf("AttributeType(%d)", int32(t))
}

// An Attribute is an AttributeProto: a named constant of a node. The field that Type
// names has its value.
type Attribute struct {
	Name    string
	Type    AttributeType
	Float   float32
	Int     int64
	String  string
	Floats  []float32
	Ints    []int64
	Strings []string
}

func (a *Attribute) parse(b []byte) error {
	for f, err := range fields(b) {
		if err != nil {
			return err
		}
		switch f.num {
		case 1:
			a.Name, err = f.string()
		case 2:
			a.Float, err = f.float32()
		case 3:
			a.Int, err = f.int64()
		case 4:
			a.String, err = f.string()
		case 7:
			for v, err := range f.numbers(protowire.Fixed32Type) {
				if err != nil {
					return err
				}
				a.Floats = append(a.Floats, math.Float32frombits(uint32(v)))
			}
		case 8:
			for v, err := range f.numbers(protowire.VarintType) {
				if err != nil {
					return err
				}
				a.Ints = append(a.Ints, int64(v))
			}
		case 9:
			var s string
			s, err = f.string()
			a.Strings = append(a.Strings, s)
		case 20:
			var v int64
			v, err = f.int64()
			a.Type = AttributeType(v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
