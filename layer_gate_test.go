package qkv_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
)

// temperature is a scale of queries that grows from position 3 on, as Llama 4 has it from 8,192 on.
func temperature(position int) float32 {
	return float32(math.Log(math.Floor(float64(position+1)/4)+1)*0.1 + 1)
}

// times returns x W + bias in float64.
func times(x [][]float64, l qkv.Linear, m *matrix) (y [][]float64) {
	for _, row := range x {
		out := make([]float64, m.cols)
		for c := range out {
			if l.Bias != nil {
				out[c] = float64(l.Bias[c])
			}
			for i, v := range row {
				out[c] += v * float64(*m.at(i, c))
			}
		}
		y = append(y, out)
	}
	return y
}

// TestLayerGateAndScale holds layers with a scale of queries, with a gate and with both against float64, over
// whole sequences and in steps, on every set, with weights packed and in place.
func TestLayerGateAndScale(t *testing.T) {
	const tokens, in, width, heads, kvHeads, dimQK, dimV = 21, 24, 10, 4, 2, 8, 12
	next := normal(61)
	weights := func(in, out int) (*matrix, qkv.Linear) {
		m := newMatrix("columns", in, out, next)
		for i := range m.data {
			m.data[i] /= 4
		}
		return m, qkv.Linear{W: m.matrix(), Bias: draw(out, next)}
	}
	wq, q := weights(in, heads*dimQK)
	wk, k := weights(in, kvHeads*dimQK)
	wv, v := weights(in, kvHeads*dimV)
	wg, gate := weights(in, heads*dimV)
	wo, out := weights(heads*dimV, width)
	gate.Bias[3], gate.Bias[4] = -100, 100 // shut, and open
	x := newMatrix("rows", tokens, in, next)
	rows := make([][]float64, tokens)
	for i := range rows {
		for j := range in {
			rows[i] = append(rows[i], float64(*x.at(i, j)))
		}
	}
	for _, c := range []struct{ scaled, gated bool }{{true, false}, {false, true}, {true, true}} {
		queries, keys, values, gates := times(rows, q, wq), times(rows, k, wk), times(rows, v, wv), times(rows, gate, wg)
		attended := make([][]float64, tokens)
		for i := range attended {
			attended[i] = make([]float64, heads*dimV)
			for h := range heads {
				of, sum := h*kvHeads/heads, 0.0
				for j := range i + 1 {
					score := 0.0
					for d := range dimQK {
						score += queries[i][h*dimQK+d] * keys[j][of*dimQK+d]
					}
					if c.scaled {
						score *= float64(temperature(i))
					}
					weight := math.Exp(score / math.Sqrt(dimQK))
					sum += weight
					for d := range dimV {
						attended[i][h*dimV+d] += weight * values[j][of*dimV+d]
					}
				}
				for d := range dimV {
					a := &attended[i][h*dimV+d]
					if *a /= sum; c.gated {
						*a /= 1 + math.Exp(-gates[i][h*dimV+d])
					}
				}
			}
		}
		want := times(attended, out, wo)
		var first []float32
		forEachSet(t, func(t *testing.T, e *qkv.Engine) {
			for _, inPlace := range []bool{false, true} {
				cfg := qkv.LayerConfig{
					ProjectionConfig: qkv.ProjectionConfig{Q: q, K: k, V: v, Heads: heads, KVHeads: kvHeads, InPlace: inPlace},
					Out:              out, Attention: qkv.Call{Mask: qkv.Mask{Causal: true}},
				}
				if c.scaled {
					cfg.QueryScale = temperature
				}
				if c.gated {
					cfg.Gate = gate
				}
				layer, err := e.NewLayer(cfg)
				must(err)
				y := make([]float32, tokens*width)
				must(layer.Forward(qkv.RowMajor(y, tokens, width), x.matrix()))
				for i, got := range y {
					if w := want[i/width][i%width]; !(math.Abs(float64(got)-w) <= 2e-5*(1+math.Abs(w))) {
						t.Fatalf("%+v, in place %v: element %d is %v, want %v", c, inPlace, i, got, w)
					}
				}
				if first == nil {
					first = slices.Clone(y)
				}
				sameBits(t, fmt.Sprintf("%+v, in place %v", c, inPlace), y, first)

				// A third of the tokens each, as three sequences of a batch and one by one.
				const part = tokens / 3
				batch, alone := make([]float32, tokens*width), make([]float32, tokens*width)
				must(layer.Run(&qkv.LayerCall{X: x.matrix(), Y: qkv.RowMajor(batch, tokens, width), Batch: 3}))
				for b := range 3 {
					must(layer.Forward(qkv.RowMajor(alone[b*part*width:], part, width), qkv.RowMajor(x.data[b*part*in:], part, in)))
				}
				sameBits(t, fmt.Sprintf("%+v, in place %v, a batch", c, inPlace), batch, alone)

				l := qkv.CacheLayer{KVHeads: kvHeads, DimQK: dimQK, DimV: dimV}
				cache := newCache(t, qkv.CacheConfig{Layers: []qkv.CacheLayer{l}, Pages: 2 * tokens, PageTokens: 3})
				step, sequence, other := newStep(t, e, cache), cache.NewSequence(), cache.NewSequence()
				for done, n := 0, 7; done < tokens; done, n = done+n, min(1+n%4, tokens-done-n) {
					// Another sequence is behind by as much as it pleases.
					must(step.Begin([]qkv.StepSequence{{Sequence: other, Tokens: 1}, {Sequence: sequence, Tokens: n}}))
					in2 := append(slices.Clone(x.data[:in]), x.data[done*in:][:n*in]...)
					got := make([]float32, (1+n)*width)
					must(layer.Step(step, 0, qkv.RowMajor(got, 1+n, width), qkv.RowMajor(in2, 1+n, in)))
					must(step.CommitFirst([]int{0, n}))
					sameBits(t, fmt.Sprintf("%+v, tokens from %d on", c, done), got[width:], first[done*width:][:n*width])
					sameBits(t, "the other sequence", got[:width], first[:width])
				}
			}
		})
	}
}

// TestQueryScale: queries are multiplied by what the scale is at their positions, after the norm and the
// rotation, keys are not, and it is called once for each token.
func TestQueryScale(t *testing.T) {
	next := normal(62)
	for _, p := range []projection{{1, 9, 12, 3, 1, 16, 8}, {3, 4, 7, 2, 2, 10, 10}} {
		cfg := p.config(next)
		rotary, err := qkv.NewRotary(qkv.RotaryConfig{Dim: 10, MaxPositions: 50})
		must(err)
		cfg.Rotary, cfg.QNorm = rotary, draw(p.dimQK, next)
		x := newMatrix("rows", p.batch*p.seq, p.in, next).matrix()
		own := draw(p.batch*p.seq, func() int { return 1 + int(20*math.Abs(float64(next())))%49 })
		forEachSet(t, func(t *testing.T, e *qkv.Engine) {
			for _, positions := range [][]int{nil, own[:p.seq], own} {
				calls := 0
				scaled := cfg
				scaled.QueryScale = func(position int) float32 {
					calls++
					return temperature(position)
				}
				var out [2][]*tensor
				for i, cfg := range []qkv.ProjectionConfig{cfg, scaled} {
					pr, err := e.NewProjection(cfg)
					must(err)
					out[i] = p.tensors([]string{"bshd", "bhds"}[i])
					must(pr.Run(&qkv.ProjectionCall{X: x, Q: out[i][0].view(), K: out[i][1].view(), V: out[i][2].view(), Positions: positions}))
				}
				want := len(positions)
				if want == 0 {
					want = p.seq
				}
				if calls != want {
					t.Errorf("%d calls for %d positions", calls, want)
				}
				for b := range p.batch {
					for s := range p.seq {
						position := s
						if positions != nil {
							position = positions[(b*p.seq+s)%len(positions)]
						}
						for h := range p.heads {
							for d := range p.dimQK {
								got, want := out[1][0].at(b, h, s, d), float32(float64(out[0][0].at(b, h, s, d))*float64(temperature(position)))
								if got != want {
									t.Fatalf("query %d of head %d at %d of %d is %v, want %v", d, h, s, b, got, want)
								}
							}
						}
					}
				}
				sameBits(t, "keys", out[1][1].values(), out[0][1].values())
				sameBits(t, "values", out[1][2].values(), out[0][2].values())
			}
		})
	}
	cfg := projections[1].config(next)
	cfg.QueryScale = temperature
	pr, err := newAttention(t, qkv.Config{}).NewProjection(cfg)
	must(err)
	p := projections[1]
	out := p.tensors("bshd")
	isArgError(t, "positions", pr.Run(&qkv.ProjectionCall{
		X: newMatrix("rows", p.seq, p.in, next).matrix(), Q: out[0].view(), K: out[1].view(), V: out[2].view(), Positions: make([]int, 3),
	}), "positions has length 3, x has sequence length 37 and batch 1")
}

// TestQueryScaleChanges: a scale of queries that changes its call, or panics, changes no other result, and
// leaves a step as it was.
func TestQueryScaleChanges(t *testing.T) {
	const tokens, in, heads, dim = 5, 6, 2, 8
	next := normal(65)
	p := projection{1, tokens, in, heads, heads, dim, dim}
	rotary, err := qkv.NewRotary(qkv.RotaryConfig{Dim: dim, MaxPositions: 2 * tokens})
	must(err)
	change := func(int) {}
	cfg := p.layerConfig(in, next)
	cfg.Rotary, cfg.QueryScale = rotary, func(position int) float32 {
		change(position)
		return temperature(position)
	}
	e := newAttention(t, qkv.Config{})
	projection, err := e.NewProjection(cfg.ProjectionConfig)
	must(err)
	layer, err := e.NewLayer(cfg)
	must(err)
	x := newMatrix("rows", tokens, in, next).matrix()
	var got [2][]*tensor
	for i := range got {
		positions := []int{2, 3, 4, 5, 6}
		got[i] = p.tensors("bshd")
		c := &qkv.ProjectionCall{X: x, Q: got[i][0].view(), K: got[i][1].view(), V: got[i][2].view(), Positions: positions}
		if i == 1 {
			change = func(int) {
				copy(positions, []int{7, 8, 9, 10, 11}) // the last two have no place in the tables
				c.X, c.Q, c.K, c.V = qkv.Matrix{}, qkv.View{}, qkv.View{}, qkv.View{}
			}
		}
		must(projection.Run(c))
	}
	for i, name := range []string{"q", "k", "v"} {
		sameBits(t, name, got[1][i].data, got[0][i].data)
	}

	change = func(int) {}
	want, y := make([]float32, tokens*in), make([]float32, tokens*in)
	must(layer.Forward(qkv.RowMajor(want, tokens, in), x))
	to := qkv.RowMajor(y, tokens, in)
	cache := newCache(t, qkv.CacheConfig{Layers: []qkv.CacheLayer{{KVHeads: heads, DimQK: dim, DimV: dim}}, Pages: 2, PageTokens: 4})
	step, s := newStep(t, e, cache), cache.NewSequence()
	must(step.Begin([]qkv.StepSequence{{Sequence: s, Tokens: tokens}}))
	change = func(position int) {
		if position == tokens-1 {
			panic("no scale")
		}
	}
	q := newTensor("bshd", 1, heads, tokens, dim, nil)
	panics(t, "no scale", func() { layer.Forward(to, x) })
	panics(t, "no scale", func() { layer.Step(step, 0, to, x) })
	panics(t, "no scale", func() { projection.Step(step, 0, q.view(), x) })
	if !allZero(y) {
		t.Error("y was written")
	}
	change = func(int) {
		if err := layer.Step(step, 0, to, x); !errors.Is(err, qkv.ErrBusy) {
			t.Errorf("a step in its own callback: %v", err)
		}
	}
	must(layer.Step(step, 0, to, x))
	must(step.Commit())
	sameBits(t, "a step", y, want)
}
