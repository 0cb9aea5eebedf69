package qkv_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

// A projection is the sizes of queries, keys and values made of rows.
type projection struct {
	batch, seq, in, heads, kvHeads, dimQK, dimV int
}

var projections = []projection{
	{1, 1, 1, 1, 1, 1, 1},
	{1, 37, 48, 3, 3, 16, 16},
	{2, 5, 33, 4, 2, 80, 48},
	{3, 1, 300, 6, 2, 64, 64},
	{1, 130, 70, 2, 1, 17, 33},
	{5, 3, 20, 2, 2, 128, 8},
}

// linear returns weights of so many columns and a bias, random, the weights stored [out, in].
func (p projection) linear(cols int, next func() float32) qkv.Linear {
	return qkv.Linear{W: newMatrix("columns", p.in, cols, next).matrix(), Bias: newMatrix("rows", 1, cols, next).data}
}

func (p projection) config(next func() float32) qkv.ProjectionConfig {
	return qkv.ProjectionConfig{
		Q:     p.linear(p.heads*p.dimQK, next),
		K:     p.linear(p.kvHeads*p.dimQK, next),
		V:     p.linear(p.kvHeads*p.dimV, next),
		Heads: p.heads, KVHeads: p.kvHeads,
	}
}

// tensors returns room for q, k and v.
func (p projection) tensors(layout string) []*tensor {
	return []*tensor{
		newTensor(layout, p.batch, p.heads, p.seq, p.dimQK, nil),
		newTensor(layout, p.batch, p.kvHeads, p.seq, p.dimQK, nil),
		newTensor(layout, p.batch, p.kvHeads, p.seq, p.dimV, nil),
	}
}

// split fails unless a tensor has the elements of the product of x with weights, token by
// token, bit for bit.
func (p projection) split(t *testing.T, e *qkv.Engine, what string, x qkv.Matrix, l qkv.Linear, got *tensor) {
	t.Helper()
	heads, dim := got.shape[1], got.shape[3]
	y := make([]float32, p.batch*p.seq*heads*dim)
	if err := e.MatMul(&qkv.Product{X: x, W: l.W, Bias: l.Bias, Y: qkv.RowMajor(y, p.batch*p.seq, heads*dim)}); err != nil {
		t.Fatal(err)
	}
	have := make([]float32, 0, len(y))
	for b := range p.batch {
		for s := range p.seq {
			for h := range heads {
				for d := range dim {
					have = append(have, got.at(b, h, s, d))
				}
			}
		}
	}
	sameBits(t, what, have, y)
	checkGaps(t, got)
}

// TestProjection compares queries, keys and values with a product for each, bit for bit,
// in every layout, on every set, with weights packed and in place.
func TestProjection(t *testing.T) {
	t.Parallel()
	next := normal(7)
	for _, p := range projections {
		cfg := p.config(next)
		x := newMatrix("padded", p.batch*p.seq, p.in, next).matrix()
		for _, set := range sets() {
			for _, workers := range []int{1, 2} {
				e := newAttention(t, qkv.Config{Kernel: set, Workers: workers})
				for _, cfg.InPlace = range []bool{false, true} {
					pr, err := e.NewProjection(cfg)
					if err != nil {
						t.Fatal(err)
					}
					for _, layout := range layouts {
						if layout == "broadcast" {
							continue // cannot be written
						}
						out := p.tensors(layout)
						if err := pr.Run(&qkv.ProjectionCall{X: x, Q: out[0].view(), K: out[1].view(), V: out[2].view()}); err != nil {
							t.Fatal(err)
						}
						for i, l := range []qkv.Linear{cfg.Q, cfg.K, cfg.V} {
							p.split(t, e, fmt.Sprintf("kernel=%s workers=%d %+v in place %v %s, part %d", set, workers, p, cfg.InPlace, layout, i), x, l, out[i])
						}
					}
				}
			}
		}
	}
}

// TestProjectionParts leaves parts out, as cross-attention does: queries of one sequence,
// keys and values of another.
func TestProjectionParts(t *testing.T) {
	p := projection{2, 9, 40, 4, 2, 16, 24}
	next := normal(8)
	cfg := p.config(next)
	x := newMatrix("rows", p.batch*p.seq, p.in, next).matrix()
	e := newAttention(t, qkv.Config{})
	q, err := e.NewProjection(qkv.ProjectionConfig{Q: cfg.Q, Heads: p.heads})
	if err != nil {
		t.Fatal(err)
	}
	kv, err := e.NewProjection(qkv.ProjectionConfig{K: cfg.K, V: cfg.V, KVHeads: p.kvHeads})
	if err != nil {
		t.Fatal(err)
	}
	out := p.tensors("bhsd")
	if err := q.Run(&qkv.ProjectionCall{X: x, Q: out[0].view()}); err != nil {
		t.Fatal(err)
	}
	if err := kv.Run(&qkv.ProjectionCall{X: x, K: out[1].view(), V: out[2].view()}); err != nil {
		t.Fatal(err)
	}
	for i, l := range []qkv.Linear{cfg.Q, cfg.K, cfg.V} {
		p.split(t, e, "parts", x, l, out[i])
	}
	err = q.Run(&qkv.ProjectionCall{X: x, Q: out[0].view(), V: out[2].view()})
	if want := "qkv: v is given, with head dim 24, and the projection has no weights for it"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestProjectionCache writes keys and values behind those of earlier tokens.
func TestProjectionCache(t *testing.T) {
	p := projection{2, 3, 24, 2, 2, 16, 16}
	next := normal(9)
	cfg := p.config(next)
	e := newAttention(t, qkv.Config{})
	pr, err := e.NewProjection(cfg)
	if err != nil {
		t.Fatal(err)
	}
	const capacity, past = 10, 4
	keys := slices.Repeat([]float32{canary}, p.batch*p.kvHeads*capacity*p.dimQK)
	stride := [4]int{p.kvHeads * capacity * p.dimQK, capacity * p.dimQK, p.dimQK, 1}
	k := qkv.Strided(keys, past*p.dimQK, [4]int{p.batch, p.kvHeads, p.seq, p.dimQK}, stride)
	x := newMatrix("rows", p.batch*p.seq, p.in, next).matrix()
	out := p.tensors("bhsd")
	if err := pr.Run(&qkv.ProjectionCall{X: x, Q: out[0].view(), K: k, V: out[2].view()}); err != nil {
		t.Fatal(err)
	}
	cache := &tensor{data: keys, shape: [4]int{p.batch, p.kvHeads, capacity, p.dimQK}, stride: stride}
	for b := range p.batch {
		for h := range p.kvHeads {
			for s := range capacity {
				for d := range p.dimQK {
					if got := cache.at(b, h, s, d) == canary; got != (s < past || s >= past+p.seq) {
						t.Fatalf("token %d of the cache: untouched %v", s, got)
					}
				}
			}
		}
	}
}

// TestProjectionBackwards: heads in the opposite order in memory, whose last is where an array begins and whose first is where
// it ends, have the bits of heads in their order, by weights packed in their type.
func TestProjectionBackwards(t *testing.T) {
	e := newAttention(t, qkv.Config{Workers: 1})
	const heads, in = 4, 96
	for _, dim := range []int{32, 64, 80, 128} {
		data := make([]byte, 2*heads*dim*in)
		for i := range data {
			data[i] = byte(i*i>>7) & 0x3f // no infinity and no NaN
		}
		w := qkv.WeightMatrix(qkv.WeightFloat16, data, heads*dim, in).T()
		packed, err := e.PackHeads(w, heads)
		if err != nil {
			t.Fatal(err)
		}
		p, err := e.NewProjection(qkv.ProjectionConfig{Q: qkv.Linear{Packed: packed}, K: qkv.Linear{W: w}, V: qkv.Linear{W: w}, Heads: heads, KVHeads: heads})
		if err != nil {
			t.Fatal(err)
		}
		x := make([]float32, in)
		for i := range x {
			x[i] = float32(i%7) - 3
		}
		run := func(q []float32, first, headStride int) {
			room := func() qkv.View { return qkv.BSHD(make([]float32, heads*dim), 1, 1, heads, dim) }
			c := qkv.ProjectionCall{X: qkv.RowMajor(x, 1, in), K: room(), V: room()}
			c.Q = qkv.Strided(q, first, [4]int{1, heads, 1, dim}, [4]int{0, headStride, 0, 1})
			if err := p.Run(&c); err != nil {
				t.Fatal(err)
			}
		}
		forwards, backwards := make([]float32, heads*dim), make([]float32, heads*dim)
		run(forwards, 0, dim)
		run(backwards, (heads-1)*dim, -dim)
		for h := range heads {
			sameBits(t, fmt.Sprintf("dim %d, head %d", dim, h), backwards[(heads-1-h)*dim:][:dim], forwards[h*dim:][:dim])
		}
	}
}

func TestProjectionErrors(t *testing.T) {
	next := normal(10)
	p := projection{2, 4, 6, 4, 2, 8, 8}
	e := newAttention(t, qkv.Config{})
	weights := func(rows, cols int) qkv.Linear {
		return qkv.Linear{W: newMatrix("rows", rows, cols, next).matrix()}
	}
	for _, c := range []struct {
		want  string
		spoil func(c *qkv.ProjectionConfig)
	}{
		{"qkv: the projection has 0 matrices of weights, at least 1 is needed", func(c *qkv.ProjectionConfig) { *c = qkv.ProjectionConfig{Heads: 4} }},
		{"qkv: q weights has 32 columns, not a multiple of 5 heads", func(c *qkv.ProjectionConfig) { c.Heads = 5 }},
		{"qkv: q weights has 32 columns for 0 heads, at least 1 is needed", func(c *qkv.ProjectionConfig) { c.Heads = 0 }},
		{"qkv: k weights has 16 columns for -2 heads, at least 1 is needed", func(c *qkv.ProjectionConfig) { c.KVHeads = -2 }},
		{"qkv: k weights has 16 rows, q weights has 6: weights stored [out, in] are given as W.T()", func(c *qkv.ProjectionConfig) { c.K = weights(16, 6) }},
		{"qkv: v weights has 7 rows, q weights has 6", func(c *qkv.ProjectionConfig) { c.V = weights(7, 16) }},
		{"qkv: k bias has length 3, k weights has 16 columns", func(c *qkv.ProjectionConfig) { c.K.Bias = make([]float32, 3) }},
		{"qkv: v weights has 0 columns, at least 1 is needed", func(c *qkv.ProjectionConfig) { c.V.W = qkv.RowMajor(nil, 6, 0) }},
		{"qkv: q weights reaches element", func(c *qkv.ProjectionConfig) { c.Q.W = qkv.RowMajor(make([]float32, 10), 6, 32) }},
		{"qkv: q weights has head dim 16388, at most 16384 is supported", func(c *qkv.ProjectionConfig) {
			c.Q.W = qkv.RowMajor(make([]float32, 6*4*16388), 6, 4*16388)
		}},
		{"qkv: q weights has 192 elements, its slice has 1", func(c *qkv.ProjectionConfig) {
			c.Q.W = qkv.StridedMatrix(make([]float32, 1), 0, 6, 32, 0, 0)
		}},
	} {
		cfg := p.config(next)
		c.spoil(&cfg)
		_, err := e.NewProjection(cfg)
		if !errors.As(err, new(*qkv.ArgError)) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}

	pr, err := e.NewProjection(p.config(next))
	if err != nil {
		t.Fatal(err)
	}
	x := newMatrix("rows", p.batch*p.seq, p.in, next).matrix()
	for _, c := range []struct {
		want  string
		spoil func(c *qkv.ProjectionCall)
	}{
		{"qkv: x has 5 columns, the weights have 6 rows", func(c *qkv.ProjectionCall) { c.X = qkv.RowMajor(make([]float32, 40), 8, 5) }},
		{"qkv: q has 8 tokens (batch 2, sequence length 4), x has 7 rows", func(c *qkv.ProjectionCall) { c.X = x.Slice(0, 7) }},
		{"qkv: k has heads 1, the projection gives 2", func(c *qkv.ProjectionCall) { c.K = qkv.BHSD(make([]float32, 64), 2, 1, 4, 8) }},
		{"qkv: v has sequence length 3, the projection gives 4", func(c *qkv.ProjectionCall) { c.V = qkv.BHSD(make([]float32, 96), 2, 2, 3, 8) }},
		{"qkv: k is not given", func(c *qkv.ProjectionCall) { c.K = qkv.View{} }},
		{"qkv: v and k share elements", func(c *qkv.ProjectionCall) { c.V = c.K }},
		{"qkv: q overlaps itself", func(c *qkv.ProjectionCall) {
			c.Q = qkv.Strided(make([]float32, 64), 0, [4]int{2, 4, 4, 8}, [4]int{0, 0, 8, 1})
		}},
		{"qkv: v has elements of type Float16, float32 is needed", func(c *qkv.ProjectionCall) { c.V = qkv.BHSD(make([]qkv.Float16, 128), 2, 2, 4, 8) }},
		{"qkv: v reaches element 127, its slice has 100", func(c *qkv.ProjectionCall) { c.V = qkv.BHSD(make([]float32, 100), 2, 2, 4, 8) }},
	} {
		out := p.tensors("bhsd")
		call := qkv.ProjectionCall{X: x, Q: out[0].view(), K: out[1].view(), V: out[2].view()}
		c.spoil(&call)
		err := pr.Run(&call)
		if !errors.As(err, new(*qkv.ArgError)) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
		for _, o := range out {
			if slices.ContainsFunc(o.data, func(x float32) bool { return x != canary }) {
				t.Fatalf("%s: something was written", c.want)
			}
		}
	}
}

// TestProjectionFinish normalises and rotates queries and keys on the way: rotation alone
// has the bits of Engine.Rotate, and both are near to float64, in every layout, with the
// same bits on every set.
func TestProjectionFinish(t *testing.T) {
	next := normal(16)
	for _, p := range []projection{{1, 37, 48, 3, 3, 16, 16}, {2, 5, 33, 4, 2, 80, 48}, {3, 1, 30, 6, 2, 65, 64}, {1, 300, 20, 1, 1, 12, 5}} {
		cfg := p.config(next)
		x := newMatrix("rows", p.batch*p.seq, p.in, next).matrix()
		rotary, err := qkv.NewRotary(qkv.RotaryConfig{Dim: 10, MaxPositions: 1000})
		if err != nil {
			t.Fatal(err)
		}
		qNorm, kNorm := newMatrix("rows", 1, p.dimQK, next).data, newMatrix("rows", 1, p.dimQK, next).data
		own := make([]int, p.batch*p.seq)
		for i := range own {
			own[i] = (i*i*7 + 3) % 1000
		}
		for _, positions := range [][]int{nil, own[:p.seq], own} {
			var rotated, both [3][]float32
			forEachSet(t, func(t *testing.T, e *qkv.Engine) {
				run := func(cfg qkv.ProjectionConfig, layout string) []*tensor {
					pr, err := e.NewProjection(cfg)
					if err != nil {
						t.Fatal(err)
					}
					out := p.tensors(layout)
					c := qkv.ProjectionCall{X: x, Q: out[0].view(), K: out[1].view(), V: out[2].view()}
					if cfg.Rotary != nil {
						c.Positions = positions
					}
					if err := pr.Run(&c); err != nil {
						t.Fatal(err)
					}
					for _, o := range out {
						checkGaps(t, o)
					}
					return out
				}
				plain := run(cfg, "bhsd")
				for _, layout := range []string{"bshd", "bhsd", "bhds", "gaps", "reversed"} {
					withRotary, withBoth := cfg, cfg
					withRotary.Rotary, withBoth.Rotary = rotary, rotary
					withBoth.QNorm, withBoth.KNorm, withBoth.NormEps = qNorm, kNorm, 1e-5
					got, gotBoth := run(withRotary, layout), run(withBoth, layout)
					if rotated[0] == nil {
						for i, o := range run(cfg, "bhsd") {
							if i < 2 {
								if err := e.Rotate(rotary, o.view(), positions); err != nil {
									t.Fatal(err)
								}
							}
							rotated[i] = o.values()
						}
						for i, o := range gotBoth {
							both[i] = o.values()
						}
					}
					for i := range got {
						what := fmt.Sprintf("%+v %s part %d", p, layout, i)
						sameBits(t, what+" rotated", got[i].values(), rotated[i])
						sameBits(t, what+" normalised and rotated", gotBoth[i].values(), both[i])
					}
				}
				for i, norm := range [][]float32{qNorm, kNorm} {
					cos, sin := rotary.Tables()
					o := plain[i]
					at := 0
					for b := range p.batch {
						for h := range o.shape[1] {
							for s := range p.seq {
								square := 0.0
								for d := range p.dimQK {
									square += float64(o.at(b, h, s, d)) * float64(o.at(b, h, s, d))
								}
								root := math.Sqrt(square/float64(p.dimQK) + 1e-5)
								y := make([]float64, p.dimQK)
								for d := range y {
									y[d] = float64(o.at(b, h, s, d)) / root * float64(norm[d])
								}
								position := s
								if len(positions) == p.seq {
									position = positions[s]
								} else if positions != nil {
									position = positions[b*p.seq+s]
								}
								for j := range 5 {
									c, sn := float64(cos[position*5+j]), float64(sin[position*5+j])
									y[j], y[j+5] = y[j]*c-y[j+5]*sn, y[j+5]*c+y[j]*sn
								}
								for d := range y {
									if got := float64(both[i][at]); math.Abs(got-y[d]) > 2e-6*(1+math.Abs(y[d]))*3 {
										t.Fatalf("%+v part %d [%d,%d,%d,%d]: %g, want %g", p, i, b, h, s, d, got, y[d])
									}
									at++
								}
							}
						}
					}
				}
			})
		}
	}
}

func TestProjectionFinishErrors(t *testing.T) {
	p := projection{2, 4, 6, 4, 2, 8, 6}
	next := normal(17)
	e := newAttention(t, qkv.Config{})
	rotary := func(dim, positions int) *qkv.Rotary {
		r, err := qkv.NewRotary(qkv.RotaryConfig{Dim: dim, MaxPositions: positions})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, c := range []struct {
		want  string
		spoil func(c *qkv.ProjectionConfig)
	}{
		{"qkv: q has head dim 8, the rotary embedding has 10", func(c *qkv.ProjectionConfig) { c.Rotary = rotary(10, 9) }},
		{"qkv: rotary is empty, one of NewRotary is needed", func(c *qkv.ProjectionConfig) { c.Rotary = new(qkv.Rotary) }},
		{"qkv: q norm has length 7, q has head dim 8", func(c *qkv.ProjectionConfig) { c.QNorm = make([]float32, 7) }},
		{"qkv: k norm has length 0, k has head dim 8", func(c *qkv.ProjectionConfig) { c.KNorm = []float32{} }},
		{"qkv: normEps is -1, a positive finite number is needed, or 0", func(c *qkv.ProjectionConfig) { c.NormEps = -1 }},
		{"qkv: normEps is 1e-39, 0 or at least 2.3509887e-38 is needed", func(c *qkv.ProjectionConfig) { c.NormEps = 1e-39 }},
		{"qkv: normEps is NaN, a positive finite number is needed, or 0", func(c *qkv.ProjectionConfig) { c.NormEps = nan }},
	} {
		cfg := p.config(next)
		c.spoil(&cfg)
		if _, err := e.NewProjection(cfg); !errors.As(err, new(*qkv.ArgError)) || err.Error() != c.want {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	x := newMatrix("rows", p.batch*p.seq, p.in, next).matrix()
	for _, c := range []struct {
		want      string
		rotary    *qkv.Rotary
		positions []int
	}{
		{"qkv: positions has length 4, and the projection has neither a rotary embedding nor a query scale", nil, make([]int, 4)},
		{"qkv: x has sequence length 4, the rotary embedding has 3 positions", rotary(8, 3), nil},
		{"qkv: positions has length 3, x has sequence length 4 and batch 2", rotary(8, 9), make([]int, 3)},
		{"qkv: positions[2] is 9, the rotary embedding has 9 positions", rotary(8, 9), []int{0, 8, 9, 3}},
		{"qkv: positions[7] is -1, the rotary embedding has 9 positions", rotary(8, 9), []int{0, 8, 1, 3, 4, 5, 6, -1}},
	} {
		cfg := p.config(next)
		cfg.Rotary = c.rotary
		pr, err := e.NewProjection(cfg)
		if err != nil {
			t.Fatal(err)
		}
		out := p.tensors("bhsd")
		err = pr.Run(&qkv.ProjectionCall{X: x, Q: out[0].view(), K: out[1].view(), V: out[2].view(), Positions: c.positions})
		if !errors.As(err, new(*qkv.ArgError)) || err.Error() != c.want {
			t.Errorf("error %v, want %q", err, c.want)
		}
		for _, o := range out {
			if slices.ContainsFunc(o.data, func(x float32) bool { return x != canary }) {
				t.Fatalf("%s: something was written", c.want)
			}
		}
	}
}
