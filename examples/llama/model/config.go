// Package model runs models of the Llama family, of which attention, matrix products and the cache
// are this library's, and has the engine around them: several texts side by side, prompts in parts,
// drafts, forks, files. It is meant to be read, and copied from: [Engine.Forward] is one step of the
// model, [Engine.Continue] is what a server does with it.
package model

import (
	"fmt"

	"github.com/qkv-go/qkv"
)

// Config is the shape of a model.
type Config struct {
	Layers  int
	Width   int  // numbers that stand for a token on its way through the layers
	Heads   int  // of queries; Width is a multiple
	KVHeads int  // of keys and values; Heads is a multiple
	FFN     int  // width of the MLP
	Vocab   int  // different tokens
	Context int  // most tokens that the model reads
	Tied    bool // the output matrix is that of the embedding
}

// Small is a model for a try: it has 0.6 million weights, and heads that each type of cache takes.
var Small = Config{Layers: 3, Width: 128, Heads: 4, KVHeads: 2, FFN: 320, Vocab: 256, Context: 1024}

// Dim returns the head dim.
func (c *Config) Dim() int { return c.Width / c.Heads }

// most bounds each number of a Config, so that products of two do not overflow 64 bits.
const most = 1 << 24

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
	case c.Width%c.Heads != 0:
		return fmt.Errorf("model: width is %d, not a multiple of heads, %d", c.Width, c.Heads)
	case c.Dim()%2 != 0 || c.Dim() > qkv.MaxDim:
		return fmt.Errorf("model: the head dim is %d, an even one up to %d is supported", c.Dim(), qkv.MaxDim)
	}
	return nil
}
