package qkv_test

import (
	"fmt"
	"log"

	"github.com/qkv-go/qkv"
)

// Two sequences go on from one prompt. Its keys are read once for both, whose queries are
// positions of a single sequence there. Each attends its own keys apart, and the results
// merge: a cascade.
func ExampleEngine_Merge() {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	const sequences, heads, dim, prompt, own = 2, 1, 4, 6, 2
	q := make([]float32, sequences*heads*dim) // one query each
	kPrompt, vPrompt := make([]float32, prompt*heads*dim), make([]float32, prompt*heads*dim)
	kOwn, vOwn := make([]float32, sequences*own*heads*dim), make([]float32, sequences*own*heads*dim)
	for i := range vPrompt {
		vPrompt[i] = 1
	}
	for i := range vOwn {
		vOwn[i] = 5 + 4*float32(i/(own*heads*dim)) // 5 in the first sequence, 9 in the second
	}

	rows := sequences * heads
	outPrompt, lsePrompt := make([]float32, rows*dim), make([]float32, rows)
	outOwn, lseOwn := make([]float32, rows*dim), make([]float32, rows)
	for _, c := range []*qkv.Call{{
		// All queries are positions of one sequence, none of them masked.
		Q:   qkv.BSHD(q, 1, sequences, heads, dim),
		K:   qkv.BSHD(kPrompt, 1, prompt, heads, dim),
		V:   qkv.BSHD(vPrompt, 1, prompt, heads, dim),
		Out: qkv.BSHD(outPrompt, 1, sequences, heads, dim),
		LSE: lsePrompt,
	}, {
		Q:   qkv.BSHD(q, sequences, 1, heads, dim),
		K:   qkv.BSHD(kOwn, sequences, own, heads, dim),
		V:   qkv.BSHD(vOwn, sequences, own, heads, dim),
		Out: qkv.BSHD(outOwn, sequences, 1, heads, dim),
		LSE: lseOwn,
	}} {
		if err := e.Run(c); err != nil {
			log.Fatal(err)
		}
	}
	// With one head, both log-sum-exps have one number for each sequence, in order.
	out := make([]float32, rows*dim)
	err = e.Merge(qkv.BSHD(out, sequences, 1, heads, dim), nil, []qkv.Partial{
		{Out: qkv.BSHD(outPrompt, sequences, 1, heads, dim), LSE: lsePrompt},
		{Out: qkv.BSHD(outOwn, sequences, 1, heads, dim), LSE: lseOwn},
	})
	if err != nil {
		log.Fatal(err)
	}
	// All scores are 0: six ones and two of its own make the mean of each.
	fmt.Println(out[0], out[dim])
	// Output: 2 3
}
