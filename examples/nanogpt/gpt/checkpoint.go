package gpt

import (
	"slices"

	"github.com/qkv-go/qkv/internal/fastjson"
	"github.com/qkv-go/qkv/internal/jsontree"
)

// maxDepth is how deep the objects and arrays of a checkpoint lie in each other: the
// file, a tensor, its shape.
const maxDepth = 3

// Config is the shape of a model.
type Config struct {
	Layers  int // transformer blocks, one after the other
	Heads   int // of attention, in each block
	Width   int // numbers that stand for a position on its way through the blocks
	Vocab   int // different tokens
	Context int // most tokens in a sequence
}

// A checkpoint is a file of a configuration and named tensors.
type checkpoint struct {
	Config
	values jsontree.Object
}

func parseCheckpoint(data []byte) (*checkpoint, error) {
	values, err := fastjson.Parse(data, maxDepth)
	if err != nil {
		return nil, inputError("checkpoint", "checkpoint is not JSON of tensors: %v", err)
	}
	c := &checkpoint{values: values}
	config, ok := values["config"].(jsontree.Object)
	if !ok {
		return nil, inputError("config", "config is %s, an object is needed", show(values["config"]))
	}
	for _, x := range []struct {
		name string
		to   *int
	}{
		{"n_layer", &c.Layers}, {"n_head", &c.Heads}, {"n_embd", &c.Width},
		{"vocab_size", &c.Vocab}, {"block_size", &c.Context},
	} {
		if *x.to, ok = count(config[x.name]); !ok {
			return nil, inputError(x.name, "%s is %s, a whole number of at least 1 is needed", x.name, show(config[x.name]))
		}
	}
	if c.Width%c.Heads != 0 {
		return nil, inputError("n_embd", "n_embd is %d, not a multiple of n_head, %d", c.Width, c.Heads)
	}
	if c.Vocab > maxVocab {
		return nil, inputError("vocab_size", "vocab_size is %d, at most %d letters are supported", c.Vocab, maxVocab)
	}
	return c, nil
}

// tensor returns a tensor, which must have a shape.
func (c *checkpoint) tensor(name string, shape ...int) (Tensor, error) {
	o, ok := c.values[name].(jsontree.Object)
	if !ok {
		return Tensor{}, inputError(name, "%s is %s, a tensor is needed", name, show(c.values[name]))
	}
	t, err := decode(name, o)
	if err == nil && !slices.Equal(t.Shape, shape) {
		err = inputError(name, "%s has shape %v, %v is needed", name, t.Shape, shape)
	}
	return t, err
}
