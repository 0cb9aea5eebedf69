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

// gptOSS has the reader find the experts of gpt-oss as a GGUF file has them: a matrix and a bias for the gate, for up
// and for down of all experts. Files have gate and up in turns: in MXFP4 their rows, see [mxfp4], and otherwise
// their columns, of matrices [experts, in, out], see [transposed]. So the matrices are copies, of as many bytes as in
// the file.
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
		need := func(suffix string) *safetensors.Tensor {
			t := f.Tensor(prefix + matrix + "_proj" + suffix)
			if t == nil {
				r.fail("the file has no tensor %q, which is needed beside %q", prefix+matrix+"_proj"+suffix, name)
			}
			return t
		}
		of := []string{"gate_proj", "up_proj"}
		if matrix == "down" {
			of = []string{"down_proj"}
		}
		var all func(first int) stored // of the first, or of the second
		var size []int                 // experts, and rows of each
		switch suffix {
		case "": // stands for itself and its bias
			t := f.Tensor(name)
			if len(t.Shape) != 3 || t.Shape[2]%len(of) != 0 {
				r.fail("tensor %q is %v, [experts, in, out] with a multiple of %d is needed", name, t.Shape, len(of))
			}
			if r.err == nil {
				size = []int{t.Shape[0], t.Shape[2]}
			}
			all = func(first int) stored { return &transposed{t, first, len(of)} }
		case "_blocks": // and for their scales
			if plain := prefix + matrix + "_proj"; f.Tensor(plain) != nil {
				r.fail("the file has tensors %q and %q", plain, name)
			}
			b, s := f.Tensor(name), need("_scales")
			if s != nil && (b.Type != "U8" || s.Type != "U8" || len(b.Shape) != 4 || b.Shape[3] != 16 || !slices.Equal(b.Shape[:3], s.Shape) || b.Shape[1]%len(of) != 0) {
				r.fail("tensor %q is %s %v and its scales are %s %v, blocks U8 [experts, rows, columns/32, 16] with U8 [experts, rows, columns/32] are needed",
					name, b.Type, b.Shape, s.Type, s.Shape)
			}
			if r.err == nil {
				size = b.Shape[:2]
			}
			all = func(first int) stored { return &mxfp4{b, s, first, len(of)} }
		case "_scales":
			need("_blocks")
		case "_bias":
			if f.Tensor(prefix+matrix+"_proj") == nil {
				need("_blocks")
			}
		default:
			r.fail("tensor %q is not supported in such a model", name)
		}
		bias := need("_bias")
		if r.err != nil {
			return
		}
		if all == nil {
			continue
		}
		if !slices.Equal(bias.Shape, size) {
			r.fail("tensor %q is %v, and %q is %v: a bias [experts, rows] of each row is needed", bias.Name, bias.Shape, name, f.Tensor(name).Shape)
		}
		for i, x := range of {
			weight, added := prefix+x+".weight", prefix+x+".bias"
			for _, name := range []string{weight, added} {
				if r.has(name) {
					r.fail("the file has tensor %q and experts of gpt-oss", name)
				}
			}
			made[weight], made[added] = all(i), &columns{bias, i, len(of)}
			names = append(names, weight, added)
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

// A transposed is the matrices [experts, in, out] of all experts, of which each step-th column is meant, from the one of
// number first on.
type transposed struct {
	*safetensors.Tensor
	first, step int
}

// Size returns the rows of all experts, as the matrix [out, in] of each has them.
func (t *transposed) Size() (rows, cols int) { return t.Shape[0] * (t.Shape[2] / t.step), t.Shape[1] }

// Matrix returns a copy [experts*out, in].
func (t *transposed) Matrix() (qkv.Matrix, error) {
	typ, err := t.WeightType()
	if err != nil {
		return qkv.Matrix{}, err
	}
	rows, cols := t.Size()
	out, all := rows/t.Shape[0], t.Shape[2]
	size := len(t.Data) / (t.Shape[0] * cols * all)
	data := make([]byte, rows*cols*size)
	const tile = 16 // rows, which a line of the cache has side by side
	for expert := range t.Shape[0] {
		from, to := t.Data[expert*cols*all*size:], data[expert*out*cols*size:]
		for row := 0; row < out; row += tile {
			for col := range cols {
				for i := row; i < min(row+tile, out); i++ {
					at, of := (i*cols+col)*size, (col*all+t.first+i*t.step)*size
					for b := range size {
						to[at+b] = from[of+b]
					}
				}
			}
		}
	}
	return qkv.WeightMatrix(typ, data, rows, cols), nil
}

// Float32 is not needed.
func (t *transposed) Float32() ([]float32, error) {
	return nil, fmt.Errorf("tensor %q is no vector", t.Name)
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
