package model

import (
	"fmt"
	"math"
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
	for _, name := range r.stored {
		layer, part, ok := strings.Cut(name, experts)
		matrix, suffix, _ := strings.Cut(part, "_proj")
		if !ok || matrix != "gate_up" && matrix != "down" {
			names = append(names, name)
			continue
		}
		prefix := layer + experts
		parts := [3]*safetensors.Tensor{}
		for i, suffix := range []string{"_blocks", "_scales", "_bias"} {
			if parts[i] = f.Tensor(prefix + matrix + "_proj" + suffix); parts[i] == nil {
				r.fail("the file has no tensor %q, which is needed beside %q", prefix+matrix+"_proj"+suffix, name)
			}
		}
		if r.err != nil {
			return
		}
		switch suffix {
		case "_scales", "_bias":
			continue // the blocks stand for all three
		case "_blocks":
		default:
			r.fail("tensor %q is not supported in such a model", name)
		}
		of := []string{"gate_proj", "up_proj"}
		if matrix == "down" {
			of = []string{"down_proj"}
		}
		b, s := parts[0], parts[1]
		if b.Type != "U8" || s.Type != "U8" || len(b.Shape) != 4 || b.Shape[3] != 16 || !slices.Equal(b.Shape[:3], s.Shape) || b.Shape[1]%len(of) != 0 {
			r.fail("tensor %q is %s %v and its scales are %s %v, blocks U8 [experts, rows, columns/32, 16] with U8 [experts, rows, columns/32] are needed",
				name, b.Type, b.Shape, s.Type, s.Shape)
			return
		}
		if _, cols := parts[2].Size(); cols%len(of) != 0 {
			r.fail("tensor %q is %v, an even number of columns is needed", parts[2].Name, parts[2].Shape)
		}
		for i, x := range of {
			weight, bias := prefix+x+".weight", prefix+x+".bias"
			for _, name := range []string{weight, bias} {
				if r.has(name) {
					r.fail("the file has tensor %q and experts in MXFP4", name)
				}
			}
			made[weight], made[bias] = &mxfp4{b, s, i, len(of)}, &columns{parts[2], i, len(of)}
			names = append(names, weight, bias)
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

// A columns is a tensor of which each step-th column is meant, from the one of number first on.
type columns struct {
	*safetensors.Tensor
	first, step int
}

func (t *columns) Size() (rows, cols int) {
	rows, cols = t.Tensor.Size()
	return rows, cols / t.step
}

// Float32 returns a copy of the elements that are meant.
func (t *columns) Float32() ([]float32, error) {
	all, err := t.Tensor.Float32()
	if err != nil {
		return nil, err
	}
	x := make([]float32, 0, len(all)/t.step)
	for i := t.first; i < len(all); i += t.step {
		x = append(x, all[i])
	}
	return x, nil
}
