package qkv_test

import (
	"bytes"
	"fmt"
	"log"

	"github.com/qkv-go/qkv"
)

// constant returns keys or values of n tokens of one head with one dim.
func constant(n int, x float32) qkv.View {
	data := make([]float32, n)
	for i := range data {
		data[i] = x
	}
	return qkv.THD(data, n, 1, 1)
}

// A decoder of two layers: a prompt of three tokens, and then a token at a time.
func ExampleStep() {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	layer := qkv.CacheLayer{KVHeads: 1, DimQK: 1, DimV: 1, KeyType: qkv.TypeInt8, ValueType: qkv.TypeFloat16}
	cache, err := qkv.NewCache(qkv.CacheConfig{Layers: []qkv.CacheLayer{layer, layer}, Pages: 8, PageTokens: 4})
	if err != nil {
		log.Fatal(err)
	}
	step, err := e.NewStep(cache)
	if err != nil {
		log.Fatal(err)
	}
	sequence := cache.NewSequence()
	for _, n := range []int{3, 1, 1} {
		if err := step.Begin([]qkv.StepSequence{{Sequence: sequence, Tokens: n}}); err != nil {
			log.Fatal(err)
		}
		// A value is the position of its token. All scores are 0: a token averages the positions up
		// to its own.
		values := make([]float32, n)
		for i, p := range step.Positions() {
			values[i] = float32(p)
		}
		out := make([]float32, n)
		for layer := range cache.Layers() {
			if err := step.Write(layer, constant(n, 0), qkv.THD(values, n, 1, 1)); err != nil {
				log.Fatal(err)
			}
			err := step.Attend(layer, &qkv.Call{Q: constant(n, 0), Out: qkv.THD(out, n, 1, 1), Mask: qkv.Mask{Causal: true}})
			if err != nil {
				log.Fatal(err)
			}
		}
		if err := step.Commit(); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d tokens: %.2f\n", sequence.Len(), out)
	}
	// Output:
	// 3 tokens: [0.00 0.50 1.00]
	// 4 tokens: [1.50]
	// 5 tokens: [2.00]
}

// Two answers to one prompt, whose pages they share until they part; a draft of which one token is
// right; and a sequence that survives a restart.
func ExampleSequence() {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	cache, err := qkv.NewCache(qkv.CacheConfig{Layers: []qkv.CacheLayer{{KVHeads: 1, DimQK: 1, DimV: 1}}, Pages: 8, PageTokens: 4})
	if err != nil {
		log.Fatal(err)
	}
	step, err := e.NewStep(cache)
	if err != nil {
		log.Fatal(err)
	}
	write := func(n int, sequences ...qkv.StepSequence) {
		if err := step.Begin(sequences); err != nil {
			log.Fatal(err)
		}
		if err := step.Write(0, constant(n, 1), constant(n, 1)); err != nil {
			log.Fatal(err)
		}
	}
	first := cache.NewSequence()
	write(6, qkv.StepSequence{Sequence: first, Tokens: 6})
	if err := step.Commit(); err != nil {
		log.Fatal(err)
	}
	second, err := first.Fork()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("free after the fork:", cache.FreePages(0))

	write(4, qkv.StepSequence{Sequence: first, Tokens: 1}, qkv.StepSequence{Sequence: second, Tokens: 3})
	fmt.Println("free in the step:", cache.FreePages(0))
	if err := step.CommitFirst([]int{1, 1}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("tokens:", first.Len(), second.Len())

	var file bytes.Buffer
	if _, err := first.WriteTo(&file); err != nil {
		log.Fatal(err)
	}
	third, err := cache.ReadSequence(&file)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("read:", third.Len())
	for _, s := range []*qkv.Sequence{first, second, third} {
		if err := s.Free(); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("free at the end:", cache.FreePages(0))
	// Output:
	// free after the fork: 6
	// free in the step: 4
	// tokens: 7 7
	// read: 7
	// free at the end: 8
}

// A stream without an end, in a layer with a window: it keeps the first token and the last three.
func ExampleCache_window() {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	cache, err := qkv.NewCache(qkv.CacheConfig{
		Layers:    []qkv.CacheLayer{{KVHeads: 1, DimQK: 1, DimV: 1, Window: 3, First: 1}},
		Sequences: 1, PageTokens: 4, StepTokens: 1,
	})
	if err != nil {
		log.Fatal(err)
	}
	step, err := e.NewStep(cache)
	if err != nil {
		log.Fatal(err)
	}
	sequence := cache.NewSequence()
	out := make([]float32, 1)
	for token := range 1000 {
		value := float32(token)
		if token == 0 {
			value = -1000
		}
		if err := step.Begin([]qkv.StepSequence{{Sequence: sequence, Tokens: 1}}); err != nil {
			log.Fatal(err)
		}
		if err := step.Write(0, constant(1, 0), constant(1, value)); err != nil {
			log.Fatal(err)
		}
		if err := step.Attend(0, &qkv.Call{Q: constant(1, 0), Out: qkv.THD(out, 1, 1, 1), Mask: qkv.Mask{Causal: true}}); err != nil {
			log.Fatal(err)
		}
		if err := step.Commit(); err != nil {
			log.Fatal(err)
		}
	}
	// (-1000 + 997 + 998 + 999) / 4
	fmt.Println(sequence.Len(), out)
	// Output: 1000 [498.5]
}

// The layer of a model that has code of its own around the attention: queries come out of the
// projection, keys and values go into the cache.
func ExampleProjection_Step() {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	const in = 2
	linear := func(w ...float32) qkv.Linear { return qkv.Linear{W: qkv.RowMajor(w, in, 1)} }
	projection, err := e.NewProjection(qkv.ProjectionConfig{Q: linear(0, 0), K: linear(1, 0), V: linear(0, 1), Heads: 1})
	if err != nil {
		log.Fatal(err)
	}
	layer := qkv.CacheLayer{KVHeads: 1, DimQK: 1, DimV: 1, KeyType: qkv.TypeFloat16, ValueType: qkv.TypeFloat16}
	cache, err := qkv.NewCache(qkv.CacheConfig{Layers: []qkv.CacheLayer{layer}, Pages: 8, PageTokens: 4})
	if err != nil {
		log.Fatal(err)
	}
	step, err := e.NewStep(cache)
	if err != nil {
		log.Fatal(err)
	}
	// Prompts of two sequences: the rows of x are the tokens of one, and then those of the other.
	sequences := []qkv.StepSequence{{Sequence: cache.NewSequence(), Tokens: 2}, {Sequence: cache.NewSequence(), Tokens: 1}}
	if err := step.Begin(sequences); err != nil {
		log.Fatal(err)
	}
	x := []float32{0, 10, 0, 20, 0, 5}
	q, out := constant(step.Tokens(), 0), make([]float32, step.Tokens())
	if err := projection.Step(step, 0, q, qkv.RowMajor(x, step.Tokens(), in)); err != nil {
		log.Fatal(err)
	}
	// All scores are 0: a token averages the values up to its own.
	if err := step.Attend(0, &qkv.Call{Q: q, Out: qkv.THD(out, step.Tokens(), 1, 1), Mask: qkv.Mask{Causal: true}}); err != nil {
		log.Fatal(err)
	}
	if err := step.Commit(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(out)
	// Output:
	// [10 15 5]
}
