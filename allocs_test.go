package qkv_test

import (
	"context"
	"testing"

	"github.com/qkv-go/qkv"
)

// TestAllocsAsWritten: nothing is allocated by calls in the forms that people write, with the
// operands where they are used, as README.md, the documentation and the examples have them.
func TestAllocsAsWritten(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items under the race detector")
	}
	const batch, seq, heads, kvHeads, dim, in = 2, 24, 4, 2, 32, 48
	floats := func(n int) []float32 { return draw(n, normal(uint64(n))) }
	q, k, v, out := floats(batch*seq*heads*dim), floats(batch*seq*kvHeads*dim), floats(batch*seq*kvHeads*dim), floats(batch*seq*heads*dim)
	ints := make([]int8, len(k))
	x, y := floats(seq*in), floats(seq*in)
	lse, slopes, sinks := floats(batch*heads*seq), floats(heads), floats(heads)
	options := &qkv.Call{Mask: qkv.Mask{Causal: true, Align: qkv.BottomRight}}
	tokens := func(x []float32) qkv.View { return qkv.THD(x, 2, kvHeads, dim) }
	queries, outputs := qkv.THD(q, 2, heads, dim), qkv.THD(out, 2, heads, dim)
	keep, bias := make([]bool, seq*seq), floats(heads*seq*seq)
	for i := range keep {
		keep[i] = true
	}
	lens, starts := []int{20, 24}, []int{0, 20, 44}
	outB := floats(batch * seq * heads * dim)
	ranked := make([]qkv.Ranked, 5)
	tokenIDs := make([]int32, seq)
	loop := func(lo, hi int) { clear(y[lo:hi]) }
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	for _, workers := range []int{1, 2} {
		e := newAttention(t, qkv.Config{Workers: workers})
		rotary, err := qkv.NewRotary(qkv.RotaryConfig{Dim: dim, MaxPositions: 64})
		must(err)
		packed, err := e.Pack(qkv.RowMajor(floats(in*in), in, in).T())
		must(err)
		pairs, err := e.PackFor(qkv.PrecisionBFloat16, qkv.RowMajor(floats(in*in), in, in).T(), 1)
		must(err)
		linear := func(cols int) qkv.Linear {
			return qkv.Linear{W: qkv.RowMajor(floats(in*cols), cols, in).T(), Bias: floats(cols)}
		}
		weights := qkv.ProjectionConfig{
			Q: linear(heads * dim), K: linear(kvHeads * dim), V: linear(kvHeads * dim),
			Heads: heads, KVHeads: kvHeads, Rotary: rotary, QNorm: floats(dim), KNorm: floats(dim),
		}
		projection, err := e.NewProjection(weights)
		must(err)
		layer, err := e.NewLayer(qkv.LayerConfig{
			ProjectionConfig: weights,
			Out:              qkv.Linear{W: qkv.RowMajor(floats(in*heads*dim), in, heads*dim).T()},
			Attention:        qkv.Call{Mask: qkv.Mask{Causal: true}},
		})
		must(err)
		weights.QueryScale = func(position int) float32 { return float32(position) }
		gated, err := e.NewLayer(qkv.LayerConfig{
			ProjectionConfig: weights,
			Out:              qkv.Linear{W: qkv.RowMajor(floats(in*heads*dim), in, heads*dim).T()},
			Gate:             linear(heads * dim),
			Attention:        qkv.Call{Mask: qkv.Mask{Causal: true}},
		})
		must(err)
		// Layers of three kinds: in int8, with a window and in pages that are shared.
		layers := []qkv.CacheLayer{
			{KVHeads: kvHeads, DimQK: dim, DimV: dim, KeyType: qkv.TypeInt8},
			{KVHeads: kvHeads, DimQK: dim, DimV: dim, Window: 8, First: 3},
			{KVHeads: kvHeads, DimQK: dim, DimV: dim, KeyType: qkv.TypeQ8_0, ValueType: qkv.TypeFloat16},
		}
		cache := newCache(t, qkv.CacheConfig{Layers: layers, Pages: 64, PageTokens: 8, Sequences: 2, StepTokens: seq})
		step := newStep(t, e, cache)
		one, two := cache.NewSequence(), cache.NewSequence()
		all := func(x []float32) qkv.View { return qkv.BSHD(x[:seq*kvHeads*dim], 1, seq, kvHeads, dim) }
		accepted := []int{1, 0}
		steps := []qkv.StepSequence{{Sequence: one, Tokens: 1}, {Sequence: two, Tokens: 1}}
		must(step.Begin([]qkv.StepSequence{{Sequence: one, Tokens: seq}}))
		for layer := range layers {
			must(step.Write(layer, all(k), all(v)))
		}
		must(step.Commit())

		for _, f := range []struct {
			name string
			do   func() error
		}{
			{"Run", func() error {
				return e.Run(&qkv.Call{
					Q:    qkv.BSHD(q, batch, seq, heads, dim),
					K:    qkv.BSHD(k, batch, seq, kvHeads, dim),
					V:    qkv.BSHD(v, batch, seq, kvHeads, dim),
					Out:  qkv.BSHD(out, batch, seq, heads, dim),
					Mask: qkv.Mask{Causal: true, Align: qkv.BottomRight, Window: qkv.Sliding(7, 0)},
				})
			}},
			{"Run in class Int8", func() error {
				return e.Run(&qkv.Call{
					Precision: qkv.PrecisionInt8,
					Q:         qkv.BSHD(q, batch, seq, heads, dim),
					K:         qkv.BSHD(ints, batch, seq, kvHeads, dim), KScale: qkv.BSHD(v[:batch*seq*kvHeads], batch, seq, kvHeads, 1),
					V:   qkv.BSHD(v, batch, seq, kvHeads, dim),
					Out: qkv.BSHD(out, batch, seq, heads, dim),
				})
			}},
			{"Run with integer values", func() error {
				x, scales := qkv.BSHD(ints, batch, seq, kvHeads, dim), qkv.BSHD(v[:batch*seq*kvHeads], batch, seq, kvHeads, 1)
				return e.Run(&qkv.Call{
					Precision: qkv.PrecisionInt8, ValuePrecision: qkv.PrecisionInt8,
					Q: qkv.BSHD(q, batch, seq, heads, dim), K: x, KScale: scales, V: x, VScale: scales, Out: qkv.BSHD(out, batch, seq, heads, dim),
				})
			}},
			{"Run with values in bfloat16", func() error {
				x, scales := qkv.BSHD(ints, batch, seq, kvHeads, dim), qkv.BSHD(v[:batch*seq*kvHeads], batch, seq, kvHeads, 1)
				return e.Run(&qkv.Call{
					Precision: qkv.PrecisionInt8, ValuePrecision: qkv.PrecisionBFloat16,
					Q: qkv.BSHD(q, batch, seq, heads, dim), K: x, KScale: scales, V: x, VScale: scales, Out: qkv.BSHD(out, batch, seq, heads, dim),
				})
			}},
			{"Run in class BFloat16", func() error {
				return e.Run(&qkv.Call{
					Precision: qkv.PrecisionBFloat16,
					Q:         qkv.BSHD(q, batch, seq, heads, dim), K: qkv.BSHD(k, batch, seq, kvHeads, dim),
					V: qkv.BSHD(v, batch, seq, kvHeads, dim), Out: qkv.BSHD(out, batch, seq, heads, dim),
				})
			}},
			{"RunContext", func() error {
				return e.RunContext(ctx, &qkv.Call{
					Q:   qkv.BSHD(q, batch, seq, heads, dim),
					K:   qkv.BSHD(k, batch, seq, kvHeads, dim),
					V:   qkv.BSHD(v, batch, seq, kvHeads, dim),
					Out: qkv.BSHD(out, batch, seq, heads, dim), LSE: lse, Sinks: sinks, ALiBi: slopes, Softcap: 30,
				})
			}},
			{"package Run", func() error {
				return qkv.Run(&qkv.Call{
					Q: qkv.BHSD(q, batch, heads, seq, dim), K: qkv.BHSD(k, batch, kvHeads, seq, dim),
					V: qkv.BHSD(v, batch, kvHeads, seq, dim), Out: qkv.BHSD(out, batch, heads, seq, dim),
				})
			}},
			{"Run with pairs", func() error {
				return e.Run(&qkv.Call{
					Q: qkv.BSHD(q, batch, seq, heads, dim), K: qkv.BSHD(k, batch, seq, kvHeads, dim),
					V: qkv.BSHD(v, batch, seq, kvHeads, dim), Out: qkv.BSHD(out, batch, seq, heads, dim),
					Bias: qkv.Pairs(bias, 1, heads, seq, seq), Mask: qkv.Mask{Keep: qkv.Pairs(keep, 1, 1, seq, seq)},
					LensQ: lens, LensKV: lens,
				})
			}},
			{"Run ragged", func() error {
				return e.Run(&qkv.Call{
					Q: qkv.THD(q, batch*seq, heads, dim), K: qkv.THD(k, batch*seq, kvHeads, dim),
					V: qkv.THD(v, batch*seq, kvHeads, dim), Out: qkv.THD(out, batch*seq, heads, dim),
					CuLensQ: starts, CuLensKV: starts,
				})
			}},
			{"Run in place of packed", func() error {
				q, k, v := qkv.PackedQKV(q[:seq*8*dim], 1, seq, 4, 2, dim)
				return e.Run(&qkv.Call{Q: q, K: k, V: v, Out: q})
			}},
			{"MatMul", func() error {
				return e.MatMul(&qkv.Product{X: qkv.RowMajor(x, seq, in), W: qkv.RowMajor(bias[:in*in], in, in).T(), Y: qkv.RowMajor(y, seq, in)})
			}},
			{"MatMul packed", func() error {
				return e.MatMul(&qkv.Product{X: qkv.RowMajor(x, seq, in), Packed: packed, Bias: bias[:in], Y: qkv.RowMajor(y, seq, in)})
			}},
			{"MatMul of several", func() error {
				return e.MatMul(
					&qkv.Product{X: qkv.RowMajor(x, seq, in), Packed: packed, Bias: bias[:in], Y: qkv.RowMajor(y, seq, in)},
					&qkv.Product{X: qkv.RowMajor(x, seq, in), W: qkv.RowMajor(bias[:in*in], in, in).T(), Y: qkv.RowMajor(out, seq, in)},
				)
			}},
			{"MatMul gated", func() error {
				return e.MatMul(&qkv.Product{
					X: qkv.RowMajor(x, seq, in), Packed: packed, Bias: bias[:in], Y: qkv.RowMajor(y, seq, in).T().T(),
					Activation: qkv.SiLU, Up: qkv.Linear{W: qkv.RowMajor(bias[:in*in], in, in).T()},
				})
			}},
			{"MatMul of class BFloat16", func() error {
				return e.MatMul(&qkv.Product{X: qkv.RowMajor(x, seq, in), Packed: pairs, Y: qkv.RowMajor(y, seq, in), Precision: qkv.PrecisionBFloat16})
			}},
			{"MatMul of class BFloat16 in place", func() error {
				return e.MatMul(&qkv.Product{X: qkv.RowMajor(x, 1, in), W: qkv.RowMajor(bias[:in*in], in, in).T(), Y: qkv.RowMajor(y, 1, in), Precision: qkv.PrecisionBFloat16})
			}},
			{"package MatMul", func() error {
				return qkv.MatMul(&qkv.Product{X: qkv.RowMajor(x, seq, in), W: qkv.RowMajor(bias[:in*in], in, in), Y: qkv.RowMajor(y, seq, in)})
			}},
			{"MatMulContext", func() error {
				return e.MatMulContext(ctx, &qkv.Product{X: qkv.RowMajor(x, seq, in), Packed: packed, Y: qkv.RowMajor(y, seq, in)})
			}},
			{"Rotate", func() error { return e.Rotate(rotary, qkv.BSHD(outB, batch, seq, heads, dim), nil) }},
			{"Rotate at positions", func() error {
				return e.Rotate(rotary, qkv.BHSD(outB[:2*heads*dim], 1, heads, 2, dim), []int{3, 9})
			}},
			{"RotateContext", func() error { return e.RotateContext(ctx, rotary, qkv.BSHD(outB, batch, seq, heads, dim), nil) }},
			{"Projection", func() error {
				return projection.Run(&qkv.ProjectionCall{
					X: qkv.RowMajor(x, seq, in), Q: qkv.BSHD(outB[:seq*heads*dim], 1, seq, heads, dim),
					K: qkv.BSHD(out[:seq*kvHeads*dim], 1, seq, kvHeads, dim), V: qkv.BSHD(out[seq*kvHeads*dim:][:seq*kvHeads*dim], 1, seq, kvHeads, dim),
				})
			}},
			{"Layer.Forward", func() error { return layer.Forward(qkv.RowMajor(y, seq, in), qkv.RowMajor(x, seq, in)) }},
			{"Layer.Run", func() error {
				return layer.Run(&qkv.LayerCall{
					X: qkv.RowMajor(x, seq, in), Y: qkv.RowMajor(y, seq, in), Batch: 2,
					Attention: options,
				})
			}},
			{"Layer.RunContext", func() error {
				return layer.RunContext(ctx, &qkv.LayerCall{X: qkv.RowMajor(x, seq, in), Y: qkv.RowMajor(y, seq, in)})
			}},
			{"Step", func() error {
				for _, s := range []*qkv.Sequence{one, two} {
					if s.Len() == seq {
						must(s.Truncate(seq - 4))
					}
				}
				must(step.Begin(steps))
				for layer := range layers {
					must(step.Write(layer, tokens(k), tokens(v)))
					must(step.Attend(layer, &qkv.Call{Q: queries, Out: outputs, Mask: qkv.Mask{Causal: true}}))
				}
				return step.CommitFirst(accepted)
			}},
			{"Step, rolled back", func() error {
				must(step.Begin(steps))
				must(step.Write(0, tokens(k), tokens(v)))
				must(step.AttendContext(ctx, 0, &qkv.Call{Q: queries, Out: outputs, Mask: qkv.Mask{Causal: true}}))
				return step.Rollback()
			}},
			{"Layer with a gate", func() error {
				return gated.Forward(qkv.RowMajor(y, seq, in), qkv.RowMajor(x, seq, in))
			}},
			{"Step, projected", func() error {
				must(step.Begin(steps))
				must(projection.Step(step, 1, queries, qkv.RowMajor(x, 2, in)))
				must(layer.StepContext(ctx, step, 2, qkv.RowMajor(y, 2, in), qkv.RowMajor(x, 2, in)))
				return step.Rollback()
			}},
			{"Lookup", func() error { return e.Lookup(qkv.RowMajor(y, seq, in), qkv.RowMajor(outB, in, in), tokenIDs) }},
			{"LookupPacked", func() error { return e.LookupPacked(qkv.RowMajor(y, seq, in), packed, tokenIDs) }},
			{"ArgMax and TopK", func() error { e.ArgMax(outB); e.TopK(ranked, outB); return nil }},
			{"RMSNorm", func() error {
				return e.RMSNorm(&qkv.Norm{X: qkv.RowMajor(x, seq, in), Weight: bias[:in], Y: qkv.RowMajor(y, seq, in)})
			}},
			{"LayerNormContext", func() error {
				return e.LayerNormContext(ctx, &qkv.Norm{
					X: qkv.RowMajor(outB[:seq*in], in, seq).T(), Add: qkv.RowMajor(x, seq, in), Weight: bias[:in], Bias: bias[in:][:in], Y: qkv.RowMajor(y, seq, in),
				})
			}},
			{"Parallel", func() error { return e.Parallel(4*in, in, loop) }},
			{"ParallelContext", func() error { return e.ParallelContext(ctx, 4*in, in, loop) }},
			{"Merge", func() error {
				n := batch * heads * seq
				return e.Merge(qkv.BSHD(out, batch, seq, heads, dim), nil, []qkv.Partial{
					{Out: qkv.BSHD(q, batch, seq, heads, dim), LSE: lse[:n]},
					{Out: qkv.BSHD(outB, batch, seq, heads, dim), LSE: lse[:n]},
				})
			}},
		} {
			if n := allocsPerCall(50, func() {
				if err := f.do(); err != nil {
					t.Fatalf("%s: %v", f.name, err)
				}
			}); n != 0 {
				t.Errorf("%s with %d workers: %v allocations a call", f.name, workers, n)
			}
		}
	}
}
