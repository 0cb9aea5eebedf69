package model

import (
	"math"
	"math/rand/v2"

	"github.com/qkv-go/qkv"
)

// WeightsOf are the weights of a model, with matrices of a type M. A matrix has an output in each row,
// [out, in]. What the Options leave out is nil.
type WeightsOf[M any] struct {
	Config
	Embedding M // [Vocab, Width]
	Blocks    []BlockOf[M]
	Norm      []float32 // [Width]
	Out       M         // [Vocab, Width]; that of Embedding if it is tied
}

// A BlockOf is the weights of a layer.
type BlockOf[M any] struct {
	AttnNorm []float32 // [Width]
	Q        M         // [Heads*dim, Width]
	K, V     M         // [KVHeads*dim, Width]
	O        M         // [Width, Heads*dim]
	FFNNorm  []float32 // [Width]
	Gate, Up M         // [FFN, Width]
	Down     M         // [Width, FFN]

	QBias, KBias, VBias []float32 // [Heads*dim], [KVHeads*dim]
	QNorm, KNorm        []float32 // [dim]
	AttnPost, FFNPost   []float32 // [Width]
}

// Weights are weights in float32, row after row, and Tensors those of a file in the types of the file.
type (
	Weights = WeightsOf[[]float32]
	Block   = BlockOf[[]float32]
	Tensors = WeightsOf[qkv.Matrix]
)

// tensorsOf returns the same weights, in the same memory.
func tensorsOf(w *Weights) *Tensors {
	q := w.Heads * w.Dim()
	matrix := func(x []float32, in int) qkv.Matrix { return qkv.RowMajor(x, len(x)/in, in) }
	t := &Tensors{Config: w.Config, Embedding: matrix(w.Embedding, w.Width), Norm: w.Norm, Out: matrix(w.Out, w.Width)}
	for i := range w.Blocks {
		b := &w.Blocks[i]
		t.Blocks = append(t.Blocks, BlockOf[qkv.Matrix]{
			AttnNorm: b.AttnNorm, Q: matrix(b.Q, w.Width), K: matrix(b.K, w.Width), V: matrix(b.V, w.Width), O: matrix(b.O, q),
			FFNNorm: b.FFNNorm, Gate: matrix(b.Gate, w.Width), Up: matrix(b.Up, w.Width), Down: matrix(b.Down, w.FFN),
			QBias: b.QBias, KBias: b.KBias, VBias: b.VBias, QNorm: b.QNorm, KNorm: b.KNorm, AttnPost: b.AttnPost, FFNPost: b.FFNPost,
		})
	}
	return t
}

// newWeights returns zeros.
func newWeights(c Config) *Weights {
	w := &Weights{Config: c, Embedding: make([]float32, c.Vocab*c.Width), Blocks: make([]Block, c.Layers), Norm: make([]float32, c.Width)}
	if w.Out = w.Embedding; !c.Tied {
		w.Out = make([]float32, c.Vocab*c.Width)
	}
	q, kv := c.Heads*c.Dim(), c.KVHeads*c.Dim()
	only := func(there bool, n int) []float32 {
		if !there {
			return nil
		}
		return make([]float32, n)
	}
	for i := range w.Blocks {
		w.Blocks[i] = Block{
			AttnNorm: make([]float32, c.Width),
			Q:        make([]float32, q*c.Width),
			K:        make([]float32, kv*c.Width),
			V:        make([]float32, kv*c.Width),
			O:        make([]float32, c.Width*q),
			FFNNorm:  make([]float32, c.Width),
			Gate:     make([]float32, c.FFN*c.Width),
			Up:       make([]float32, c.FFN*c.Width),
			Down:     make([]float32, c.Width*c.FFN),
			QBias:    only(c.Bias, q),
			KBias:    only(c.Bias, kv),
			VBias:    only(c.Bias, kv),
			QNorm:    only(c.QKNorm, c.Dim()),
			KNorm:    only(c.QKNorm, c.Dim()),
			AttnPost: only(c.PostNorm, c.Width),
			FFNPost:  only(c.PostNorm, c.Width),
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
		fill(b.O, c.Heads*c.Dim())
		around(b.FFNNorm)
		fill(b.Gate, c.Width)
		fill(b.Up, c.Width)
		fill(b.Down, c.FFN)
		for _, bias := range [][]float32{b.QBias, b.KBias, b.VBias} {
			fill(bias, 1)
		}
		for _, norm := range [][]float32{b.QNorm, b.KNorm, b.AttnPost, b.FFNPost} {
			around(norm)
		}
	}
	around(w.Norm)
	if !c.Tied {
		fill(w.Out, c.Width)
	}
	return w, nil
}
