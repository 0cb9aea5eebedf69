// Package bert has sentence embeddings of models of the family of BERT (Devlin et al., 2019; Reimers and Gurevych,
// 2019), of which attention, matrix products and norms are this library's. [Encoder.Embed] is the forward pass.
package bert

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/internal/bounded"
	"github.com/qkv-go/qkv/examples/internal/safetensors"
)

// Config is what counts of a model's config.json.
type Config struct {
	Type       string  `json:"model_type"`
	Layers     int     `json:"num_hidden_layers"`
	Width      int     `json:"hidden_size"`
	Heads      int     `json:"num_attention_heads"`
	FFN        int     `json:"intermediate_size"`
	Vocab      int     `json:"vocab_size"`
	Context    int     `json:"max_position_embeddings"`
	Types      int     `json:"type_vocab_size"`
	Activation string  `json:"hidden_act"`
	NormEps    float64 `json:"layer_norm_eps"`
	Positions  string  `json:"position_embedding_type"`
}

// most bounds each number of a Config, so that products of two do not overflow 64 bits.
const most = 1 << 20

// mostVocab bounds the bytes of a vocab.txt.
const mostVocab = 32 << 20

// check reports a shape that no model has, and what is not supported.
func (c *Config) check() error {
	for _, x := range []struct {
		name string
		n    int
	}{
		{"num_hidden_layers", c.Layers}, {"hidden_size", c.Width}, {"num_attention_heads", c.Heads}, {"intermediate_size", c.FFN},
		{"vocab_size", c.Vocab}, {"max_position_embeddings", c.Context}, {"type_vocab_size", c.Types},
	} {
		if x.n < 1 || x.n > most {
			return fmt.Errorf("%s is %d, 1 to %d is supported", x.name, x.n, most)
		}
	}
	switch {
	case c.Type != "bert":
		return fmt.Errorf("model_type is %.40q, bert is supported", c.Type)
	case c.Activation != "gelu":
		return fmt.Errorf("hidden_act is %.40q, gelu is supported", c.Activation)
	case c.Positions != "" && c.Positions != "absolute":
		return fmt.Errorf("position_embedding_type is %.40q, absolute is supported", c.Positions)
	case c.Width%c.Heads != 0:
		return fmt.Errorf("hidden_size is %d, not a multiple of num_attention_heads, %d", c.Width, c.Heads)
	case !(c.NormEps > 1e-30 && c.NormEps < 1):
		return fmt.Errorf("layer_norm_eps is %v, 1e-30 to 1 is supported", c.NormEps)
	}
	return nil
}

// A Model is a network on an engine of the library. It does not change, and is safe for use by several
// goroutines at once, each with an [Encoder] of its own.
type Model struct {
	Config
	Tokenizer *Tokenizer

	engine    *qkv.Engine
	class     qkv.Precision // of the products
	file      *safetensors.File
	words     qkv.Matrix // [Vocab, Width]
	positions qkv.Matrix // [Context, Width], with the embedding of the first type of tokens added
	norm      layerNorm
	blocks    []block
}

// A block is a layer.
type block struct {
	attn             *qkv.Layer
	attnNorm         layerNorm
	up, down         qkv.Linear // [Width, FFN], [FFN, Width]
	upBias, downBias []float32
	ffnNorm          layerNorm
}

// A layerNorm is the weights of a layer norm.
type layerNorm struct{ weight, bias []float32 }

// Load returns the model in a folder with config.json, vocab.txt and model.safetensors (or its shards), whose
// products are of a class, see [qkv.Engine.PackFor]. It keeps packed copies of the matrices, and reads the embedding in
// the file. The error names what is missing, has other dims than the configuration says, or is not supported.
func Load(e *qkv.Engine, dir string, class qkv.Precision) (*Model, error) {
	m := &Model{engine: e, class: class}
	fail := func(err error) (*Model, error) {
		m.Close()
		return nil, fmt.Errorf("bert: %s: %w", dir, err)
	}
	config, err := bounded.ReadFile(filepath.Join(dir, "config.json"), bounded.Config)
	if err != nil {
		return fail(err)
	}
	if err := json.Unmarshal(config, &m.Config); err != nil {
		return fail(fmt.Errorf("config.json: %w", err))
	}
	if err := m.check(); err != nil {
		return fail(fmt.Errorf("config.json: %w", err))
	}
	vocab, err := bounded.ReadFile(filepath.Join(dir, "vocab.txt"), mostVocab)
	if err != nil {
		return fail(err)
	}
	if m.Tokenizer, err = NewTokenizer(string(vocab)); err != nil {
		return fail(err)
	}
	if n := m.Tokenizer.Len(); n > m.Vocab {
		return fail(fmt.Errorf("vocab.txt has %d tokens, the model %d", n, m.Vocab))
	}
	if m.file, err = safetensors.OpenFolder(dir); err != nil {
		return fail(err)
	}
	if err := m.read(); err != nil {
		return fail(err)
	}
	return m, nil
}

// Close closes the file. The model is not used any more.
func (m *Model) Close() error {
	if m.file == nil {
		return nil
	}
	return m.file.Close()
}

// read takes the weights out of the file. It returns the first error.
func (m *Model) read() (err error) {
	keep := func(e error) {
		if err == nil {
			err = e
		}
	}
	matrix := func(name string, rows, cols int) (x qkv.Matrix) {
		t := m.file.Tensor(name)
		if t == nil {
			keep(fmt.Errorf("the file has no tensor %q", name))
			return x
		}
		if a, b := t.Size(); a != rows || b != cols {
			keep(fmt.Errorf("tensor %q is [%d, %d], [%d, %d] is needed", name, a, b, rows, cols))
			return x
		}
		x, e := t.Matrix()
		keep(e)
		return x
	}
	floats := func(name string, rows, cols int) []float32 {
		if matrix(name, rows, cols); err != nil {
			return nil
		}
		x, e := m.file.Tensor(name).Float32()
		keep(e)
		return x
	}
	vector := func(name string, n int) []float32 { return floats(name, 1, n) }
	normOf := func(name string) layerNorm {
		name += ".LayerNorm"
		return layerNorm{vector(name+".weight", m.Width), vector(name+".bias", m.Width)}
	}
	const tables = "embeddings."
	m.words = matrix(tables+"word_embeddings.weight", m.Vocab, m.Width)
	positions := floats(tables+"position_embeddings.weight", m.Context, m.Width)
	types := floats(tables+"token_type_embeddings.weight", m.Types, m.Width)
	m.norm = normOf("embeddings")
	if err != nil {
		return err
	}
	for i := range positions {
		positions[i] += types[i%m.Width]
	}
	m.positions = qkv.RowMajor(positions, m.Context, m.Width)
	for i := 0; i < m.Layers && err == nil; i++ {
		layer := fmt.Sprintf("encoder.layer.%d.", i)
		linear := func(name string, rows, cols int) qkv.Linear { // which the file has as [out, in]
			return qkv.Linear{W: matrix(layer+name+".weight", rows, cols).T(), Bias: vector(layer+name+".bias", rows)}
		}
		packed := func(name string, rows, cols int) (qkv.Linear, []float32) {
			l := linear(name, rows, cols)
			if err != nil {
				return l, nil
			}
			p, e := m.engine.PackFor(m.class, l.W, 1)
			keep(e)
			return qkv.Linear{Packed: p}, l.Bias
		}
		const self = "attention.self."
		cfg := qkv.LayerConfig{
			ProjectionConfig: qkv.ProjectionConfig{
				Q: linear(self+"query", m.Width, m.Width), K: linear(self+"key", m.Width, m.Width), V: linear(self+"value", m.Width, m.Width),
				Heads: m.Heads, KVHeads: m.Heads, Precision: m.class,
			},
			Out: linear("attention.output.dense", m.Width, m.Width),
		}
		var b block
		b.attnNorm, b.ffnNorm = normOf(layer+"attention.output"), normOf(layer+"output")
		b.up, b.upBias = packed("intermediate.dense", m.FFN, m.Width)
		b.down, b.downBias = packed("output.dense", m.Width, m.FFN)
		if err == nil {
			attn, e := m.engine.NewLayer(cfg)
			keep(e)
			b.attn = attn
		}
		m.blocks = append(m.blocks, b)
	}
	return err
}
