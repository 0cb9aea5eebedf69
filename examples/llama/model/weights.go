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
	MLPOf[M]           // of a layer without experts

	QBias, KBias, VBias []float32 // [Heads*dim], [KVHeads*dim]
	OBias               []float32 // [Width]
	Sinks               []float32 // [Heads]
	QNorm, KNorm        []float32 // [dim]
	AttnPost, FFNPost   []float32 // [Width]

	Router     M         // [Experts, Width]
	RouterBias []float32 // [Experts]
	Experts    []MLPOf[M]
	Shared     MLPOf[M] // with SharedFFN in the place of FFN
	SharedGate M        // [1, Width]
}

// An MLPOf is the weights of an MLP, or of an expert.
type MLPOf[M any] struct {
	Gate, Up M // [FFN, Width]
	Down     M // [Width, FFN]

	GateBias, UpBias []float32 // [FFN]
	DownBias         []float32 // [Width]
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
	matrix := func(x []float32, in int) qkv.Matrix {
		if x == nil {
			return qkv.Matrix{}
		}
		return qkv.RowMajor(x, len(x)/in, in)
	}
	mlp := func(x *MLPOf[[]float32], ffn int) MLPOf[qkv.Matrix] {
		return MLPOf[qkv.Matrix]{matrix(x.Gate, w.Width), matrix(x.Up, w.Width), matrix(x.Down, ffn), x.GateBias, x.UpBias, x.DownBias}
	}
	t := &Tensors{Config: w.Config, Embedding: matrix(w.Embedding, w.Width), Norm: w.Norm, Out: matrix(w.Out, w.Width)}
	for i := range w.Blocks {
		b := &w.Blocks[i]
		t.Blocks = append(t.Blocks, BlockOf[qkv.Matrix]{
			AttnNorm: b.AttnNorm, Q: matrix(b.Q, w.Width), K: matrix(b.K, w.Width), V: matrix(b.V, w.Width), O: matrix(b.O, q),
			FFNNorm: b.FFNNorm, MLPOf: mlp(&b.MLPOf, w.mlpWidth()),
			QBias: b.QBias, KBias: b.KBias, VBias: b.VBias, OBias: b.OBias, Sinks: b.Sinks,
			QNorm: b.QNorm, KNorm: b.KNorm, AttnPost: b.AttnPost, FFNPost: b.FFNPost,
			Router: matrix(b.Router, w.Width), RouterBias: b.RouterBias,
			Shared: mlp(&b.Shared, w.SharedFFN), SharedGate: matrix(b.SharedGate, w.Width),
		})
		for j := range b.Experts {
			t.Blocks[i].Experts = append(t.Blocks[i].Experts, mlp(&b.Experts[j], w.FFN))
		}
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
	mlp := func(ffn int) MLPOf[[]float32] {
		return MLPOf[[]float32]{Gate: make([]float32, ffn*c.Width), Up: make([]float32, ffn*c.Width), Down: make([]float32, c.Width*ffn)}
	}
	for i := range w.Blocks {
		w.Blocks[i] = Block{
			AttnNorm: make([]float32, c.Width),
			Q:        make([]float32, q*c.Width),
			K:        make([]float32, kv*c.Width),
			V:        make([]float32, kv*c.Width),
			O:        make([]float32, c.Width*q),
			FFNNorm:  make([]float32, c.Width),
			QBias:    only(c.Bias, q),
			KBias:    only(c.Bias, kv),
			VBias:    only(c.Bias, kv),
			OBias:    only(c.OutBias, c.Width),
			Sinks:    only(c.Sinks, c.Heads),
			QNorm:    only(c.QKNorm, c.Dim()),
			KNorm:    only(c.QKNorm, c.Dim()),
			AttnPost: only(c.PostNorm, c.Width),
			FFNPost:  only(c.PostNorm, c.Width),
		}
		b := &w.Blocks[i]
		if !c.mixed(i) {
			b.MLPOf = mlp(c.mlpWidth())
			continue
		}
		b.Router, b.RouterBias = make([]float32, c.Experts*c.Width), only(c.ExpertBias, c.Experts)
		for range c.Experts {
			x := mlp(c.FFN)
			x.GateBias, x.UpBias, x.DownBias = only(c.ExpertBias, c.FFN), only(c.ExpertBias, c.FFN), only(c.ExpertBias, c.Width)
			b.Experts = append(b.Experts, x)
		}
		if c.SharedFFN != 0 {
			b.Shared, b.SharedGate = mlp(c.SharedFFN), make([]float32, c.Width)
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
	mlp := func(x *MLPOf[[]float32], ffn int) {
		fill(x.Gate, c.Width)
		fill(x.Up, c.Width)
		fill(x.Down, ffn)
		for _, bias := range [][]float32{x.GateBias, x.UpBias, x.DownBias} {
			fill(bias, 1)
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
		mlp(&b.MLPOf, c.mlpWidth())
		for _, bias := range [][]float32{b.QBias, b.KBias, b.VBias, b.OBias, b.Sinks, b.RouterBias} {
			fill(bias, 1)
		}
		for _, norm := range [][]float32{b.QNorm, b.KNorm, b.AttnPost, b.FFNPost} {
			around(norm)
		}
		fill(b.Router, c.Width)
		for j := range b.Experts {
			mlp(&b.Experts[j], c.FFN)
		}
		mlp(&b.Shared, c.SharedFFN)
		fill(b.SharedGate, c.Width)
	}
	around(w.Norm)
	if !c.Tied {
		fill(w.Out, c.Width)
	}
	return w, nil
}
