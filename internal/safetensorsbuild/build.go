// Package safetensorsbuild makes files in the format safetensors, as tests need them.
package safetensorsbuild

import (
	"encoding/binary"
	"encoding/json"
	"slices"
)

// A Tensor is a tensor of a type, as "F32", and its bytes.
type Tensor struct {
	Name, Type string
	Shape      []int
	Data       []byte
}

// File returns a file of tensors, one behind the other.
func File(tensors ...Tensor) []byte {
	header, data := map[string]any{}, []byte(nil)
	for _, t := range tensors {
		header[t.Name] = map[string]any{"dtype": t.Type, "shape": t.Shape, "data_offsets": []int{len(data), len(data) + len(t.Data)}}
		data = append(data, t.Data...)
	}
	h, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	return WithHeader(string(h), data...)
}

// WithHeader returns a file of a header, whatever that says of the data.
func WithHeader(header string, data ...byte) []byte {
	return slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), []byte(header), data)
}

// Float32 returns the bytes of numbers.
func Float32(x []float32) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, x)
	if err != nil {
		panic(err)
	}
	return b
}
