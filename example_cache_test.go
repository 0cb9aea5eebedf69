package qkv_test

import (
	"fmt"
	"log"

	"github.com/qkv-go/qkv"
)

// A decoder with a contiguous cache of int8: a prompt of three tokens, and then a token at a
// time.
func ExampleCache() {
	const heads, kvHeads, dim = 2, 1, 4
	cache, err := qkv.NewCache(qkv.CacheConfig{
		Sequences: 1, KVHeads: kvHeads, Capacity: 16, DimQK: dim, DimV: dim,
		KeyType: qkv.TypeInt8, ValueType: qkv.TypeInt8,
	})
	if err != nil {
		log.Fatal(err)
	}
	call := qkv.Call{Mask: qkv.Mask{Causal: true, Align: qkv.BottomRight}}
	var batch qkv.Batch
	// attend appends n tokens, whose values are their positions, and attends from them.
	attend := func(n int) []float32 {
		q, out := make([]float32, n*heads*dim), make([]float32, n*heads*dim)
		k, v := make([]float32, n*kvHeads*dim), make([]float32, n*kvHeads*dim)
		for i := range v {
			v[i] = float32(cache.Len(0) + i/(kvHeads*dim))
		}
		if err := cache.Append(0, qkv.BSHD(k, 1, n, kvHeads, dim), qkv.BSHD(v, 1, n, kvHeads, dim)); err != nil {
			log.Fatal(err)
		}
		call.Q, call.Out = qkv.BSHD(q, 1, n, heads, dim), qkv.BSHD(out, 1, n, heads, dim)
		if err := cache.Use(&call, &batch, []int{0}); err != nil {
			log.Fatal(err)
		}
		if err := qkv.Run(&call); err != nil {
			log.Fatal(err)
		}
		return out
	}
	// All scores are 0: a token averages the positions up to its own.
	prompt := attend(3)
	fmt.Printf("prompt: %.2f %.2f %.2f\n", prompt[0], prompt[heads*dim], prompt[2*heads*dim])
	for range 2 {
		out := attend(1)
		fmt.Printf("token %d: %.2f\n", cache.Len(0)-1, out[0])
	}
	// Output:
	// prompt: 0.00 0.50 1.00
	// token 3: 1.50
	// token 4: 2.00
}

// Two answers to one prompt, whose pages they share: continuous batching takes one token of
// each in one call.
func ExamplePagedCache() {
	const heads, dim = 1, 2
	cache, err := qkv.NewPagedCache(qkv.PagedConfig{
		Pages: 8, PageTokens: 4, KVHeads: heads, DimQK: dim, DimV: dim,
		KeyType: qkv.TypeFloat16, ValueType: qkv.TypeFloat16,
	})
	if err != nil {
		log.Fatal(err)
	}
	tokens := func(n int, value float32) (k, v qkv.View) {
		values := make([]float32, n*heads*dim)
		for i := range values {
			values[i] = value
		}
		return qkv.THD(make([]float32, n*heads*dim), n, heads, dim), qkv.THD(values, n, heads, dim)
	}
	first := cache.NewSequence()
	if err := first.Append(tokens(6, 1)); err != nil {
		log.Fatal(err)
	}
	second, err := first.Fork()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("free after the fork:", cache.FreePages())
	if err := first.Append(tokens(1, 8)); err != nil {
		log.Fatal(err)
	}
	if err := second.Append(tokens(1, 15)); err != nil {
		log.Fatal(err)
	}
	fmt.Println("free after they parted:", cache.FreePages())

	out := make([]float32, 2*heads*dim)
	call := qkv.Call{
		Q:       qkv.THD(make([]float32, 2*heads*dim), 2, heads, dim),
		Out:     qkv.THD(out, 2, heads, dim),
		CuLensQ: []int{0, 1, 2},
		Mask:    qkv.Mask{Causal: true, Align: qkv.BottomRight},
	}
	var batch qkv.Batch
	if err := cache.Use(&call, &batch, []*qkv.Sequence{first, second}); err != nil {
		log.Fatal(err)
	}
	if err := qkv.Run(&call); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.2f\n", out)
	for _, s := range []*qkv.Sequence{first, second} {
		if err := s.Free(); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("free at the end:", cache.FreePages())
	// Output:
	// free after the fork: 6
	// free after they parted: 5
	// [2.00 2.00 3.00 3.00]
	// free at the end: 8
}

// A stream without an end in a ring, which keeps the first token and the last three.
func ExampleCache_ring() {
	const dim = 1
	cache, err := qkv.NewCache(qkv.CacheConfig{
		Sequences: 1, KVHeads: 1, Capacity: 4, DimQK: dim, DimV: dim,
		Ring: true, Keep: 1, Window: 3,
	})
	if err != nil {
		log.Fatal(err)
	}
	out := make([]float32, dim)
	call := qkv.Call{
		Q:    qkv.BHSD(make([]float32, dim), 1, 1, 1, dim),
		Out:  qkv.BHSD(out, 1, 1, 1, dim),
		Mask: qkv.Mask{Causal: true, Align: qkv.BottomRight},
	}
	var batch qkv.Batch
	k := []float32{0}
	for token := range 1000 {
		v := []float32{float32(token)}
		if token == 0 {
			v[0] = -1000
		}
		if err := cache.Append(0, qkv.BHSD(k, 1, 1, 1, dim), qkv.BHSD(v, 1, 1, 1, dim)); err != nil {
			log.Fatal(err)
		}
		if err := cache.Use(&call, &batch, []int{0}); err != nil {
			log.Fatal(err)
		}
		if err := qkv.Run(&call); err != nil {
			log.Fatal(err)
		}
	}
	// (-1000 + 997 + 998 + 999) / 4
	fmt.Println(cache.Len(0), out)
	// Output: 1000 [498.5]
}
