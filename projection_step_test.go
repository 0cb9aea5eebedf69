package qkv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv"
)

// bytes returns a copy of the memory of p.
func (p *pool) bytes() []byte {
	all := memoryOf(p.floats)
	all = append(append(all, memoryOf(p.halves)...), memoryOf(p.brains)...)
	all = append(append(all, memoryOf(p.ints)...), memoryOf(p.scales)...)
	all = append(append(all, memoryOf(p.e4m3)...), memoryOf(p.e5m2)...)
	return append(append(append(all, memoryOf(p.blocks)...), memoryOf(p.q4)...), memoryOf(p.q41)...)
}

func memoryOf[T any](x []T) []byte {
	if len(x) == 0 {
		return nil
	}
	return bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), len(x)*int(unsafe.Sizeof(x[0]))))
}

// layerOf returns a layer of a cache in the memory of two pools.
func layerOf(k, v *pool) qkv.CacheLayer {
	l := qkv.CacheLayer{KVHeads: k.shape[1], DimQK: k.shape[3], DimV: v.shape[3], KeyType: k.typ, ValueType: v.typ}
	l.K, l.KScale = k.views()
	l.V, l.VScale = v.views()
	return l
}

// TestProjectionStep: a projection into the cache leaves there, bit for bit, what Run and Write leave,
// for each type, with weights packed and in place, prompts beside single tokens, in small pages.
func TestProjectionStep(t *testing.T) {
	const in, heads, kvHeads, dimQK, dimV, pages, page = 50, 4, 2, 32, 64, 40, 5
	next := normal(41)
	rotary, err := qkv.NewRotary(qkv.RotaryConfig{Dim: 16, MaxPositions: 200})
	must(err)
	cfg := qkv.ProjectionConfig{Heads: heads, KVHeads: kvHeads, Rotary: rotary}
	cfg.QNorm, cfg.KNorm = draw(dimQK, next), draw(dimQK, next)
	batches := [][]int{{37, 1, 9}, {1, 1, 1}, {1, 0, 40}, {0, 3, 2}}
	forEachSet(t, func(t *testing.T, set *qkv.Engine) {
		for i, typ := range elemTypes {
			layout := []string{"columns", "rows", "padded"}[i%3]
			linear := func(cols int) qkv.Linear {
				return qkv.Linear{W: newMatrix(layout, in, cols, next).matrix(), Bias: draw(cols, next)}
			}
			cfg.Q, cfg.K, cfg.V = linear(heads*dimQK), linear(kvHeads*dimQK), linear(kvHeads*dimV)
			for _, cfg.InPlace = range []bool{false, true} {
				if brief() && cfg.InPlace == (i/2%2 > 0) { // types of both numbers of workers have either
					continue
				}
				e := newAttention(t, qkv.Config{Kernel: set.Kernel().Name, Workers: 1 + i%2})
				projection, err := e.NewProjection(cfg)
				must(err)
				var pools [2][2]*pool
				var steps [2]*qkv.Step
				var sequences [2][]*qkv.Sequence
				for j := range pools {
					pools[j] = [2]*pool{newPool(typ, [4]int{pages, kvHeads, page, dimQK}), newPool(elemTypes[(i+2)%len(elemTypes)], [4]int{pages, kvHeads, page, dimV})}
					cache := newCache(t, qkv.CacheConfig{Layers: []qkv.CacheLayer{layerOf(pools[j][0], pools[j][1])}, Pages: pages, PageTokens: page})
					steps[j], sequences[j] = newStep(t, e, cache), draw(3, cache.NewSequence)
				}
				for _, counts := range batches {
					n := 0
					var steppings [2][]qkv.StepSequence
					for i, c := range counts {
						n += c
						for j := range steppings {
							steppings[j] = append(steppings[j], qkv.StepSequence{Sequence: sequences[j][i], Tokens: c})
						}
					}
					x := newMatrix("padded", n, in, next).matrix()
					q, other := newTensor("bshd", 1, heads, n, dimQK, nil), newTensor("bshd", 1, heads, n, dimQK, nil)
					k, v := newTensor("bshd", 1, kvHeads, n, dimQK, nil), newTensor("bshd", 1, kvHeads, n, dimV, nil)
					for j := range steps {
						must(steps[j].Begin(steppings[j]))
					}
					must(projection.Run(&qkv.ProjectionCall{X: x, Q: q.view(), K: k.view(), V: v.view(), Positions: steps[0].Positions()}))
					must(steps[0].Write(0, k.view(), v.view()))
					must(projection.Step(steps[1], 0, other.view(), x))
					what := fmt.Sprintf("%v, %s, in place %v, %v", typ, layout, cfg.InPlace, counts)
					sameBits(t, what+", q", other.data, q.data)
					for i, name := range []string{"k", "v"} {
						if !bytes.Equal(pools[0][i].bytes(), pools[1][i].bytes()) {
							t.Fatalf("%s: %s differs", what, name)
						}
					}
					must(steps[0].Commit())
					must(steps[1].Commit())
				}
			}
		}
	})
}

// TestProjectionStepParts: keys and values without queries are those of the tokens of an encoder, and
// queries without the others write no layer.
func TestProjectionStepParts(t *testing.T) {
	const tokens, in, heads, dim = 7, 9, 2, 8
	next := normal(42)
	e := newAttention(t, qkv.Config{})
	p := projection{1, tokens, in, heads, heads, dim, dim}
	cfg := p.config(next)
	both := cfg
	both.Q = qkv.Linear{}
	kv, err := e.NewProjection(both)
	must(err)
	alone := cfg
	alone.K, alone.V = qkv.Linear{}, qkv.Linear{}
	queries, err := e.NewProjection(alone)
	must(err)
	half := both
	half.V = qkv.Linear{}
	keys, err := e.NewProjection(half)
	must(err)
	cache := newCache(t, qkv.CacheConfig{Layers: []qkv.CacheLayer{{KVHeads: heads, DimQK: dim, DimV: dim}}, Pages: 4, PageTokens: 4})
	step := newStep(t, e, cache)
	q := newTensor("bshd", 1, heads, 3, dim, nil)
	x, few := newMatrix("rows", tokens, in, next).matrix(), newMatrix("rows", 3, in, next).matrix()
	must(step.Begin([]qkv.StepSequence{{Sequence: cache.NewSequence(), Tokens: tokens, Queries: 3}}))
	isArgError(t, "keys alone", keys.Step(step, 0, qkv.View{}, x), "the projection has no v weights, a layer of a cache takes keys and values")
	must(queries.Step(step, 0, q.view(), few))
	isArgError(t, "not written", step.Commit(), "layer 0 has not been written in this step")
	isArgError(t, "rows", queries.Step(step, 0, q.view(), x), "x has 7 rows, the step has 3 queries")
	isArgError(t, "rows", kv.Step(step, 0, qkv.View{}, few), "x has 3 rows, the step has 7 new tokens")
	isArgError(t, "q", kv.Step(step, 0, q.view(), x), "q is given, with head dim 8, and the projection has no weights for it")
	must(kv.Step(step, 0, qkv.View{}, x))
	must(step.Commit())
	want := newTensor("bshd", 1, heads, 3, dim, nil)
	must(queries.Run(&qkv.ProjectionCall{X: few, Q: want.view()}))
	sameBits(t, "queries", q.data, want.data)
}

// TestProjectionStepErrors: nothing is written of what cannot be computed.
func TestProjectionStepErrors(t *testing.T) {
	const tokens, in, heads, kvHeads, dim, pages = 3, 40, 4, 2, 8, 32
	next := normal(43)
	e := newAttention(t, qkv.Config{})
	p := projection{1, tokens, in, heads, kvHeads, dim, dim}
	cfg := p.config(next)
	k, v := newPool(qkv.TypeFloat32, [4]int{pages, kvHeads, 4, dim}), newPool(qkv.TypeFloat32, [4]int{pages, kvHeads, 4, dim})
	wide := qkv.CacheLayer{KVHeads: kvHeads, DimQK: dim, DimV: 2 * dim}
	cache := newCache(t, qkv.CacheConfig{Layers: []qkv.CacheLayer{layerOf(k, v), wide}, Pages: pages, PageTokens: 4})
	before := k.bytes()
	// Weights of which some are memory of the cache, and tables that are.
	inCache := cfg
	inCache.InPlace, inCache.Q.W = true, qkv.RowMajor(k.floats[:in*heads*dim], in, heads*dim)
	rotary, err := qkv.NewRotary(qkv.RotaryConfig{Dim: 2, Cos: v.floats[:4], Sin: v.floats[4:8]})
	must(err)
	turned := cfg
	turned.Rotary = rotary
	short := cfg
	short.Rotary, err = qkv.NewRotary(qkv.RotaryConfig{Dim: 2, MaxPositions: 2})
	must(err)
	made := func(c qkv.ProjectionConfig) *qkv.Projection {
		p, err := e.NewProjection(c)
		must(err)
		return p
	}
	projection := made(cfg)
	step := newStep(t, e, cache)
	x := newMatrix("rows", tokens, in, next)
	q := newTensor("bshd", 1, heads, tokens, dim, nil)
	untouched := slices.Clone(q.data)
	isArgError(t, "not begun", projection.Step(step, 0, q.view(), x.matrix()), "step has not begun")
	must(step.Begin([]qkv.StepSequence{{Sequence: cache.NewSequence(), Tokens: tokens}}))
	stranger := newStep(t, newAttention(t, qkv.Config{}), cache)
	must(stranger.Begin([]qkv.StepSequence{{Sequence: cache.NewSequence(), Tokens: tokens}}))
	alike := newTensor("bshd", 1, heads, tokens+1, dim, nil)
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	for want, err := range map[string]error{
		"step is of another engine than the projection": projection.Step(stranger, 0, q.view(), x.matrix()),
		"step is nil or zero":                           projection.Step(nil, 0, q.view(), x.matrix()),
		"projection is nil or zero":                     (*qkv.Projection)(nil).Step(step, 0, q.view(), x.matrix()),
		"layer is 2, the cache has 2":                   projection.Step(step, 2, q.view(), x.matrix()),
		"v has head dim 8, layer 1 has 16":              projection.Step(step, 1, q.view(), x.matrix()),
		"x has 2 rows, the step has 3 queries":          projection.Step(step, 0, q.view(), newMatrix("rows", 2, in, next).matrix()),
		"x has 5 columns, the weights have 40 rows":     projection.Step(step, 0, q.view(), newMatrix("rows", tokens, 5, next).matrix()),
		"x is not given":                                projection.Step(step, 0, q.view(), qkv.Matrix{}),
		"q is not given":                                projection.Step(step, 0, qkv.View{}, x.matrix()),
		"q has sequence length 4, the projection":       projection.Step(step, 0, alike.view(), x.matrix()),
		"q and x share elements":                        projection.Step(step, 0, qkv.BSHD(x.data[:tokens*heads*dim], 1, tokens, heads, dim), x.matrix()),
		"q and the cache share elements":                projection.Step(step, 0, qkv.BSHD(k.floats[:tokens*heads*dim], 1, tokens, heads, dim), x.matrix()),
		"x and the cache share elements":                projection.Step(step, 0, q.view(), qkv.RowMajor(v.floats[100:][:tokens*in], tokens, in)),
		"the cache and q weights share elements":        made(inCache).Step(step, 0, q.view(), x.matrix()),
		"the cache and the tables of the rotary":        made(turned).Step(step, 0, q.view(), x.matrix()),
		"positions[2] is 2, the rotary embedding has 2": made(short).Step(step, 0, q.view(), x.matrix()),
	} {
		isArgError(t, want, err, want)
	}
	if err := projection.StepContext(canceled, step, 0, q.view(), x.matrix()); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	sameBits(t, "q", q.data, untouched)
	if !bytes.Equal(k.bytes(), before) {
		t.Error("something was written")
	}
	must(projection.StepContext(context.Background(), step, 0, q.view(), x.matrix()))
	isArgError(t, "the other layer", step.Commit(), "layer 1 has not been written")
}

// TestProjectionStepWeights: a projection by weights of any type into the cache leaves there what Run and
// Write leave, whatever the heads, the pages and the layout of X.
func TestProjectionStepWeights(t *testing.T) {
	const pages = 64
	r := rand.New(rand.NewPCG(44, 1))
	next := func() float32 { return float32(r.NormFloat64()) }
	for round := range 2 * len(weightTypes) {
		e := newAttention(t, qkv.Config{Kernel: drawn(r, sets()...), Workers: 1 + r.IntN(3)})
		typ := weightTypes[round%len(weightTypes)]
		block, _ := typ.Block()
		in, page := max(block, 64)*(1+r.IntN(2)), 1+r.IntN(9)
		kvHeads := 1 + r.IntN(3)
		heads := kvHeads * (1 + r.IntN(3))
		var types [2]qkv.ElemType
		var dims [2]int
		for i := range types {
			types[i], dims[i] = drawn(r, elemTypes...), 1+r.IntN(70)
			if inBlocks(types[i]) {
				dims[i] = 32 * (1 + r.IntN(3))
			}
		}
		linear := func(cols int) qkv.Linear { // the last rows of a tensor
			w := newWeights(r, typ, cols+round%3, in, 10)
			return qkv.Linear{W: w.Slice(round%3, cols+round%3).T()}
		}
		projection, err := e.NewProjection(qkv.ProjectionConfig{
			Q: linear(heads * dims[0]), K: linear(kvHeads * dims[0]), V: linear(kvHeads * dims[1]),
			Heads: heads, KVHeads: kvHeads, QueryScale: temperature, InPlace: r.IntN(2) == 0,
		})
		must(err)
		var pools [2][2]*pool
		var steps [2]*qkv.Step
		n := 0
		counts := []int{r.IntN(40) * r.IntN(2), r.IntN(3), 1 + r.IntN(20)}
		for _, c := range counts {
			n += c
		}
		for j := range pools {
			for i := range types {
				pools[j][i] = newPool(types[i], [4]int{pages, kvHeads, page, dims[i]})
			}
			cache := newCache(t, qkv.CacheConfig{Layers: []qkv.CacheLayer{layerOf(pools[j][0], pools[j][1])}, Pages: pages, PageTokens: page})
			steps[j] = newStep(t, e, cache)
			var batch []qkv.StepSequence
			for _, c := range counts {
				batch = append(batch, qkv.StepSequence{Sequence: cache.NewSequence(), Tokens: c})
			}
			must(steps[j].Begin(batch))
		}
		x := newMatrix(drawn(r, matrixLayouts...), n, in, next).matrix()
		layout := drawn(r, "bshd", "bhsd", "gaps", "reversed", "bhds")
		want, got := newTensor(layout, 1, heads, n, dims[0], nil), newTensor(layout, 1, heads, n, dims[0], nil)
		k, v := newTensor("bshd", 1, kvHeads, n, dims[0], nil), newTensor("bshd", 1, kvHeads, n, dims[1], nil)
		must(projection.Run(&qkv.ProjectionCall{X: x, Q: want.view(), K: k.view(), V: v.view(), Positions: steps[0].Positions()}))
		must(steps[0].Write(0, k.view(), v.view()))
		must(projection.Step(steps[1], 0, got.view(), x))
		what := fmt.Sprintf("%v, %d heads of %v, %v, %v tokens in pages of %d", typ, kvHeads, dims, types, counts, page)
		sameBits(t, what+", q", got.data, want.data)
		for i, name := range []string{"k", "v"} {
			if !bytes.Equal(pools[0][i].bytes(), pools[1][i].bytes()) {
				t.Fatalf("%s: %s differs", what, name)
			}
		}
	}
}
