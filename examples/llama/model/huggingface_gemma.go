package model

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math"
	"strings"

	"github.com/qkv-go/qkv"
)

// A gemmaConfig is what a config.json of a Gemma has besides.
type gemmaConfig struct {
	HiddenActivation string          `json:"hidden_activation"`
	QueryScalar      float64         `json:"query_pre_attn_scalar"`
	ScoreCap         json.RawMessage `json:"attn_logit_softcapping"` // null where there is none
	LogitCap         json.RawMessage `json:"final_logit_softcapping"`
	LocalTheta       float64         `json:"rope_local_base_freq"`
	Pattern          int             `json:"sliding_window_pattern"`
	Bidirectional    bool            `json:"use_bidirectional_attention"`
}

// gemmaNames are those of Gemma 2 and 3. Gemma has those of Llama.
func gemmaNames() *tensorNames {
	n := huggingFaceNames
	n.ffnNorm, n.attnPost, n.ffnPost = "pre_feedforward_layernorm.weight", "post_attention_layernorm.weight", "post_feedforward_layernorm.weight"
	return &n
}

// isGemma tells whether a model is a Gemma. What type gemma3 has beside gemma3_text is a model of pictures, too.
func (x *huggingFaceConfig) isGemma() bool { return strings.HasPrefix(x.Type, "gemma") }

// gemma sets what the Gemmas differ in.
func (x *huggingFaceConfig) gemma(r *reader, c *Config) {
	c.Activation, c.EmbeddingScale = qkv.GELUTanh, float32(math.Sqrt(float64(c.Width)))
	c.HeadDim, r.addOne = cmp.Or(c.HeadDim, 256), true
	if act := cmp.Or(x.HiddenActivation, x.Activation); act != "gelu_pytorch_tanh" && !(x.HiddenActivation == "" && act == "gelu") {
		r.fail("hidden_activation is %.40q, gelu_pytorch_tanh is supported", act)
	}
	if x.Bidirectional {
		r.fail("use_bidirectional_attention is not supported")
	}
	if x.Type == "gemma" {
		return
	}
	c.Window, c.Period = x.SlidingWindow, 2
	if x.Type == "gemma3_text" {
		c.Period = cmp.Or(x.Pattern, 6)
		for i, typ := range x.LayerTypes {
			if typ == "full_attention" {
				c.Period = i + 1
				break
			}
		}
	}
	if n := len(x.LayerTypes); n != 0 && n != c.Layers {
		r.fail("layer_types has %d layers, num_hidden_layers is %d", n, c.Layers)
	}
	for i, typ := range x.LayerTypes {
		want := "sliding_attention"
		if (i+1)%max(1, c.Period) == 0 {
			want = "full_attention"
		}
		if typ != want {
			r.fail("layer_types[%d] is %.40q, %s is supported there", i, typ, want)
		}
	}
	if x.QueryScalar < 0 {
		r.fail("query_pre_attn_scalar is %v", x.QueryScalar)
	}
	c.QueryScale = float32(1 / math.Sqrt(cmp.Or(x.QueryScalar, 256)))
	missing := [2]float64{} // what transformers have where a file says nothing
	if x.Type == "gemma2" {
		missing = [2]float64{50, 30}
	}
	c.Softcap, c.LogitCap = r.capOf("attn_logit_softcapping", x.ScoreCap, missing[0]), r.capOf("final_logit_softcapping", x.LogitCap, missing[1])
}

// capOf reads a bound of scores or logits, which may be null.
func (r *reader) capOf(key string, data json.RawMessage, missing float64) float32 {
	v := missing
	switch {
	case len(data) == 0:
	case bytes.Equal(data, []byte("null")):
		v = 0
	default:
		if err := json.Unmarshal(data, &v); err != nil || !(v > 0) {
			r.fail("%s is %.40q, a number above 0 or null is needed", key, data)
		}
	}
	return float32(v)
}

// gemmaRotary sets the rotary embeddings: one, or another of the layers with a window (Gemma 3).
func (x *huggingFaceConfig) gemmaRotary(r *reader, c *Config) {
	if x.Rope == nil || x.Rope.Full == nil { // of transformers before 5, and of Gemma 2
		x.rotary(r, c)
		if c.LocalRotary = c.Rotary; x.Type == "gemma3_text" {
			c.LocalRotary = qkv.RotaryConfig{Base: cmp.Or(x.LocalTheta, 10000)}
		}
		return
	}
	full, local, to := *x, *x, *c
	full.Rope, local.Rope = x.Rope.Full, x.Rope.Sliding
	full.rotary(r, c)
	if local.Rope == nil {
		r.fail("rope_parameters has full_attention without sliding_attention")
		return
	}
	local.rotary(r, &to)
	c.LocalRotary = to.Rotary
}
