package model

import (
	"math"
	"math/rand/v2"
)

// Weights are the weights of a model. A matrix has an output in each row, [out, in].
type Weights struct {
	Config
	Embedding []float32 // [Vocab, Width]
	Blocks    []Block
	Norm      []float32 // [Width]
	Out       []float32 // [Vocab, Width]; that of Embedding if it is tied
}

// A Block is the weights of a layer.
type Block struct {
	AttnNorm []float32 // [Width]
	Q        []float32 // [Width, Width]
	K, V     []float32 // [KVHeads*dim, Width]
	O        []float32 // [Width, Width]
	FFNNorm  []float32 // [Width]
	Gate, Up []float32 // [FFN, Width]
	Down     []float32 // [Width, FFN]
}

// newWeights returns zeros.
func newWeights(c Config) *Weights {
	w := &Weights{Config: c, Embedding: make([]float32, c.Vocab*c.Width), Blocks: make([]Block, c.Layers), Norm: make([]float32, c.Width)}
	if w.Out = w.Embedding; !c.Tied {
		w.Out = make([]float32, c.Vocab*c.Width)
	}
	kv := c.KVHeads * c.Dim()
	for i := range w.Blocks {
		w.Blocks[i] = Block{
			AttnNorm: make([]float32, c.Width),
			Q:        make([]float32, c.Width*c.Width),
			K:        make([]float32, kv*c.Width),
			V:        make([]float32, kv*c.Width),
			O:        make([]float32, c.Width*c.Width),
			FFNNorm:  make([]float32, c.Width),
			Gate:     make([]float32, c.FFN*c.Width),
			Up:       make([]float32, c.FFN*c.Width),
			Down:     make([]float32, c.Width*c.FFN),
		}
	}
	return w
}

// Random returns weights of a model that has learnt nothing, the same for the same seed. Each matrix
// leaves the size of what it multiplies about as it is.
func Random(c Config, seed uint64) (*Weights, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	w := newWeights(c)
	r := rand.New(rand.NewPCG(seed, 0))
	fill := func(x []float32, in int) {
		scale := float32(math.Sqrt(12 / float64(in))) // the variance of a number from -1/2 to 1/2 is 1/12
		for i := range x {
			x[i] = scale * (r.Float32() - 0.5)
		}
	}
	around := func(x []float32) {
		for i := range x {
			x[i] = 0.75 + r.Float32()/2
		}
	}
	fill(w.Embedding, 1)
	for i := range w.Blocks {
		b := &w.Blocks[i]
		around(b.AttnNorm)
		fill(b.Q, c.Width)
		fill(b.K, c.Width)
		fill(b.V, c.Width)
		fill(b.O, c.Width)
		around(b.FFNNorm)
		fill(b.Gate, c.Width)
		fill(b.Up, c.Width)
		fill(b.Down, c.FFN)
	}
	around(w.Norm)
	if !c.Tied {
		fill(w.Out, c.Width)
	}
	return w, nil
}
