package onnx

import (
	"fmt"
	"iter"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// A field is one field of a message on the wire.
type field struct {
	num  protowire.Number
	typ  protowire.Type
	bits uint64 // varint, fixed32 and fixed64
	data []byte // bytes: strings, messages, packed numbers
}

// fields yields the fields of a message in order, ending at the first malformed one
// with an error. Groups, which onnx.proto has none of, are skipped.
func fields(b []byte) iter.Seq2[field, error] {
	return func(yield func(field, error) bool) {
		for len(b) > 0 {
			num, typ, n := protowire.ConsumeTag(b)
			if n < 0 {
				yield(field{}, protowire.ParseError(n))
				return
			}
			b = b[n:]
			f := field{num: num, typ: typ}
			switch typ {
			case protowire.VarintType:
				f.bits, n = protowire.ConsumeVarint(b)
			case protowire.Fixed32Type:
				var x uint32
				x, n = protowire.ConsumeFixed32(b)
				f.bits = uint64(x)
			case protowire.Fixed64Type:
				f.bits, n = protowire.ConsumeFixed64(b)
			case protowire.BytesType:
				f.data, n = protowire.ConsumeBytes(b)
			default:
				n = protowire.ConsumeFieldValue(num, typ, b)
			}
			if n < 0 {
				yield(f, fmt.Errorf("field %d: %w", num, protowire.ParseError(n)))
				return
			}
			b = b[n:]
			if typ != protowire.StartGroupType && !yield(f, nil) {
				return
			}
		}
	}
}

// typed reports a field that is encoded as another type than the schema has.
func (f *field) typed(want protowire.Type) error {
	if f.typ != want {
		return fmt.Errorf("field %d has wire type %d, want %d", f.num, f.typ, want)
	}
	return nil
}

func (f *field) bytes() ([]byte, error) { return f.data, f.typed(protowire.BytesType) }

func (f *field) string() (string, error) { return string(f.data), f.typed(protowire.BytesType) }

func (f *field) int64() (int64, error) { return int64(f.bits), f.typed(protowire.VarintType) }

func (f *field) float32() (float32, error) {
	return math.Float32frombits(uint32(f.bits)), f.typed(protowire.Fixed32Type)
}

// numbers yields the values of a repeated numeric field of the given wire type, which
// may be packed in one field or be one field each.
func (f *field) numbers(typ protowire.Type) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		if f.typ != protowire.BytesType {
			yield(f.bits, f.typed(typ))
			return
		}
		for b := f.data; len(b) > 0; {
			var x uint64
			var n int
			switch typ {
			case protowire.VarintType:
				x, n = protowire.ConsumeVarint(b)
			case protowire.Fixed32Type:
				var y uint32
				y, n = protowire.ConsumeFixed32(b)
				x = uint64(y)
			case protowire.Fixed64Type:
				x, n = protowire.ConsumeFixed64(b)
			}
			if n < 0 {
				yield(0, fmt.Errorf("field %d: %w", f.num, protowire.ParseError(n)))
				return
			}
			if !yield(x, nil) {
				return
			}
			b = b[n:]
		}
	}
}
