package model

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/internal/bounded"
	"github.com/qkv-go/qkv/examples/internal/safetensors"
)

// huggingFaceNames are those of tensors in files of Hugging Face.
var huggingFaceNames = tensorNames{
	embedding: "model.embed_tokens.weight", norm: "model.norm.weight", out: "lm_head.weight", layer: "model.layers.%d.",
	attnNorm: "input_layernorm.weight", ffnNorm: "post_attention_layernorm.weight",
	q: "self_attn.q_proj", k: "self_attn.k_proj", v: "self_attn.v_proj", qkv: "self_attn.qkv_proj", o: "self_attn.o_proj",
	qNorm: "self_attn.q_norm.weight", kNorm: "self_attn.k_norm.weight",
	mlp:    mlpNames{"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"},
	router: "mlp.gate", expert: mlpNames{"mlp.experts.%d.gate_proj", "mlp.experts.%d.up_proj", "mlp.experts.%d.down_proj"},
	sharedGate: "mlp.shared_expert_gate", shared: mlpNames{"mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj", "mlp.shared_expert.down_proj"},
}

// huggingFaceTypes are the values of model_type that are supported. Their tensors tell what they differ in.
var huggingFaceTypes = []string{"gemma", "gemma2", "gemma3_text", "gpt_oss", "llama", "mistral", "mixtral", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe"}

// huggingFaceConfig is what counts of a config.json.
type huggingFaceConfig struct {
	Type          string             `json:"model_type"`
	Layers        int                `json:"num_hidden_layers"`
	Width         int                `json:"hidden_size"`
	Heads         int                `json:"num_attention_heads"`
	KVHeads       int                `json:"num_key_value_heads"`
	HeadDim       int                `json:"head_dim"`
	FFN           int                `json:"intermediate_size"`
	Vocab         int                `json:"vocab_size"`
	Context       int                `json:"max_position_embeddings"`
	Tied          *bool              `json:"tie_word_embeddings"`
	Activation    string             `json:"hidden_act"`
	NormEps       float64            `json:"rms_norm_eps"`
	RopeTheta     float64            `json:"rope_theta"`
	RopeScaling   *huggingFaceRotary `json:"rope_scaling"`
	SlidingWindow int                `json:"sliding_window"`
	UseWindow     *bool              `json:"use_sliding_window"`

	Experts      int   `json:"num_experts"`
	LocalExperts int   `json:"num_local_experts"`
	ExpertsUsed  int   `json:"num_experts_per_tok"`
	Normalised   bool  `json:"norm_topk_prob"`
	SparseStep   int   `json:"decoder_sparse_step"`
	Dense        []int `json:"mlp_only_layers"`

	// What transformers 5 have in the place of rope_theta, rope_scaling and partial_rotary_factor.
	Rope *huggingFaceRotary `json:"rope_parameters"`

	Original int     `json:"original_max_position_embeddings"` // of rope_scaling, where that has none (Phi-3)
	Partial  float64 `json:"partial_rotary_factor"`

	LayerTypes []string `json:"layer_types"`
	Limit      float64  `json:"swiglu_limit"`
	Slope      *float64 `json:"swiglu_alpha"`

	gemmaConfig
}

// A huggingFaceRotary is what a config.json says of the rotary embedding.
type huggingFaceRotary struct {
	Theta   float64               `json:"rope_theta"`
	Partial float64               `json:"partial_rotary_factor"`
	Old     qkv.RotaryScalingType `json:"type"` // what older models have in the place of rope_type

	Full    *huggingFaceRotary `json:"full_attention"` // of Gemma 3, in the place of all others
	Sliding *huggingFaceRotary `json:"sliding_attention"`

	qkv.RotaryScaling
}

// rotary sets the rotary embedding.
func (x *huggingFaceConfig) rotary(r *reader, c *Config) {
	c.Rotary.Base = x.RopeTheta
	rope := cmp.Or(x.Rope, x.RopeScaling, new(huggingFaceRotary))
	if x.Rope != nil {
		if c.Rotary.Base = cmp.Or(rope.Theta, x.RopeTheta); c.Rotary.Base == 0 {
			r.fail("rope_parameters has no rope_theta")
		}
	}
	s := &c.Rotary.Scaling
	*s = rope.RotaryScaling
	s.Type = cmp.Or(s.Type, rope.Old)
	if x.Type == "phi3" && slices.Contains([]qkv.RotaryScalingType{"su", "yarn"}, s.Type) { // as it was called before
		s.Type = qkv.ScalingLongRoPE
	}
	s.OriginalMaxPositions = cmp.Or(s.OriginalMaxPositions, x.Original, x.Context)
	if s.Type == qkv.ScalingLongRoPE && s.Factor == 0 && s.OriginalMaxPositions > 0 {
		s.Factor = max(1, float64(x.Context)/float64(s.OriginalMaxPositions))
	}
	if part := cmp.Or(rope.Partial, x.Partial, 1); part != 1 {
		if !(part > 0 && part < 1) {
			r.fail("partial_rotary_factor is %v, 0 to 1 is supported", part)
		}
		c.Rotary.Dim = int(float64(c.Dim()) * part)
	}
}

// OpenHuggingFace returns the weights of a model's folder, its config.json and the tensors of
// [safetensors.OpenFolder], as [FromHuggingFace] does. Close the file when they are not used any more.
func OpenHuggingFace(folder string) (*Tensors, io.Closer, error) {
	config, err := bounded.ReadFile(filepath.Join(folder, "config.json"), bounded.Config)
	if err != nil {
		return nil, nil, err
	}
	f, err := safetensors.OpenFolder(folder)
	if err != nil {
		return nil, nil, err
	}
	t, err := FromHuggingFace(config, f)
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("%s: %w", folder, err)
	}
	return t, f, nil
}

// FromHuggingFace returns the weights of a model of Hugging Face: its config.json and its tensors, which stay in
// the file, apart from the experts of gpt-oss. The error names what is missing, has other dims than the configuration
// says, or is not supported.
func FromHuggingFace(config []byte, f *safetensors.File) (*Tensors, error) {
	r := &reader{names: &huggingFaceNames, stored: f.Names, used: map[string]bool{}, find: func(name string) stored {
		if t := f.Tensor(name); t != nil {
			return t
		}
		return nil
	}}
	var x huggingFaceConfig
	if err := json.Unmarshal(config, &x); err != nil {
		return nil, fmt.Errorf("model: the configuration: %w", err)
	}
	c := Config{
		Layers: x.Layers, Width: x.Width, Heads: x.Heads, KVHeads: x.KVHeads, FFN: x.FFN, Vocab: x.Vocab, Context: x.Context,
		Tied:    x.isGemma(),
		Options: Options{HeadDim: x.HeadDim, NormEps: float32(x.NormEps), HalfSplit: true},
	}
	if x.Tied != nil {
		c.Tied = *x.Tied
	}
	if c.KVHeads == 0 {
		c.KVHeads = c.Heads
	}
	switch {
	case c.Heads <= 0: // refused later
	case x.isGemma():
		x.gemmaRotary(r, &c)
	default:
		x.rotary(r, &c)
	}
	window := x.SlidingWindow != 0 && x.SlidingWindow < x.Context
	if x.Type == "gpt_oss" {
		r.names = gptOSSNames()
		r.gptOSS(f)
	}
	if x.isGemma() && x.Type != "gemma" {
		r.names = gemmaNames()
	}
	r.options(&c)
	switch x.Type {
	case "gemma", "gemma2", "gemma3_text":
		x.gemma(r, &c)
	case "gpt_oss":
		r.experts(&c, x.LocalExperts, x.ExpertsUsed)
		c.Clamp, c.Window, c.Period, c.LocalRotary = float32(cmp.Or(x.Limit, 7)), x.SlidingWindow, 2, c.Rotary
		if x.Slope != nil && *x.Slope != clampSlope {
			r.fail("swiglu_alpha is %v, %v is supported", *x.Slope, clampSlope)
		}
		if n := len(x.LayerTypes); n != 0 && n != c.Layers {
			r.fail("layer_types has %d layers, num_hidden_layers is %d", n, c.Layers)
		}
		for i, typ := range x.LayerTypes {
			if want := []string{"sliding_attention", "full_attention"}[i%2]; typ != want {
				r.fail("layer_types[%d] is %.40q, %s is supported there", i, typ, want)
			}
		}
	case "mixtral":
		names := huggingFaceNames
		names.router = "block_sparse_moe.gate"
		names.expert = mlpNames{"block_sparse_moe.experts.%d.w1", "block_sparse_moe.experts.%d.w3", "block_sparse_moe.experts.%d.w2"}
		r.names = &names
		r.experts(&c, x.LocalExperts, x.ExpertsUsed)
	case "phi3":
		names := huggingFaceNames
		names.mlp.up = "mlp.gate_up_proj" // in one matrix
		r.names = &names
	case "qwen2_moe", "qwen3_moe":
		if x.SparseStep < 0 {
			r.fail("decoder_sparse_step is %d, at least 1 is needed", x.SparseStep)
		}
		layers := min(c.Layers, len(f.Names)) // more are refused
		for i := range layers {
			if slices.Contains(x.Dense, i) || (i+1)%max(1, x.SparseStep) != 0 {
				c.Dense = append(c.Dense, i)
			}
		}
		if len(c.Dense) == layers {
			c.Dense = nil
			break
		}
		if len(c.Dense) != 0 {
			c.DenseFFN = x.FFN
		}
		r.experts(&c, cmp.Or(x.Experts, x.LocalExperts), x.ExpertsUsed) // the latter since transformers 5
		c.SoftmaxAll = !x.Normalised
	}
	switch {
	case !slices.Contains(huggingFaceTypes, x.Type):
		r.fail("model_type is %.40q, supported are %q", x.Type, huggingFaceTypes)
	case x.Activation != "silu" && !x.isGemma():
		r.fail("hidden_act is %.40q, silu is supported", x.Activation)
	case c.Window == 0 && window && slices.Contains([]string{"mistral", "mixtral", "phi3"}, x.Type):
		c.allLocal(x.SlidingWindow)
	case c.Window == 0 && window && (x.UseWindow == nil || *x.UseWindow):
		r.fail("sliding_window is %d, none is supported of %s", x.SlidingWindow, x.Type)
	case math.IsInf(float64(c.NormEps), 0):
		r.fail("rms_norm_eps is %v", x.NormEps)
	}
	return r.weights(c)
}
