package qkv_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/qkv-go/qkv"
)

// BenchmarkLayerStep is a layer over the new tokens of a step, with rotary embeddings, at the shapes of
// SmolLM2-135M and of an 8B model: a prompt of 512 tokens, and so many sequences with a token each after
// a few. best-µs is the least time of an iteration.
func BenchmarkLayerStep(b *testing.B) {
	for _, m := range []struct{ width, heads, kvHeads, dim int }{{576, 9, 3, 64}, {4096, 32, 8, 128}} {
		next := normal(51)
		e := newAttention(b, qkv.Config{})
		rotary, err := qkv.NewRotary(qkv.RotaryConfig{Dim: m.dim, MaxPositions: 600})
		must(err)
		linear := func(out, in int) qkv.Linear {
			return qkv.Linear{W: qkv.RowMajor(draw(out*in, next), out, in).T()}
		}
		layer, err := e.NewLayer(qkv.LayerConfig{
			ProjectionConfig: qkv.ProjectionConfig{
				Q: linear(m.heads*m.dim, m.width), K: linear(m.kvHeads*m.dim, m.width), V: linear(m.kvHeads*m.dim, m.width),
				Heads: m.heads, KVHeads: m.kvHeads, Rotary: rotary,
			},
			Out:       linear(m.width, m.heads*m.dim),
			Attention: qkv.Call{Mask: qkv.Mask{Causal: true}},
		})
		must(err)
		for _, typ := range []qkv.ElemType{qkv.TypeFloat32, qkv.TypeFloat16, qkv.TypeInt8} {
			for _, c := range []struct{ sequences, tokens int }{{1, 512}, {1, 1}, {4, 1}, {16, 1}, {64, 1}} {
				n := c.sequences * c.tokens
				b.Run(fmt.Sprintf("width=%d/type=%v/sequences=%d/tokens=%d", m.width, typ, c.sequences, c.tokens), func(b *testing.B) {
					l := qkv.CacheLayer{KVHeads: m.kvHeads, DimQK: m.dim, DimV: m.dim, KeyType: typ, ValueType: typ}
					cache := newCache(b, qkv.CacheConfig{Layers: []qkv.CacheLayer{l}, Pages: 64 + n/16, PageTokens: 16})
					step := newStep(b, e, cache)
					x, y := draw(n*m.width, next), make([]float32, n*m.width)
					var sequences []qkv.StepSequence
					for range c.sequences {
						sequences = append(sequences, qkv.StepSequence{Sequence: cache.NewSequence(), Tokens: c.tokens})
					}
					best := time.Duration(1 << 62)
					for b.Loop() {
						must(step.Begin(sequences))
						begin := time.Now()
						must(layer.Step(step, 0, qkv.RowMajor(y, n, m.width), qkv.RowMajor(x, n, m.width)))
						best = min(best, time.Since(begin))
						must(step.Rollback())
					}
					b.ReportMetric(float64(best.Nanoseconds())/1e3, "best-µs")
				})
			}
		}
	}
}
