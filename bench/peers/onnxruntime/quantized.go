package onnxruntime

import (
	"fmt"
	"math"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/kernel"
)

// quantized is GroupQueryAttention with a cache of integers of 8 or 4 bits, which have a scale for each dim of a head, the
// same for all tokens. So keys and values of other scales are rounded anew. Those of Q4_0 have 4 bits, others 8.
func (s *System) quantized(in *bench.Operands, workers int) ([]bench.Path, error) {
	shape := in.Shape
	if !(shape.DimQK == shape.DimV && (shape.SeqQ == 1 || shape.Mask.Causal && shape.SeqQ == shape.SeqKV)) {
		return nil, &bench.UnsupportedError{System: s.Name(), Work: shape, Reason: "its operator for a cache of integers has no such mask"}
	}
	k, err := numbers(&in.K, shape.KV.K)
	if err != nil {
		return nil, err
	}
	v, err := numbers(&in.V, shape.KV.V)
	if err != nil {
		return nil, err
	}
	c := cache{bits: 8, typ: typeInt8}
	roundoff := bench.RoundoffBFloat16
	if shape.KV.K == kernel.Q4_0 {
		c = cache{bits: 4, typ: typeUint8}
		roundoff = 1. / 14
	}
	rows := shape.Batch * shape.KVHeads
	c.kScale, c.vScale = scales(k, rows, shape.KVHeads, shape.DimQK, c.bits), scales(v, rows, shape.KVHeads, shape.DimV, c.bits)
	c.k, c.v = integersOf(k, c.kScale, rows, shape.DimQK, c.bits), integersOf(v, c.vScale, rows, shape.DimV, c.bits)
	o := &operands[float32]{in: in, sys: s, workers: workers, typ: typeFloat, k: k, v: v, roundoff: roundoff}
	o.q, o.out = make([]float32, len(in.Q)), make([]float32, len(in.Out))
	path, err := o.groupQuery(&c)
	if err != nil {
		return nil, fmt.Errorf("GroupQueryAttention, a cache of %d bits: %w", c.bits, err)
	}
	return []bench.Path{path}, nil
}

// A cache is keys and values as integers, [batch, KV heads, tokens, dim], and their scales, [KV heads, dim].
type cache struct {
	bits           int64
	typ            int32
	k, v           []byte
	kScale, vScale []float32
}

// numbers returns keys or values of integers as float32.
func numbers(t *bench.Tensor, e kernel.Elem) ([]float32, error) {
	var x []float32
	switch e {
	case kernel.Int8:
		x = make([]float32, len(t.Int8))
		dim := len(t.Int8) / len(t.Scale)
		for i, scale := range t.Scale {
			if err := qkv.DequantizeInt8(x[i*dim:][:dim], t.Int8[i*dim:][:dim], scale); err != nil {
				return nil, err
			}
		}
		return x, nil
	case kernel.Q8_0:
		x = make([]float32, len(t.Q8_0)*kernel.BlockValues)
		return x, qkv.DequantizeQ8_0(x, t.Q8_0)
	}
	x = make([]float32, len(t.Q4_0)*kernel.BlockValues)
	return x, qkv.DequantizeQ4_0(x, t.Q4_0)
}

// scales returns for each dim of each KV head the largest magnitude over the largest code.
func scales(x []float32, rows, kvHeads, dim int, bits int64) []float32 {
	most := make([]float32, kvHeads*dim)
	for i, v := range x {
		head := i / (len(x) / rows) % kvHeads
		at := head*dim + i%dim
		most[at] = max(most[at], float32(math.Abs(float64(v))))
	}
	for i := range most {
		most[i] /= float32(int(1)<<(bits-1) - 1)
		if most[i] == 0 {
			most[i] = 1
		}
	}
	return most
}

// integersOf returns the codes of numbers: of 8 bits, or of 4 with 8 added, the first of two in the lower half of a byte.
func integersOf(x, scale []float32, rows, dim int, bits int64) []byte {
	kvHeads := len(scale) / dim
	codes := make([]byte, len(x))
	for i, v := range x {
		head := i / (len(x) / rows) % kvHeads
		codes[i] = byte(int8(math.RoundToEven(float64(v / scale[head*dim+i%dim]))))
	}
	if bits == 8 {
		return codes
	}
	for i := range len(x) / 2 {
		codes[i] = (codes[2*i]+8)&15 | (codes[2*i+1]+8)<<4
	}
	return codes[:len(x)/2]
}
