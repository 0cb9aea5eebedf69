package onnx

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// A message is a protocol buffer in the making. Its methods append one field each.
type message []byte

func (m message) varint(num protowire.Number, v ...int64) message {
	for _, x := range v {
		m = protowire.AppendVarint(protowire.AppendTag(m, num, protowire.VarintType), uint64(x))
	}
	return m
}

func (m message) bytes(num protowire.Number, b []byte) message {
	return protowire.AppendBytes(protowire.AppendTag(m, num, protowire.BytesType), b)
}

func (m message) string(num protowire.Number, s ...string) message {
	for _, x := range s {
		m = m.bytes(num, []byte(x))
	}
	return m
}

func (m message) float(num protowire.Number, v ...float32) message {
	for _, x := range v {
		m = protowire.AppendFixed32(protowire.AppendTag(m, num, protowire.Fixed32Type), math.Float32bits(x))
	}
	return m
}

func packedVarints(v ...int64) (b []byte) {
	for _, x := range v {
		b = protowire.AppendVarint(b, uint64(x))
	}
	return b
}

func packedFloats(v ...float32) (b []byte) {
	for _, x := range v {
		b = protowire.AppendFixed32(b, math.Float32bits(x))
	}
	return b
}

func packedDoubles(v ...float64) (b []byte) {
	for _, x := range v {
		b = protowire.AppendFixed64(b, math.Float64bits(x))
	}
	return b
}
