package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/internal/safetensors"
)

// gptOSSNames are those of gpt-oss, with the names that [reader.gptOSS] gives to what it makes of its experts.
func gptOSSNames() *tensorNames {
	n := huggingFaceNames
	n.sinks, n.router = "self_attn.sinks", "mlp.router"
	n.experts = mlpNames{"mlp.experts.gate_proj", "mlp.experts.up_proj", "mlp.experts.down_proj"}
	return &n
}

// gptOSS has the reader find the experts of gpt-oss as a GGUF file has them: a matrix of MXFP4 and a bias for the gate,
// for up and for down of all experts. The file has the rows of gate and up in turns, and its blocks apart from
// their scales, with neighbours in a byte (OCP Microscaling formats; the layout is that of transformers'
// integrations/mxfp4.py). So their matrices are copies, of as many bytes as in the file.
func (r *reader) gptOSS(f *safetensors.File) {
	const experts = ".mlp.experts."
	made, names := map[string]stored{}, []string(nil)
	add := func(name string, t stored) {
		if made[name] == nil {
			names = append(names, name)
		}
		made[name] = t
	}
	for _, name := range r.stored {
		layer, part, ok := strings.Cut(name, experts)
		of := func(matrix string) string { return layer + experts + matrix }
		sibling := func(suffix string) *safetensors.Tensor {
			t := f.Tensor(of(suffix))
			if t == nil {
				r.fail("the file has no tensor %q", of(suffix))
			}
			return t
		}
		switch {
		case ok && (part == "gate_up_proj_scales" || part == "down_proj_scales"):
			sibling(strings.TrimSuffix(part, "scales") + "blocks") // which stands for both
		case ok && part == "gate_up_proj_blocks":
			if scales := sibling("gate_up_proj_scales"); scales != nil {
				add(of("gate_proj.weight"), &mxfp4{f.Tensor(name), scales, 0, 2})
				add(of("up_proj.weight"), &mxfp4{f.Tensor(name), scales, 1, 2})
			}
		case ok && part == "down_proj_blocks":
			if scales := sibling("down_proj_scales"); scales != nil {
				add(of("down_proj.weight"), &mxfp4{f.Tensor(name), scales, 0, 1})
			}
		case ok && part == "gate_up_proj_bias":
			add(of("gate_proj.bias"), &everySecond{f.Tensor(name), 0})
			add(of("up_proj.bias"), &everySecond{f.Tensor(name), 1})
		case ok && part == "down_proj_bias":
			add(of("down_proj.bias"), f.Tensor(name))
		default:
			names = append(names, name)
		}
	}
	find := r.find
	r.stored, r.find = names, func(name string) stored {
		if t := made[name]; t != nil {
			return t
		}
		return find(name)
	}
}

// An mxfp4 is a matrix of which each step-th row is meant, from the one of number first on.
type mxfp4 struct {
	blocks, scales *safetensors.Tensor // [experts, rows, columns/32, 16] and [experts, rows, columns/32] of U8
	first, step    int
}

// Size returns the rows of all experts, and -1 for what is no such matrix.
func (t *mxfp4) Size() (rows, cols int) {
	b, s := t.blocks, t.scales
	if b.Type != "U8" || s.Type != "U8" || len(b.Shape) != 4 || b.Shape[3] != 16 || !slices.Equal(b.Shape[:3], s.Shape) || b.Shape[1]%t.step != 0 {
		return -1, -1
	}
	return b.Shape[0] * b.Shape[1] / t.step, b.Shape[2] * 32
}

// Matrix returns a copy in blocks as ggml has them: the scale, then 16 bytes with elements j and j + 16.
func (t *mxfp4) Matrix() (qkv.Matrix, error) {
	rows, cols := t.Size()
	if rows < 0 {
		return qkv.Matrix{}, fmt.Errorf("tensors %q and %q are no blocks of MXFP4", t.blocks.Name, t.scales.Name)
	}
	n := cols / 32
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

// An everySecond is a tensor of which each second column is meant, from the one of number first on.
type everySecond struct {
	*safetensors.Tensor
	first int
}

// Size returns half the columns, and -1 where they are no even number.
func (t *everySecond) Size() (rows, cols int) {
	if rows, cols = t.Tensor.Size(); cols%2 != 0 {
		return -1, -1
	}
	return rows, cols / 2
}

// Float32 returns a copy of the elements that are meant.
func (t *everySecond) Float32() ([]float32, error) {
	all, err := t.Tensor.Float32()
	if err != nil {
		return nil, err
	}
	x := make([]float32, 0, len(all)/2)
	for i := t.first; i < len(all); i += 2 {
		x = append(x, all[i])
	}
	return x, nil
}
