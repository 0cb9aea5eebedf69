// Package model runs models of the Llama family, of which attention, matrix products and the cache
// are this library's, and has the engine around them: several texts side by side, prompts in parts,
// drafts, forks, files. It is meant to be read, and copied from: [Engine.Forward] is one step of the
// model, [Engine.Continue] is what a server does with it.
package model

import (
	"fmt"
	"slices"

	"github.com/qkv-go/qkv"
)

// Config is the shape of a model.
type Config struct {
	Layers  int
	Width   int  // numbers that stand for a token on its way through the layers
	Heads   int  // of queries; Width is a multiple, unless HeadDim is given
	KVHeads int  // of keys and values; Heads is a multiple
	FFN     int  // width of the MLP, or of each expert
	Vocab   int  // different tokens
	Context int  // most tokens that the model reads
	Tied    bool // the output matrix is that of the embedding

	Options
}

// Options are what the models of the family differ in. The zero Options are those of llama2.c.
type Options struct {
	HeadDim    int            // 0 means Width/Heads
	NormEps    float32        // of all norms; 0 means 1e-5
	Activation qkv.Activation // of the MLP's gate; 0 means SiLU
	Bias       bool           // Q, K and V have biases (Qwen 2)
	OutBias    bool           // the output of attention has one (gpt-oss)
	Sinks      bool           // each head of queries has an attention sink (gpt-oss)
	QKNorm     bool           // the heads of Q and K are normalised (Qwen 3, Gemma 3)
	PostNorm   bool           // what attention and the MLP return is normalised as well (Gemma 2 and 3)

	EmbeddingScale float32       // what embeddings are multiplied by (Gemma); 0 means 1
	QueryScale     float32       // what scores are multiplied by; 0 means 1/sqrt(dim)
	Softcap        float32       // of scores (Gemma 2); 0 means none
	ValuePrecision qkv.Precision // of weighted values where attention is of class Int8
	LogitCap       float32       // that of logits

	// Rotary is the rotary embedding, without its Dim and MaxPositions, which are the model's, and
	// LocalRotary that of layers with a window. HalfSplit has it pair elements i and i + dim/2, as in files of
	// Hugging Face; otherwise pairs are neighbours.
	Rotary, LocalRotary qkv.RotaryConfig
	HalfSplit           bool

	// Of Period layers in turn, the last attends all tokens, and the others the last Window ones, their own
	// among them. A Period of 0 has all layers attend all tokens.
	Window, Period int

	// Experts, if not 0, is how many MLPs a layer has in the place of one (mixture of experts; Shazeer et al., 2017).
	// A token goes through the ExpertsUsed of them whose logits by the router are the greatest. Their outputs are
	// added, each times its part of the softmax over the logits of those; with SoftmaxAll, of the softmax over all
	// logits (Qwen 2). ExpertBias has the router and the experts have biases (gpt-oss).
	Experts, ExpertsUsed   int
	SoftmaxAll, ExpertBias bool

	// Dense are the numbers of layers, in order, that have one MLP of width DenseFFN in the place of experts (Qwen's
	// mlp_only_layers and decoder_sparse_step).
	Dense    []int
	DenseFFN int

	// SharedFFN, if not 0, is the width of an expert that all tokens go through besides. Its output is multiplied by the
	// sigmoid of a gate (Qwen 2).
	SharedFFN int

	// Clamp, if not 0, bounds what experts multiply: with g the product by Gate and u that by Up, it is
	// (clamp(u)+1) * min(g, Clamp) * sigmoid(1.702*min(g, Clamp)), where clamp(u) is -Clamp to Clamp (gpt-oss).
	Clamp float32
}

// Small is a model for a try: it has 0.6 million weights, and heads that each type of cache takes.
var Small = Config{Layers: 3, Width: 128, Heads: 4, KVHeads: 2, FFN: 320, Vocab: 256, Context: 1024}

// Dim returns the head dim.
func (c *Config) Dim() int {
	if c.HeadDim != 0 {
		return c.HeadDim
	}
	return c.Width / c.Heads
}

// local tells whether a layer has a window.
func (c *Config) local(layer int) bool { return c.Period != 0 && (layer+1)%c.Period != 0 }

// allLocal has all layers attend the last tokens alone.
func (c *Config) allLocal(window int) {
	c.Window, c.Period, c.LocalRotary = window, c.Layers+1, c.Rotary
}

// mixed tells whether a layer has experts.
func (c *Config) mixed(layer int) bool { return c.Experts != 0 && !slices.Contains(c.Dense, layer) }

// mlpWidth returns the width of the MLP of layers without experts, 0 if there are none.
func (c *Config) mlpWidth() int {
	if c.Experts != 0 {
		return c.DenseFFN
	}
	return c.FFN
}

// most bounds each number of a Config, so that products of two do not overflow 64 bits.
const most = 1 << 24

// mostExperts bounds the experts of a layer.
const mostExperts = 1 << 12

// check reports a shape that no model has.
func (c *Config) check() error {
	for _, x := range []struct {
		name string
		n    int
	}{
		{"layers", c.Layers}, {"width", c.Width}, {"heads", c.Heads}, {"kvHeads", c.KVHeads},
		{"ffn", c.FFN}, {"vocab", c.Vocab}, {"context", c.Context},
	} {
		if x.n < 1 || x.n > most {
			return fmt.Errorf("model: %s is %d, 1 to %d is supported", x.name, x.n, most)
		}
	}
	switch {
	case c.Heads%c.KVHeads != 0:
		return fmt.Errorf("model: heads is %d, not a multiple of kvHeads, %d", c.Heads, c.KVHeads)
	case c.HeadDim < 0:
		return fmt.Errorf("model: the head dim is %d, at least 0 is needed", c.HeadDim)
	case c.HeadDim == 0 && c.Width%c.Heads != 0:
		return fmt.Errorf("model: width is %d, not a multiple of heads, %d", c.Width, c.Heads)
	case c.Dim()%2 != 0 || c.Dim() > qkv.MaxDim:
		return fmt.Errorf("model: the head dim is %d, an even one up to %d is supported", c.Dim(), qkv.MaxDim)
	case int64(c.Heads)*int64(c.Dim()) > most: // which an int of 32 bits may not hold
		return fmt.Errorf("model: heads is %d, of dim %d, together %d is supported", c.Heads, c.Dim(), most)
	case c.Period < 0 || c.Period > most || c.Period != 0 && (c.Window < 1 || c.Window > most):
		return fmt.Errorf("model: the window is %d in periods of %d layers, 1 to %d is supported", c.Window, c.Period, most)
	case c.Experts < 0 || c.Experts > mostExperts || int64(c.Experts)*int64(max(c.FFN, c.Width)) > most:
		return fmt.Errorf("model: there are %d experts of width %d in %d, up to %d and together %d are supported", c.Experts, c.FFN, c.Width, mostExperts, most)
	case c.Experts > 0 && (c.ExpertsUsed < 1 || c.ExpertsUsed > c.Experts):
		return fmt.Errorf("model: %d experts are used of %d, at least 1 is needed", c.ExpertsUsed, c.Experts)
	case c.SharedFFN < 0 || c.SharedFFN > most:
		return fmt.Errorf("model: the width of the shared expert is %d, 0 to %d is supported", c.SharedFFN, most)
	case c.Experts == 0 && (c.SharedFFN != 0 || c.Clamp != 0 || c.ExpertBias || len(c.Dense) != 0 || c.DenseFFN != 0):
		return fmt.Errorf("model: there are options of experts, and 0 experts")
	case len(c.Dense) != 0 && (c.DenseFFN < 1 || c.DenseFFN > most) || len(c.Dense) == 0 && c.DenseFFN != 0:
		return fmt.Errorf("model: the width of the MLP of %d layers without experts is %d, 1 to %d is supported", len(c.Dense), c.DenseFFN, most)
	case len(c.Dense) >= c.Layers:
		return fmt.Errorf("model: %d of %d layers are without experts, and there are options of experts", len(c.Dense), c.Layers)
	case c.Clamp != 0 && len(c.Dense) != 0:
		return fmt.Errorf("model: what experts multiply is clamped, beside %d layers without experts", len(c.Dense))
	case !(c.Clamp >= 0 && c.Clamp < 1e6): // nor is a NaN
		return fmt.Errorf("model: the bound of what experts multiply is %v, 0 to 1e6 is supported", c.Clamp)
	case c.Clamp != 0 && (c.SharedFFN != 0 || c.Activation > qkv.SiLU):
		return fmt.Errorf("model: what experts multiply is clamped, beside a shared expert or another activation than SiLU")
	}
	for i, layer := range c.Dense {
		if layer < 0 || layer >= c.Layers || i > 0 && layer <= c.Dense[i-1] {
			return fmt.Errorf("model: the layers without experts are %v of %d, numbers in order are needed", c.Dense, c.Layers)
		}
	}
	return nil
}
