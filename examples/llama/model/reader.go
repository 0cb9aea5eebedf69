package model

import (
	"fmt"
	"slices"

	"github.com/qkv-go/qkv"
)

// A stored is a tensor of a file.
type stored interface {
	Size() (rows, cols int)
	Matrix() (qkv.Matrix, error)
	Float32() ([]float32, error)
}

// tensorNames are the names of tensors in a kind of file. Those of a layer follow its prefix, and those of
// linear layers are followed by .weight and .bias. What has no name is not there.
type tensorNames struct {
	embedding, norm, out string
	layer                string // a format of the layer's number
	attnNorm, ffnNorm    string
	q, k, v, qkv, o      string
	qNorm, kNorm, sinks  string
	attnPost, ffnPost    string
	mlp                  mlpNames
	router, sharedGate   string
	shared               mlpNames
	experts              mlpNames // all experts of a layer in one tensor [Experts, out, in]
	expert               mlpNames // or formats of the expert's number
}

// mlpNames are those of the matrices of an MLP.
type mlpNames struct{ gate, up, down string }

// A reader takes tensors out of a file. It keeps the first error.
type reader struct {
	names  *tensorNames
	stored []string // names of all tensors
	find   func(name string) stored
	used   map[string]bool
	addOne bool // to the weights of norms, as files of Gemmas have them
	err    error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// has tells whether there is a tensor.
func (r *reader) has(name string) bool { return r.find(name) != nil }

// options sets the options that the tensors of the first layer tell.
func (r *reader) options(c *Config) {
	n, layer := r.names, fmt.Sprintf(r.names.layer, 0)
	c.Bias, c.QKNorm, c.PostNorm = r.has(layer+n.q+".bias"), r.has(layer+n.qNorm), r.has(layer+n.ffnPost)
	c.OutBias, c.Sinks = r.has(layer+n.o+".bias"), r.has(layer+n.sinks)
}

// experts sets the number of experts, and what the tensors of the first layer with experts tell of them.
func (r *reader) experts(c *Config, experts, used int) {
	first := 0
	for slices.Contains(c.Dense, first) {
		first++
	}
	n, layer := r.names, fmt.Sprintf(r.names.layer, first)
	c.Experts, c.ExpertsUsed, c.ExpertBias = experts, used, r.has(layer+n.router+".bias")
	rows := func(name string) int {
		t := r.find(layer + name + ".weight")
		if t == nil {
			return 0
		}
		n, _ := t.Size()
		return n
	}
	if c.FFN = rows(fmt.Sprintf(n.expert.gate, 0)); c.FFN == 0 {
		if all := rows(n.experts.gate); all > 0 {
			c.FFN = max(1, all/max(1, experts)) // held against the tensors later
		}
	}
	c.SharedFFN = rows(n.shared.gate)
	if c.FFN == 0 {
		r.fail("the file has no tensor %q", layer+n.experts.gate+".weight")
	}
}

// tensor returns a tensor [rows, cols]; rows is 1 for a vector.
func (r *reader) tensor(name string, rows, cols int) stored {
	t := r.find(name)
	if t == nil {
		r.fail("the file has no tensor %q", name)
		return nil
	}
	if m, n := t.Size(); m != rows || n != cols {
		r.fail("tensor %q is [%d, %d], [%d, %d] is needed", name, m, n, rows, cols)
		return nil
	}
	r.used[name] = true
	return t
}

func (r *reader) matrix(name string, rows, cols int) qkv.Matrix {
	t := r.tensor(name, rows, cols)
	if t == nil {
		return qkv.Matrix{}
	}
	m, err := t.Matrix()
	if err != nil {
		r.fail("%w", err)
	}
	return m
}

func (r *reader) vector(name string, n int) []float32 { return r.vectors(name, 1, n) }

// norm returns the weights of a norm.
func (r *reader) norm(name string, n int) []float32 {
	x := r.vector(name, n)
	if r.addOne {
		x = slices.Clone(x) // may be the file's
		for i := range x {
			x[i]++
		}
	}
	return x
}

func (r *reader) vectors(name string, rows, n int) []float32 {
	t := r.tensor(name, rows, n)
	if t == nil {
		return nil
	}
	x, err := t.Float32()
	if err != nil {
		r.fail("%w", err)
	}
	return x
}

// weights reads the tensors of a model, all that the file has.
func (r *reader) weights(c Config) (*Tensors, error) {
	if r.err == nil {
		if err := c.check(); err != nil {
			return nil, err
		}
	}
	if r.err == nil && c.Layers > len(r.stored) {
		r.fail("there are %d layers, the file has %d tensors", c.Layers, len(r.stored))
	}
	var t *Tensors
	if r.err == nil {
		t = r.tensors(c)
	}
	if r.err == nil {
		for _, name := range r.stored {
			if !r.used[name] {
				r.fail("tensor %q is not supported in such a model", name)
			}
		}
	}
	if r.err != nil {
		return nil, fmt.Errorf("model: %w", r.err)
	}
	return t, nil
}

func (r *reader) tensors(c Config) *Tensors {
	n := r.names
	t := &Tensors{Config: c, Blocks: make([]BlockOf[qkv.Matrix], c.Layers)}
	t.Embedding, t.Norm = r.matrix(n.embedding, c.Vocab, c.Width), r.norm(n.norm, c.Width)
	if t.Out = t.Embedding; !c.Tied {
		t.Out = r.matrix(n.out, c.Vocab, c.Width)
	}
	r.used[n.out] = true // which files of tied ones may have as well
	q, kv := c.Heads*c.Dim(), c.KVHeads*c.Dim()
	for i := range t.Blocks {
		b, layer := &t.Blocks[i], fmt.Sprintf(n.layer, i)
		linear := func(name string, rows, cols int) qkv.Matrix { return r.matrix(layer+name+".weight", rows, cols) }
		vector := func(name string, cols int) []float32 { return r.vector(layer+name, cols) }
		norm := func(name string, cols int) []float32 { return r.norm(layer+name, cols) }
		if r.has(layer + n.qkv + ".weight") { // all in one, as Phi-3 has them
			if all := linear(n.qkv, q+2*kv, c.Width); r.err == nil {
				b.Q, b.K, b.V = all.Slice(0, q), all.Slice(q, q+kv), all.Slice(q+kv, q+2*kv)
			}
		} else {
			b.Q, b.K, b.V = linear(n.q, q, c.Width), linear(n.k, kv, c.Width), linear(n.v, kv, c.Width)
		}
		mlp := func(n mlpNames, ffn int) MLPOf[qkv.Matrix] {
			return MLPOf[qkv.Matrix]{Gate: linear(n.gate, ffn, c.Width), Up: linear(n.up, ffn, c.Width), Down: linear(n.down, c.Width, ffn)}
		}
		switch {
		case c.mixed(i):
			r.mixture(b, &c, layer, mlp)
		case r.has(layer + n.mlp.gate + ".weight"):
			b.MLPOf = mlp(n.mlp, c.mlpWidth())
		default:
			ffn := c.mlpWidth()
			if both := linear(n.mlp.up, 2*ffn, c.Width); r.err == nil {
				b.Gate, b.Up = both.Slice(0, ffn), both.Slice(ffn, 2*ffn)
			}
			b.Down = linear(n.mlp.down, c.Width, ffn)
		}
		b.O = linear(n.o, c.Width, q)
		b.AttnNorm, b.FFNNorm = norm(n.attnNorm, c.Width), norm(n.ffnNorm, c.Width)
		if c.Bias {
			b.QBias, b.KBias, b.VBias = vector(n.q+".bias", q), vector(n.k+".bias", kv), vector(n.v+".bias", kv)
		}
		if c.OutBias {
			b.OBias = vector(n.o+".bias", c.Width)
		}
		if c.Sinks {
			b.Sinks = vector(n.sinks, c.Heads)
		}
		if c.QKNorm {
			b.QNorm, b.KNorm = norm(n.qNorm, c.Dim()), norm(n.kNorm, c.Dim())
		}
		if c.PostNorm {
			b.AttnPost, b.FFNPost = norm(n.attnPost, c.Width), norm(n.ffnPost, c.Width)
		}
	}
	return t
}

// mixture reads the router and the experts of a layer.
func (r *reader) mixture(b *BlockOf[qkv.Matrix], c *Config, layer string, mlp func(n mlpNames, ffn int) MLPOf[qkv.Matrix]) {
	n := r.names
	b.Router = r.matrix(layer+n.router+".weight", c.Experts, c.Width)
	if c.ExpertBias {
		b.RouterBias = r.vector(layer+n.router+".bias", c.Experts)
	}
	if c.SharedFFN != 0 {
		b.Shared, b.SharedGate = mlp(n.shared, c.SharedFFN), r.matrix(layer+n.sharedGate+".weight", 1, c.Width)
	}
	if r.has(layer + fmt.Sprintf(n.expert.gate, 0) + ".weight") {
		for i := 0; i < c.Experts && r.err == nil; i++ {
			number := func(format string) string { return fmt.Sprintf(format, i) }
			b.Experts = append(b.Experts, mlp(mlpNames{number(n.expert.gate), number(n.expert.up), number(n.expert.down)}, c.FFN))
		}
		return
	}
	all := func(name string, rows, cols int) func(i int) (qkv.Matrix, []float32) {
		matrix, bias := r.matrix(layer+name+".weight", c.Experts*rows, cols), []float32(nil)
		if c.ExpertBias {
			bias = r.vectors(layer+name+".bias", c.Experts, rows)
		}
		return func(i int) (qkv.Matrix, []float32) {
			m := matrix.Slice(i*rows, (i+1)*rows)
			if bias == nil {
				return m, nil
			}
			return m, bias[i*rows:][:rows]
		}
	}
	gate, up, down := all(n.experts.gate, c.FFN, c.Width), all(n.experts.up, c.FFN, c.Width), all(n.experts.down, c.Width, c.FFN)
	if r.err != nil {
		return
	}
	b.Experts = make([]MLPOf[qkv.Matrix], c.Experts)
	for i := range b.Experts {
		x := &b.Experts[i]
		x.Gate, x.GateBias = gate(i)
		x.Up, x.UpBias = up(i)
		x.Down, x.DownBias = down(i)
	}
}
