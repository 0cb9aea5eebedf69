package qkv_test

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

// layerConfig returns a layer of out columns.
func (p projection) layerConfig(out int, next func() float32) qkv.LayerConfig {
	return qkv.LayerConfig{
		ProjectionConfig: p.config(next),
		Out: qkv.Linear{
			W:    newMatrix("columns", p.heads*p.dimV, out, next).matrix(),
			Bias: newMatrix("rows", 1, out, next).data,
		},
		Attention: qkv.Call{Mask: qkv.Mask{Causal: true}},
	}
}

// TestLayer compares a layer with its steps, bit for bit, on every set, with weights packed
// and in place, and its intermediates with them.
func TestLayer(t *testing.T) {
	t.Parallel()
	const out = 29
	next := normal(11)
	for _, p := range projections {
		cfg := p.layerConfig(out, next)
		tokens := p.batch * p.seq
		x := newMatrix("padded", tokens, p.in, next).matrix()
		forEachSet(t, func(t *testing.T, e *qkv.Engine) {
			steps := p.tensors("gaps")
			o := newTensor("bshd", p.batch, p.heads, p.seq, p.dimV, nil)
			want := make([]float32, tokens*out)
			pr, err := e.NewProjection(cfg.ProjectionConfig)
			if err != nil {
				t.Fatal(err)
			}
			if err := pr.Run(&qkv.ProjectionCall{X: x, Q: steps[0].view(), K: steps[1].view(), V: steps[2].view()}); err != nil {
				t.Fatal(err)
			}
			call := cfg.Attention
			call.Q, call.K, call.V, call.Out = steps[0].view(), steps[1].view(), steps[2].view(), o.view()
			if err := e.Run(&call); err != nil {
				t.Fatal(err)
			}
			if err := e.MatMul(&qkv.Product{X: qkv.RowMajor(o.data, tokens, p.heads*p.dimV), W: cfg.Out.W, Bias: cfg.Out.Bias, Y: qkv.RowMajor(want, tokens, out)}); err != nil {
				t.Fatal(err)
			}

			for _, cfg.InPlace = range []bool{false, true} {
				what := fmt.Sprintf("%+v in place %v", p, cfg.InPlace)
				l, err := e.NewLayer(cfg)
				if err != nil {
					t.Fatal(err)
				}
				y := newMatrix("padded", tokens, out, func() float32 { return nan })
				if err := l.Run(&qkv.LayerCall{X: x, Y: y.matrix(), Batch: p.batch}); err != nil {
					t.Fatal(err)
				}
				sameBits(t, what, y.values(), want)
				y.checkGaps(t)
				if p.batch == 1 {
					y := make([]float32, len(want))
					if err := l.Forward(qkv.RowMajor(y, tokens, out), x); err != nil {
						t.Fatal(err)
					}
					sameBits(t, what+" Forward", y, want)
				}

				// Each intermediate by itself, and all.
				for which := 1; which < 16; which += 1 + which/8*6 {
					got := append(p.tensors("reversed"), newTensor("bshd", p.batch, p.heads, p.seq, p.dimV, nil))
					c := cfg.Attention
					for i, v := range []*qkv.View{&c.Q, &c.K, &c.V, &c.Out} {
						if which>>i&1 == 1 {
							*v = got[i].view()
						}
					}
					clear(y.data)
					if err := l.Run(&qkv.LayerCall{X: x, Y: y.matrix(), Batch: p.batch, Attention: &c}); err != nil {
						t.Fatal(err)
					}
					sameBits(t, what, y.values(), want)
					for i, s := range append(slices.Clone(steps), o) {
						if which>>i&1 == 1 {
							sameBits(t, fmt.Sprintf("%s, part %d", what, i), got[i].values(), s.values())
						}
					}
				}
			}
		})
	}
}

// TestLayerOptions gives a layer every kind of option of the attention, of its configuration
// and of a call, and compares it with the attention by itself, bit for bit.
func TestLayerOptions(t *testing.T) {
	p := projection{2, 70, 24, 4, 2, 16, 16}
	const out = 9
	next := normal(21)
	cfg := p.layerConfig(out, next)
	x := newMatrix("rows", p.batch*p.seq, p.in, next).matrix()
	bias := newTensor("bhsd", 1, p.heads, p.seq, p.seq, next).view()
	double := func(block *qkv.ScoreBlock) {
		block.Each(func(_, _, _ int, s float32) float32 { return 2 * s })
	}
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		for i, options := range []qkv.Call{
			{},
			{Mask: qkv.Mask{Causal: true, Window: qkv.Sliding(20, 0), Prefix: 3}, Scale: 0.1},
			{Softcap: 5, ALiBi: []float32{0.5, 0.25, 0.125, 0.0625}, Sinks: []float32{0, 1, -1, 2}},
			{Bias: bias, Mask: qkv.Mask{Causal: true}},
			{LensQ: []int{70, 31}, LensKV: []int{50, 70}},
			{ScoreMod: double, ProbMod: double},
		} {
			cfg.Attention = options
			l, err := e.NewLayer(cfg)
			if err != nil {
				t.Fatal(err)
			}
			tensors := append(p.tensors("bhsd"), newTensor("bshd", p.batch, p.heads, p.seq, p.dimV, nil))
			lse := make([]float32, p.batch*p.heads*p.seq)
			c := options
			c.Q, c.K, c.V, c.Out, c.LSE = tensors[0].view(), tensors[1].view(), tensors[2].view(), tensors[3].view(), lse
			y, yTraced := make([]float32, p.batch*p.seq*out), make([]float32, p.batch*p.seq*out)
			if err := l.Run(&qkv.LayerCall{X: x, Y: qkv.RowMajor(y, p.batch*p.seq, out), Batch: p.batch}); err != nil {
				t.Fatal(err)
			}
			if err := l.Run(&qkv.LayerCall{X: x, Y: qkv.RowMajor(yTraced, p.batch*p.seq, out), Batch: p.batch, Attention: &c}); err != nil {
				t.Fatal(err)
			}
			sameBits(t, fmt.Sprintf("options %d, of a call", i), yTraced, y)

			alone := newTensor("bshd", p.batch, p.heads, p.seq, p.dimV, nil)
			lseAlone := make([]float32, len(lse))
			c.Out, c.LSE = alone.view(), lseAlone
			if err := e.Run(&c); err != nil {
				t.Fatal(err)
			}
			sameBits(t, fmt.Sprintf("options %d, out", i), tensors[3].data, alone.data)
			sameBits(t, fmt.Sprintf("options %d, lse", i), lse, lseAlone)
			want := make([]float32, len(y))
			if err := e.MatMul(&qkv.Product{X: qkv.RowMajor(alone.data, p.batch*p.seq, p.heads*p.dimV), W: cfg.Out.W, Bias: cfg.Out.Bias, Y: qkv.RowMajor(want, p.batch*p.seq, out)}); err != nil {
				t.Fatal(err)
			}
			sameBits(t, fmt.Sprintf("options %d, y", i), y, want)
		}
	})
}

// TestLayerInPlace has the output in the place of the input.
func TestLayerInPlace(t *testing.T) {
	p := projection{1, 20, 48, 3, 1, 16, 16}
	next := normal(12)
	e := newAttention(t, qkv.Config{})
	l, err := e.NewLayer(p.layerConfig(p.in, next))
	if err != nil {
		t.Fatal(err)
	}
	x := newMatrix("rows", p.seq, p.in, next)
	want := make([]float32, p.seq*p.in)
	if err := l.Forward(qkv.RowMajor(want, p.seq, p.in), x.matrix()); err != nil {
		t.Fatal(err)
	}
	if err := l.Forward(x.matrix(), x.matrix()); err != nil {
		t.Fatal(err)
	}
	sameBits(t, "in place", x.data, want)
}

// TestLayerFloat64 compares a layer with one in float64.
func TestLayerFloat64(t *testing.T) {
	p := projection{1, 40, 64, 4, 2, 16, 24}
	const out = 30
	next := normal(13)
	cfg := p.layerConfig(out, next)
	x := newMatrix("rows", p.seq, p.in, next)
	apply := func(x []float64, in int, l qkv.Linear) []float64 {
		cols := l.W.Cols()
		w := make([]float32, in*cols)
		unit := make([]float32, in*in)
		for i := range in {
			unit[i*in+i] = 1
		}
		if err := qkv.MatMul(&qkv.Product{X: qkv.RowMajor(unit, in, in), W: l.W, Y: qkv.RowMajor(w, in, cols)}); err != nil {
			t.Fatal(err)
		}
		y := make([]float64, p.seq*cols)
		for i := range p.seq {
			for j := range cols {
				y[i*cols+j] = float64(l.Bias[j])
				for k := range in {
					y[i*cols+j] += x[i*in+k] * float64(w[k*cols+j])
				}
			}
		}
		return y
	}
	wide := make([]float64, len(x.data))
	for i, v := range x.data {
		wide[i] = float64(v)
	}
	q, k, v := apply(wide, p.in, cfg.Q), apply(wide, p.in, cfg.K), apply(wide, p.in, cfg.V)
	o := make([]float64, p.seq*p.heads*p.dimV)
	for h := range p.heads {
		kv := h / (p.heads / p.kvHeads)
		for i := range p.seq {
			weights, sum := make([]float64, i+1), 0.0
			for j := range weights {
				for d := range p.dimQK {
					weights[j] += q[(i*p.heads+h)*p.dimQK+d] * k[(j*p.kvHeads+kv)*p.dimQK+d]
				}
				weights[j] /= math.Sqrt(float64(p.dimQK))
			}
			top := slices.Max(weights)
			for j, s := range weights {
				weights[j] = math.Exp(s - top)
				sum += weights[j]
			}
			for j, w := range weights {
				for d := range p.dimV {
					o[(i*p.heads+h)*p.dimV+d] += w / sum * v[(j*p.kvHeads+kv)*p.dimV+d]
				}
			}
		}
	}
	want := apply(o, p.heads*p.dimV, cfg.Out)
	size := 0.0
	for _, w := range want {
		size = max(size, math.Abs(w))
	}
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		l, err := e.NewLayer(cfg)
		if err != nil {
			t.Fatal(err)
		}
		y := make([]float32, len(want))
		if err := l.Forward(qkv.RowMajor(y, p.seq, out), x.matrix()); err != nil {
			t.Fatal(err)
		}
		worst := 0.0
		for i := range y {
			worst = max(worst, math.Abs(float64(y[i])-want[i]))
		}
		// Scores of some tens make errors of the projections show in the weights.
		if worst > 1e-4*size {
			t.Errorf("largest error %g of values up to %g", worst, size)
		}
		t.Logf("largest error %g of values up to %g", worst, size)
	})
}

func TestLayerErrors(t *testing.T) {
	p := projection{2, 4, 6, 4, 2, 8, 8}
	next := normal(14)
	e := newAttention(t, qkv.Config{})
	for _, c := range []struct {
		want  string
		spoil func(c *qkv.LayerConfig)
	}{
		{"qkv: v weights is not given, a layer has those of q, k and v, or of q alone", func(c *qkv.LayerConfig) { c.V = qkv.Linear{} }},
		{"qkv: k weights has 2 heads of dim 16, q weights has 4 of dim 8", func(c *qkv.LayerConfig) { c.K = p.linear(32, next) }},
		{"qkv: k weights has 4 heads of dim 4, q weights has 4 of dim 8", func(c *qkv.LayerConfig) { c.KVHeads = 0 }},
		{"qkv: there are 4 heads, not a multiple of 8 KV heads", func(c *qkv.LayerConfig) {
			c.KVHeads, c.K, c.V = 8, p.linear(64, next), p.linear(64, next)
		}},
		{"qkv: out weights has 31 rows, the heads have 32 values", func(c *qkv.LayerConfig) { c.Out.W = newMatrix("rows", 31, 5, next).matrix() }},
		{"qkv: out bias has length 4, out weights has 5 columns", func(c *qkv.LayerConfig) { c.Out.Bias = make([]float32, 4) }},
		{"qkv: out is given, with dim 8, in a configuration; it belongs to a call", func(c *qkv.LayerConfig) { c.Attention.Out = qkv.BSHD(make([]float32, 32), 1, 1, 4, 8) }},
		{"qkv: lse is given, with length 3, in a configuration; it belongs to a call", func(c *qkv.LayerConfig) { c.Attention.LSE = make([]float32, 3) }},
		{"qkv: maxTokens is -1, at least 0 is needed", func(c *qkv.LayerConfig) { c.MaxTokens = -1 }},
	} {
		cfg := p.layerConfig(5, next)
		c.spoil(&cfg)
		if _, err := e.NewLayer(cfg); !errors.As(err, new(*qkv.ArgError)) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}

	cfg := p.layerConfig(5, next)
	cfg.MaxTokens = 8
	l, err := e.NewLayer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := l.Workspace(8), 4*8*(4*8+2*(8+8)); got != want {
		t.Errorf("workspace of %d bytes, want %d", got, want)
	}
	data := make([]float32, 1000)
	for _, c := range []struct {
		want  string
		spoil func(c *qkv.LayerCall)
	}{
		{"qkv: x has 8 rows, not a multiple of batch 3", func(c *qkv.LayerCall) { c.Batch = 3 }},
		{"qkv: x has 8 rows, not a multiple of batch -1", func(c *qkv.LayerCall) { c.Batch = -1 }},
		{"qkv: x has 9 tokens, the layer is made for at most 8", func(c *qkv.LayerCall) { c.X, c.Batch = qkv.RowMajor(data, 9, 6), 1 }},
		{"qkv: x has 7 columns, the weights have 6 rows", func(c *qkv.LayerCall) { c.X = qkv.RowMajor(data, 8, 7) }},
		{"qkv: y has 4 columns, w has 5", func(c *qkv.LayerCall) { c.Y = qkv.RowMajor(data, 8, 4) }},
		{"qkv: y has 7 rows, x has 8", func(c *qkv.LayerCall) { c.Y = qkv.RowMajor(data, 7, 5) }},
		{"qkv: softcap is -1", func(c *qkv.LayerCall) { c.Attention = &qkv.Call{Softcap: -1} }},
		{"qkv: k has sequence length 5, the projection gives 4", func(c *qkv.LayerCall) {
			c.Attention = &qkv.Call{K: qkv.BHSD(data, 2, 2, 5, 8)}
		}},
		{"qkv: out has strides [128 32 8 1], those of [batch, seq, heads, dim] are needed", func(c *qkv.LayerCall) {
			c.Attention = &qkv.Call{Out: qkv.BHSD(data, 2, 4, 4, 8)}
		}},
		{"qkv: out reaches element 255, its slice has 200", func(c *qkv.LayerCall) {
			c.Attention = &qkv.Call{Out: qkv.BSHD(data[:200], 2, 4, 4, 8)}
		}},
		{"qkv: out has elements of type Float16, float32 is needed", func(c *qkv.LayerCall) {
			c.Attention = &qkv.Call{Out: qkv.BSHD(make([]qkv.Float16, 256), 2, 4, 4, 8)}
		}},
	} {
		y := newMatrix("rows", 8, 5, func() float32 { return canary })
		call := qkv.LayerCall{X: newMatrix("rows", 8, 6, next).matrix(), Y: y.matrix(), Batch: 2}
		c.spoil(&call)
		if err := l.Run(&call); !errors.As(err, new(*qkv.ArgError)) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
		if slices.ContainsFunc(append(y.data, data...), func(x float32) bool { return x != canary && x != 0 }) {
			t.Fatalf("%s: something was written", c.want)
		}
	}
}

// TestLayerClaims has an X that claims many tokens by repeating one, for which the layer
// takes no memory.
func TestLayerClaims(t *testing.T) {
	p := projection{1, 4, 6, 4, 2, 8, 8}
	e := newAttention(t, qkv.Config{})
	l, err := e.NewLayer(p.layerConfig(5, normal(19)))
	if err != nil {
		t.Fatal(err)
	}
	const tokens = 1 << 23 // a workspace of 2 GiB
	data := make([]float32, 40)
	x := qkv.StridedMatrix(data, 0, tokens, 6, 0, 1)
	for want, y := range map[string]qkv.Matrix{
		"qkv: y has 8 rows, x has 8388608": qkv.RowMajor(data, 8, 5),
		"qkv: y overlaps itself":           qkv.StridedMatrix(data, 0, tokens, 5, 0, 1),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := l.Forward(y, x)
		runtime.ReadMemStats(&after)
		if !errors.As(err, new(*qkv.ArgError)) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s: %d bytes were allocated before", want, n)
		}
	}
}

// TestLayerRagged has tokens that no sequence has: their outputs are the bias, whatever the
// workspace holds.
func TestLayerRagged(t *testing.T) {
	next := normal(20)
	for _, p := range []projection{{1, 12, 10, 4, 2, 8, 8}, {1, 12, 10, 4, 2, 8, 16}} {
		cfg := p.layerConfig(7, next)
		e := newAttention(t, qkv.Config{})
		l, err := e.NewLayer(cfg)
		if err != nil {
			t.Fatal(err)
		}
		x := newMatrix("rows", p.seq, p.in, next).matrix()
		y := newMatrix("rows", p.seq, 7, func() float32 { return nan })
		if err := l.Forward(y.matrix(), x); err != nil { // fills the workspace
			t.Fatal(err)
		}
		c := qkv.Call{CuLensQ: []int{2, 5, 9}, CuLensKV: []int{0, 3, 12}}
		if err := l.Run(&qkv.LayerCall{X: x, Y: y.matrix(), Attention: &c}); err != nil {
			t.Fatal(err)
		}
		for _, s := range []int{0, 1, 9, 10, 11} {
			sameBits(t, fmt.Sprintf("%+v, token %d", p, s), y.data[s*7:][:7], cfg.Out.Bias)
		}
		c.Out = newTensor("bshd", 1, p.heads, p.seq, p.dimV, func() float32 { return 0 }).view()
		want := make([]float32, len(y.data))
		if err := l.Run(&qkv.LayerCall{X: x, Y: qkv.RowMajor(want, p.seq, 7), Attention: &c}); err != nil {
			t.Fatal(err)
		}
		sameBits(t, fmt.Sprintf("%+v, out given", p), y.data, want)
	}
}

// TestLayerOneHead gives a layer of one head a place for its output in which the stride of
// the heads is that of no head.
func TestLayerOneHead(t *testing.T) {
	p := projection{1, 5, 6, 1, 1, 8, 8}
	next := normal(18)
	e := newAttention(t, qkv.Config{})
	l, err := e.NewLayer(p.layerConfig(7, next))
	if err != nil {
		t.Fatal(err)
	}
	x := newMatrix("rows", p.seq, p.in, next).matrix()
	want, y := make([]float32, p.seq*7), make([]float32, p.seq*7)
	if err := l.Forward(qkv.RowMajor(want, p.seq, 7), x); err != nil {
		t.Fatal(err)
	}
	c := qkv.Call{Mask: qkv.Mask{Causal: true}, Out: qkv.BHSD(make([]float32, p.seq*8), 1, 1, p.seq, 8)}
	if err := l.Run(&qkv.LayerCall{X: x, Y: qkv.RowMajor(y, p.seq, 7), Attention: &c}); err != nil {
		t.Fatal(err)
	}
	sameBits(t, "one head", y, want)
}

func TestLayerAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items under the race detector")
	}
	p := projection{2, 40, 48, 4, 2, 16, 16}
	next := normal(15)
	cfg := p.layerConfig(p.in, next)
	cfg.QNorm, cfg.KNorm = newMatrix("rows", 1, p.dimQK, next).data, newMatrix("rows", 1, p.dimQK, next).data
	var err error
	if cfg.Rotary, err = qkv.NewRotary(qkv.RotaryConfig{Dim: p.dimQK, MaxPositions: p.seq}); err != nil {
		t.Fatal(err)
	}
	for _, workers := range []int{1, 2} {
		e := newAttention(t, qkv.Config{Workers: workers})
		l, err := e.NewLayer(cfg)
		if err != nil {
			t.Fatal(err)
		}
		c := qkv.LayerCall{X: newMatrix("rows", p.batch*p.seq, p.in, next).matrix(), Batch: p.batch}
		c.Y = c.X
		if n := allocsPerCall(20, func() {
			if err := l.Run(&c); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("workers=%d: %v allocations a call", workers, n)
		}
	}
}
