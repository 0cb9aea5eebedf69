// Package ggufbuild makes files in the format GGUF, as tests need them.
package ggufbuild

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// alignment is that of files that do not say.
const alignment = 32

// A Key is a value of the metadata.
type Key struct {
	Name  string
	Value any // a number, bool or string, or a slice of one of these
}

// A Tensor is a tensor of a type by its number, and its bytes.
type Tensor struct {
	Name string
	Dims []int
	Type uint32
	Data []byte
}

// File returns a file of version 3.
func File(keys []Key, tensors []Tensor) []byte {
	var b bytes.Buffer
	put(&b, []byte("GGUF"), uint32(3), uint64(len(tensors)), uint64(len(keys)))
	for _, k := range keys {
		text(&b, k.Name)
		put(&b, typeOf(k.Value))
		value(&b, k.Value)
	}
	offset := 0
	for _, t := range tensors {
		text(&b, t.Name)
		put(&b, uint32(len(t.Dims)))
		for _, d := range t.Dims {
			put(&b, uint64(d))
		}
		put(&b, t.Type, uint64(offset))
		offset += padded(len(t.Data))
	}
	b.Write(make([]byte, padded(b.Len())-b.Len()))
	for _, t := range tensors {
		b.Write(t.Data)
		b.Write(make([]byte, padded(len(t.Data))-len(t.Data)))
	}
	return b.Bytes()
}

// Float32 returns the bytes of numbers.
func Float32(x []float32) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, x)
	if err != nil {
		panic(err)
	}
	return b
}

func padded(n int) int { return (n + alignment - 1) / alignment * alignment }

// put appends numbers and bytes as they are.
func put(b *bytes.Buffer, values ...any) {
	for _, v := range values {
		if err := binary.Write(b, binary.LittleEndian, v); err != nil {
			panic(err)
		}
	}
}

func text(b *bytes.Buffer, s string) {
	put(b, uint64(len(s)), []byte(s))
}

// typeOf returns the number of the type of a value.
func typeOf(v any) uint32 {
	switch v.(type) {
	case uint8:
		return 0
	case int8:
		return 1
	case uint16:
		return 2
	case int16:
		return 3
	case uint32:
		return 4
	case int32:
		return 5
	case float32:
		return 6
	case bool:
		return 7
	case string:
		return 8
	case uint64:
		return 10
	case int64:
		return 11
	case float64:
		return 12
	case []string, []float32, []int32, []uint8, []bool:
		return 9
	}
	panic(fmt.Sprintf("ggufbuild: no type for %T", v))
}

// value appends a value, after its type.
func value(b *bytes.Buffer, v any) {
	switch v := v.(type) {
	case string:
		text(b, v)
	case []string:
		put(b, typeOf(""), uint64(len(v)))
		for _, s := range v {
			text(b, s)
		}
	case []float32:
		put(b, typeOf(float32(0)), uint64(len(v)), v)
	case []int32:
		put(b, typeOf(int32(0)), uint64(len(v)), v)
	case []uint8:
		put(b, typeOf(uint8(0)), uint64(len(v)), v)
	case []bool:
		put(b, typeOf(false), uint64(len(v)), v)
	default:
		put(b, v)
	}
}
