package qkv

import "testing"

// BenchmarkStepBookkeeping is what a step does for each layer beside the kernels: checks and the
// schedule, of 64 sequences of 4,000 tokens in pages of 16.
func BenchmarkStepBookkeeping(b *testing.B) {
	const sequences, tokens, heads, kvHeads, dim = 64, 4000, 9, 3, 64
	e, err := New(Config{Workers: 2})
	if err != nil {
		b.Fatal(err)
	}
	layer := CacheLayer{KVHeads: kvHeads, DimQK: dim, DimV: dim}
	cache, err := NewCache(CacheConfig{Layers: []CacheLayer{layer}, PageTokens: 16, Pages: sequences * (tokens/16 + 1)})
	if err != nil {
		b.Fatal(err)
	}
	step, err := e.NewStep(cache)
	if err != nil {
		b.Fatal(err)
	}
	var batch []StepSequence
	for range sequences {
		s := cache.NewSequence()
		if err := s.takePages(tokens); err != nil {
			b.Fatal(err)
		}
		batch = append(batch, StepSequence{Sequence: s, Tokens: 1})
	}
	if err := step.Begin(batch); err != nil {
		b.Fatal(err)
	}
	q, out := make([]float32, sequences*heads*dim), make([]float32, sequences*heads*dim)
	kv := make([]float32, sequences*kvHeads*dim)
	if err := step.Write(0, THD(kv, sequences, kvHeads, dim), THD(kv, sequences, kvHeads, dim)); err != nil {
		b.Fatal(err)
	}
	call := &Call{Q: THD(q, sequences, heads, dim), Out: THD(out, sequences, heads, dim), Mask: Mask{Causal: true}}
	b.Run("checks", func(b *testing.B) {
		for b.Loop() {
			if err := step.prepare(0, call, true, false); err != nil {
				b.Fatal(err)
			}
			step.forget()
		}
	})
	b.Run("schedule", func(b *testing.B) {
		if err := step.prepare(0, call, true, false); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			e.engine.Schedule(&step.problem, 2)
		}
	})
	b.Run("begin", func(b *testing.B) {
		for b.Loop() {
			if err := step.Rollback(); err != nil {
				b.Fatal(err)
			}
			if err := step.Begin(batch); err != nil {
				b.Fatal(err)
			}
		}
	})
}
