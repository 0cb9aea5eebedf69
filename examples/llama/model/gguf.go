package model

import (
	"math"
	"slices"
	"strings"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/internal/gguf"
)

// architectures are the names that files have for models of the family, and what they do not say themselves.
// What else models differ in is in their numbers and tensors.
var architectures = map[string]func(r *ggufReader, c *Config){
	"llama":    func(r *ggufReader, c *Config) {}, // Llama, Mistral, SmolLM: files have Q and K in the order of neighbours
	"qwen2":    func(r *ggufReader, c *Config) { c.HalfSplit = true },
	"qwen3":    func(r *ggufReader, c *Config) { c.HalfSplit = true },
	"qwen2moe": func(r *ggufReader, c *Config) { c.HalfSplit, c.SoftmaxAll = true, true },
	"qwen3moe": func(r *ggufReader, c *Config) { c.HalfSplit = true },
	"gpt-oss": func(r *ggufReader, c *Config) {
		c.HalfSplit, c.Clamp = true, 7
		c.Window, c.Period = r.int("attention.sliding_window", 128), r.int("attention.sliding_window_pattern", 2)
		c.Rotary.Scaling.Truncate = new(bool) // as the model was trained; llama.cpp rounds the ends of the ramp
		c.LocalRotary = c.Rotary
	},
	"phi3": func(r *ggufReader, c *Config) {
		c.HalfSplit = true
		r.longRoPE(c)
		if n, _ := r.f.Int(r.arch + ".attention.sliding_window"); n > 0 && n < int64(c.Context) {
			c.allLocal(int(n))
		}
	},
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

// longRoPE sets the rotary embedding of files that have factors of its frequencies, for short texts and for long ones.
func (r *ggufReader) longRoPE(c *Config) {
	const short, long = "rope_factors_short.weight", "rope_factors_long.weight"
	if !r.has(short) && !r.has(long) {
		return
	}
	c.Rotary.Scaling = qkv.RotaryScaling{
		Type: qkv.ScalingLongRoPE, ShortFactor: r.factors(short, c), LongFactor: r.factors(long, c),
		OriginalMaxPositions: r.int("rope.scaling.original_context_length", c.Context),
		AttentionFactor:      float64(r.float("rope.scaling.attn_factor", 1)),
	}
}

// factors returns those of the frequencies of the rotary embedding.
func (r *ggufReader) factors(name string, c *Config) []float64 {
	factors := make([]float64, c.Rotary.Dim/2)
	for i, x := range r.vector(name, len(factors)) {
		factors[i] = float64(x)
	}
	return factors
}

// FromGGUF returns the weights in a file, whose matrices stay in the file. The error names what is missing,
// has other dims than the rest of the file says, or is not supported: a tensor that nobody would use among it.
func FromGGUF(f *gguf.File) (*Tensors, error) {
	var names []string
	for i := range f.Tensors {
		names = append(names, f.Tensors[i].Name)
	}
	r := &ggufReader{f: f, reader: reader{names: &ggufNames, stored: names, used: map[string]bool{}, find: func(name string) stored {
		if t := f.Tensor(name); t != nil {
			return t
		}
		return nil
	}}}
	return r.weights(r.config())
}

// ggufNames are those of tensors in GGUF files.
var ggufNames = tensorNames{
	embedding: "token_embd.weight", norm: "output_norm.weight", out: "output.weight", layer: "blk.%d.",
	attnNorm: "attn_norm.weight", ffnNorm: "ffn_norm.weight",
	q: "attn_q", k: "attn_k", v: "attn_v", qkv: "attn_qkv", o: "attn_output", qNorm: "attn_q_norm.weight", kNorm: "attn_k_norm.weight",
	sinks: "attn_sinks.weight", attnPost: "post_attention_norm.weight", ffnPost: "post_ffw_norm.weight",
	mlp:    mlpNames{"ffn_gate", "ffn_up", "ffn_down"},
	router: "ffn_gate_inp", experts: mlpNames{"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"}, expert: mlpNames{"ffn_gate.%d", "ffn_up.%d", "ffn_down.%d"},
	sharedGate: "ffn_gate_inp_shexp", shared: mlpNames{"ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"},
}

// A ggufReader looks for numbers and tensors in a file.
type ggufReader struct {
	reader
	f    *gguf.File
	arch string
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
	embedding := r.f.Tensor(r.names.embedding)
	if embedding == nil {
		r.fail("the file has no tensor %q", r.names.embedding)
		return c
	}
	c = Config{
		Layers: r.int("block_count", 0), Width: r.int("embedding_length", 0), Heads: r.int("attention.head_count", 0),
		Vocab: embedding.Rows(), Context: r.int("context_length", 0),
		Tied: !r.has(r.names.out),
	}
	if r.arch == "gpt-oss" { // in the place of a norm behind attention
		names := ggufNames
		names.ffnNorm = names.attnPost
		r.names = &names
	}
	switch n, _ := r.f.Int(r.arch + ".expert_count"); {
	case n != 0:
		r.experts(&c, r.int("expert_count", 0), r.int("expert_used_count", 0))
		if s := r.float("expert_weights_scale", 1); s != 0 && s != 1 {
			r.fail("%s.expert_weights_scale is %v, which is not supported", r.arch, s)
		}
	default:
		c.FFN = r.int("feed_forward_length", 0)
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
	r.options(&c)
	c.Rotary = qkv.RotaryConfig{Base: float64(r.float("rope.freq_base", 10000)), Dim: r.int("rope.dimension_count", c.HeadDim)}
	switch scaling, _ := r.f.Text(r.arch + ".rope.scaling.type"); scaling {
	case "", "none":
	case "linear":
		c.Rotary.Scaling = qkv.RotaryScaling{Type: qkv.ScalingLinear, Factor: float64(r.float("rope.scaling.factor", 1))}
	case "yarn":
		c.Rotary.Scaling = qkv.RotaryScaling{
			Type: qkv.ScalingYaRN, Factor: float64(r.float("rope.scaling.factor", 1)),
			OriginalMaxPositions: r.int("rope.scaling.original_context_length", c.Context),
			BetaFast:             float64(r.float("rope.scaling.yarn_beta_fast", 32)), BetaSlow: float64(r.float("rope.scaling.yarn_beta_slow", 1)),
		}
	default:
		r.fail("the scaling of the rotary embedding is %.40q, linear and yarn are supported", scaling)
	}
	if name := "rope_freqs.weight"; r.has(name) { // Llama 3: each frequency is divided by a factor of its own
		factors := r.factors(name, &c)
		c.Rotary.Scaling = qkv.RotaryScaling{
			Type: qkv.ScalingLongRoPE, ShortFactor: factors, LongFactor: factors, OriginalMaxPositions: c.Context, AttentionFactor: 1,
		}
	}
	set(r, &c)
	return c
}
