package model

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/internal/gguf"
)

// architectures are the names that files have for models of the family, and what they do not say themselves.
// What else models differ in is in their numbers and tensors.
var architectures = map[string]func(r *ggufReader, c *Config){
	"llama": func(r *ggufReader, c *Config) {}, // Llama, Mistral, SmolLM: files have Q and K in the order of neighbours
	"qwen2": func(r *ggufReader, c *Config) { c.HalfSplit = true },
	"qwen3": func(r *ggufReader, c *Config) { c.HalfSplit = true },
	"phi3":  func(r *ggufReader, c *Config) { c.HalfSplit = true },
	"gemma": func(r *ggufReader, c *Config) { r.gemma(c) },
	"gemma2": func(r *ggufReader, c *Config) {
		r.gemma(c)
		c.Window, c.Period, c.LocalRotary = r.int("attention.sliding_window", 4096), 2, c.Rotary
		c.Softcap, c.LogitCap = r.float("attn_logit_softcapping", 50), r.float("final_logit_softcapping", 30)
		if c.Layers == 46 { // of 27 billion
			c.QueryScale = float32(1 / math.Sqrt(float64(c.Width/c.Heads)))
		}
	},
	"gemma3": func(r *ggufReader, c *Config) {
		r.gemma(c)
		c.Window, c.Period = r.int("attention.sliding_window", 0), r.int("attention.sliding_window_pattern", 6)
		c.LocalRotary = qkv.RotaryConfig{Base: float64(r.float("rope.freq_base_swa", 10000))}
		c.LogitCap = r.float("final_logit_softcapping", 0)
		if c.Layers == 62 { // of 27 billion
			c.QueryScale = float32(1 / math.Sqrt(float64(c.Width/c.Heads)))
		}
	},
}

// gemma sets what the Gemmas have in common. Files have 1 added to the weights of norms.
func (r *ggufReader) gemma(c *Config) {
	c.HalfSplit, c.Activation = true, qkv.GELUTanh
	c.EmbeddingScale = float32(math.Sqrt(float64(c.Width)))
}

// FromGGUF returns the weights in a file, whose matrices stay in the file. The error names what is missing,
// has other dims than the rest of the file says, or is not supported: a tensor that nobody would use among it.
func FromGGUF(f *gguf.File) (*Tensors, error) {
	r := &ggufReader{f: f, used: map[string]bool{}}
	t := r.tensors()
	if r.err == nil {
		for i := range f.Tensors {
			if name := f.Tensors[i].Name; !r.used[name] {
				r.fail("tensor %q is not supported in %s", name, r.arch)
				break
			}
		}
	}
	if r.err != nil {
		return nil, fmt.Errorf("model: %w", r.err)
	}
	return t, nil
}

// A ggufReader looks for numbers and tensors in a file. It keeps the first error.
type ggufReader struct {
	f    *gguf.File
	arch string
	used map[string]bool
	err  error
}

func (r *ggufReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// int returns a number of the architecture, or another where the file does not have it. It reports one that
// is 0, or more than any model has.
func (r *ggufReader) int(key string, other int) int {
	key = r.arch + "." + key
	all, ok := r.f.Ints(key)
	switch {
	case !r.f.Has(key):
		if other == 0 {
			r.fail("the file has no %s", key)
		}
		return other
	case !ok || len(all) == 0:
		r.fail("%s is not an integer", key)
		return 0
	}
	for _, n := range all {
		if n != all[0] {
			r.fail("%s is not the same in all layers", key)
		}
		if n < 1 || n > most {
			r.fail("%s is %d, 1 to %d is supported", key, n, most)
		}
	}
	return int(all[0])
}

// float returns a number of the architecture, or another where the file does not have it.
func (r *ggufReader) float(key string, other float32) float32 {
	key = r.arch + "." + key
	x, ok := r.f.Float(key)
	if !ok {
		if r.f.Has(key) {
			r.fail("%s is not a number", key)
		}
		return other
	}
	if math.IsNaN(x) || math.IsInf(x, 0) {
		r.fail("%s is %v", key, x)
	}
	return float32(x)
}

// has tells whether there is a tensor.
func (r *ggufReader) has(name string) bool { return r.f.Tensor(name) != nil }

// tensor returns a tensor [rows, cols]; rows is 1 for a vector.
func (r *ggufReader) tensor(name string, rows, cols int) *gguf.Tensor {
	t := r.f.Tensor(name)
	switch {
	case t == nil:
		r.fail("the file has no tensor %q", name)
		return nil
	case t.Dims[0] != cols || t.Rows() != rows:
		r.fail("tensor %q is %v, [%d, %d] is needed", name, t.Dims, cols, rows)
		return nil
	}
	r.used[name] = true
	return t
}

func (r *ggufReader) matrix(name string, rows, cols int) qkv.Matrix {
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

func (r *ggufReader) vector(name string, n int) []float32 {
	t := r.tensor(name, 1, n)
	if t == nil {
		return nil
	}
	x, err := t.Float32()
	if err != nil {
		r.fail("%w", err)
	}
	return x
}

// config reads the shape, which the tensors are held against.
func (r *ggufReader) config() (c Config) {
	r.arch, _ = r.f.Text("general.architecture")
	set, ok := architectures[r.arch]
	if !ok {
		var names []string
		for name := range architectures {
			names = append(names, name)
		}
		slices.Sort(names)
		r.fail("the architecture is %.40q, supported are %s", r.arch, strings.Join(names, ", "))
		return c
	}
	embedding := r.f.Tensor("token_embd.weight")
	if embedding == nil {
		r.fail("the file has no tensor %q", "token_embd.weight")
		return c
	}
	c = Config{
		Layers: r.int("block_count", 0), Width: r.int("embedding_length", 0), Heads: r.int("attention.head_count", 0),
		FFN: r.int("feed_forward_length", 0), Vocab: embedding.Rows(), Context: r.int("context_length", 0),
		Tied: !r.has("output.weight"),
	}
	if r.err != nil {
		return c
	}
	c.KVHeads = r.int("attention.head_count_kv", c.Heads)
	c.HeadDim = r.int("attention.key_length", max(1, c.Width/c.Heads))
	if v := r.int("attention.value_length", c.HeadDim); v != c.HeadDim {
		r.fail("heads of keys have %d dims, and of values %d, which is not supported", c.HeadDim, v)
	}
	c.NormEps = r.float("attention.layer_norm_rms_epsilon", 1e-5)
	c.Bias, c.QKNorm, c.PostNorm = r.has("blk.0.attn_q.bias"), r.has("blk.0.attn_q_norm.weight"), r.has("blk.0.post_ffw_norm.weight")
	c.Rotary = qkv.RotaryConfig{Base: float64(r.float("rope.freq_base", 10000)), Dim: r.int("rope.dimension_count", c.HeadDim)}
	switch scaling, _ := r.f.Text(r.arch + ".rope.scaling.type"); scaling {
	case "", "none":
	case "linear":
		c.Rotary.Scaling = qkv.RotaryScaling{Type: qkv.ScalingLinear, Factor: float64(r.float("rope.scaling.factor", 1))}
	case "yarn":
		c.Rotary.Scaling = qkv.RotaryScaling{
			Type: qkv.ScalingYaRN, Factor: float64(r.float("rope.scaling.factor", 1)),
			OriginalMaxPositions: r.int("rope.scaling.original_context_length", c.Context),
		}
	default:
		r.fail("the scaling of the rotary embedding is %.40q, linear and yarn are supported", scaling)
	}
	if name := "rope_freqs.weight"; r.has(name) { // Llama 3: each frequency is divided by a factor of its own
		factors := make([]float64, c.Rotary.Dim/2)
		for i, x := range r.vector(name, len(factors)) {
			factors[i] = float64(x)
		}
		c.Rotary.Scaling = qkv.RotaryScaling{
			Type: qkv.ScalingLongRoPE, ShortFactor: factors, LongFactor: factors, OriginalMaxPositions: c.Context, AttentionFactor: 1,
		}
	}
	set(r, &c)
	return c
}

// tensors reads everything.
func (r *ggufReader) tensors() *Tensors {
	c := r.config()
	if r.err == nil {
		r.err = c.check()
	}
	if r.err == nil && c.Layers > len(r.f.Tensors) {
		r.fail("%s.block_count is %d, the file has %d tensors", r.arch, c.Layers, len(r.f.Tensors))
	}
	if r.err != nil {
		return nil
	}
	t := &Tensors{Config: c, Blocks: make([]BlockOf[qkv.Matrix], c.Layers)}
	t.Embedding, t.Norm = r.matrix("token_embd.weight", c.Vocab, c.Width), r.vector("output_norm.weight", c.Width)
	if t.Out = t.Embedding; !c.Tied {
		t.Out = r.matrix("output.weight", c.Vocab, c.Width)
	}
	q, kv := c.Heads*c.Dim(), c.KVHeads*c.Dim()
	for i := range t.Blocks {
		b, name := &t.Blocks[i], func(s string) string { return fmt.Sprintf("blk.%d.%s", i, s) }
		if fused := name("attn_qkv.weight"); r.has(fused) {
			if all := r.matrix(fused, q+2*kv, c.Width); r.err == nil {
				b.Q, b.K, b.V = all.Slice(0, q), all.Slice(q, q+kv), all.Slice(q+kv, q+2*kv)
			}
		} else {
			b.Q = r.matrix(name("attn_q.weight"), q, c.Width)
			b.K, b.V = r.matrix(name("attn_k.weight"), kv, c.Width), r.matrix(name("attn_v.weight"), kv, c.Width)
		}
		if up := name("ffn_up.weight"); r.has(name("ffn_gate.weight")) {
			b.Gate, b.Up = r.matrix(name("ffn_gate.weight"), c.FFN, c.Width), r.matrix(up, c.FFN, c.Width)
		} else if both := r.matrix(up, 2*c.FFN, c.Width); r.err == nil { // one below the other
			b.Gate, b.Up = both.Slice(0, c.FFN), both.Slice(c.FFN, 2*c.FFN)
		}
		b.O, b.Down = r.matrix(name("attn_output.weight"), c.Width, q), r.matrix(name("ffn_down.weight"), c.Width, c.FFN)
		b.AttnNorm, b.FFNNorm = r.vector(name("attn_norm.weight"), c.Width), r.vector(name("ffn_norm.weight"), c.Width)
		if c.Bias {
			b.QBias, b.KBias, b.VBias = r.vector(name("attn_q.bias"), q), r.vector(name("attn_k.bias"), kv), r.vector(name("attn_v.bias"), kv)
		}
		if c.QKNorm {
			b.QNorm, b.KNorm = r.vector(name("attn_q_norm.weight"), c.Dim()), r.vector(name("attn_k_norm.weight"), c.Dim())
		}
		if c.PostNorm {
			b.AttnPost, b.FFNPost = r.vector(name("post_attention_norm.weight"), c.Width), r.vector(name("post_ffw_norm.weight"), c.Width)
		}
	}
	return t
}
