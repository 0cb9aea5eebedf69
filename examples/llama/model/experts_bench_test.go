package model

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

// BenchmarkExperts is a step of two layers of gpt-oss-20b, of random weights in MXFP4: a token, and a prompt.
func BenchmarkExperts(b *testing.B) {
	c := Config{Layers: 2, Width: 2880, Heads: 64, KVHeads: 8, FFN: 2880, Vocab: 64, Context: 1024, Tied: true}
	c.Options = likeGPTOSS().Options
	c.HeadDim, c.Window, c.Experts, c.ExpertsUsed, c.Clamp = 64, 128, 32, 4, 7
	r := rand.New(rand.NewPCG(1, 1))
	floats := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = r.Float32() - 0.5
		}
		return x
	}
	matrix := func(rows, cols int) qkv.Matrix {
		data := make([]byte, rows*cols/32*17)
		for i := range data {
			if data[i] = byte(r.Uint32()); i%17 == 0 {
				data[i] = 122 // a scale of 2^-6
			}
		}
		return qkv.WeightMatrix(qkv.WeightMXFP4, data, rows, cols)
	}
	w := &Tensors{Config: c, Embedding: matrix(c.Vocab, c.Width), Norm: floats(c.Width)}
	w.Out = w.Embedding
	for range c.Layers {
		block := BlockOf[qkv.Matrix]{
			AttnNorm: floats(c.Width), FFNNorm: floats(c.Width), Q: matrix(4096, c.Width), K: matrix(512, c.Width), V: matrix(512, c.Width), O: matrix(c.Width, 4096),
			QBias: floats(4096), KBias: floats(512), VBias: floats(512), OBias: floats(c.Width), Sinks: floats(c.Heads),
			Router: qkv.RowMajor(floats(c.Experts*c.Width), c.Experts, c.Width), RouterBias: floats(c.Experts),
		}
		for range c.Experts {
			block.Experts = append(block.Experts, MLPOf[qkv.Matrix]{
				matrix(c.FFN, c.Width), matrix(c.FFN, c.Width), matrix(c.Width, c.FFN), floats(c.FFN), floats(c.FFN), floats(c.Width),
			})
		}
		w.Blocks = append(w.Blocks, block)
	}
	for _, class := range []qkv.Precision{qkv.PrecisionFloat32, qkv.PrecisionInt8} {
		e, err := qkv.New(qkv.Config{})
		must(err)
		m, err := NewOf(e, w, class, true)
		must(err)
		for _, tokens := range []int{1, 256} {
			b.Run(fmt.Sprintf("class=%v/tokens=%d", class, tokens), func(b *testing.B) {
				e := newEngine(b, m, EngineConfig{PageTokens: 16, Pages: 64, Texts: 1})
				s := e.Cache.NewSequence()
				step := func() {
					_, err := e.Forward([]Input{{s, randomTokens(tokens, c.Vocab, r.Uint64()), 1}})
					must(err)
					must(e.Step.Rollback())
				}
				step()
				for b.Loop() {
					step()
				}
				b.ReportMetric(float64(tokens)*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
			})
		}
	}
}
