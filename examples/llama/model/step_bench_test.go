package model

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/qkv-go/qkv"
)

// smolLM2 is the shape of SmolLM2-135M.
var smolLM2 = Config{Layers: 30, Width: 576, Heads: 9, KVHeads: 3, FFN: 1536, Vocab: 49152, Context: 2048, Tied: true}

// BenchmarkPrefill is a prompt of 512 tokens, and the logits of the last.
func BenchmarkPrefill(b *testing.B) {
	const tokens = 512
	m, _ := newModel(b, qkv.Config{}, smolLM2)
	e := newEngine(b, m, EngineConfig{PageTokens: 16, Pages: tokens / 16})
	batch := []Input{{e.Cache.NewSequence(), randomTokens(tokens, m.Vocab, 1), 1}}
	for b.Loop() {
		if _, err := e.Forward(batch); err != nil {
			b.Fatal(err)
		}
		must(e.Step.Rollback())
	}
	b.ReportMetric(tokens*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
}

// BenchmarkStep is one token of each text.
func BenchmarkStep(b *testing.B) {
	const past = 512
	m, _ := newModel(b, qkv.Config{}, smolLM2)
	e := newEngine(b, m, EngineConfig{PageTokens: 16, Pages: 9 * (past/16 + 1)})
	first := e.NewText(randomTokens(past, m.Vocab, 1), past+1)
	if _, err := e.Forward([]Input{{first.Sequence, first.Tokens, 0}}); err != nil {
		b.Fatal(err)
	}
	must(e.Step.Commit())
	var file bytes.Buffer
	must(first.Save(&file))
	for _, texts := range []int{1, 8} {
		b.Run(fmt.Sprintf("texts=%d", texts), func(b *testing.B) {
			batch := make([]Input, texts)
			for i := range batch { // each with pages of its own
				t, err := e.Restore(bytes.NewReader(file.Bytes()))
				must(err)
				defer t.Free()
				batch[i] = Input{t.Sequence, []int32{int32(i)}, 1}
			}
			step := func() {
				if _, err := e.Forward(batch); err != nil {
					b.Fatal(err)
				}
				must(e.Step.Rollback())
			}
			step() // the largest so far: workspaces grow
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
			b.ReportMetric(float64(texts)*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}
