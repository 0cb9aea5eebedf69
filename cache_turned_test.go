package qkv_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
)

// A turnedCase is the options of a layer that keeps keys and values turned.
type turnedCase struct {
	k, v, mean bool
}

var turnedCases = []turnedCase{{k: true}, {v: true}, {mean: true}, {true, true, true}}

// turnedSizes are those of the tests: blocks of 64 and of 32.
const turnedHeads, turnedKVHeads, turnedQK, turnedV = 4, 2, 64, 96

// layer returns a layer with the options, or without.
func (c turnedCase) layer(typ qkv.ElemType, mean []float32) (turned, plain qkv.CacheLayer) {
	plain = qkv.CacheLayer{KVHeads: turnedKVHeads, DimQK: turnedQK, DimV: turnedV, KeyType: typ, ValueType: typ}
	turned = plain
	turned.HadamardK, turned.HadamardV = c.k, c.v
	if c.mean {
		turned.KeyMean = mean
	}
	return turned, plain
}

// TestCacheTurned: a layer that keeps keys and values turned has the bits of one that does not whose keys, values,
// queries and outputs are turned by hand, whatever the type, the set, the workers and the steps, and the
// log-sum-exps of float64.
func TestCacheTurned(t *testing.T) {
	const tokens = 23
	next := normal(81)
	mean := draw(turnedKVHeads*turnedQK, next)
	q, k, v := draw(tokens*turnedHeads*turnedQK, next), draw(tokens*turnedKVHeads*turnedQK, next), draw(tokens*turnedKVHeads*turnedV, next)
	for i := range k { // as much of the keys is alike as differs
		k[i] += mean[i%len(mean)]
	}
	forEachSet(t, func(t *testing.T, set *qkv.Engine) {
		for i, c := range turnedCases {
			for j, typ := range []qkv.ElemType{qkv.TypeFloat32, qkv.TypeInt8, qkv.TypeQ4_1, qkv.TypeBFloat16} {
				if brief() && j > 0 && (i+j)%3 > 0 {
					continue
				}
				e := newAttention(t, qkv.Config{Kernel: set.Kernel().Name, Workers: 1 + (i+j)%2})
				turned, plain := c.layer(typ, mean)
				turn := func(x []float32, heads, dim int, is bool, mean []float32) []float32 {
					y := slices.Clone(x)
					for i := range mean {
						for at := i; at < len(y); at += len(mean) {
							y[at] -= mean[i]
						}
					}
					if is {
						must(e.Hadamard(qkv.THD(y, tokens, heads, dim), 0))
					}
					return y
				}
				attend := func(l qkv.CacheLayer, q, k, v []float32, steps []int) (out, lse []float32) {
					cache := newCache(t, qkv.CacheConfig{Layers: []qkv.CacheLayer{l}, Pages: tokens, PageTokens: 5})
					step, s := newStep(t, e, cache), cache.NewSequence()
					out, lse = make([]float32, tokens*turnedHeads*turnedV), make([]float32, turnedHeads*tokens)
					for _, n := range steps {
						at := s.Len()
						must(step.Begin([]qkv.StepSequence{{Sequence: s, Tokens: n}}))
						must(step.Write(0, qkv.THD(k[at*turnedKVHeads*turnedQK:], n, turnedKVHeads, turnedQK), qkv.THD(v[at*turnedKVHeads*turnedV:], n, turnedKVHeads, turnedV)))
						sums := make([]float32, turnedHeads*n)
						must(step.Attend(0, &qkv.Call{
							Q: qkv.THD(q[at*turnedHeads*turnedQK:], n, turnedHeads, turnedQK), Out: qkv.THD(out[at*turnedHeads*turnedV:], n, turnedHeads, turnedV),
							Mask: qkv.Mask{Causal: true}, LSE: sums,
						}))
						for h := range turnedHeads {
							copy(lse[h*tokens+at:], sums[h*n:][:n])
						}
						must(step.Commit())
					}
					return out, lse
				}
				kTurned := turn(k, turnedKVHeads, turnedQK, c.k, turned.KeyMean)
				want, lse := attend(plain, turn(q, turnedHeads, turnedQK, c.k, nil), kTurned, turn(v, turnedKVHeads, turnedV, c.v, nil), []int{tokens})
				want = turn(want, turnedHeads, turnedV, c.v, nil)
				for h := range turnedHeads {
					for i := range tokens {
						sum := 0.0
						for d := range turnedQK * len(turned.KeyMean) / len(mean) {
							sum += float64(q[(i*turnedHeads+h)*turnedQK+d]) * float64(mean[h/2*turnedQK+d])
						}
						lse[h*tokens+i] += float32(float64(float32(1/math.Sqrt(turnedQK))) * sum)
					}
				}
				for _, steps := range [][]int{{tokens}, {9, 1, 1, 12}, slices.Repeat([]int{1}, tokens)} {
					out, sums := attend(turned, q, k, v, steps)
					what := fmt.Sprintf("%+v, %v, steps %v", c, typ, steps)
					sameBits(t, what, out, want)
					sameBits(t, what+", log-sum-exps", sums, lse)
				}
				if typ == qkv.TypeFloat32 {
					out, sums := attend(plain, q, k, v, []int{tokens})
					for i, x := range out {
						if math.Abs(float64(x-want[i])) > 1e-5*(1+math.Abs(float64(x))) {
							t.Fatalf("%+v: output %d is %v, and %v of keys and values as they are", c, i, want[i], x)
						}
					}
					for i, x := range sums {
						if math.Abs(float64(x-lse[i])) > 1e-5*(1+math.Abs(float64(x))) {
							t.Fatalf("%+v: log-sum-exp %d is %v, and %v of keys as they are", c, i, lse[i], x)
						}
					}
				}
			}
		}
	})
}

// TestCacheTurnedBits: what turning is for. Of keys with a large element, and with much that all have in common, 8
// and 4 bits lose less.
func TestCacheTurnedBits(t *testing.T) {
	const tokens = 200
	next := normal(82)
	mean := draw(turnedKVHeads*turnedQK, func() float32 { return 4 * next() })
	q, v := draw(tokens*turnedHeads*turnedQK, next), draw(tokens*turnedKVHeads*turnedV, next)
	k := draw(tokens*turnedKVHeads*turnedQK, next)
	for i := range k {
		if i%turnedQK == 5 {
			k[i] *= 20
		}
		k[i] += mean[i%len(mean)]
	}
	for i := range v {
		if i%turnedV == 7 {
			v[i] *= 50
		}
	}
	e := newAttention(t, qkv.Config{})
	attend := func(l qkv.CacheLayer) []float32 {
		cache := newCache(t, qkv.CacheConfig{Layers: []qkv.CacheLayer{l}, Pages: 1, PageTokens: tokens})
		step, out := newStep(t, e, cache), make([]float32, tokens*turnedHeads*turnedV)
		must(step.Begin([]qkv.StepSequence{{Sequence: cache.NewSequence(), Tokens: tokens}}))
		must(step.Write(0, qkv.THD(k, tokens, turnedKVHeads, turnedQK), qkv.THD(v, tokens, turnedKVHeads, turnedV)))
		must(step.Attend(0, &qkv.Call{Q: qkv.THD(q, tokens, turnedHeads, turnedQK), Out: qkv.THD(out, tokens, turnedHeads, turnedV), Scale: 0.02}))
		return out
	}
	exact := attend(qkv.CacheLayer{KVHeads: turnedKVHeads, DimQK: turnedQK, DimV: turnedV})
	for _, typ := range []qkv.ElemType{qkv.TypeInt8, qkv.TypeQ4_0} {
		var errors []float64
		for _, c := range append([]turnedCase{{}}, turnedCases...) {
			l, _ := c.layer(typ, mean)
			sum := 0.0
			for i, x := range attend(l) {
				sum += math.Pow(float64(x-exact[i]), 2)
			}
			errors = append(errors, math.Sqrt(sum/float64(len(exact))))
		}
		t.Logf("%v: the root mean square error is %.3g, with options %.3g", typ, errors[0], errors[1:])
		for i, err := range errors[1:] {
			if !(err < errors[0]) {
				t.Errorf("%v, %+v: error %v, without %v", typ, turnedCases[i], err, errors[0])
			}
		}
		if last := errors[len(errors)-1]; !(last < errors[0]/2) {
			t.Errorf("%v, all: error %v, without %v", typ, last, errors[0])
		}
	}
}

// TestCacheTurnedLayer: a layer whose keys and values go into a cache that turns them has the bits of its parts, each
// by itself.
func TestCacheTurnedLayer(t *testing.T) {
	const tokens = 17
	l := newClassLayer(t, qkv.PrecisionBFloat16, qkv.WeightFloat32, false)
	x, mean := draw(tokens*l.in, normal(83)), draw(l.kvHeads*l.dim, normal(84))
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		layer, err := e.NewLayer(l.cfg)
		must(err)
		projection, err := e.NewProjection(l.cfg.ProjectionConfig)
		must(err)
		cfg := qkv.CacheConfig{Pages: 2 * tokens, PageTokens: 3, Layers: []qkv.CacheLayer{{
			KVHeads: l.kvHeads, DimQK: l.dim, DimV: l.dim, KeyType: qkv.TypeQ8_0, ValueType: qkv.TypeInt8, HadamardK: true, HadamardV: true, KeyMean: mean,
		}}}
		var want []float32
		for _, chunk := range []int{tokens, 5, 1} {
			cache := newCache(t, cfg)
			step, s := newStep(t, e, cache), cache.NewSequence()
			var y []float32
			for part := range slices.Chunk(x, chunk*l.in) {
				n := len(part) / l.in
				must(step.Begin([]qkv.StepSequence{{Sequence: s, Tokens: n}}))
				q, o := make([]float32, n*l.heads*l.dim), make([]float32, n*l.heads*l.dim)
				if want == nil { // by hand
					k, v := make([]float32, n*l.kvHeads*l.dim), make([]float32, n*l.kvHeads*l.dim)
					must(projection.Run(&qkv.ProjectionCall{
						X: qkv.RowMajor(part, n, l.in), Q: qkv.THD(q, n, l.heads, l.dim), K: qkv.THD(k, n, l.kvHeads, l.dim), V: qkv.THD(v, n, l.kvHeads, l.dim),
					}))
					must(step.Write(0, qkv.THD(k, n, l.kvHeads, l.dim), qkv.THD(v, n, l.kvHeads, l.dim)))
					must(step.Attend(0, &qkv.Call{Q: qkv.THD(q, n, l.heads, l.dim), Out: qkv.THD(o, n, l.heads, l.dim), Mask: qkv.Mask{Causal: true}}))
					want = make([]float32, n*l.out)
					must(e.MatMul(&qkv.Product{
						X: qkv.RowMajor(o, n, l.heads*l.dim), W: l.cfg.Out.W, Bias: l.cfg.Out.Bias, Precision: l.cfg.Precision, Y: qkv.RowMajor(want, n, l.out),
					}))
				}
				rows := make([]float32, n*l.out)
				must(layer.Step(step, 0, qkv.RowMajor(rows, n, l.out), qkv.RowMajor(part, n, l.in)))
				must(projection.Step(step, 0, qkv.THD(q, n, l.heads, l.dim), qkv.RowMajor(part, n, l.in)))
				must(step.Attend(0, &qkv.Call{Q: qkv.THD(q, n, l.heads, l.dim), Out: qkv.THD(q, n, l.heads, l.dim), Mask: qkv.Mask{Causal: true}}))
				again := make([]float32, n*l.out)
				must(e.MatMul(&qkv.Product{
					X: qkv.RowMajor(q, n, l.heads*l.dim), W: l.cfg.Out.W, Bias: l.cfg.Out.Bias, Precision: l.cfg.Precision, Y: qkv.RowMajor(again, n, l.out),
				}))
				sameBits(t, fmt.Sprintf("chunks of %d, projection by itself", chunk), again, rows)
				y = append(y, rows...)
				must(step.Commit())
			}
			sameBits(t, fmt.Sprintf("chunks of %d", chunk), y, want)
		}
	})
}

// TestCacheTurnedInPlace: the queries of a Layer are turned where they are, so that its workspace has all that a call
// needs. Those of the caller of Attend stay as they are.
func TestCacheTurnedInPlace(t *testing.T) {
	const tokens = 5
	l := newClassLayer(t, qkv.PrecisionFloat32, qkv.WeightFloat32, false)
	e := newAttention(t, qkv.Config{})
	layer, err := e.NewLayer(l.cfg)
	must(err)
	cache := newCache(t, qkv.CacheConfig{Pages: 1, PageTokens: tokens, Layers: []qkv.CacheLayer{{KVHeads: l.kvHeads, DimQK: l.dim, DimV: l.dim, HadamardK: true}}})
	step, x := newStep(t, e, cache), draw(tokens*l.in, normal(86))
	must(step.Begin([]qkv.StepSequence{{Sequence: cache.NewSequence(), Tokens: tokens}}))
	must(layer.Step(step, 0, qkv.RowMajor(make([]float32, tokens*l.out), tokens, l.out), qkv.RowMajor(x, tokens, l.in)))
	if n := step.Copies(); n != 0 {
		t.Errorf("a step of a layer copies %d values of queries", n)
	}
	q := draw(tokens*l.heads*l.dim, normal(87))
	before := slices.Clone(q)
	must(step.Attend(0, &qkv.Call{Q: qkv.THD(q, tokens, l.heads, l.dim), Out: qkv.THD(make([]float32, len(q)), tokens, l.heads, l.dim)}))
	sameBits(t, "queries", q, before)
	if n := step.Copies(); n != len(q) {
		t.Errorf("Attend copies %d values of queries, want %d", n, len(q))
	}
}

// TestCacheTurnedErrors: means that no keys have, calls that see more than the softmax does, and files of other
// options.
func TestCacheTurnedErrors(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	layer := qkv.CacheLayer{KVHeads: 1, DimQK: 8, DimV: 8, KeyMean: make([]float32, 8)}
	make1 := func(l qkv.CacheLayer) (*qkv.Cache, error) {
		return qkv.NewCache(qkv.CacheConfig{Layers: []qkv.CacheLayer{l}, Pages: 4, PageTokens: 4})
	}
	wrong := layer
	wrong.KeyMean = make([]float32, 9)
	isArgError(t, "long", second(make1(wrong)), "layer 0: keyMean has length 9, 1 heads of dim 8 need 8")
	wrong.KeyMean = []float32{0, 0, 0, nan, 0, 0, 0, 0}
	isArgError(t, "NaN", second(make1(wrong)), "layer 0: keyMean has NaN at index 3, finite numbers are needed")

	cache, err := make1(layer)
	must(err)
	step, s := newStep(t, e, cache), cache.NewSequence()
	x := make([]float32, 16)
	rows := qkv.THD(x[:8], 1, 1, 8)
	must(step.Begin([]qkv.StepSequence{{Sequence: s, Tokens: 1}}))
	must(step.Write(0, rows, rows))
	for name, c := range map[string]qkv.Call{
		"softcap": {Softcap: 1}, "sinks": {Sinks: []float32{0}}, "scoreMod": {ScoreMod: func(*qkv.ScoreBlock) {}},
		"scores": {Scores: qkv.BHSD(x[8:], 1, 1, 1, 1)},
	} {
		c.Q, c.Out = rows, rows
		isArgError(t, name, step.Attend(0, &c), name+" is given, and layer 0 keeps keys without their mean")
	}
	must(step.Attend(0, &qkv.Call{Q: rows, Out: rows, Scores: qkv.BHSD(x[8:], 1, 1, 1, 1), ScoresAt: qkv.StageProbs}))
	must(step.Commit())

	var file bytes.Buffer
	_, err = s.WriteTo(&file)
	must(err)
	for _, change := range []func(l *qkv.CacheLayer){
		func(l *qkv.CacheLayer) { l.HadamardK = true },
		func(l *qkv.CacheLayer) { l.HadamardV = true },
		func(l *qkv.CacheLayer) { l.KeyMean = nil },
		func(l *qkv.CacheLayer) { l.KeyMean = []float32{0, 0, 0, 0, 0, 0, 0, 1} },
	} {
		other := layer
		change(&other)
		c, err := make1(other)
		must(err)
		if _, err := c.ReadSequence(bytes.NewReader(file.Bytes())); !errors.Is(err, qkv.ErrMismatch) {
			t.Errorf("%+v: %v", other, err)
		}
	}
	c, err := make1(layer)
	must(err)
	_, err = c.ReadSequence(&file)
	must(err)
}

// TestAllocsCacheTurned: steps with turned keys and values allocate nothing in steady state.
func TestAllocsCacheTurned(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items under the race detector")
	}
	const tokens = 3
	l, _ := turnedCase{true, true, true}.layer(qkv.TypeInt8, draw(turnedKVHeads*turnedQK, normal(1)))
	q, k, v := draw(tokens*turnedHeads*turnedQK, normal(2)), draw(tokens*turnedKVHeads*turnedQK, normal(3)), draw(tokens*turnedKVHeads*turnedV, normal(4))
	out, lse := make([]float32, tokens*turnedHeads*turnedV), make([]float32, turnedHeads*tokens)
	for _, workers := range []int{1, 2} {
		e := newAttention(t, qkv.Config{Workers: workers})
		cache := newCache(t, qkv.CacheConfig{Layers: []qkv.CacheLayer{l}, Pages: 4, PageTokens: 4})
		step := newStep(t, e, cache)
		steps := []qkv.StepSequence{{Sequence: cache.NewSequence(), Tokens: tokens}}
		call := &qkv.Call{Q: qkv.THD(q, tokens, turnedHeads, turnedQK), Out: qkv.THD(out, tokens, turnedHeads, turnedV), LSE: lse}
		if n := allocsPerCall(20, func() {
			must(step.Begin(steps))
			must(step.Write(0, qkv.THD(k, tokens, turnedKVHeads, turnedQK), qkv.THD(v, tokens, turnedKVHeads, turnedV)))
			must(step.Attend(0, call))
			must(step.Rollback())
		}); n != 0 {
			t.Errorf("%d workers: %v allocations", workers, n)
		}
	}
}

// TestKeyMeanWithoutKey: the log-sum-exp of a row without a key is -Inf, whatever its query.
func TestKeyMeanWithoutKey(t *testing.T) {
	q, lse := draw(2*8, normal(1)), make([]float32, 2)
	cache := newCache(t, qkv.CacheConfig{
		Layers: []qkv.CacheLayer{{KVHeads: 1, DimQK: 8, DimV: 8, KeyMean: draw(8, normal(2))}}, Pages: 1, PageTokens: 4,
	})
	step, x := newStep(t, newAttention(t, qkv.Config{}), cache), qkv.THD(draw(2*8, normal(3)), 2, 1, 8)
	must(step.Begin([]qkv.StepSequence{{Sequence: cache.NewSequence(), Tokens: 2}}))
	must(step.Write(0, x, x))
	for _, poison := range poisons {
		q[0] = poison
		must(step.Attend(0, &qkv.Call{
			Q: qkv.THD(q, 2, 1, 8), Out: qkv.THD(make([]float32, 2*8), 2, 1, 8), LSE: lse,
			Mask: qkv.Mask{Keep: qkv.Pairs([]bool{false, false, true, true}, 1, 1, 2, 2)},
		}))
		if !math.IsInf(float64(lse[0]), -1) || isNaN(lse[1]) {
			t.Errorf("%v in the query of a row without a key: log-sum-exps %v", poison, lse)
		}
	}
}
