package qkv_test

import (
	"fmt"
	"log"

	"github.com/qkv-go/qkv"
)

// One query that is closest to the second of three keys.
func Example() {
	q := []float32{0, 4}
	k := []float32{4, 0, 0, 4, -4, 0}
	v := []float32{10, 20, 30}
	out := make([]float32, 1)
	err := qkv.Run(&qkv.Call{
		Q:   qkv.BHSD(q, 1, 1, 1, 2),
		K:   qkv.BHSD(k, 1, 1, 3, 2),
		V:   qkv.BHSD(v, 1, 1, 3, 1),
		Out: qkv.BHSD(out, 1, 1, 1, 1),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.3f\n", out)
	// Output: [20.000]
}

// A layer of a decoder: eight query heads over two KV heads, in the
// layout [batch, seq, heads, dim], with a causal mask.
func ExampleEngine_Run() {
	const batch, seq, heads, kvHeads, dim = 1, 3, 8, 2, 4
	q := make([]float32, batch*seq*heads*dim)
	k := make([]float32, batch*seq*kvHeads*dim)
	v := make([]float32, batch*seq*kvHeads*dim)
	for i := range v {
		v[i] = float32(i / (kvHeads * dim)) // the position
	}
	out := make([]float32, len(q))
	lse := make([]float32, batch*heads*seq)

	a, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	err = a.Run(&qkv.Call{
		Q:    qkv.BSHD(q, batch, seq, heads, dim),
		K:    qkv.BSHD(k, batch, seq, kvHeads, dim),
		V:    qkv.BSHD(v, batch, seq, kvHeads, dim),
		Out:  qkv.BSHD(out, batch, seq, heads, dim),
		LSE:  lse,
		Mask: qkv.Mask{Causal: true},
	})
	if err != nil {
		log.Fatal(err)
	}
	// All scores are 0: each position averages itself and those before it.
	for s := range seq {
		fmt.Printf("position %d: %v, log-sum-exp %.4f\n", s, out[s*heads*dim], lse[s])
	}
	// Output:
	// position 0: 0, log-sum-exp 0.0000
	// position 1: 0.5, log-sum-exp 0.6931
	// position 2: 1, log-sum-exp 1.0986
}

// What a fused projection wrote, read in place.
func ExamplePackedQKV() {
	const batch, seq, heads, kvHeads, dim = 1, 2, 2, 1, 2
	packed := []float32{
		// q head 0, q head 1, k, v
		1, 0, 0, 1, 1, 0, 5, 6,
		1, 0, 0, 1, 1, 0, 7, 8,
	}
	out := make([]float32, batch*seq*heads*dim)
	q, k, v := qkv.PackedQKV(packed, batch, seq, heads, kvHeads, dim)
	err := qkv.Run(&qkv.Call{Q: q, K: k, V: v, Out: qkv.BSHD(out, batch, seq, heads, dim)})
	fmt.Println(out, err)
	// Output: [6 7 6 7 6 7 6 7] <nil>
}

// A mistake is found before anything is written.
func ExampleArgError() {
	x := make([]float32, 1024)
	err := qkv.Run(&qkv.Call{
		Q:   qkv.BHSD(x, 1, 1, 8, 128),
		K:   qkv.BHSD(x, 1, 1, 8, 64),
		V:   qkv.BHSD(x, 1, 1, 8, 128),
		Out: qkv.BHSD(make([]float32, 1024), 1, 1, 8, 128),
	})
	fmt.Println(err)
	// Output: qkv: k has head dim 64, q has 128
}

func ExampleEngine_Explain() {
	a, err := qkv.New(qkv.Config{Kernel: "generic", Workers: 2})
	if err != nil {
		log.Fatal(err)
	}
	x := make([]float32, 32*512*128)
	plan, err := a.Explain(&qkv.Call{
		Q:    qkv.BHSD(x, 1, 32, 512, 128),
		K:    qkv.BHSD(x, 1, 8, 512, 128),
		V:    qkv.BHSD(x, 1, 8, 512, 128),
		Out:  qkv.BHSD(make([]float32, len(x)), 1, 32, 512, 128),
		Mask: qkv.Mask{Causal: true, Align: qkv.BottomRight},
	})
	fmt.Println(plan.Kernel, plan.Path, plan.KeyBlock, plan.Workers, plan.Pairs, err)
	// Output: generic prefill 128 2 4202496 <nil>
}

// A stream that keeps its first tokens and the last few, with a sink for each head: each
// query attends itself, the two keys before it, and key 0.
func ExampleMask_window() {
	const seq, heads, dim = 6, 1, 1
	q := make([]float32, seq*heads*dim)
	k := make([]float32, seq*heads*dim)
	v := []float32{100, 1, 2, 3, 4, 5}
	out := make([]float32, seq*heads*dim)
	mask := qkv.Mask{Causal: true, Window: qkv.Sliding(2, 0), First: 1}
	err := qkv.Run(&qkv.Call{
		Q:     qkv.BSHD(q, 1, seq, heads, dim),
		K:     qkv.BSHD(k, 1, seq, heads, dim),
		V:     qkv.BSHD(v, 1, seq, heads, dim),
		Out:   qkv.BSHD(out, 1, seq, heads, dim),
		Mask:  mask,
		Sinks: []float32{0}, // the weight of one more key, of no value
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(mask)
	// All scores are 0: query 5 has (100 + 3 + 4 + 5) / 5.
	fmt.Printf("%.1f\n", out)
	// Output:
	// causal window 2:0 first 1
	// [50.0 33.7 25.8 21.2 21.8 22.4]
}

// Two sequences one behind the other: a prompt of three tokens, and one token more of a
// sequence with four cached keys.
func ExampleCall_ragged() {
	const heads, dim = 1, 1
	cuLensQ, cuLensKV := []int{0, 3, 4}, []int{0, 3, 7}
	q := make([]float32, 4*heads*dim)
	k := make([]float32, 7*heads*dim)
	v := []float32{1, 2, 3, 10, 20, 30, 40}
	out := make([]float32, 4*heads*dim)
	err := qkv.Run(&qkv.Call{
		Q:        qkv.THD(q, 4, heads, dim),
		K:        qkv.THD(k, 7, heads, dim),
		V:        qkv.THD(v, 7, heads, dim),
		Out:      qkv.THD(out, 4, heads, dim),
		CuLensQ:  cuLensQ,
		CuLensKV: cuLensKV,
		Mask:     qkv.Mask{Causal: true, Align: qkv.BottomRight},
	})
	fmt.Println(out, err)
	// Output: [1 1.5 2 25] <nil>
}

// A bias that no field has: scores of keys in the past fall with the square of the
// distance.
func ExampleCall_scoreMod() {
	const seq, dim = 4, 1
	zeros := make([]float32, seq*dim)
	v := []float32{1, 2, 3, 4}
	out := make([]float32, seq*dim)
	err := qkv.Run(&qkv.Call{
		Q:    qkv.BHSD(zeros, 1, 1, seq, dim),
		K:    qkv.BHSD(zeros, 1, 1, seq, dim),
		V:    qkv.BHSD(v, 1, 1, seq, dim),
		Out:  qkv.BHSD(out, 1, 1, seq, dim),
		Mask: qkv.Mask{Causal: true},
		ScoreMod: func(t *qkv.ScoreBlock) {
			t.Each(func(head, query, key int, s float32) float32 {
				distance := float32(query - key)
				return s - distance*distance
			})
		},
	})
	fmt.Printf("%.3f %v\n", out, err)
	// Output: [1.000 1.731 2.708 3.708] <nil>
}

// Two queries and four keys, in the three ways that the queries can stand among the keys.
func ExampleAlign() {
	v := []float32{1, 2, 3, 4}
	for _, mask := range []qkv.Mask{
		{Causal: true, Align: qkv.TopLeft},                // at keys 0 and 1
		{Causal: true, Align: qkv.BottomRight},            // at keys 2 and 3, as a decoder's
		{Causal: true, Align: qkv.AlignOffset, Offset: 1}, // at keys 1 and 2
		{Causal: true}, // nothing says where
	} {
		out := make([]float32, 2)
		err := qkv.Run(&qkv.Call{
			Q:    qkv.BHSD(make([]float32, 2), 1, 1, 2, 1),
			K:    qkv.BHSD(make([]float32, 4), 1, 1, 4, 1),
			V:    qkv.BHSD(v, 1, 1, 4, 1),
			Out:  qkv.BHSD(out, 1, 1, 2, 1),
			Mask: mask,
		})
		fmt.Println(out, err) // all scores are 0: the averages of the values attended
	}
	// Output:
	// [1 1.5] <nil>
	// [2 2.5] <nil>
	// [1.5 2] <nil>
	// [0 0] qkv: mask is causal and align is not said: sequence 0 has 2 queries and 4 keys
}

// A mask of blocks of two queries by two keys: the second block of queries attends the first block of
// keys alone.
func ExampleNewBlockMask() {
	blocks, err := qkv.NewBlockMask(2, 2, 1, 1, 2, 2)
	if err != nil {
		log.Fatal(err)
	}
	blocks.Set(0, 0, 0, 0, true)
	blocks.Set(0, 0, 1, 0, true)
	fmt.Println("block 1, 1:", blocks.Kept(0, 0, 1, 1))
	v := []float32{1, 2, 3, 4}
	out := make([]float32, 4)
	err = qkv.Run(&qkv.Call{
		Q:    qkv.BHSD(make([]float32, 4), 1, 1, 4, 1),
		K:    qkv.BHSD(make([]float32, 4), 1, 1, 4, 1),
		V:    qkv.BHSD(v, 1, 1, 4, 1),
		Out:  qkv.BHSD(out, 1, 1, 4, 1),
		Mask: qkv.Mask{Blocks: blocks},
	})
	fmt.Println(out, err)
	// Output:
	// block 1, 1: false
	// [1.5 1.5 1.5 1.5] <nil>
}

// Keys that lie with their dims one behind the other, [dim, tokens]: a transpose in strides.
func ExampleStrided() {
	k := []float32{
		1, 0, 0, // dim 0 of three tokens
		0, 1, 0, // dim 1
	}
	view := qkv.Strided(k, 0, [4]int{1, 1, 3, 2}, [4]int{0, 0, 1, 3})
	out := make([]float32, 1)
	err := qkv.Run(&qkv.Call{
		Q:   qkv.BHSD([]float32{0, 100}, 1, 1, 1, 2), // as key 1
		K:   view,
		V:   qkv.BHSD([]float32{10, 20, 30}, 1, 1, 3, 1),
		Out: qkv.BHSD(out, 1, 1, 1, 1),
	})
	fmt.Println(out, err)
	// Output: [20] <nil>
}

// Weights that are packed once, head by head, for a projection that may be made again and again.
func ExampleEngine_PackHeads() {
	const in, heads, dim = 2, 2, 1
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	w, err := e.PackHeads(qkv.RowMajor([]float32{1, 10, 2, 20}, in, heads*dim), heads)
	if err != nil {
		log.Fatal(err)
	}
	p, err := e.NewProjection(qkv.ProjectionConfig{Q: qkv.Linear{Packed: w}, Heads: heads})
	if err != nil {
		log.Fatal(err)
	}
	q := make([]float32, heads*dim)
	err = p.Run(&qkv.ProjectionCall{X: qkv.RowMajor([]float32{1, 1}, 1, in), Q: qkv.BSHD(q, 1, 1, heads, dim)})
	fmt.Println(q, err)
	// Output: [3 30] <nil>
}

func ExampleEngine_ExplainMatMul() {
	e, err := qkv.New(qkv.Config{Kernel: "generic", Workers: 1})
	if err != nil {
		log.Fatal(err)
	}
	const rows, depth, cols = 64, 32, 16
	plan, err := e.ExplainMatMul(&qkv.Product{
		X: qkv.RowMajor(make([]float32, rows*depth), rows, depth),
		W: qkv.RowMajor(make([]float32, depth*cols), depth, cols),
		Y: qkv.RowMajor(make([]float32, rows*cols), rows, cols),
	})
	fmt.Println(plan.Kernel, plan.FLOPs, err)
	// Output: generic 65536 <nil>
}

// The cosines and sines of two pairs at two positions, for code that rotates by itself.
func ExampleRotary_Tables() {
	rotary, err := qkv.NewRotary(qkv.RotaryConfig{Dim: 4, MaxPositions: 2})
	if err != nil {
		log.Fatal(err)
	}
	cos, sin := rotary.Tables()
	fmt.Printf("%.4f\n%.4f\n", cos, sin)
	// Output:
	// [1.0000 1.0000 0.5403 0.9999]
	// [0.0000 0.0000 0.8415 0.0100]
}
