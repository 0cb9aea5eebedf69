package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"google.golang.org/protobuf/encoding/protowire"
)

// A Tensor is a TensorProto: an array in row-major order.
type Tensor struct {
	Name string
	Dims []int // none for a scalar
	Type ElementType

	// Data is the elements as the schema's raw_data has them, whichever field they
	// came from: little-endian, of fixed width, 4-bit types two to a byte with the
	// first in the low half.
	Data []byte
}

// Numbers of TensorProto's fields.
const (
	fieldDims         = 1
	fieldDataType     = 2
	fieldSegment      = 3
	fieldFloatData    = 4
	fieldInt32Data    = 5
	fieldStringData   = 6
	fieldInt64Data    = 7
	fieldTensorName   = 8
	fieldRawData      = 9
	fieldDoubleData   = 10
	fieldUint64Data   = 11
	fieldExternalData = 13
	fieldDataLocation = 14
)

// maxRank bounds the dims of a tensor, far above any operator's.
const maxRank = 64

// ParseTensor reads a TensorProto. Its Data may share memory with b. Tensors of
// strings, in segments, or with data in other files are errors.
func ParseTensor(b []byte) (*Tensor, error) {
	t := new(Tensor)
	var typed []field // the fields that hold typed data
	raw := false
	for f, err := range fields(b) {
		if err != nil {
			return nil, fmt.Errorf("onnx: tensor: %w", err)
		}
		switch f.num {
		case fieldDims:
			err = t.addDims(&f)
		case fieldDataType:
			var v int64
			v, err = f.int64()
			t.Type = ElementType(v)
		case fieldTensorName:
			t.Name, err = f.string()
		case fieldRawData:
			t.Data, err = f.bytes()
			raw = true
		case fieldFloatData, fieldInt32Data, fieldInt64Data, fieldDoubleData, fieldUint64Data:
			typed = append(typed, f)
		case fieldStringData:
			err = fmt.Errorf("string_data is not supported")
		case fieldSegment:
			err = fmt.Errorf("segments are not supported")
		case fieldExternalData:
			err = fmt.Errorf("external data is not supported")
		case fieldDataLocation:
			var v int64
			if v, err = f.int64(); err == nil && v != 0 {
				err = fmt.Errorf("data location %d is not supported", v)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("onnx: tensor: %w", err)
		}
	}
	if err := t.finish(typed, raw); err != nil {
		return nil, fmt.Errorf("onnx: tensor %q: %w", t.Name, err)
	}
	return t, nil
}

func (t *Tensor) addDims(f *field) error {
	for v, err := range f.numbers(protowire.VarintType) {
		if err != nil {
			return err
		}
		if d := int64(v); d < 0 || d > math.MaxInt {
			return fmt.Errorf("dim %d is %d", len(t.Dims), d)
		}
		if len(t.Dims) == maxRank {
			return fmt.Errorf("more than %d dims", maxRank)
		}
		t.Dims = append(t.Dims, int(v))
	}
	return nil
}

// finish moves typed data into Data and checks its length against the shape.
func (t *Tensor) finish(typed []field, raw bool) error {
	if t.Type.Bits() == 0 {
		return fmt.Errorf("elements of type %v are not supported", t.Type)
	}
	if raw && len(typed) > 0 {
		return fmt.Errorf("fields %d and %d both hold data", fieldRawData, typed[0].num)
	}
	for i := range typed {
		if err := t.addTyped(&typed[i]); err != nil {
			return err
		}
	}
	if want, ok := t.size(); !ok || want != len(t.Data) {
		return fmt.Errorf("%d bytes of data for shape %v of %v", len(t.Data), t.Dims, t.Type)
	}
	return nil
}

// addTyped appends the values of a typed data field to Data, each in the width that
// raw_data has. Packed 4-bit types arrive two to a value.
func (t *Tensor) addTyped(f *field) error {
	if int32(f.num) != elementTypes[t.Type].field {
		return fmt.Errorf("field %d holds data of type %v", f.num, t.Type)
	}
	typ, width := protowire.VarintType, (t.Type.Bits()+7)/8
	switch f.num {
	case fieldFloatData:
		typ, width = protowire.Fixed32Type, 4
	case fieldDoubleData:
		typ, width = protowire.Fixed64Type, 8
	}
	for v, err := range f.numbers(typ) {
		if err != nil {
			return err
		}
		var le [8]byte
		binary.LittleEndian.PutUint64(le[:], v)
		t.Data = append(t.Data, le[:width]...)
	}
	return nil
}

// size returns the bytes of data that the shape needs, and whether an int holds it.
func (t *Tensor) size() (int, bool) {
	n := uint(1)
	overflow := false
	for _, d := range t.Dims {
		if d == 0 {
			return 0, true
		}
		hi, lo := bits.Mul(n, uint(d))
		n, overflow = lo, overflow || hi != 0
	}
	hi, lo := bits.Mul(n, uint(t.Type.Bits()))
	if overflow || hi != 0 || lo > math.MaxInt {
		return 0, false
	}
	return int(lo/8 + (lo%8+7)/8), true
}

// extent returns the product of the dims but for those of 0, and the largest int if none
// holds it.
func (t *Tensor) extent() int {
	n := uint(1)
	for _, d := range t.Dims {
		hi, lo := bits.Mul(n, uint(max(1, d)))
		if n = lo; hi != 0 || lo > math.MaxInt {
			return math.MaxInt
		}
	}
	return int(n)
}

// Len returns the number of elements.
func (t *Tensor) Len() int {
	n := 1
	for _, d := range t.Dims {
		n *= d
	}
	return n
}

// Float32s returns the elements of a tensor of type [Float], in a slice of its own.
func (t *Tensor) Float32s() ([]float32, error) {
	if t.Type != Float {
		return nil, fmt.Errorf("onnx: tensor %q has type %v, want %v", t.Name, t.Type, Float)
	}
	v := make([]float32, len(t.Data)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:]))
	}
	return v, nil
}
