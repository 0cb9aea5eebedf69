package model

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/internal/gguf"
	"github.com/qkv-go/qkv/examples/internal/ggufbuild"
)

// ggufOf returns what a GGUF file of weights in float32 has.
func ggufOf(arch string, w *Weights) (keys []ggufbuild.Key, tensors []ggufbuild.Tensor) {
	key := func(name string, v any) { keys = append(keys, ggufbuild.Key{Name: name, Value: v}) }
	key("general.architecture", arch)
	for name, n := range map[string]int{
		"block_count": w.Layers, "embedding_length": w.Width, "attention.head_count": w.Heads, "attention.head_count_kv": w.KVHeads,
		"feed_forward_length": w.FFN, "context_length": w.Context, "attention.key_length": w.Dim(), "attention.value_length": w.Dim(),
	} {
		key(arch+"."+name, uint32(n))
	}
	key(arch+".rope.freq_base", float32(w.Rotary.Base))
	key(arch+".attention.layer_norm_rms_epsilon", w.NormEps)
	if w.Window != 0 {
		key(arch+".attention.sliding_window", uint32(w.Window))
	}
	for name, cap := range map[string]float32{"attn_logit_softcapping": w.Softcap, "final_logit_softcapping": w.LogitCap} {
		if cap != 0 {
			key(arch+"."+name, cap)
		}
	}
	if w.Experts != 0 {
		key(arch+".expert_count", uint32(w.Experts))
		key(arch+".expert_used_count", uint32(w.ExpertsUsed))
	}
	if s := &w.Rotary.Scaling; s.Type == qkv.ScalingLongRoPE {
		key(arch+".rope.scaling.original_context_length", uint32(s.OriginalMaxPositions))
		key(arch+".rope.scaling.attn_factor", float32(s.AttentionFactor))
		for name, factors := range map[string][]float64{"long": s.LongFactor, "short": s.ShortFactor} {
			x := make([]float32, len(factors))
			for i, f := range factors {
				x[i] = float32(f)
			}
			tensors = append(tensors, ggufbuild.Tensor{Name: "rope_factors_" + name + ".weight", Dims: []int{len(x)}, Data: ggufbuild.Float32(x)})
		}
	} else if s.Type != "" {
		key(arch+".rope.scaling.type", string(s.Type))
		key(arch+".rope.scaling.factor", float32(s.Factor))
		key(arch+".rope.scaling.original_context_length", uint32(s.OriginalMaxPositions))
	}
	tensor := func(name string, x []float32, dims ...int) {
		if x == nil {
			return
		}
		if cols := dims[0]; len(dims) == 1 && len(x) != cols {
			dims = []int{cols, len(x) / cols}
		}
		tensors = append(tensors, ggufbuild.Tensor{Name: name, Dims: dims, Data: ggufbuild.Float32(x)})
	}
	tensor("token_embd.weight", w.Embedding, w.Width)
	tensor("output_norm.weight", w.Norm, w.Width)
	if !w.Tied {
		tensor("output.weight", w.Out, w.Width)
	}
	ffnNorm := "ffn_norm.weight"
	if arch == "gpt-oss" {
		ffnNorm = "post_attention_norm.weight"
	}
	for i, b := range w.Blocks {
		for _, x := range []struct {
			name string
			x    []float32
			cols int
		}{
			{"attn_norm.weight", b.AttnNorm, w.Width}, {ffnNorm, b.FFNNorm, w.Width},
			{"attn_q.weight", b.Q, w.Width}, {"attn_k.weight", b.K, w.Width}, {"attn_v.weight", b.V, w.Width},
			{"attn_output.weight", b.O, w.Heads * w.Dim()},
			{"attn_q.bias", b.QBias, len(b.QBias)}, {"attn_k.bias", b.KBias, len(b.KBias)}, {"attn_v.bias", b.VBias, len(b.VBias)},
			{"attn_output.bias", b.OBias, w.Width}, {"attn_sinks.weight", b.Sinks, w.Heads},
			{"attn_q_norm.weight", b.QNorm, w.Dim()}, {"attn_k_norm.weight", b.KNorm, w.Dim()},
			{"post_attention_norm.weight", b.AttnPost, w.Width}, {"post_ffw_norm.weight", b.FFNPost, w.Width},
			{"ffn_gate.weight", b.Gate, w.Width}, {"ffn_up.weight", b.Up, w.Width}, {"ffn_down.weight", b.Down, w.mlpWidth()},
			{"ffn_gate_inp.weight", b.Router, w.Width}, {"ffn_gate_inp.bias", b.RouterBias, w.Experts}, {"ffn_gate_inp_shexp.weight", b.SharedGate, w.Width},
			{"ffn_gate_shexp.weight", b.Shared.Gate, w.Width}, {"ffn_up_shexp.weight", b.Shared.Up, w.Width}, {"ffn_down_shexp.weight", b.Shared.Down, w.SharedFFN},
		} {
			tensor(fmt.Sprintf("blk.%d.%s", i, x.name), x.x, x.cols)
		}
		for _, x := range []struct {
			name string
			of   func(b *MLPOf[[]float32]) (x, bias []float32)
			cols int
		}{
			{"gate", func(b *MLPOf[[]float32]) (x, bias []float32) { return b.Gate, b.GateBias }, w.Width},
			{"up", func(b *MLPOf[[]float32]) (x, bias []float32) { return b.Up, b.UpBias }, w.Width},
			{"down", func(b *MLPOf[[]float32]) (x, bias []float32) { return b.Down, b.DownBias }, w.FFN},
		} {
			var all, biases []float32
			for j := range b.Experts {
				m, bias := x.of(&b.Experts[j])
				if all, biases = append(all, m...), append(biases, bias...); arch == "" { // as older files have them
					tensor(fmt.Sprintf("blk.%d.ffn_%s.%d.weight", i, x.name, j), m, x.cols)
				}
			}
			if arch != "" {
				tensor(fmt.Sprintf("blk.%d.ffn_%s_exps.weight", i, x.name), all, x.cols, len(all)/x.cols/max(1, w.Experts), w.Experts)
				tensor(fmt.Sprintf("blk.%d.ffn_%s_exps.bias", i, x.name), biases, max(1, len(biases)/max(1, w.Experts)), w.Experts)
			}
		}
	}
	return keys, tensors
}

// longRoPE returns the scaling of Phi-3 for heads of 32.
func longRoPE(original int) qkv.RotaryScaling {
	s := qkv.RotaryScaling{Type: qkv.ScalingLongRoPE, OriginalMaxPositions: original, AttentionFactor: 1.25}
	for i := range 16 {
		s.ShortFactor, s.LongFactor = append(s.ShortFactor, 1+float64(i)/16), append(s.LongFactor, 1+float64(i))
	}
	return s
}

// fused puts the matrices of a layer together that files of Phi-3 have as one.
func fused(tensors []ggufbuild.Tensor) []ggufbuild.Tensor {
	var all []ggufbuild.Tensor
	for i := 0; i < len(tensors); i++ {
		t := tensors[i]
		join := func(name string, n int) {
			t.Name = strings.Replace(t.Name, t.Name[strings.LastIndexByte(t.Name[:strings.LastIndexByte(t.Name, '.')], '.')+1:], name, 1)
			for _, x := range tensors[i+1 : i+n] {
				t.Dims, t.Data = []int{t.Dims[0], t.Dims[1] + x.Dims[1]}, append(slices.Clone(t.Data), x.Data...)
			}
			i += n - 1
		}
		switch {
		case strings.HasSuffix(t.Name, "attn_q.weight"):
			join("attn_qkv.weight", 3)
		case strings.HasSuffix(t.Name, "ffn_gate.weight"):
			join("ffn_up.weight", 2)
		}
		all = append(all, t)
	}
	return all
}

// gemma sets what all Gemmas have. Heads of 48 dims differ from width / heads, which are 32.
func gemma(c *Config) {
	c.HalfSplit, c.Activation, c.EmbeddingScale, c.Tied, c.HeadDim = true, qkv.GELUTanh, 8, true, 48
}

// gemma2 sets what Gemma 2 has; the scale of queries is 0 unless it has 46 layers.
func gemma2(c *Config, layers int, scale float32) {
	gemma(c)
	c.Layers, c.PostNorm, c.Window, c.Period, c.QueryScale = layers, true, 9, 2, scale
	c.Softcap, c.LogitCap = 0.7, 0.4 // small, so that they show
}

// gemma3 sets what Gemma 3 has; the scale of queries is 0 unless it has 62 layers.
func gemma3(c *Config, layers int, scale float32) {
	gemma(c)
	c.Layers, c.QKNorm, c.PostNorm, c.Window, c.Period, c.QueryScale = layers, true, true, 9, 6, scale
	c.LocalRotary.Base = 10000
}

// TestGGUF: models of a file, in place and packed, have the bits of their weights, by each architecture.
func TestGGUF(t *testing.T) {
	const n = 40
	base := Config{Layers: 2, Width: 64, Heads: 2, KVHeads: 1, FFN: 96, Vocab: 50, Context: 64}
	for name, set := range map[string]func(c *Config){
		"llama":         func(c *Config) {},
		"llama experts": func(c *Config) { c.Experts, c.ExpertsUsed = 4, 2 },
		"qwen2":         func(c *Config) { c.HalfSplit, c.Bias, c.Tied = true, true, true },
		"qwen3":         func(c *Config) { c.HalfSplit, c.QKNorm, c.HeadDim = true, true, 48 },
		"phi3":          func(c *Config) { c.HalfSplit = true },
		"phi3 long":     func(c *Config) { c.HalfSplit, c.Rotary.Scaling = true, longRoPE(c.Context/2) },
		"phi3 short":    func(c *Config) { c.HalfSplit, c.Rotary.Scaling = true, longRoPE(c.Context) },
		"phi3 window":   func(c *Config) { c.HalfSplit = true; c.allLocal(9) },
		"qwen2moe": func(c *Config) {
			c.HalfSplit, c.Bias, c.Experts, c.ExpertsUsed, c.SoftmaxAll, c.SharedFFN = true, true, 5, 2, true, 32
		},
		"qwen3moe": func(c *Config) {
			c.HalfSplit, c.QKNorm, c.HeadDim, c.Experts, c.ExpertsUsed = true, true, 48, 4, 4
		},
		"gpt-oss": func(c *Config) {
			c.Options, c.Clamp, c.Window = likeGPTOSS().Options, 7, 9
		},
		"gemma":      func(c *Config) { gemma(c) },
		"gemma2":     func(c *Config) { gemma2(c, 3, 0) },
		"gemma2 27b": func(c *Config) { gemma2(c, 46, float32(1/math.Sqrt(32))) },
		"gemma3":     func(c *Config) { gemma3(c, 7, 0) },
		"gemma3 27b": func(c *Config) { gemma3(c, 62, float32(1/math.Sqrt(32))) },
	} {
		c, arch := base, strings.Fields(name)[0]
		set(&c)
		c.Rotary.Base, c.NormEps = 5000, 1e-4
		if c.Window != 0 && (arch == "phi3" || arch == "gemma2") {
			c.LocalRotary = c.Rotary
		}
		e, err := qkv.New(qkv.Config{})
		must(err)
		w, err := Random(c, 3)
		must(err)
		mxfp4 := map[string][]byte{} // of experts, whose values the weights get
		if arch == "gpt-oss" {
			for i := range w.Blocks {
				for j := range w.Blocks[i].Experts {
					b := &w.Blocks[i].Experts[j]
					for name, x := range map[string][]float32{"gate": b.Gate, "up": b.Up, "down": b.Down} {
						name, data := fmt.Sprintf("blk.%d.ffn_%s_exps.weight", i, name), make([]byte, len(x)/32*17)
						must(qkv.Quantize(qkv.WeightMXFP4, data, x))
						must(qkv.Dequantize(qkv.WeightMXFP4, x, data))
						mxfp4[name] = append(mxfp4[name], data...)
					}
				}
			}
		}
		m, err := New(e, w)
		must(err)
		tokens := randomTokens(n, c.Vocab, 1)
		cfg := EngineConfig{PageTokens: 16, Pages: 4}
		run := func(m *Model) []float32 {
			e := newEngine(t, m, cfg)
			return read(e, e.Cache.NewSequence(), tokens, 24)
		}
		want := run(m)
		keys, tensors := ggufOf(arch, w)
		if arch == "phi3" {
			tensors = fused(tensors)
		}
		for i := range tensors {
			if data, ok := mxfp4[tensors[i].Name]; ok {
				tensors[i].Type, tensors[i].Data = 39, data
			}
		}
		f, err := gguf.Parse(ggufbuild.File(keys, tensors))
		must(err)
		x, err := FromGGUF(f)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, packed := range []bool{false, true} {
			m, err := NewOf(e, x, qkv.PrecisionFloat32, packed)
			must(err)
			if got := run(m); !slices.Equal(got, want) {
				t.Errorf("%s, packed %v: logits are others", name, packed)
			}
		}
	}
}

func TestGGUFErrors(t *testing.T) {
	w, err := Random(Config{Layers: 2, Width: 64, Heads: 2, KVHeads: 1, FFN: 96, Vocab: 50, Context: 64}, 1)
	must(err)
	w.Rotary.Base, w.NormEps = 10000, 1e-5
	checkGGUFErrors(t, "llama", w, map[string]ggufChange{
		`architecture is ""`:                     func(k map[string]any, _ map[string]*ggufbuild.Tensor) { delete(k, "general.architecture") },
		`architecture is "mamba", supported are`: func(k map[string]any, _ map[string]*ggufbuild.Tensor) { k["general.architecture"] = "mamba" },
		`no llama.block_count`:                   func(k map[string]any, _ map[string]*ggufbuild.Tensor) { delete(k, "llama.block_count") },
		`llama.block_count is 0`:                 func(k map[string]any, _ map[string]*ggufbuild.Tensor) { k["llama.block_count"] = uint32(0) },
		`9999 layers, the file has`:              func(k map[string]any, _ map[string]*ggufbuild.Tensor) { k["llama.block_count"] = uint32(9999) },
		`no tensor "blk.2.`:                      func(k map[string]any, _ map[string]*ggufbuild.Tensor) { k["llama.block_count"] = uint32(3) },
		`tensor "blk.1.`:                         func(k map[string]any, _ map[string]*ggufbuild.Tensor) { k["llama.block_count"] = uint32(1) },
		`head_count is not an integer`:           func(k map[string]any, _ map[string]*ggufbuild.Tensor) { k["llama.attention.head_count"] = "2" },
		`kvHeads, 3`:                             func(k map[string]any, _ map[string]*ggufbuild.Tensor) { k["llama.attention.head_count_kv"] = int32(3) },
		`not the same in all layers`: func(k map[string]any, _ map[string]*ggufbuild.Tensor) {
			k["llama.attention.head_count_kv"] = []int32{1, 2}
		},
		`context_length is -1`: func(k map[string]any, _ map[string]*ggufbuild.Tensor) { k["llama.context_length"] = int32(-1) },
		`rms_epsilon is not a number`: func(k map[string]any, _ map[string]*ggufbuild.Tensor) {
			k["llama.attention.layer_norm_rms_epsilon"] = true
		},
		`heads of keys have 32 dims, and of val`: func(k map[string]any, _ map[string]*ggufbuild.Tensor) { k["llama.attention.value_length"] = uint32(16) },
		`heads is 8388610, of dim 512`: func(k map[string]any, _ map[string]*ggufbuild.Tensor) { // 1024 together, in 32 bits
			k["llama.attention.head_count"], k["llama.attention.key_length"] = uint32(1<<23+2), uint32(512)
			k["llama.attention.value_length"] = uint32(512)
		},
		`rotary embedding is "su"`: func(k map[string]any, _ map[string]*ggufbuild.Tensor) { k["llama.rope.scaling.type"] = "su" },
		`is [50, 64], [96, 64] is needed`: func(_ map[string]any, x map[string]*ggufbuild.Tensor) {
			*x["blk.0.ffn_up.weight"] = named(x["token_embd.weight"], "blk.0.ffn_up.weight")
		},
		`no tensor "token_embd.weight"`: func(_ map[string]any, x map[string]*ggufbuild.Tensor) { x["token_embd.weight"].Name = "x" },
		`tensor "extra" is not supported`: func(_ map[string]any, x map[string]*ggufbuild.Tensor) {
			x["extra"] = &ggufbuild.Tensor{Name: "extra", Dims: []int{1}, Data: make([]byte, 4)}
		},
		`"output.weight" is of type I32, which is`: func(_ map[string]any, x map[string]*ggufbuild.Tensor) { x["output.weight"].Type = 26 },
	})
	experts, err := Random(small(likeGPTOSS()), 1)
	must(err)
	set := func(key string, v any) ggufChange {
		return func(k map[string]any, _ map[string]*ggufbuild.Tensor) { k["gpt-oss."+key] = v }
	}
	checkGGUFErrors(t, "gpt-oss", experts, map[string]ggufChange{
		`expert_count is -1`:               set("expert_count", int32(-1)),
		`there are 32768 experts of width`: set("expert_count", uint32(1<<15)),
		`is [5, 64], [4, 64] is needed`:    set("expert_count", uint32(4)),
		`no gpt-oss.expert_used_count`: func(k map[string]any, _ map[string]*ggufbuild.Tensor) {
			delete(k, "gpt-oss.expert_used_count")
		},
		`expert_used_count is 0`:           set("expert_used_count", uint32(0)),
		`6 experts are used of 5`:          set("expert_used_count", uint32(6)),
		`expert_weights_scale is 2.5`:      set("expert_weights_scale", float32(2.5)),
		`no tensor "blk.0.ffn_gate_exps.w`: renamed("blk.0.ffn_gate_exps.weight"),
		`no tensor "blk.1.ffn_down_exps.w`: renamed("blk.1.ffn_down_exps.weight"),
		`no tensor "blk.1.ffn_up_exps.b`:   renamed("blk.1.ffn_up_exps.bias"),
		`no tensor "blk.1.attn_sinks.w`:    renamed("blk.1.attn_sinks.weight"),
		`no tensor "blk.1.attn_output.b`:   renamed("blk.1.attn_output.bias"),
		`tensor "blk.0.ffn_gate_inp.bias" is`: func(_ map[string]any, x map[string]*ggufbuild.Tensor) {
			*x["blk.0.ffn_gate_inp.bias"] = named(x["blk.0.attn_output.bias"], "blk.0.ffn_gate_inp.bias")
		},
	})
}

// renamed returns a change that gives a tensor another name.
func renamed(name string) ggufChange {
	return func(_ map[string]any, x map[string]*ggufbuild.Tensor) { x[name].Name = "x" }
}

// A ggufChange changes a file.
type ggufChange func(keys map[string]any, tensors map[string]*ggufbuild.Tensor)

// checkGGUFErrors reports changes of a file after which it has another error than that, or none.
func checkGGUFErrors(t *testing.T, arch string, w *Weights, changes map[string]ggufChange) {
	t.Helper()
	for want, change := range changes {
		keys, tensors := ggufOf(arch, w)
		k, x := map[string]any{}, map[string]*ggufbuild.Tensor{}
		for _, y := range keys {
			k[y.Name] = y.Value
		}
		for i := range tensors {
			x[tensors[i].Name] = &tensors[i]
		}
		change(k, x)
		keys = keys[:0]
		for name, v := range k {
			keys = append(keys, ggufbuild.Key{Name: name, Value: v})
		}
		var all []ggufbuild.Tensor
		for _, y := range x {
			all = append(all, *y)
		}
		f, err := gguf.Parse(ggufbuild.File(keys, all))
		must(err)
		if _, err := FromGGUF(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// named returns a tensor by another name.
func named(t *ggufbuild.Tensor, name string) ggufbuild.Tensor {
	x := *t
	x.Name = name
	return x
}

// FuzzGGUF: no file makes a model of impossible shape, or one that fails to run.
func FuzzGGUF(f *testing.F) {
	w, err := Random(Config{Layers: 1, Width: 8, Heads: 2, KVHeads: 1, FFN: 4, Vocab: 5, Context: 16}, 1)
	must(err)
	w.Rotary.Base, w.NormEps = 10000, 1e-5
	for arch := range architectures {
		c := *w
		if arch == "gemma3" {
			c.Window = 3
		}
		f.Add(ggufbuild.File(ggufOf(arch, &c)))
	}
	for arch, options := range map[string]Options{
		"llama": {Experts: 2, ExpertsUsed: 1}, "qwen2moe": {Experts: 2, ExpertsUsed: 2, SharedFFN: 3, Bias: true}, "qwen3moe": {Experts: 3, ExpertsUsed: 2, QKNorm: true},
		"gpt-oss": {Experts: 2, ExpertsUsed: 1, Bias: true, OutBias: true, Sinks: true, ExpertBias: true, Window: 3, Rotary: yarn(10000, 2, 4)},
	} {
		c := w.Config
		options.NormEps, options.Rotary.Base = 1e-5, 10000
		c.Options = options
		w, err := Random(c, 1)
		must(err)
		f.Add(ggufbuild.File(ggufOf(arch, w)))
	}
	e, err := qkv.New(qkv.Config{Workers: 1})
	must(err)
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := gguf.Parse(data)
		if err != nil {
			return
		}
		x, err := FromGGUF(file)
		if err != nil {
			return
		}
		x.Context = min(x.Context, 64)
		m, err := NewOf(e, x, qkv.PrecisionFloat32, false)
		if err != nil {
			return
		}
		engine, err := NewEngine(m, EngineConfig{PageTokens: 4, Pages: 2, Texts: 1})
		if err != nil {
			return
		}
		if _, err := engine.Forward([]Input{{engine.Cache.NewSequence(), []int32{0, 1}, 2}}); err != nil && x.Vocab > 1 && x.Context > 1 {
			t.Error(err)
		}
	})
}
