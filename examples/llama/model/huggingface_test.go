package model

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/internal/bounded"
	"github.com/qkv-go/qkv/examples/internal/safetensors"
	"github.com/qkv-go/qkv/internal/safetensorsbuild"
)

var expertNames = regexp.MustCompile(`^ffn_(gate|up|down)\.(\d+)\.`)

// huggingFaceOf returns weights as Hugging Face has them: the configuration, and the file of the tensors.
func huggingFaceOf(typ string, w *Weights) (config map[string]any, file []byte) {
	config = map[string]any{
		"model_type": typ, "num_hidden_layers": w.Layers, "hidden_size": w.Width, "num_attention_heads": w.Heads,
		"num_key_value_heads": w.KVHeads, "head_dim": w.Dim(), "intermediate_size": cmp.Or(w.mlpWidth(), w.FFN), "vocab_size": w.Vocab,
		"max_position_embeddings": w.Context, "tie_word_embeddings": w.Tied, "hidden_act": "silu", "rms_norm_eps": w.NormEps,
		"rope_theta": w.Rotary.Base, "torch_dtype": "float32", "rope_scaling": nil,
	}
	if w.Window != 0 {
		config["sliding_window"] = w.Window
	}
	if w.Experts != 0 {
		config["moe_intermediate_size"] = w.FFN
		config["num_experts"], config["num_local_experts"], config["num_experts_per_tok"] = w.Experts, w.Experts, w.ExpertsUsed
		config["norm_topk_prob"], config["decoder_sparse_step"], config["mlp_only_layers"] = !w.SoftmaxAll, 1, []int{}
	}
	var all []tensor
	_, tensors := ggufOf("", w)
	for _, t := range tensors {
		name := t.Name
		var layer int
		if _, err := fmt.Sscanf(name, "blk.%d.", &layer); err == nil {
			name = expertNames.ReplaceAllString(strings.SplitN(name, ".", 3)[2], "mlp.experts.$2.${1}_proj.")
			name = fmt.Sprintf("model.layers.%d.", layer) + strings.NewReplacer(
				"ffn_gate_inp_shexp", "mlp.shared_expert_gate", "ffn_gate_inp", "mlp.gate", "ffn_gate_shexp", "mlp.shared_expert.gate_proj",
				"ffn_up_shexp", "mlp.shared_expert.up_proj", "ffn_down_shexp", "mlp.shared_expert.down_proj",
				"attn_q_norm", "self_attn.q_norm", "attn_k_norm", "self_attn.k_norm", "attn_norm", "input_layernorm", "ffn_norm", "post_attention_layernorm",
				"attn_output", "self_attn.o_proj", "attn_q", "self_attn.q_proj", "attn_k", "self_attn.k_proj", "attn_v", "self_attn.v_proj",
				"ffn_gate", "mlp.gate_proj", "ffn_up", "mlp.up_proj", "ffn_down", "mlp.down_proj",
			).Replace(name)
			if typ == "mixtral" {
				name = strings.NewReplacer("mlp.", "block_sparse_moe.", "gate_proj", "w1", "up_proj", "w3", "down_proj", "w2").Replace(name)
			}
		} else {
			name = map[string]string{"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", "output.weight": "lm_head.weight"}[name]
		}
		shape := slices.Clone(t.Dims)
		slices.Reverse(shape)
		all = append(all, tensor{Name: name, Type: "F32", Shape: shape, Data: t.Data})
	}
	return config, safetensorsbuild.File(all...)
}

// fromHuggingFace is FromHuggingFace of a configuration and a file.
func fromHuggingFace(config map[string]any, file []byte) (*Tensors, error) {
	text, err := json.Marshal(config)
	must(err)
	f, err := safetensors.Parse(file)
	must(err)
	return FromHuggingFace(text, f)
}

// TestHuggingFaceSize: a configuration that is too long is not read.
func TestHuggingFaceSize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	must(os.WriteFile(path, nil, 0o600))
	must(os.Truncate(path, bounded.Config+1))
	var size *bounded.SizeError
	if _, _, err := OpenHuggingFace(filepath.Dir(path)); !errors.As(err, &size) || *size != (bounded.SizeError{Path: path, Size: bounded.Config + 1, Most: bounded.Config}) {
		t.Error(err)
	}
}

// TestHuggingFace: models of Hugging Face have the bits of their weights.
func TestHuggingFace(t *testing.T) {
	for name, set := range map[string]func(c *Config){
		"llama":     func(c *Config) {},
		"qwen2":     func(c *Config) { c.Bias, c.Tied = true, true },
		"qwen3":     func(c *Config) { c.QKNorm, c.HeadDim = true, 48 },
		"mixtral":   func(c *Config) { c.Experts, c.ExpertsUsed = 4, 2 },
		"qwen2_moe": func(c *Config) { c.Bias, c.Experts, c.ExpertsUsed, c.SoftmaxAll, c.SharedFFN = true, 5, 2, true, 32 },
		"qwen3_moe": func(c *Config) { c.QKNorm, c.Experts, c.ExpertsUsed = true, 4, 2 },

		"qwen2_moe, by a list": func(c *Config) {
			c.Bias, c.Experts, c.ExpertsUsed, c.SoftmaxAll, c.SharedFFN, c.Dense, c.DenseFFN = true, 5, 2, true, 32, []int{1}, 80
		},
		"qwen3_moe, by a step": func(c *Config) { c.QKNorm, c.Experts, c.ExpertsUsed, c.Dense, c.DenseFFN = true, 4, 2, []int{0}, 160 },
		"mistral, window":      func(c *Config) { c.allLocal(9) },
		"qwen3_moe, dense":     func(c *Config) { c.QKNorm = true },
	} {
		c := Config{Layers: 2, Width: 64, Heads: 2, KVHeads: 1, FFN: 96, Vocab: 50, Context: 64}
		c.Rotary.Base, c.NormEps, c.HalfSplit = 5000, 1e-4, true
		set(&c)
		if c.Window != 0 {
			c.LocalRotary = c.Rotary
		}
		e, err := qkv.New(qkv.Config{})
		must(err)
		w, err := Random(c, 3)
		must(err)
		typ, _, _ := strings.Cut(name, ",")
		config, data := huggingFaceOf(typ, w)
		switch name {
		case "qwen2_moe, by a list":
			config["mlp_only_layers"] = []int{1, 7} // of which there is one
		case "qwen3_moe, by a step":
			config["decoder_sparse_step"] = 2
		case "qwen3_moe, dense":
			config["num_experts"], config["num_experts_per_tok"], config["mlp_only_layers"] = 4, 2, []int{1, 0}
		}
		if typ == "qwen3" || typ == "mixtral" { // as transformers 5 have it
			config["rope_parameters"] = map[string]any{"rope_type": "default", "rope_theta": c.Rotary.Base}
			delete(config, "rope_theta")
		}
		x, err := fromHuggingFace(config, data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var want []float32
		for _, w := range []*Tensors{tensorsOf(w), x} {
			m, err := NewOf(e, w, qkv.PrecisionFloat32, false)
			must(err)
			e := newEngine(t, m, EngineConfig{PageTokens: 16, Pages: 4})
			got := read(e, e.Cache.NewSequence(), randomTokens(40, c.Vocab, 1), 24)
			if want == nil {
				want = got
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: logits are others", name)
			}
		}
	}
}

// TestHuggingFaceRotary: what configurations old and new say of the rotary embedding.
func TestHuggingFaceRotary(t *testing.T) {
	linear := qkv.RotaryScaling{Type: qkv.ScalingLinear, Factor: 4, OriginalMaxPositions: 64}
	long := qkv.RotaryScaling{Type: qkv.ScalingLongRoPE, Factor: 8, OriginalMaxPositions: 8, ShortFactor: []float64{1}, LongFactor: []float64{2}}
	given := long
	given.AttentionFactor, given.Factor = 1.5, 32
	for _, c := range []struct {
		text string
		want qkv.RotaryConfig
	}{
		{`{"rope_theta": 5}`, qkv.RotaryConfig{Base: 5, Scaling: qkv.RotaryScaling{OriginalMaxPositions: 64}}},
		{`{"rope_theta": 5, "rope_scaling": {"type": "linear", "factor": 4}}`, qkv.RotaryConfig{Base: 5, Scaling: linear}},
		{`{"rope_theta": 5, "rope_scaling": {"rope_type": "linear", "type": "linear", "factor": 4}}`, qkv.RotaryConfig{Base: 5, Scaling: linear}},
		{`{"rope_theta": 5, "rope_parameters": {"rope_theta": 6, "rope_type": "linear", "factor": 4, "partial_rotary_factor": 0.75}}`, qkv.RotaryConfig{Base: 6, Dim: 24, Scaling: linear}},
		{`{"rope_theta": 5, "partial_rotary_factor": 0.5, "model_type": "phi3", "original_max_position_embeddings": 8,
			"rope_scaling": {"type": "su", "short_factor": [1], "long_factor": [2]}}`, qkv.RotaryConfig{Base: 5, Dim: 16, Scaling: long}},
		{`{"rope_theta": 5, "model_type": "phi3", "original_max_position_embeddings": 8, "partial_rotary_factor": 1.0,
			"rope_scaling": {"type": "yarn", "short_factor": [1], "long_factor": [2], "attention_factor": 1.5, "factor": 32}}`, qkv.RotaryConfig{Base: 5, Scaling: given}},
	} {
		x := huggingFaceConfig{Context: 64}
		must(json.Unmarshal([]byte(c.text), &x))
		r, got := new(reader), Config{Width: 64, Heads: 2}
		if x.rotary(r, &got); r.err != nil || !reflect.DeepEqual(got.Rotary, c.want) {
			t.Errorf("%s: %v, %+v, want %+v", c.text, r.err, got.Rotary, c.want)
		}
	}
}

// TestSaved: folders that transformers have saved, in shards of BF16, have logits of transformers, within 4e-6 of the largest.
func TestSaved(t *testing.T) {
	for _, name := range []string{"gemma2", "gemma3_text", "gpt_oss", "llama", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe"} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join("testdata/saved", name)
			type reference struct {
				Config Config
				referenceLogits
			}
			read := func(name string) (want reference) {
				data, err := os.ReadFile(filepath.Join(folder, name))
				must(err)
				must(json.Unmarshal(data, &want))
				return want
			}
			want := read("logits.json")
			e, err := qkv.New(qkv.Config{})
			must(err)
			x, file, err := OpenHuggingFace(folder)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if x.Layers != want.Config.Layers || x.Experts != want.Config.Experts || !slices.Equal(x.Dense, want.Config.Dense) {
				t.Errorf("%+v, want %+v", x.Config, want.Config)
			}
			m, err := NewOf(e, x, qkv.PrecisionFloat32, true)
			must(err)
			want.check(t, m, 4e-6)
			if x.Rotary.Scaling.Type == qkv.ScalingLongRoPE { // of a model that reads short texts alone
				x.Context = x.Rotary.Scaling.OriginalMaxPositions
				m, err := NewOf(e, x, qkv.PrecisionFloat32, true)
				must(err)
				want := read("logits_short.json")
				want.check(t, m, 4e-6)
			}
		})
	}
}

func TestHuggingFaceErrors(t *testing.T) {
	c := Config{Layers: 2, Width: 64, Heads: 2, KVHeads: 1, FFN: 96, Vocab: 50, Context: 64}
	dense, err := Random(c, 1)
	must(err)
	c.Experts, c.ExpertsUsed, c.QKNorm = 3, 2, true
	experts, err := Random(c, 1)
	must(err)
	for _, c := range []struct {
		key   string
		value any
		want  string
	}{
		{"num_experts", 2, "is [3, 64], [2, 64] is needed"},
		{"num_experts", 0, `no tensor "model.layers.0.mlp.up_proj.weight"`},
		{"num_experts", -1, "there are -1 experts"},
		{"num_experts", 1 << 13, "there are 8192 experts"},
		{"num_experts_per_tok", 4, "4 experts are used of 3"},
		{"decoder_sparse_step", 2, `no tensor "model.layers.0.mlp.up_proj.weight"`},
		{"decoder_sparse_step", -1, "decoder_sparse_step is -1"},
		{"mlp_only_layers", []int{0}, `no tensor "model.layers.0.mlp.up_proj.weight"`},

		{"model_type", "gpt2", `model_type is "gpt2"`},
		{"hidden_act", "gelu", `hidden_act is "gelu"`},
		{"sliding_window", 16, "sliding_window is 16, none is supported of llama"},
		{"partial_rotary_factor", 1.5, "partial_rotary_factor is 1.5, 0 to 1"},
		{"partial_rotary_factor", -1, "partial_rotary_factor is -1"},
		{"rms_norm_eps", 1e300, "rms_norm_eps is 1e+300"},
		{"num_hidden_layers", 1, "is not supported in such a model"},
		{"num_hidden_layers", 3, `no tensor "model.layers.2.`},
		{"num_hidden_layers", 1 << 20, "1048576 layers, the file has"},
		{"num_hidden_layers", -1, "layers is -1"},
		{"num_attention_heads", "x", "the configuration"},
		{"vocab_size", 51, "is [50, 64], [51, 64] is needed"},
	} {
		config, data := huggingFaceOf("llama", dense)
		if strings.Contains(c.key+c.want, "expert") || c.key == "decoder_sparse_step" || c.key == "mlp_only_layers" {
			config, data = huggingFaceOf("qwen3_moe", experts)
		}
		config[c.key] = c.value
		if c.key == "num_experts" {
			config["num_local_experts"] = c.value
		}
		if _, err := fromHuggingFace(config, data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// TestHuggingFaceGemma: what configurations of Gemmas say, or do not.
func TestHuggingFaceGemma(t *testing.T) {
	config, err := os.ReadFile("testdata/saved/gemma3_text/config.json")
	must(err)
	f, err := safetensors.OpenFolder("testdata/saved/gemma3_text")
	must(err)
	defer f.Close()
	for _, c := range []struct {
		key   string
		value any
		want  string
	}{
		{"hidden_activation", "silu", `hidden_activation is "silu"`},
		{"use_bidirectional_attention", true, "use_bidirectional_attention"},
		{"layer_types", []string{"sliding_attention"}, "layer_types has 1 layers, num_hidden_layers is 4"},
		{"layer_types", []string{"sliding_attention", "full_attention", "full_attention", "full_attention"}, `layer_types[2] is "full_attention"`},
		{"query_pre_attn_scalar", -1, "query_pre_attn_scalar is -1"},
		{"final_logit_softcapping", -1, `final_logit_softcapping is "-1"`},
		{"attn_logit_softcapping", "x", "attn_logit_softcapping is"},
		{"rope_parameters", map[string]any{"full_attention": map[string]any{"rope_theta": 1e6}}, "without sliding_attention"},
		{"rope_parameters", map[string]any{"full_attention": map[string]any{}}, "rope_parameters has no rope_theta"},
		{"model_type", "gemma", "sliding_window is 12, none is supported of gemma"},
		{"model_type", "gemma3", `model_type is "gemma3"`},
		{"tie_word_embeddings", nil, ""}, // they are
		{"attn_logit_softcapping", 3, ""},
	} {
		var x map[string]any
		must(json.Unmarshal(config, &x))
		if x[c.key] = c.value; c.value == nil {
			delete(x, c.key)
		}
		data, err := json.Marshal(x)
		must(err)
		w, err := FromHuggingFace(data, f)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s %v: error %v, want %q", c.key, c.value, err, c.want)
			}
			continue
		}
		if err != nil || !w.Tied || c.key == "attn_logit_softcapping" && w.Softcap != 3 {
			t.Errorf("%s %v: %v, %+v", c.key, c.value, err, w)
		}
	}
	old := huggingFaceConfig{Type: "gemma3_text", RopeTheta: 1e6, gemmaConfig: gemmaConfig{LocalTheta: 500}}
	c := Config{Width: 64, Heads: 2}
	if old.gemmaRotary(new(reader), &c); c.Rotary.Base != 1e6 || c.LocalRotary.Base != 500 {
		t.Errorf("bases %v and %v", c.Rotary.Base, c.LocalRotary.Base)
	}
}

// FuzzFromHuggingFace: any configuration beside any tensors is a model or an error.
func FuzzFromHuggingFace(f *testing.F) {
	folders, err := filepath.Glob("testdata/saved/*")
	must(err)
	var files []*safetensors.File
	for i, folder := range folders {
		config, err := os.ReadFile(filepath.Join(folder, "config.json"))
		must(err)
		file, err := safetensors.OpenFolder(folder)
		must(err)
		files = append(files, file)
		f.Add(config, uint8(i))
	}
	f.Fuzz(func(t *testing.T, config []byte, of uint8) {
		w, err := FromHuggingFace(config, files[int(of)%len(files)])
		if (w == nil) == (err == nil) {
			t.Errorf("weights %v, error %v", w != nil, err)
		}
	})
}
