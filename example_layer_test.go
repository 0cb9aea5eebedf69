package qkv_test

import (
	"fmt"
	"log"

	"github.com/qkv-go/qkv"
)

// A linear layer whose weights are stored [out, in], as PyTorch stores them: read where they
// are, and packed once for many calls.
func ExampleEngine_MatMul() {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	const tokens, in, out = 2, 3, 2
	x := []float32{1, 2, 3, 4, 5, 6}
	w := []float32{1, 0, 0, 0, 1, 1} // out 0 is in 0, out 1 is in 1 + in 2
	bias := []float32{10, 20}
	y := make([]float32, tokens*out)

	p := qkv.Product{
		X:    qkv.RowMajor(x, tokens, in),
		W:    qkv.RowMajor(w, out, in).T(),
		Bias: bias,
		Y:    qkv.RowMajor(y, tokens, out),
	}
	if err := e.MatMul(&p); err != nil {
		log.Fatal(err)
	}
	fmt.Println(y)

	if p.Packed, err = e.Pack(p.W); err != nil {
		log.Fatal(err)
	}
	p.W = qkv.Matrix{}
	if err := e.MatMul(&p); err != nil {
		log.Fatal(err)
	}
	fmt.Println(y)
	// Output:
	// [11 25 14 31]
	// [11 25 14 31]
}

// The attention layer of a decoder: four query heads over two KV heads, with rotary
// embeddings and a causal mask.
func ExampleEngine_NewLayer() {
	const tokens, width, heads, kvHeads, dim = 3, 8, 4, 2, 2
	weights := func(out, in int) qkv.Linear { // stored [out, in]
		w := make([]float32, out*in)
		for i := range w {
			w[i] = float32(i%3) - 1
		}
		return qkv.Linear{W: qkv.RowMajor(w, out, in).T()}
	}
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	rotary, err := qkv.NewRotary(qkv.RotaryConfig{Dim: dim, MaxPositions: tokens})
	if err != nil {
		log.Fatal(err)
	}
	layer, err := e.NewLayer(qkv.LayerConfig{
		ProjectionConfig: qkv.ProjectionConfig{
			Q: weights(heads*dim, width), K: weights(kvHeads*dim, width), V: weights(kvHeads*dim, width),
			Heads: heads, KVHeads: kvHeads, Rotary: rotary,
		},
		Out:       weights(width, heads*dim),
		Attention: qkv.Call{Mask: qkv.Mask{Causal: true}},
	})
	if err != nil {
		log.Fatal(err)
	}
	x, y := make([]float32, tokens*width), make([]float32, tokens*width)
	x[0], x[width+1], x[2*width+2] = 1, 1, 1
	if err := layer.Forward(qkv.RowMajor(y, tokens, width), qkv.RowMajor(x, tokens, width)); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.3f\n", y[:width]) // token 0 attends itself: its value, projected
	// Output: [-2.000 0.000 2.000 -2.000 0.000 2.000 -2.000 0.000]
}

// One step of decoding: the key and value of a new token go straight into a cache, and its
// query attends all that is there.
func ExampleProjection_Run() {
	const in, heads, dim, capacity, past = 2, 1, 2, 8, 3
	identity := qkv.Linear{W: qkv.RowMajor([]float32{1, 0, 0, 1}, in, heads*dim)}
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	p, err := e.NewProjection(qkv.ProjectionConfig{Q: identity, K: identity, V: identity, Heads: heads})
	if err != nil {
		log.Fatal(err)
	}
	keys, values := make([]float32, capacity*dim), make([]float32, capacity*dim) // of 3 tokens so far
	tokens := func(cache []float32, first, n int) qkv.View {
		return qkv.BHSD(cache[first*dim:], 1, heads, n, dim)
	}
	q, out := make([]float32, heads*dim), make([]float32, heads*dim)
	err = p.Run(&qkv.ProjectionCall{
		X: qkv.RowMajor([]float32{0, 40}, 1, in),
		Q: qkv.BHSD(q, 1, heads, 1, dim),
		K: tokens(keys, past, 1),
		V: tokens(values, past, 1),
	})
	if err != nil {
		log.Fatal(err)
	}
	err = e.Run(&qkv.Call{
		Q:   qkv.BHSD(q, 1, heads, 1, dim),
		K:   tokens(keys, 0, past+1),
		V:   tokens(values, 0, past+1),
		Out: qkv.BHSD(out, 1, heads, 1, dim),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(keys[past*dim:][:dim], out)
	// Output: [0 40] [0 40]
}
