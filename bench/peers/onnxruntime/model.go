package onnxruntime

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Element types of onnx.TensorProto.DataType.
const (
	typeFloat   = 1
	typeUint8   = 2
	typeInt8    = 3
	typeInt32   = 6
	typeFloat16 = 10
)

// A tensorType is the type of an input, an output or a weight of a model.
type tensorType struct {
	name string
	typ  int32
	dims []int64
}

// A model is of one node.
type model struct {
	domain  string // of the operator, "" for that of ONNX
	opset   int64
	op      string
	ints    map[string]int64
	floats  map[string]float32
	texts   map[string]string
	inputs  []tensorType // some may have no name: they are left out
	outputs []tensorType
	weights []weight // the last inputs
}

// A weight is a tensor that a model has itself.
type weight struct {
	tensorType
	data []byte
}

// message writes a field that is a message.
func message(b []byte, field protowire.Number, text []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), text)
}

func text(b []byte, field protowire.Number, s string) []byte { return message(b, field, []byte(s)) }

func integer(b []byte, field protowire.Number, n int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(n))
}

// encode writes the model as a ModelProto (onnx.proto).
func (m *model) encode() []byte {
	var node []byte
	for _, in := range m.inputs {
		node = text(node, 1, in.name)
	}
	for _, w := range m.weights {
		node = text(node, 1, w.name)
	}
	for _, out := range m.outputs {
		node = text(node, 2, out.name)
	}
	node = text(node, 4, m.op)
	for name, i := range m.ints {
		a := text(nil, 1, name)
		a = integer(a, 3, i)
		node = message(node, 5, integer(a, 20, 2)) // INT
	}
	for name, f := range m.floats {
		a := text(nil, 1, name)
		a = protowire.AppendFixed32(protowire.AppendTag(a, 2, protowire.Fixed32Type), math.Float32bits(f))
		node = message(node, 5, integer(a, 20, 1)) // FLOAT
	}
	for name, value := range m.texts {
		a := text(text(nil, 1, name), 4, value)
		node = message(node, 5, integer(a, 20, 3)) // STRING
	}
	node = text(node, 7, m.domain)

	graph := message(nil, 1, node)
	graph = text(graph, 2, m.op)
	for _, w := range m.weights {
		var t []byte
		for _, d := range w.dims {
			t = integer(t, 1, d)
		}
		t = integer(t, 2, int64(w.typ))
		t = text(t, 8, w.name)
		graph = message(graph, 5, message(t, 9, w.data))
	}
	for _, in := range m.inputs {
		if in.name != "" {
			graph = message(graph, 11, in.encode())
		}
	}
	for _, out := range m.outputs {
		graph = message(graph, 12, out.encode())
	}

	const irVersion, onnxOpset = 10, 23
	b := integer(nil, 1, irVersion)
	b = message(b, 7, graph)
	b = message(b, 8, integer(text(nil, 1, ""), 2, onnxOpset))
	if m.domain != "" {
		b = message(b, 8, integer(text(nil, 1, m.domain), 2, m.opset))
	}
	return b
}

// encode writes a ValueInfoProto.
func (t *tensorType) encode() []byte {
	var shape []byte
	for _, d := range t.dims {
		shape = message(shape, 1, integer(nil, 1, d))
	}
	tensor := message(integer(nil, 1, int64(t.typ)), 2, shape)
	return message(text(nil, 1, t.name), 2, message(nil, 1, tensor))
}
