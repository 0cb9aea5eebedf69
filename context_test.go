package qkv_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qkv-go/qkv"
)

// An operation is a call that a context may end, on operands of its own.
type operation struct {
	name  string
	input [][]float32 // written, too: kept from before
	do    func(ctx context.Context) error
	out   [][]float32
}

// operations returns one of each kind of call, of some milliseconds on generic.
func operations(t *testing.T, e *qkv.Engine) []operation {
	next := normal(1)
	floats := func(n int) []float32 { return draw(n, next) }
	const seq, heads, dim, in = 80, 2, 32, 64
	rotary, err := qkv.NewRotary(qkv.RotaryConfig{Dim: dim, MaxPositions: 4096})
	must(err)
	linear := func(cols int) qkv.Linear { return qkv.Linear{W: qkv.RowMajor(floats(in*cols), in, cols)} }
	weights := qkv.ProjectionConfig{Q: linear(heads * dim), K: linear(heads * dim), V: linear(heads * dim), Heads: heads, Rotary: rotary}
	projection, err := e.NewProjection(weights)
	must(err)
	layer, err := e.NewLayer(qkv.LayerConfig{ProjectionConfig: weights, Out: qkv.Linear{W: qkv.RowMajor(floats(heads*dim*in), heads*dim, in)}})
	must(err)

	var list []operation
	attention := func(name string, queries, keys int, change func(*qkv.Call)) {
		q, k, v := floats(heads*queries*dim), floats(heads*keys*dim), floats(heads*keys*dim)
		out, lse := make([]float32, heads*queries*dim), make([]float32, heads*queries)
		call := &qkv.Call{
			Q: qkv.BHSD(q, 1, heads, queries, dim), K: qkv.BHSD(k, 1, heads, keys, dim),
			V: qkv.BHSD(v, 1, heads, keys, dim), Out: qkv.BHSD(out, 1, heads, queries, dim), LSE: lse,
		}
		change(call)
		list = append(list, operation{name: name, out: [][]float32{out, lse}, do: func(ctx context.Context) error { return e.RunContext(ctx, call) }})
	}
	attention("attention", seq, 700, func(*qkv.Call) {})
	attention("decoding", 1, 9000, func(*qkv.Call) {})
	attention("probabilities changed", 20, 400, func(c *qkv.Call) { c.ProbMod = func(*qkv.ScoreBlock) {} })
	scores := make([]float32, heads*seq*seq)
	attention("scores", seq, seq, func(c *qkv.Call) {
		c.Scores, c.ScoresAt = qkv.Pairs(scores, 1, heads, seq, seq), qkv.StageProbs
	})
	x, w, y := floats(seq*1000), floats(1000*seq), make([]float32, seq*seq)
	packed, err := e.Pack(qkv.RowMajor(w, 1000, seq))
	must(err)
	for name, p := range map[string]*qkv.Product{
		"product":            {W: qkv.RowMajor(w, 1000, seq)},
		"product transposed": {W: qkv.RowMajor(w, seq, 1000).T()},
		"product packed":     {Packed: packed},
		"product scattered":  {Packed: packed, Y: qkv.RowMajor(y, seq, seq).T()},
		"product activated":  {W: qkv.RowMajor(w, 1000, seq), Activation: qkv.GELU, Y: qkv.RowMajor(y, seq, seq).T()},
		"product gated":      {Packed: packed, Activation: qkv.SiLU, Up: qkv.Linear{W: qkv.RowMajor(w, seq, 1000).T()}},
	} {
		p.X = qkv.RowMajor(x, seq, 1000)
		if p.Y.Rows() == 0 {
			p.Y = qkv.RowMajor(y, seq, seq)
		}
		list = append(list, operation{name: name, out: [][]float32{y}, do: func(ctx context.Context) error { return e.MatMulContext(ctx, p) }})
	}
	other := make([]float32, seq*seq)
	list = append(list, operation{name: "products", out: [][]float32{y, other}, do: func(ctx context.Context) error {
		x := qkv.RowMajor(x, seq, 1000)
		return e.MatMulContext(ctx, &qkv.Product{X: x, Packed: packed, Y: qkv.RowMajor(y, seq, seq)},
			&qkv.Product{X: x, W: qkv.RowMajor(w, seq, 1000).T(), Y: qkv.RowMajor(other, seq, seq)})
	}})
	turned := floats(heads * 4096 * dim)
	list = append(list, operation{name: "rotation", input: [][]float32{turned}, out: [][]float32{turned}, do: func(ctx context.Context) error {
		return e.RotateContext(ctx, rotary, qkv.BHSD(turned, 1, heads, 4096, dim), nil)
	}})
	rows, result := qkv.RowMajor(floats(seq*in), seq, in), make([]float32, seq*in)
	list = append(list, operation{name: "layer", out: [][]float32{result}, do: func(ctx context.Context) error {
		return layer.RunContext(ctx, &qkv.LayerCall{X: rows, Y: qkv.RowMajor(result, seq, in)})
	}})
	projected := make([]float32, 3*seq*heads*dim)
	q, k, v := qkv.PackedQKV(projected, 1, seq, heads, heads, dim)
	list = append(list, operation{name: "projection", out: [][]float32{projected}, do: func(ctx context.Context) error {
		return projection.RunContext(ctx, &qkv.ProjectionCall{X: rows, Q: q, K: k, V: v})
	}})
	const queries = 1500
	merged, sums := make([]float32, heads*queries*dim), make([]float32, heads*queries)
	partials := draw(8, func() qkv.Partial {
		return qkv.Partial{Out: qkv.BHSD(floats(len(merged)), 1, heads, queries, dim), LSE: floats(len(sums))}
	})
	list = append(list, operation{name: "merge", out: [][]float32{merged, sums}, do: func(ctx context.Context) error {
		return e.MergeContext(ctx, qkv.BHSD(merged, 1, heads, queries, dim), sums, partials)
	}})
	sum, part, normed := floats(3000*200), floats(3000*200), make([]float32, 3000*200)
	list = append(list, operation{name: "norm", input: [][]float32{sum}, out: [][]float32{sum, normed}, do: func(ctx context.Context) error {
		m := func(x []float32) qkv.Matrix { return qkv.RowMajor(x, 3000, 200) }
		return e.LayerNormContext(ctx, &qkv.Norm{X: m(sum), Add: m(part), Y: m(normed)})
	}})
	k8, v8 := newPool(qkv.TypeInt8, [4]int{1, heads, seq, dim}), newPool(qkv.TypeFloat16, [4]int{1, heads, seq, dim})
	cache, err := qkv.NewCache(qkv.CacheConfig{Layers: []qkv.CacheLayer{layerOf(k8, v8)}, Pages: 1, PageTokens: seq})
	must(err)
	step := newStep(t, e, cache)
	must(step.Begin([]qkv.StepSequence{{Sequence: cache.NewSequence(), Tokens: seq}}))
	list = append(list, operation{name: "projection of a step", out: [][]float32{projected[:seq*heads*dim], k8.scales}, do: func(ctx context.Context) error {
		return projection.StepContext(ctx, step, 0, qkv.BSHD(projected[:seq*heads*dim], 1, seq, heads, dim), rows)
	}})
	return list
}

// run has the operation begin with what it began with, and outputs of NaN.
func (o *operation) run(ctx context.Context, before [][]float32) error {
	for _, x := range o.out {
		for i := range x {
			x[i] = nan
		}
	}
	for i, x := range o.input {
		copy(x, before[i])
	}
	return o.do(ctx)
}

func cloned(list [][]float32) (clones [][]float32) {
	for _, x := range list {
		clones = append(clones, slices.Clone(x))
	}
	return clones
}

// TestContextDone: a context that is done before the call has nothing written, and the error is
// that of the context and its cause.
func TestContextDone(t *testing.T) {
	cause := errors.New("the client has gone")
	canceled, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	late, stop := context.WithDeadline(context.Background(), time.Unix(0, 0))
	defer stop()
	e := newAttention(t, qkv.Config{Workers: 2})
	for _, o := range operations(t, e) {
		before := cloned(o.input)
		for _, c := range []struct {
			ctx  context.Context
			want []error
		}{{canceled, []error{context.Canceled, cause}}, {late, []error{context.DeadlineExceeded}}} {
			err := o.run(c.ctx, before)
			for _, want := range c.want {
				if !errors.Is(err, want) {
					t.Errorf("%s: error %v, want %v", o.name, err, want)
				}
			}
			for i, x := range o.out {
				want := slices.Repeat([]float32{nan}, len(x))
				if i < len(o.input) {
					want = before[i]
				}
				sameBits(t, o.name, x, want)
			}
		}
		if err := o.do(nil); !errors.As(err, new(*qkv.ArgError)) { //nolint:staticcheck // that is what is tested
			t.Errorf("%s without a context: error %v", o.name, err)
		}
	}
}

// TestContextEnds: a call that ends early, wherever it is, says so, and the next ones have the
// right bits.
func TestContextEnds(t *testing.T) {
	t.Parallel()
	for _, set := range sets() {
		for _, workers := range workerCounts(1, 3) {
			e := newAttention(t, qkv.Config{Kernel: set, Workers: workers})
			for _, o := range operations(t, e) {
				before := cloned(o.input)
				start := time.Now()
				must(o.run(context.Background(), before))
				took := time.Since(start)
				want := cloned(o.out)
				ended, tries := 0, 4
				if brief() {
					tries = 2
				}
				for try := range tries {
					ctx, cancel := context.WithTimeout(context.Background(), took*time.Duration(try)/time.Duration(tries))
					err := o.run(ctx, before)
					cancel()
					switch {
					case err == nil:
						for i := range want {
							sameBits(t, fmt.Sprintf("%s on %s, not ended", o.name, set), o.out[i], want[i])
						}
					case errors.Is(err, context.DeadlineExceeded):
						ended++
					default:
						t.Fatalf("%s on %s: %v", o.name, set, err)
					}
					must(o.run(context.Background(), before))
					for i := range want {
						sameBits(t, fmt.Sprintf("%s on %s after one that ended", o.name, set), o.out[i], want[i])
					}
				}
				if ended == 0 { // the first has no time at all
					t.Errorf("%s on %s: no call ended early", o.name, set)
				}
			}
		}
	}
}

// TestContextRows: each row of a call that ended early is either computed, with its log-sum-exp,
// or as it was. It ends at a certain item, and in the midst of one.
func TestContextRows(t *testing.T) {
	t.Parallel()
	for _, set := range sets() {
		for _, workers := range workerCounts(1, 3) {
			e := newAttention(t, qkv.Config{Kernel: set, Workers: workers})
			for _, d := range []dims{{1, 4, 2, 150, 600, 16, 16}, {2, 4, 2, 1, 3000, 32, 32}} {
				p := newProblem(d, "bhsd", qkv.Mask{}, normal(1))
				want, wantLSE := p.run(t, e)
				for _, at := range []int64{1, 3, 20} {
					for _, blocks := range []bool{false, true} {
						ctx, cancel := context.WithCancel(context.Background())
						call := p.call()
						out, lse := slices.Repeat([]float32{nan}, len(want)), slices.Repeat([]float32{nan}, len(wantLSE))
						call.Out, call.LSE = qkv.BHSD(out, d.batch, d.heads, d.seqQ, d.dimV), lse
						var seen atomic.Int64
						if blocks {
							call.ScoreMod = func(*qkv.ScoreBlock) {
								if seen.Add(1) == at {
									cancel()
								}
							}
						} else {
							call.Progress = func(done, of int) {
								if done < 1 || done > of {
									t.Errorf("progress: %d of %d", done, of)
								}
								if seen.Add(1) == at {
									cancel()
								}
							}
						}
						err := e.RunContext(ctx, call)
						cancel()
						if err != nil && !errors.Is(err, context.Canceled) {
							t.Fatal(err)
						}
						rows := 0
						for row, x := range lse {
							of := out[row*d.dimV:][:d.dimV]
							if math.IsNaN(float64(x)) {
								sameBits(t, "a row that is not computed", of, slices.Repeat([]float32{nan}, d.dimV))
								continue
							}
							rows++
							if !blocks { // ScoreMod has other roundings
								sameBits(t, "a computed row", of, want[row*d.dimV:][:d.dimV])
							}
						}
						if whole := rows == len(lse); whole != (err == nil) {
							t.Errorf("%s, %v: %d rows of %d are computed, error %v", set, d, rows, len(lse), err)
						}
						got, _ := p.run(t, e)
						sameBits(t, "after one that ended", got, want)
					}
				}
			}
		}
	}
}

// TestContextSoon: a call of minutes ends soon, on the slowest set and for the largest steps. The
// time is generous: the machine may be busy.
func TestContextSoon(t *testing.T) {
	e := newAttention(t, qkv.Config{Kernel: "generic"})
	big := func(n int) []float32 { return make([]float32, n) }
	const rows = 2048
	x, w := qkv.RowMajor(big(rows*4096), rows, 4096), qkv.RowMajor(big(4096*4096), 4096, 4096)
	y := qkv.RowMajor(big(rows*4096), rows, 4096)
	for _, o := range []operation{
		{name: "attention", do: func(ctx context.Context) error {
			x := qkv.BHSD(big(16*4096*64), 1, 16, 4096, 64)
			return e.RunContext(ctx, &qkv.Call{Q: x, K: x, V: x, Out: qkv.BHSD(big(16*4096*64), 1, 16, 4096, 64)})
		}},
		{name: "attention of the largest heads", do: func(ctx context.Context) error {
			x := qkv.BHSD(big(512*qkv.MaxDim), 1, 1, 512, qkv.MaxDim)
			long := qkv.Strided(big(qkv.MaxDim), 0, [4]int{1, 1, 1 << 20, qkv.MaxDim}, [4]int{0, 0, 0, 1})
			return e.RunContext(ctx, &qkv.Call{Q: x, K: long, V: long, Out: qkv.BHSD(big(512*qkv.MaxDim), 1, 1, 512, qkv.MaxDim)})
		}},
		{name: "decoding", do: func(ctx context.Context) error {
			long := qkv.Strided(big(64), 0, [4]int{1, 1, 1 << 28, 64}, [4]int{0, 0, 0, 1})
			return e.RunContext(ctx, &qkv.Call{Q: qkv.BHSD(big(64), 1, 1, 1, 64), K: long, V: long, Out: qkv.BHSD(big(64), 1, 1, 1, 64)})
		}},
		{name: "product", do: func(ctx context.Context) error { return e.MatMulContext(ctx, &qkv.Product{X: x, W: w, Y: y}) }},
		{name: "product in place", do: func(ctx context.Context) error { return e.MatMulContext(ctx, &qkv.Product{X: x, W: w.T(), Y: y}) }},
		{name: "product gated", do: func(ctx context.Context) error {
			return e.MatMulContext(ctx, &qkv.Product{X: x, W: w, Activation: qkv.SiLU, Up: qkv.Linear{W: w.T()}, Y: y})
		}},
		{name: "explaining", do: func(ctx context.Context) error {
			const n = 1 << 20
			long := qkv.Strided(big(1), 0, [4]int{1, 1, n, 1}, [4]int{})
			keep := qkv.Strided(make([]bool, 1), 0, [4]int{1, 1, n, n}, [4]int{})
			_, err := e.ExplainContext(ctx, &qkv.Call{Q: long, K: long, V: long, Out: qkv.BHSD(big(n), 1, 1, n, 1), Mask: qkv.Mask{Keep: keep}})
			return err
		}},
	} {
		ctx, cancel := context.WithCancel(context.Background())
		var at time.Time
		time.AfterFunc(50*time.Millisecond, func() { at = time.Now(); cancel() })
		if err := o.do(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v", o.name, err)
		}
		took := time.Since(at)
		t.Logf("%s ended %v after it was told to", o.name, took.Round(time.Millisecond))
		if took > 20*time.Second {
			t.Errorf("%s ended %v after it was told to", o.name, took)
		}
	}
}

// TestContextPanics: what a callback panics with reaches the caller although the context ends.
func TestContextPanics(t *testing.T) {
	e := newAttention(t, qkv.Config{Workers: 3})
	p := newProblem(dims{2, 4, 2, 300, 300, 16, 16}, "bhsd", qkv.Mask{}, normal(1))
	want, _ := p.run(t, e)
	for _, set := range []func(*qkv.Call, func()){
		func(c *qkv.Call, f func()) { c.ScoreMod = func(*qkv.ScoreBlock) { f() } },
		func(c *qkv.Call, f func()) { c.ProbMod = func(*qkv.ScoreBlock) { f() } },
		func(c *qkv.Call, f func()) { c.Progress = func(int, int) { f() } },
	} {
		ctx, cancel := context.WithCancel(context.Background())
		call := p.call()
		set(call, func() { cancel(); panic("a value") })
		func() {
			defer func() {
				if got := recover(); got != "a value" {
					t.Errorf("the call panicked with %v", got)
				}
			}()
			e.RunContext(ctx, call)
		}()
		got, _ := p.run(t, e)
		sameBits(t, "after a panic", got, want)
	}
}
