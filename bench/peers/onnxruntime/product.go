package onnxruntime

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/bench"
)

// products multiplies by weights that are initialisers, which are packed once.
func (s *System) products(in *bench.ProductInputs, workers int) ([]bench.Path, error) {
	p := in.Product
	n, k := int64(p.N), int64(p.K)
	transposed := make([]float32, len(in.W)) // [K, N]
	for i := range p.N {
		for j := range p.K {
			transposed[j*p.N+i] = in.W[i*p.K+j]
		}
	}
	var paths []bench.Path
	for _, m := range []model{
		{op: "Gemm", ints: map[string]int64{"transB": 1}, weights: []weight{{tensorType{"w", typeFloat, []int64{n, k}}, bytesOf(in.W)}}},
		{op: "MatMul", weights: []weight{{tensorType{"w", typeFloat, []int64{k, n}}, bytesOf(transposed)}}},
	} {
		path, err := s.product(p, workers, in.X, in.Y, &m, m.op)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// product makes the path of a model with the input x and the output y.
func (s *System) product(p bench.Product, workers int, xs, ys []float32, m *model, name string) (bench.Path, error) {
	x, y := tensorType{"x", typeFloat, []int64{int64(p.M), int64(p.K)}}, tensorType{"y", typeFloat, []int64{int64(p.M), int64(p.N)}}
	m.inputs, m.outputs = []tensorType{x}, []tensorType{y}
	o := s.start(m, workers)
	bind(o, bindInput, x, xs)
	bind(o, bindOutput, y, ys)
	path, err := o.path(name, 0, func() {}, func() {})
	if err != nil {
		return path, fmt.Errorf("%s: %w", name, err)
	}
	return path, nil
}

// nBits is the block of MatMulNBits: so many values share a scale.
const nBits = 32

// integers multiplies by blocks of Q4_0 or Q8_0 with MatMulNBits, in both of its accuracies: X as it is,
// or in eight bits. The integers and their scales, which are binary16 in the blocks and float32 here, are
// the same.
func (s *System) integers(in *bench.WeightInputs, workers int) ([]bench.Path, error) {
	p := in.Product
	bits, values, bytes := 8, eightBits, 32
	if p.Weights == qkv.WeightQ4_0 {
		bits, values, bytes = 4, fourBits, 16
	}
	_, size := p.Weights.Block()
	blocks := len(in.Data) / size
	data, scale := make([]byte, 0, blocks*bytes), make([]float32, 0, blocks)
	for i := range blocks {
		b := in.Data[i*size:][:size]
		scale = append(scale, qkv.Float16(binary.LittleEndian.Uint16(b)).Float32())
		data = values(data, b[2:])
	}
	perRow := int64(p.K / nBits)
	var paths []bench.Path
	for _, c := range []struct {
		level  int64
		name   string
		rounds bench.Rounds
	}{
		{1, "x float32", bench.Rounds{}},
		{4, "x int8", bench.Rounds{X: 1. / 254, Block: nBits}},
	} {
		m := model{
			domain: contrib, opset: contribOpset, op: "MatMulNBits",
			ints: map[string]int64{"K": int64(p.K), "N": int64(p.N), "bits": int64(bits), "block_size": nBits, "accuracy_level": c.level},
			weights: []weight{
				{tensorType{"w", typeUint8, []int64{int64(p.N), perRow, int64(bytes)}}, data},
				{tensorType{"scales", typeFloat, []int64{int64(p.N), perRow}}, bytesOf(scale)},
			},
		}
		path, err := s.product(p, workers, in.X, in.Y, &m, fmt.Sprintf("MatMulNBits, int%d, %s (accuracy_level %d)", bits, c.name, c.level))
		if err != nil {
			for _, p := range paths {
				p.Close()
			}
			return nil, err
		}
		path.Rounds = c.rounds
		paths = append(paths, path)
	}
	return paths, nil
}

// fourBits appends the values of a block of Q4_0 in their order, the first in the lower half of a byte.
// The block has those from 16 on in the upper halves.
func fourBits(data, b []byte) []byte {
	for i := range 16 {
		j := 2 * i % 16
		if i < 8 {
			data = append(data, b[j]&15|b[j+1]<<4)
		} else {
			data = append(data, b[j]>>4|b[j+1]&0xf0)
		}
	}
	return data
}

// eightBits appends the values of a block of Q8_0, which are signed, with the zero point 128.
func eightBits(data, b []byte) []byte {
	for _, x := range b[:nBits] {
		data = append(data, x^0x80)
	}
	return data
}

func bytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}
