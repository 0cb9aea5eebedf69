package model

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/internal/safetensors"
)

// huggingFaceOf returns weights as Hugging Face has them: the configuration, and the file of the tensors.
func huggingFaceOf(typ string, w *Weights) (config map[string]any, file []byte) {
	config = map[string]any{
		"model_type": typ, "num_hidden_layers": w.Layers, "hidden_size": w.Width, "num_attention_heads": w.Heads,
		"num_key_value_heads": w.KVHeads, "head_dim": w.Dim(), "intermediate_size": w.FFN, "vocab_size": w.Vocab,
		"max_position_embeddings": w.Context, "tie_word_embeddings": w.Tied, "hidden_act": "silu", "rms_norm_eps": w.NormEps,
		"rope_theta": w.Rotary.Base, "torch_dtype": "float32", "rope_scaling": nil,
	}
	header, data := map[string]any{}, []byte(nil)
	_, tensors := ggufOf("", w)
	for _, t := range tensors {
		name := t.Name
		var layer int
		if _, err := fmt.Sscanf(name, "blk.%d.", &layer); err == nil {
			name = fmt.Sprintf("model.layers.%d.", layer) + strings.NewReplacer(
				"attn_q_norm", "self_attn.q_norm", "attn_k_norm", "self_attn.k_norm", "attn_norm", "input_layernorm", "ffn_norm", "post_attention_layernorm",
				"attn_output", "self_attn.o_proj", "attn_q", "self_attn.q_proj", "attn_k", "self_attn.k_proj", "attn_v", "self_attn.v_proj",
				"ffn_gate", "mlp.gate_proj", "ffn_up", "mlp.up_proj", "ffn_down", "mlp.down_proj",
			).Replace(strings.SplitN(name, ".", 3)[2])
		} else {
			name = map[string]string{"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", "output.weight": "lm_head.weight"}[name]
		}
		shape := slices.Clone(t.Dims)
		slices.Reverse(shape)
		header[name] = map[string]any{"dtype": "F32", "shape": shape, "data_offsets": []int{len(data), len(data) + len(t.Data)}}
		data = append(data, t.Data...)
	}
	h, err := json.Marshal(header)
	must(err)
	return config, slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(h))), h, data)
}

// TestHuggingFace: models of Hugging Face have the bits of their weights.
func TestHuggingFace(t *testing.T) {
	for typ, set := range map[string]func(c *Config){
		"llama": func(c *Config) {},
		"qwen2": func(c *Config) { c.Bias, c.Tied = true, true },
		"qwen3": func(c *Config) { c.QKNorm, c.HeadDim = true, 48 },
	} {
		c := Config{Layers: 2, Width: 64, Heads: 2, KVHeads: 1, FFN: 96, Vocab: 50, Context: 64}
		c.Rotary.Base, c.NormEps, c.HalfSplit = 5000, 1e-4, true
		set(&c)
		e, err := qkv.New(qkv.Config{})
		must(err)
		w, err := Random(c, 3)
		must(err)
		config, data := huggingFaceOf(typ, w)
		json, err := json.Marshal(config)
		must(err)
		f, err := safetensors.Parse(data)
		must(err)
		x, err := FromHuggingFace(json, f)
		if err != nil {
			t.Errorf("%s: %v", typ, err)
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
				t.Errorf("%s: logits are others", typ)
			}
		}
	}
}

func TestHuggingFaceErrors(t *testing.T) {
	w, err := Random(Config{Layers: 2, Width: 64, Heads: 2, KVHeads: 1, FFN: 96, Vocab: 50, Context: 64}, 1)
	must(err)
	for _, c := range []struct {
		key   string
		value any
		want  string
	}{
		{"model_type", "gpt2", `model_type is "gpt2"`},
		{"hidden_act", "gelu", `hidden_act is "gelu"`},
		{"sliding_window", 16, "sliding_window is 16"},
		{"rms_norm_eps", 1e300, "rms_norm_eps is 1e+300"},
		{"num_hidden_layers", 1, "is not supported in such a model"},
		{"num_hidden_layers", 3, `no tensor "model.layers.2.`},
		{"num_hidden_layers", 1 << 20, "1048576 layers, the file has"},
		{"num_hidden_layers", -1, "layers is -1"},
		{"num_attention_heads", "x", "the configuration"},
		{"vocab_size", 51, "is [50, 64], [51, 64] is needed"},
	} {
		config, data := huggingFaceOf("llama", w)
		config[c.key] = c.value
		text, err := json.Marshal(config)
		must(err)
		f, err := safetensors.Parse(data)
		must(err)
		if _, err := FromHuggingFace(text, f); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}
