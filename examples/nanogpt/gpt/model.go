// Package gpt runs a small trained GPT: the model of Karpathy's minGPT, whose attention
// and matrix products are this library's. It is meant to be read, from [Model.Forward] on.
//
// The model is that of bbycroft.net/llm, which draws the same numbers. It continues six
// letters, each A, B or C, by the same letters sorted. The names of the weights and of the
// values on the way are its own.
package gpt

import (
	"fmt"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/internal/bounded"
)

// A Model is a network and its weights. It does not change, and is safe for use by several
// goroutines at once.
type Model struct {
	Config
	engine *qkv.Engine

	wte    Tensor // token embedding [vocab, width]
	wpe    Tensor // position embedding [context, width]
	blocks []block
	lnF    norm
	lmHead linear // [width, vocab]
}

// A block is the weights of a transformer block.
type block struct {
	ln1  norm
	attn *qkv.Layer
	ln2  norm
	fc   linear // [width, 4*width]
	proj linear // [4*width, width]
}

// A linear layer is y = x w + bias.
type linear struct {
	w    *qkv.PackedMatrix // [in, out]
	bias []float32         // [out], or nil
}

// mostBytes bounds a file; that of the model has some hundred thousand.
const mostBytes = 64 << 20

// Load reads a model from a file, gpt-nano-sort-model.json of
// https://github.com/bbycroft/llm-viz, to run on an engine. The error wraps an
// [*InputError] if the file is none of such a model, and a [*qkv.ArgError] if its heads are
// wider than the library takes.
func Load(path string, e *qkv.Engine) (*Model, error) {
	data, err := bounded.ReadFile(path, mostBytes)
	if err != nil {
		return nil, err
	}
	m, err := Parse(data, e)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// Parse reads a model from the content of a file, see [Load].
func Parse(data []byte, e *qkv.Engine) (*Model, error) {
	c, err := parseCheckpoint(data)
	if err != nil {
		return nil, err
	}
	b := builder{checkpoint: c, engine: e}
	m := &Model{Config: c.Config, engine: e}
	m.wte = b.tensor("transformer.wte.weight", c.Vocab, c.Width)
	m.wpe = b.tensor("transformer.wpe.weight", c.Context, c.Width)
	for i := 0; i < c.Layers && b.err == nil; i++ {
		m.blocks = append(m.blocks, b.block(fmt.Sprintf("transformer.h.%d.", i)))
	}
	m.lnF = b.norm("transformer.ln_f")
	m.lmHead.w = b.pack("lm_head", c.Width, c.Vocab)
	if b.err != nil {
		return nil, b.err
	}
	return m, nil
}

// A builder takes the parts of a model from a checkpoint. It keeps the first error; what it
// returns after one is of no use.
type builder struct {
	*checkpoint
	engine *qkv.Engine
	err    error
}

func (b *builder) block(name string) block {
	return block{
		ln1:  b.norm(name + "ln_1"),
		attn: b.attention(name + "attn."),
		ln2:  b.norm(name + "ln_2"),
		fc:   b.linear(name+"mlp.c_fc", b.Width, 4*b.Width),
		proj: b.linear(name+"mlp.c_proj", 4*b.Width, b.Width),
	}
}

// attention returns the attention layer of a block. The checkpoint has a tensor name.bias
// too, which is the causal mask.
func (b *builder) attention(name string) *qkv.Layer {
	width := b.Width
	// The weights that make queries, those that make keys and those that make values,
	// one below the other: each is stored [out, in], so that [in, out] is its transpose.
	w := b.tensor(name+"c_attn.weight", 3*width, width)
	bias := b.tensor(name+"c_attn.bias", 3*width)
	wo := b.tensor(name+"c_proj.weight", width, width)
	bo := b.tensor(name+"c_proj.bias", width)
	if b.err != nil {
		return nil
	}
	part := func(i int) qkv.Linear {
		return qkv.Linear{
			W:    qkv.RowMajor(w.Data[i*width*width:][:width*width], width, width).T(),
			Bias: bias.Data[i*width:][:width],
		}
	}
	layer, err := b.engine.NewLayer(qkv.LayerConfig{
		ProjectionConfig: qkv.ProjectionConfig{Q: part(0), K: part(1), V: part(2), Heads: b.Heads},
		Out:              qkv.Linear{W: qkv.RowMajor(wo.Data, width, width).T(), Bias: bo.Data},
		Attention:        attention,
	})
	b.keep(err)
	return layer
}

func (b *builder) linear(name string, in, out int) linear {
	return linear{w: b.pack(name, in, out), bias: b.tensor(name+".bias", out).Data}
}

// pack returns weights [in, out], which the checkpoint has as [out, in].
func (b *builder) pack(name string, in, out int) *qkv.PackedMatrix {
	w := b.tensor(name+".weight", out, in)
	if b.err != nil {
		return nil
	}
	packed, err := b.engine.Pack(qkv.RowMajor(w.Data, out, in).T())
	b.keep(err)
	return packed
}

func (b *builder) norm(name string) norm {
	return norm{weight: b.tensor(name+".weight", b.Width).Data, bias: b.tensor(name+".bias", b.Width).Data}
}

func (b *builder) tensor(name string, shape ...int) Tensor {
	if b.err != nil {
		return Tensor{}
	}
	t, err := b.checkpoint.tensor(name, shape...)
	b.keep(err)
	return t
}

func (b *builder) keep(err error) {
	if b.err == nil {
		b.err = err
	}
}
