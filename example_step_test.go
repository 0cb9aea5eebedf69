package qkv_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/qkv-go/qkv"
)

// newDecoder returns a cache of so many layers of one head of one dim, and a step over it.
func newDecoder(cfg qkv.CacheConfig) (*qkv.Cache, *qkv.Step) {
	for i := range cfg.Layers {
		l := &cfg.Layers[i]
		l.KVHeads, l.DimQK, l.DimV = 1, 1, 1
	}
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	cache, err := qkv.NewCache(cfg)
	if err != nil {
		log.Fatal(err)
	}
	step, err := e.NewStep(cache)
	if err != nil {
		log.Fatal(err)
	}
	return cache, step
}

// appended has a step add n tokens to a sequence of a cache of one layer.
func appended(step *qkv.Step, s *qkv.Sequence, n int) {
	if err := step.Begin([]qkv.StepSequence{{Sequence: s, Tokens: n}}); err != nil {
		log.Fatal(err)
	}
	if err := step.Write(0, constant(n, 1), constant(n, 1)); err != nil {
		log.Fatal(err)
	}
	if err := step.Commit(); err != nil {
		log.Fatal(err)
	}
}

// A scheduler: of the requests that wait, as many go into the next step as there are pages for.
func ExampleCache_Fits() {
	cache, _ := newDecoder(qkv.CacheConfig{Layers: make([]qkv.CacheLayer, 2), Pages: 6, PageTokens: 16})
	var batch []qkv.StepSequence
	for _, prompt := range []int{40, 30, 10, 70} {
		request := qkv.StepSequence{Sequence: cache.NewSequence(), Tokens: prompt}
		if err := cache.Fits(append(batch, request)); err != nil {
			fmt.Printf("a prompt of %d tokens waits: %v\n", prompt, err)
			continue
		}
		batch = append(batch, request)
	}
	pages, err := cache.StepPages(0, batch)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d sequences take %d of %d pages\n", len(batch), pages, cache.FreePages(0))
	// Output:
	// a prompt of 70 tokens waits: qkv: 11 pages are needed, 6 are free
	// 3 sequences take 6 of 6 pages
}

// A prompt that is longer than what a layer with a window takes at once comes in several steps.
func ExampleSequence_Room() {
	cache, step := newDecoder(qkv.CacheConfig{
		Layers:    []qkv.CacheLayer{{Window: 4}},
		Sequences: 1, PageTokens: 1, StepTokens: 5,
	})
	sequence := cache.NewSequence()
	for left := 20; left > 0; {
		n := min(left, sequence.Room())
		appended(step, sequence, n)
		left -= n
		fmt.Print(n, " ")
	}
	// Output: 8 5 5 2
}

// A draft of three tokens, of which the model agrees with the first; and a step that fails.
func ExampleStep_CommitFirst() {
	cache, step := newDecoder(qkv.CacheConfig{Layers: make([]qkv.CacheLayer, 1), Pages: 4, PageTokens: 4})
	sequence := cache.NewSequence()
	appended(step, sequence, 5)
	draft := []qkv.StepSequence{{Sequence: sequence, Tokens: 3}}

	if err := step.Begin(draft); err != nil {
		log.Fatal(err)
	}
	if err := step.Write(0, constant(3, 1), constant(3, 1)); err != nil {
		log.Fatal(err)
	}
	if err := step.CommitFirst([]int{1}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(sequence.Len(), "tokens")

	if err := step.Begin(draft); err != nil {
		log.Fatal(err)
	}
	err := step.Commit()
	fmt.Println(err, errors.Is(err, qkv.ErrUnwritten))
	if err := step.Rollback(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(sequence.Len(), "tokens")
	// Output:
	// 6 tokens
	// qkv: layer 0 has not been written in this step, which has 3 new tokens true
	// 6 tokens
}

// A prompt of four tokens, of which the last layer computes the last alone: the one whose successor is
// wanted.
func ExampleStep_SetQueries() {
	cache, step := newDecoder(qkv.CacheConfig{Layers: make([]qkv.CacheLayer, 2), Pages: 4, PageTokens: 4})
	if err := step.Begin([]qkv.StepSequence{{Sequence: cache.NewSequence(), Tokens: 4}}); err != nil {
		log.Fatal(err)
	}
	for layer := range cache.Layers() {
		if layer == cache.Layers()-1 {
			if err := step.SetQueries([]int{1}); err != nil {
				log.Fatal(err)
			}
		}
		// Keys and values are those of all new tokens.
		if err := step.Write(layer, constant(step.Tokens(), 0), qkv.THD([]float32{1, 2, 3, 4}, 4, 1, 1)); err != nil {
			log.Fatal(err)
		}
		n := step.Queries()
		out := make([]float32, n)
		err := step.Attend(layer, &qkv.Call{Q: constant(n, 0), Out: qkv.THD(out, n, 1, 1), Mask: qkv.Mask{Causal: true}})
		fmt.Println("queries at", step.QueryPositions(), "have", out, err)
	}
	if err := step.Commit(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// queries at [0 1 2 3] have [1 1.5 2 2.5] <nil>
	// queries at [3] have [2.5] <nil>
}

// A sequence goes back as far as its rings have the window of the next query.
func ExampleSequence_Truncate() {
	cache, step := newDecoder(qkv.CacheConfig{
		Layers:    []qkv.CacheLayer{{Window: 4}},
		Sequences: 1, PageTokens: 1, StepTokens: 2,
	})
	sequence := cache.NewSequence()
	for range 10 {
		appended(step, sequence, 1)
	}
	fmt.Println(sequence.Truncate(8), sequence.Len())
	err := sequence.Truncate(7)
	fmt.Println(err, errors.Is(err, qkv.ErrOverwritten))
	// Output:
	// <nil> 8
	// qkv: n is 7, tokens before 5 were overwritten in layers with window 4 true
}

// A layer over a prompt of two tokens and then over a token at a time: the weights are packed once, and
// keys and values go into the cache.
func ExampleLayer_Step() {
	const width, heads, dim = 2, 1, 2
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	identity := qkv.Linear{W: qkv.RowMajor([]float32{1, 0, 0, 1}, width, heads*dim)}
	zeros := qkv.Linear{W: qkv.RowMajor(make([]float32, 4), width, heads*dim)}
	layer, err := e.NewLayer(qkv.LayerConfig{
		ProjectionConfig: qkv.ProjectionConfig{Q: zeros, K: zeros, V: identity, Heads: heads},
		Out:              identity,
		Attention:        qkv.Call{Mask: qkv.Mask{Causal: true}},
	})
	if err != nil {
		log.Fatal(err)
	}
	cache, err := qkv.NewCache(qkv.CacheConfig{
		Layers: []qkv.CacheLayer{{KVHeads: heads, DimQK: dim, DimV: dim}},
		Pages:  4, PageTokens: 16,
	})
	if err != nil {
		log.Fatal(err)
	}
	step, err := e.NewStep(cache)
	if err != nil {
		log.Fatal(err)
	}
	sequence := cache.NewSequence()
	for _, x := range [][]float32{{1, 0, 3, 0}, {8, 3}} {
		n := len(x) / width
		y := make([]float32, n*width)
		if err := step.Begin([]qkv.StepSequence{{Sequence: sequence, Tokens: n}}); err != nil {
			log.Fatal(err)
		}
		if err := layer.Step(step, 0, qkv.RowMajor(y, n, width), qkv.RowMajor(x, n, width)); err != nil {
			log.Fatal(err)
		}
		if err := step.Commit(); err != nil {
			log.Fatal(err)
		}
		fmt.Println(y) // all scores are 0: the averages of X up to each token
	}
	// Output:
	// [1 0 2 0]
	// [4 1]
}

// The last layer of a model, where the tokens whose successors are wanted are few: a projection has the
// keys and values of all new tokens, and a layer the queries and the output of those few.
func ExampleLayer_Step_lastLayer() {
	const width, heads, dim = 1, 1, 1
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	times := func(x float32) qkv.Linear { return qkv.Linear{W: qkv.RowMajor([]float32{x}, width, heads*dim)} }
	keysValues, err := e.NewProjection(qkv.ProjectionConfig{K: times(0), V: times(1), Heads: heads})
	if err != nil {
		log.Fatal(err)
	}
	layer, err := e.NewLayer(qkv.LayerConfig{
		ProjectionConfig: qkv.ProjectionConfig{Q: times(0), Heads: heads},
		Out:              times(10),
		Attention:        qkv.Call{Mask: qkv.Mask{Causal: true}},
	})
	if err != nil {
		log.Fatal(err)
	}
	cache, err := qkv.NewCache(qkv.CacheConfig{
		Layers: []qkv.CacheLayer{{KVHeads: heads, DimQK: dim, DimV: dim}},
		Pages:  4, PageTokens: 16,
	})
	if err != nil {
		log.Fatal(err)
	}
	step, err := e.NewStep(cache)
	if err != nil {
		log.Fatal(err)
	}

	// Two prompts, of 2 and 3 tokens.
	a, b := cache.NewSequence(), cache.NewSequence()
	if err := step.Begin([]qkv.StepSequence{{Sequence: a, Tokens: 2}, {Sequence: b, Tokens: 3}}); err != nil {
		log.Fatal(err)
	}
	x := []float32{1, 3, 4, 5, 9}
	if err := keysValues.Step(step, 0, qkv.View{}, qkv.RowMajor(x, step.Tokens(), width)); err != nil {
		log.Fatal(err)
	}
	if err := step.SetQueries([]int{1, 1}); err != nil {
		log.Fatal(err)
	}
	last := qkv.RowMajor([]float32{x[1], x[4]}, step.Queries(), width)
	y := make([]float32, step.Queries()*width)
	if err := layer.Step(step, 0, qkv.RowMajor(y, step.Queries(), width), last); err != nil {
		log.Fatal(err)
	}
	if err := step.Commit(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(y) // all scores are 0: averages of the values of each prompt, times 10
	// Output: [20 60]
}

// A cache of the caller's own: pages of two tokens, in memory that anything may read. The sequence has
// the pages 2 and 0, and so have its three keys.
func ExampleCall_tables() {
	const pages, heads, pageTokens, dim = 3, 1, 2, 1
	k := make([]float32, pages*heads*pageTokens*dim)
	v := []float32{
		30, -1, // page 0: token 2
		-1, -1,
		10, 20, // page 2: tokens 0 and 1
	}
	out := make([]float32, 1)
	err := qkv.Run(&qkv.Call{
		Q:      qkv.BHSD(make([]float32, 1), 1, heads, 1, dim),
		K:      qkv.BHSD(k, pages, heads, pageTokens, dim),
		V:      qkv.BHSD(v, pages, heads, pageTokens, dim),
		Out:    qkv.BHSD(out, 1, heads, 1, dim),
		Tables: [][]int32{{2, 0}},
		LensKV: []int{3},
		Mask:   qkv.Mask{Causal: true, Align: qkv.BottomRight},
	})
	fmt.Println(out, err)
	// Output: [20] <nil>
}

// Memory of the caller's, which a cache writes and a call with the sequence's table reads.
func ExampleSequence_Table() {
	const pages, pageTokens = 4, 2
	k := qkv.BHSD(make([]float32, pages*pageTokens), pages, 1, pageTokens, 1)
	v := qkv.BHSD(make([]float32, pages*pageTokens), pages, 1, pageTokens, 1)
	cache, step := newDecoder(qkv.CacheConfig{Layers: []qkv.CacheLayer{{K: k, V: v}}, Pages: pages, PageTokens: pageTokens})
	sequence := cache.NewSequence()
	appended(step, sequence, 3)
	table, err := sequence.Table(0)
	if err != nil {
		log.Fatal(err)
	}
	out := make([]float32, 1)
	err = qkv.Run(&qkv.Call{
		Q: constant(1, 1), K: k, V: v, Out: qkv.THD(out, 1, 1, 1),
		Tables: [][]int32{table}, LensKV: []int{sequence.Len()},
	})
	fmt.Println(len(table), "pages,", out, err)
	// Output: 2 pages, [1] <nil>
}
