package model

import (
	"fmt"
	"math"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/internal/safetensors"
)

// An mxfp4 is a matrix of which each step-th row is meant, from the one of number first on. The file has blocks apart from
// their scales, with neighbours in a byte (OCP Microscaling formats; the layout is that of transformers'
// integrations/mxfp4.py).
type mxfp4 struct {
	blocks, scales *safetensors.Tensor // [experts, rows, columns/32, 16] and [experts, rows, columns/32] of U8
	first, step    int
}

// Size returns the rows of all experts.
func (t *mxfp4) Size() (rows, cols int) {
	shape := t.blocks.Shape
	return shape[0] * shape[1] / t.step, shape[2] * 32
}

// Matrix returns a copy in blocks as ggml has them: the scale, then 16 bytes with elements j and j + 16.
func (t *mxfp4) Matrix() (qkv.Matrix, error) {
	rows, cols := t.Size()
	n := cols / 32
	if rows*n > math.MaxInt/17 {
		return qkv.Matrix{}, fmt.Errorf("tensor %q has %d blocks, %d are supported", t.blocks.Name, rows*n, math.MaxInt/17)
	}
	data := make([]byte, 0, rows*n*17)
	for row := range rows {
		at := (t.first + row*t.step) * n
		for i := at; i < at+n; i++ {
			x := t.blocks.Data[i*16:][:16]
			data = append(data, t.scales.Data[i])
			for j := range 8 {
				low, high := x[j], x[8+j]
				data = append(data, low&15|high<<4, low>>4|high&0xf0)
			}
		}
	}
	return qkv.WeightMatrix(qkv.WeightMXFP4, data, rows, cols), nil
}

// Float32 is not needed.
func (t *mxfp4) Float32() ([]float32, error) {
	return nil, fmt.Errorf("tensor %q is no vector", t.blocks.Name)
}
