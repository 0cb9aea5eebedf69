package gguf

import (
	"encoding/binary"
	"math"
)

// A valueType is the type of a value of the metadata.
type valueType uint32

// The types of values.
const (
	uint8Type valueType = iota
	int8Type
	uint16Type
	int16Type
	uint32Type
	int32Type
	float32Type
	boolType
	stringType
	arrayType
	uint64Type
	int64Type
	float64Type
)

// sizes is how many bytes a value of a type has; 0 for types of any size.
var sizes = [...]int{
	uint8Type: 1, int8Type: 1, uint16Type: 2, int16Type: 2, uint32Type: 4, int32Type: 4, float32Type: 4,
	boolType: 1, stringType: 0, arrayType: 0, uint64Type: 8, int64Type: 8, float64Type: 8,
}

// A value is one of the metadata, as the file has it. Strings have their lengths before them.
type value struct {
	typ   valueType // of the elements, if it is an array
	array bool
	n     int // elements, 1 if it is no array
	data  []byte
}

// value reads one.
func (r *reader) value(t valueType) value {
	v := value{typ: t, n: 1, array: t == arrayType}
	if v.array {
		v.typ = valueType(r.uint32())
	}
	if r.err == nil && (v.typ >= valueType(len(sizes)) || v.typ == arrayType) {
		r.fail("values of type %d are not supported", v.typ)
	}
	if r.err != nil {
		return value{}
	}
	size, least := sizes[v.typ], sizes[v.typ]
	if size == 0 {
		least = 8 // the length of a string
	}
	if v.array {
		v.n = r.count("elements", least)
	}
	begin := r.at
	if size > 0 {
		r.bytes(uint64(v.n) * uint64(size))
	} else {
		for range v.n {
			r.text()
		}
	}
	if r.err != nil {
		return value{}
	}
	v.data = r.data[begin:r.at]
	return v
}

// integer returns element i of integers. Those of 64 bits without a sign may be too large.
func (v *value) integer(i int) (n int64, ok bool) {
	size := sizes[v.typ]
	if size == 0 {
		return 0, false
	}
	b := v.data[i*size:]
	switch v.typ {
	case uint8Type:
		return int64(b[0]), true
	case int8Type:
		return int64(int8(b[0])), true
	case uint16Type:
		return int64(binary.LittleEndian.Uint16(b)), true
	case int16Type:
		return int64(int16(binary.LittleEndian.Uint16(b))), true
	case uint32Type:
		return int64(binary.LittleEndian.Uint32(b)), true
	case int32Type:
		return int64(int32(binary.LittleEndian.Uint32(b))), true
	case uint64Type, int64Type:
		n = int64(binary.LittleEndian.Uint64(b))
		return n, n >= 0 || v.typ == int64Type
	}
	return 0, false
}

// number returns element i of numbers.
func (v *value) number(i int) (x float64, ok bool) {
	switch v.typ {
	case float32Type:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(v.data[4*i:]))), true
	case float64Type:
		return math.Float64frombits(binary.LittleEndian.Uint64(v.data[8*i:])), true
	}
	n, ok := v.integer(i)
	return float64(n), ok
}

// single returns the value of a key, if it is none of an array.
func (f *File) single(key string) (v value, ok bool) {
	v, ok = f.values[key]
	return v, ok && !v.array
}

// Has tells whether a key is there, with a value of any type.
func (f *File) Has(key string) bool {
	_, ok := f.values[key]
	return ok
}

// Int returns the value of a key that is an integer. It is not ok for others, and where there is none.
func (f *File) Int(key string) (n int64, ok bool) {
	if v, ok := f.single(key); ok {
		return v.integer(0)
	}
	return 0, false
}

// Float returns the value of a key that is a number.
func (f *File) Float(key string) (x float64, ok bool) {
	if v, ok := f.single(key); ok {
		return v.number(0)
	}
	return 0, false
}

// Bool returns the value of a key that is true or false.
func (f *File) Bool(key string) (b, ok bool) {
	if v, ok := f.single(key); ok && v.typ == boolType {
		return v.data[0] != 0, true
	}
	return false, false
}

// Text returns the value of a key that is a string.
func (f *File) Text(key string) (s string, ok bool) {
	if v, ok := f.single(key); ok && v.typ == stringType {
		return string(v.data[8:]), true
	}
	return "", false
}

// Ints returns the value of a key that is an array of integers, or an integer, as one element.
func (f *File) Ints(key string) (all []int64, ok bool) {
	v, ok := f.values[key]
	if !ok {
		return nil, false
	}
	all = make([]int64, v.n)
	for i := range all {
		if all[i], ok = v.integer(i); !ok {
			return nil, false
		}
	}
	return all, true
}

// Floats returns the value of a key that is an array of numbers.
func (f *File) Floats(key string) (all []float32, ok bool) {
	v, ok := f.values[key]
	if !ok || !v.array {
		return nil, false
	}
	all = make([]float32, v.n)
	for i := range all {
		x, ok := v.number(i)
		if !ok {
			return nil, false
		}
		all[i] = float32(x)
	}
	return all, true
}

// Texts returns the value of a key that is an array of strings.
func (f *File) Texts(key string) (all []string, ok bool) {
	v, ok := f.values[key]
	if !ok || !v.array || v.typ != stringType {
		return nil, false
	}
	all = make([]string, v.n)
	rest := string(v.data) // one allocation for all of them
	for i := range all {
		n := binary.LittleEndian.Uint64([]byte(rest[:8]))
		all[i], rest = rest[8:][:n], rest[8+n:]
	}
	return all, true
}
