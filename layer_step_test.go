package qkv_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
)

// TestLayerStep: a layer over steps of any number of tokens has the bits of the layer over whole
// sequences, on every set, in pages and rings, with norms and rotary embeddings.
func TestLayerStep(t *testing.T) {
	t.Parallel()
	const tokens, in, out, heads, kvHeads, dim = 40, 24, 29, 4, 2, 16
	next := normal(31)
	p := projection{1, tokens, in, heads, kvHeads, dim, dim}
	rotary, err := qkv.NewRotary(qkv.RotaryConfig{Dim: dim, MaxPositions: tokens})
	must(err)
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		for _, window := range []int{0, 7} {
			cfg := p.layerConfig(out, next)
			cfg.Rotary, cfg.QNorm, cfg.KNorm = rotary, newMatrix("rows", 1, dim, next).data, newMatrix("rows", 1, dim, next).data
			cfg.Attention.Softcap = 5
			if window > 0 {
				cfg.Attention.Mask.Window = qkv.Sliding(window-1, 0)
			}
			layer, err := e.NewLayer(cfg)
			must(err)
			var xs, want [3][]float32
			for i := range xs {
				xs[i], want[i] = newMatrix("rows", tokens, in, next).data, make([]float32, tokens*out)
				must(layer.Forward(qkv.RowMajor(want[i], tokens, out), qkv.RowMajor(xs[i], tokens, in)))
			}
			for _, page := range []int{tokens, 5, 1} {
				l := qkv.CacheLayer{KVHeads: kvHeads, DimQK: dim, DimV: dim, Window: window}
				c := qkv.CacheConfig{Layers: []qkv.CacheLayer{l, l}, PageTokens: page, Pages: 3 * tokens, StepTokens: tokens}
				if window > 0 {
					c.Pages, c.Sequences = 0, 3
				}
				cache := newCache(t, c)
				step := newStep(t, e, cache)
				for _, chunks := range [][3][]int{
					{{tokens}, {tokens}, {tokens}},
					{{30, 1, 1, 8}, {1, 38, 1, 0}, {7, 0, 3, 30}},
					{slices.Repeat([]int{1}, tokens), slices.Repeat([]int{1}, tokens), slices.Repeat([]int{1}, tokens)},
				} {
					sequences := draw(3, cache.NewSequence)
					for round := range chunks[0] {
						var batch []qkv.StepSequence
						var x []float32
						for i, s := range sequences {
							n := chunks[i][round]
							batch = append(batch, qkv.StepSequence{Sequence: s, Tokens: n})
							x = append(x, xs[i][s.Len()*in:][:n*in]...)
						}
						must(step.Begin(batch))
						y := make([]float32, len(x)/in*out)
						must(layer.Step(step, 1, qkv.RowMajor(y, len(x)/in, out), qkv.RowMajor(x, len(x)/in, in)))
						must(layer.Step(step, 0, qkv.RowMajor(y, len(x)/in, out), qkv.RowMajor(x, len(x)/in, in)))
						for i, s := range sequences {
							n := chunks[i][round] * out
							sameBits(t, fmt.Sprintf("window %d, pages of %d, %v, round %d, sequence %d", window, page, chunks, round, i), y[:n], want[i][s.Len()*out:][:n])
							y = y[n:]
						}
						must(step.Commit())
					}
					for _, s := range sequences {
						must(s.Free())
					}
				}
			}
		}
	})
}

// TestLayerOfOthers: a layer without weights of keys and values attends what another has written, in
// this step or before.
func TestLayerOfOthers(t *testing.T) {
	const tokens, queries, in, heads, kvHeads, dim = 9, 4, 12, 4, 2, 8
	next := normal(32)
	e := newAttention(t, qkv.Config{})
	p := projection{1, tokens, in, heads, kvHeads, dim, dim}
	cfg := p.layerConfig(in, next)
	cfg.Attention = qkv.Call{} // each query attends all
	own, err := e.NewLayer(cfg)
	must(err)
	only := cfg
	only.K, only.V = qkv.Linear{}, qkv.Linear{}
	other, err := e.NewLayer(only)
	must(err)

	cache := newCache(t, qkv.CacheConfig{Layers: []qkv.CacheLayer{{KVHeads: kvHeads, DimQK: dim, DimV: dim}}, Pages: 10, PageTokens: 4})
	step, s := newStep(t, e, cache), cache.NewSequence()
	x := newMatrix("rows", tokens, in, next).matrix()
	var results [3][]float32
	for i := range results {
		results[i] = make([]float32, tokens*in)
	}
	must(step.Begin([]qkv.StepSequence{{Sequence: s, Tokens: tokens}}))
	isArgError(t, "before it is written", other.Step(step, 0, qkv.RowMajor(results[1], tokens, in), x), "has not been written in this step")
	must(own.Step(step, 0, qkv.RowMajor(results[0], tokens, in), x))
	must(other.Step(step, 0, qkv.RowMajor(results[1], tokens, in), x))
	must(step.Commit())
	sameBits(t, "the layer after it", results[1], results[0])

	// As a decoder attends an encoder: some queries, no new tokens.
	must(step.Begin([]qkv.StepSequence{{Sequence: s, Queries: queries}}))
	few := qkv.RowMajor(newMatrix("rows", tokens, in, normal(33)).data, tokens, in)
	isArgError(t, "rows", other.Step(step, 0, qkv.RowMajor(results[2], tokens, in), few), "x has 9 rows, the step has 4 queries")
	q := newMatrix("rows", queries, in, next)
	must(other.Step(step, 0, qkv.RowMajor(results[2][:queries*in], queries, in), q.matrix()))
	isArgError(t, "writes", own.Step(step, 0, qkv.RowMajor(results[2][:queries*in], queries, in), q.matrix()), "step has 4 queries and 0 new tokens of sequences[0]")
	isArgError(t, "writes, by rows of tokens", own.Step(step, 0, qkv.RowMajor(results[2], tokens, in), few), "step has 4 queries and 0 new tokens of sequences[0]")
	must(step.Commit())
	// By hand: keys and values of a projection of their own.
	kv, err := e.NewProjection(qkv.ProjectionConfig{K: cfg.K, V: cfg.V, KVHeads: kvHeads})
	must(err)
	k, v := newTensor("bshd", 1, kvHeads, tokens, dim, nil), newTensor("bshd", 1, kvHeads, tokens, dim, nil)
	must(kv.Run(&qkv.ProjectionCall{X: x, K: k.view(), V: v.view()}))
	qs, err := e.NewProjection(qkv.ProjectionConfig{Q: cfg.Q, Heads: heads})
	must(err)
	rows, o := newTensor("bshd", 1, heads, queries, dim, nil), newTensor("bshd", 1, heads, queries, dim, nil)
	must(qs.Run(&qkv.ProjectionCall{X: q.matrix(), Q: rows.view()}))
	must(e.Run(&qkv.Call{Q: rows.view(), K: k.view(), V: v.view(), Out: o.view()}))
	want := make([]float32, queries*in)
	must(e.MatMul(&qkv.Product{X: qkv.RowMajor(o.data, queries, heads*dim), W: cfg.Out.W, Bias: cfg.Out.Bias, Y: qkv.RowMajor(want, queries, in)}))
	sameBits(t, "cross-attention", results[2][:queries*in], want)

	isArgError(t, "Run", other.Forward(x, x), "layer has no weights of keys and values")
	half := cfg
	half.V = qkv.Linear{}
	isArgError(t, "without V", second(e.NewLayer(half)), "v weights is not given, a layer has those of q, k and v, or of q alone")
}

// TestLayerStepErrors: nothing is written of what cannot be computed.
func TestLayerStepErrors(t *testing.T) {
	p := projection{1, 3, 6, 4, 2, 8, 8}
	next := normal(34)
	e := newAttention(t, qkv.Config{})
	cfg := p.layerConfig(5, next)
	cfg.MaxTokens = 3
	layer, err := e.NewLayer(cfg)
	must(err)
	mem := make([]float32, 2*4*2*8)
	l := qkv.CacheLayer{KVHeads: 2, DimQK: 8, DimV: 8, K: qkv.BHSD(mem, 2, 2, 4, 8), V: qkv.BHSD(make([]float32, len(mem)), 2, 2, 4, 8)}
	odd := qkv.CacheLayer{KVHeads: 1, DimQK: 8, DimV: 8}
	cache := newCache(t, qkv.CacheConfig{Layers: []qkv.CacheLayer{l, odd}, Pages: 2, PageTokens: 4})
	step := newStep(t, e, cache)
	x, y := newMatrix("rows", 3, 6, next).matrix(), make([]float32, 3*5)
	to := qkv.RowMajor(y, 3, 5)
	isArgError(t, "not begun", layer.Step(step, 0, to, x), "step has not begun")
	must(step.Begin([]qkv.StepSequence{{Sequence: cache.NewSequence(), Tokens: 3}}))
	other := newStep(t, newAttention(t, qkv.Config{}), cache)
	must(other.Begin([]qkv.StepSequence{{Sequence: cache.NewSequence(), Tokens: 3}}))
	options := cfg
	options.Attention.Mask.Align = qkv.BottomRight
	aligned, err := e.NewLayer(options)
	must(err)
	for want, err := range map[string]error{
		"step is of another engine than the layer":              layer.Step(other, 0, to, x),
		"step is nil or zero":                                   layer.Step(nil, 0, to, x),
		"layer is nil or zero":                                  (*qkv.Layer)(nil).Step(step, 0, to, x),
		"layer is 2, the cache has 2":                           layer.Step(step, 2, to, x),
		"k has heads 2, layer 1 has 1":                          layer.Step(step, 1, to, x),
		"x has 2 rows, the step has 3 queries":                  layer.Step(step, 0, to, newMatrix("rows", 2, 6, next).matrix()),
		"x has 4 tokens, the layer is made for at most 3":       layer.Step(step, 0, to, newMatrix("rows", 4, 6, next).matrix()),
		"x has 7 columns, the weights have 6 rows":              layer.Step(step, 0, to, newMatrix("rows", 3, 7, next).matrix()),
		"y has 4 columns, w has 5":                              layer.Step(step, 0, qkv.RowMajor(y, 3, 4), x),
		"y and the cache share elements":                        layer.Step(step, 0, qkv.RowMajor(mem, 3, 5), x),
		"an alignment of the mask is given, a step has its own": aligned.Step(step, 0, to, x),
	} {
		isArgError(t, want, err, want)
	}
	if slices.ContainsFunc(append(mem, y...), func(x float32) bool { return x != 0 }) {
		t.Error("something was written")
	}
	must(layer.Step(step, 0, to, x))
}

// TestLayerStepQueries: a layer whose rows are queries and tokens at once takes no step in which a
// sequence has more of one than of the other, not even if their sums are equal. One without keys and
// values of its own takes any queries, and rotates each by its position.
func TestLayerStepQueries(t *testing.T) {
	const heads, kvHeads, dim, in = 4, 2, 8, 6
	p := projection{1, 3, in, heads, kvHeads, dim, dim}
	next := normal(35)
	e := newAttention(t, qkv.Config{})
	cfg := p.layerConfig(in, next)
	rotary, err := qkv.NewRotary(qkv.RotaryConfig{Dim: dim, MaxPositions: 16})
	must(err)
	cfg.Rotary = rotary
	cfg.Attention = qkv.Call{Mask: qkv.Mask{Causal: true}}
	whole, err := e.NewLayer(cfg)
	must(err)
	only := cfg
	only.K, only.V = qkv.Linear{}, qkv.Linear{}
	shares, err := e.NewLayer(only)
	must(err)
	l := qkv.CacheLayer{KVHeads: kvHeads, DimQK: dim, DimV: dim}
	cache := newCache(t, qkv.CacheConfig{Layers: []qkv.CacheLayer{l}, Pages: 12, PageTokens: 4})
	rows := func(n int) qkv.Matrix {
		return qkv.RowMajor(make([]float32, n*in), n, in)
	}
	a, b := cache.NewSequence(), cache.NewSequence()
	x := newMatrix("rows", 3, in, next).matrix()
	for _, c := range []struct {
		want  string
		batch []qkv.StepSequence
	}{
		{"step has 2 queries and 1 new tokens of sequences[0]", []qkv.StepSequence{{Sequence: a, Tokens: 1, Queries: 2}, {Sequence: b, Tokens: 2, Queries: 1}}},
		{"step has 3 queries and 0 new tokens of sequences[0]", []qkv.StepSequence{{Sequence: a, Queries: 3}}},
	} {
		step := newStep(t, e, cache)
		must(step.Begin(c.batch))
		isArgError(t, "a layer", whole.Step(step, 0, rows(3), x), c.want)
		must(step.Rollback())
	}

	// Queries of two sequences, the first ones of which stand before the first new token, or are left out.
	lens := []int{9, 5}
	xs := [2][]float32{newMatrix("rows", lens[0], in, next).data, newMatrix("rows", lens[1], in, next).data}
	step := newStep(t, e, cache)
	for i, s := range []*qkv.Sequence{a, b} {
		m := qkv.RowMajor(xs[i][:4*in], 4, in)
		must(step.Begin([]qkv.StepSequence{{Sequence: s, Tokens: 4}}))
		must(whole.Step(step, 0, rows(4), m))
		must(step.Commit())
	}
	must(step.Begin([]qkv.StepSequence{{Sequence: a, Tokens: 5}, {Sequence: b, Tokens: 1}}))
	latest := slices.Concat(xs[0][4*in:], xs[1][4*in:])
	want := make([]float32, len(latest))
	must(whole.Step(step, 0, qkv.RowMajor(want, 6, in), qkv.RowMajor(latest, 6, in)))
	var all [2][]float32 // of each sequence from the first token on
	for i, n := range lens {
		all[i] = make([]float32, n*in)
		must(whole.Forward(qkv.RowMajor(all[i], n, in), qkv.RowMajor(xs[i], n, in)))
	}
	sameBits(t, "new tokens", want, slices.Concat(all[0][4*in:], all[1][4*in:]))
	for _, queries := range [][]int{{5, 1}, {1, 1}, {0, 1}, {2, 0}, {7, 3}, {9, 5}} {
		must(step.SetQueries(queries))
		var q, y []float32
		var positions []int
		for i, n := range queries {
			q, y = append(q, xs[i][(lens[i]-n)*in:]...), append(y, all[i][(lens[i]-n)*in:]...)
			for p := lens[i] - n; p < lens[i]; p++ {
				positions = append(positions, p)
			}
		}
		n := queries[0] + queries[1]
		got := make([]float32, n*in)
		must(shares.Step(step, 0, qkv.RowMajor(got, n, in), qkv.RowMajor(q, n, in)))
		sameBits(t, fmt.Sprintf("queries %v", queries), got, y)
		if step.Queries() != n || !slices.Equal(step.QueryPositions(), positions) {
			t.Errorf("%d queries at %v, want %d at %v", step.Queries(), step.QueryPositions(), n, positions)
		}
	}
	must(step.SetQueries([]int{10, 0}))
	many := qkv.RowMajor(make([]float32, 10*in), 10, in)
	isArgError(t, "more queries than tokens", shares.Step(step, 0, rows(10), many), "positions[0] is -1")
	must(step.Commit())
}

// TestLayerStepUnfinished: a step in which a layer ended early is not committed.
func TestLayerStepUnfinished(t *testing.T) {
	p := projection{1, 3, 6, 4, 2, 8, 8}
	e := newAttention(t, qkv.Config{Workers: 1})
	cfg := p.layerConfig(6, normal(37))
	ctx, cancel := context.WithCancel(t.Context())
	stop := func(*qkv.ScoreBlock) { cancel() }
	cfg.Attention = qkv.Call{Mask: qkv.Mask{Causal: true}, ScoreMod: func(t *qkv.ScoreBlock) { stop(t) }}
	layer, err := e.NewLayer(cfg)
	must(err)
	for _, window := range []int{0, 2} {
		l := qkv.CacheLayer{KVHeads: 2, DimQK: 8, DimV: 8, Window: window}
		c := qkv.CacheConfig{Layers: []qkv.CacheLayer{l}, Pages: 4, PageTokens: 4, StepTokens: 3}
		if window > 0 {
			c.Pages, c.Sequences = 0, 2
		}
		cache := newCache(t, c)
		step, s := newStep(t, e, cache), cache.NewSequence()
		x, y := newMatrix("rows", 3, 6, normal(38)).matrix(), qkv.RowMajor(make([]float32, 3*6), 3, 6)
		grow := func() error {
			return errors.Join(step.Begin([]qkv.StepSequence{{Sequence: s, Tokens: 3}}), layer.Step(step, 0, y, x))
		}
		call := &qkv.Call{Q: qkv.THD(make([]float32, 3*4*8), 3, 4, 8), Out: qkv.THD(make([]float32, 3*4*8), 3, 4, 8), Mask: qkv.Mask{Causal: true}, ScoreMod: func(t *qkv.ScoreBlock) { stop(t) }}
		for what, early := range map[string]func() error{
			"a layer": func() error { return layer.StepContext(ctx, step, 0, y, x) },
			"attention": func() error {
				stop = func(*qkv.ScoreBlock) {}
				must(layer.Step(step, 0, y, x))
				stop = func(*qkv.ScoreBlock) { cancel() }
				return step.AttendContext(ctx, 0, call)
			},
			"a callback that panics": func() error {
				stop = func(*qkv.ScoreBlock) { panic("no") }
				panics(t, "no", func() { layer.Step(step, 0, y, x) })
				return context.Canceled
			},
		} {
			free := cache.FreePages(0)
			must(step.Begin([]qkv.StepSequence{{Sequence: s, Tokens: 3}}))
			ctx, cancel = context.WithCancel(t.Context())
			stop = func(*qkv.ScoreBlock) { cancel() }
			if err := early(); !errors.Is(err, context.Canceled) {
				t.Fatalf("%s: %v", what, err)
			}
			stop = func(*qkv.ScoreBlock) {}
			must(layer.Step(step, 0, y, x)) // what is complete does not make up for it
			for _, err := range []error{step.Commit(), step.CommitFirst([]int{2})} {
				if !errors.Is(err, qkv.ErrUnfinished) {
					t.Errorf("%s: %v, want ErrUnfinished", what, err)
				}
			}
			must(step.Rollback())
			if n := cache.FreePages(0); n != free || s.Len() != 0 {
				t.Errorf("%s: %d pages are free, want %d; %d tokens", what, n, free, s.Len())
			}
			must(errors.Join(grow(), step.Commit(), s.Truncate(0)))
		}
	}
}

// TestLayerStepOptions: a layer does not write its output over options that it keeps.
func TestLayerStepOptions(t *testing.T) {
	p := projection{1, 3, 6, 4, 2, 8, 8}
	next := normal(36)
	e := newAttention(t, qkv.Config{})
	mem := make([]float32, 3*6)
	to := qkv.RowMajor(mem, 3, 6)
	cache := newCache(t, qkv.CacheConfig{Layers: []qkv.CacheLayer{{KVHeads: 2, DimQK: 8, DimV: 8}}, Pages: 4, PageTokens: 4})
	step := newStep(t, e, cache)
	must(step.Begin([]qkv.StepSequence{{Sequence: cache.NewSequence(), Tokens: 3}}))
	for name, options := range map[string]qkv.Call{
		"bias":  {Bias: qkv.Pairs(mem, 1, 1, 3, 3)},
		"alibi": {ALiBi: mem[4:8]},
		"sinks": {Sinks: mem[14:]},
	} {
		cfg := p.layerConfig(6, next)
		cfg.Attention = options
		cfg.Attention.Mask = qkv.Mask{Causal: true}
		layer, err := e.NewLayer(cfg)
		must(err)
		isArgError(t, name, layer.Step(step, 0, to, newMatrix("rows", 3, 6, next).matrix()), "y and "+name+" share elements")
	}
}

// TestLayerStepKept: keys and values are not written over weights, biases and options that a layer reads
// behind them, which lie in memory of the caller's as the cache does.
func TestLayerStepKept(t *testing.T) {
	const tokens, in, heads, kvHeads, dim, pages, page = 3, 6, 4, 2, 8, 4, 4
	p := projection{1, tokens, in, heads, kvHeads, dim, dim}
	next := normal(39)
	e := newAttention(t, qkv.Config{})
	keys, values := make([]int8, pages*kvHeads*page*dim), draw(pages*kvHeads*page*dim, next)
	scales := draw(pages*kvHeads*page, next)
	l := qkv.CacheLayer{
		KVHeads: kvHeads, DimQK: dim, DimV: dim, KeyType: qkv.TypeInt8,
		K: qkv.BHSD(keys, pages, kvHeads, page, dim), KScale: qkv.BHSD(scales, pages, kvHeads, page, 1),
		V: qkv.BHSD(values, pages, kvHeads, page, dim),
	}
	cache := newCache(t, qkv.CacheConfig{Layers: []qkv.CacheLayer{l}, Pages: pages, PageTokens: page})
	step := newStep(t, e, cache)
	must(step.Begin([]qkv.StepSequence{{Sequence: cache.NewSequence(), Tokens: tokens}}))
	x, y := newMatrix("rows", tokens, in, next).matrix(), qkv.RowMajor(make([]float32, tokens*in), tokens, in)
	before := slices.Clone(values)
	for want, change := range map[string]func(c *qkv.LayerConfig){
		"out weights": func(c *qkv.LayerConfig) { c.Out.W = qkv.RowMajor(values[7:], heads*dim, in) },
		"out bias":    func(c *qkv.LayerConfig) { c.Out.Bias = scales[4:][:in] },
		"gate weights": func(c *qkv.LayerConfig) {
			c.Gate.W = qkv.Int8Matrix(keys, draw(heads*dim, next), heads*dim, in, 0).T()
		},
		"gate bias": func(c *qkv.LayerConfig) { c.Gate.Bias = values[20:][:heads*dim] },
		"bias":      func(c *qkv.LayerConfig) { c.Attention.Bias = qkv.Pairs(values[1:], 1, 1, tokens, tokens) },
		"alibi":     func(c *qkv.LayerConfig) { c.Attention.ALiBi = scales[:heads] },
		"sinks":     func(c *qkv.LayerConfig) { c.Attention.Sinks = values[len(values)-heads:] },
	} {
		cfg := p.layerConfig(in, next)
		cfg.InPlace, cfg.Gate = true, qkv.Linear{W: newMatrix("columns", in, heads*dim, next).matrix()}
		change(&cfg)
		layer, err := e.NewLayer(cfg)
		must(err)
		isArgError(t, want, layer.Step(step, 0, y, x), "the cache and "+want+" share elements")
		// A layer that writes nothing there may have them there.
		cfg.K, cfg.V = qkv.Linear{}, qkv.Linear{}
		other, err := e.NewLayer(cfg)
		must(err)
		isArgError(t, want, other.Step(step, 0, y, x), "has not been written in this step")
	}
	sameBits(t, "the cache", values, before)
}

// TestLayerKept: what a call receives lies neither in what the layer reads behind it nor in its output.
func TestLayerKept(t *testing.T) {
	const tokens, in, heads, dim = 3, 6, 4, 8
	p := projection{1, tokens, in, heads, heads, dim, dim}
	next := normal(40)
	e := newAttention(t, qkv.Config{})
	cfg := p.layerConfig(in, next)
	weights := draw(heads*dim*in, next)
	gate := newMatrix("columns", in, heads*dim, next)
	cfg.InPlace, cfg.Out.W, cfg.Gate = true, qkv.RowMajor(weights, heads*dim, in), qkv.Linear{W: gate.matrix()}
	layer, err := e.NewLayer(cfg)
	must(err)
	x, mem := newMatrix("rows", tokens, in, next).matrix(), make([]float32, tokens*heads*dim)
	y, apart := qkv.RowMajor(mem[10:], tokens, in), qkv.RowMajor(make([]float32, tokens*in), tokens, in)
	in4 := qkv.BSHD(mem, 1, tokens, heads, dim)
	for want, c := range map[string]qkv.Call{
		"y and out share elements":              {Out: in4},
		"scores and out weights share elements": {Scores: qkv.Pairs(weights[5:], 1, heads, tokens, tokens)},
		"lse and out weights share elements":    {LSE: weights[len(weights)-heads*tokens:]},
		"lse and gate weights share elements":   {LSE: gate.data[:heads*tokens]},
		"lse and q bias share elements":         {LSE: cfg.Q.Bias[:heads*tokens]},
		"k and bias share elements":             {K: in4, Bias: qkv.Pairs(mem[4:], 1, 1, tokens, tokens)},
		"q and alibi share elements":            {Q: in4, ALiBi: mem[:heads]},
		"v and sinks share elements":            {V: in4, Sinks: mem[len(mem)-heads:]},
	} {
		c.Mask.Causal = true
		call := &qkv.LayerCall{X: x, Y: apart, Attention: &c}
		if c.Out != (qkv.View{}) {
			call.Y = y
		}
		isArgError(t, want, layer.Run(call), want)
	}
	if !allZero(mem) {
		t.Error("something was written")
	}
}
