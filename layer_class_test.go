package qkv_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
)

// A classLayer is the weights of a layer of a class, with norms, a rotary embedding and maybe a gate.
type classLayer struct {
	in, out, heads, kvHeads, dim int
	cfg                          qkv.LayerConfig
}

// newClassLayer returns a random layer of a class, of weights of a type.
func newClassLayer(t *testing.T, precision qkv.Precision, typ qkv.WeightType, gated bool) *classLayer {
	l := &classLayer{in: 256, out: 256, heads: 8, kvHeads: 2, dim: 32}
	r, next := rand.New(rand.NewPCG(71, uint64(typ))), normal(uint64(typ))
	linear := func(in, out int) qkv.Linear {
		bias := draw(out, next)
		switch {
		case precision == qkv.PrecisionInt8:
			return qkv.Linear{W: newInt8Weights(r, typ, out, in, 64).T(), Bias: bias}
		case typ == qkv.WeightFloat32:
			w := newMatrix("columns", in, out, next)
			for i := range w.data {
				w.data[i] /= 16
			}
			return qkv.Linear{W: w.matrix(), Bias: bias}
		}
		w := newWeights(r, typ, out, in, 1)
		return qkv.Linear{W: w.T(), Bias: bias}
	}
	width := l.heads * l.dim
	l.cfg = qkv.LayerConfig{
		ProjectionConfig: qkv.ProjectionConfig{
			Q: linear(l.in, width), K: linear(l.in, l.kvHeads*l.dim), V: linear(l.in, l.kvHeads*l.dim),
			Heads: l.heads, KVHeads: l.kvHeads, QNorm: draw(l.dim, next), KNorm: draw(l.dim, next),
			Rotary: newRotary(t, qkv.RotaryConfig{Dim: 16, MaxPositions: 64}), Precision: precision,
		},
		Out:       linear(width, l.out),
		Attention: qkv.Call{Mask: qkv.Mask{Causal: true}},
	}
	if gated {
		l.cfg.Gate = linear(l.in, width)
	}
	return l
}

// byHand computes the layer of one sequence by products of the class and what follows, each by itself. It returns
// queries, keys and values as well.
func (l *classLayer) byHand(e *qkv.Engine, x []float32) (y []float32, parts [3][]float32) {
	tokens, width, cfg := len(x)/l.in, l.heads*l.dim, &l.cfg
	product := func(x []float32, w qkv.Linear, in, out int) []float32 {
		y := make([]float32, tokens*out)
		must(e.MatMul(&qkv.Product{
			X: qkv.RowMajor(x, tokens, in), W: w.W, Bias: w.Bias, Y: qkv.RowMajor(y, tokens, out), Precision: cfg.Precision,
		}))
		return y
	}
	var views [3]qkv.View
	for i, w := range []qkv.Linear{cfg.Q, cfg.K, cfg.V} {
		heads := []int{l.heads, l.kvHeads, l.kvHeads}[i]
		parts[i] = product(x, w, l.in, heads*l.dim)
		views[i] = qkv.BSHD(parts[i], 1, tokens, heads, l.dim)
		if i < 2 {
			rows := qkv.RowMajor(parts[i], tokens*heads, l.dim)
			must(e.RMSNorm(&qkv.Norm{X: rows, Y: rows, Weight: [][]float32{cfg.QNorm, cfg.KNorm}[i]}))
			must(e.Rotate(cfg.Rotary, views[i], nil))
		}
	}
	o := make([]float32, tokens*width)
	call := cfg.Attention
	call.Q, call.K, call.V, call.Out = views[0], views[1], views[2], qkv.BSHD(o, 1, tokens, l.heads, l.dim)
	must(e.Run(&call))
	if cfg.Gate.W.Rows() > 0 {
		for i, g := range product(x, cfg.Gate, l.in, width) {
			o[i] *= sigmoid(g)
		}
	}
	return product(o, cfg.Out, width, l.out), parts
}

// linears returns the weights, and how many heads they are packed as.
func (l *classLayer) linears(c *qkv.LayerConfig) ([]*qkv.Linear, []int) {
	return []*qkv.Linear{&c.Q, &c.K, &c.V, &c.Out, &c.Gate}, []int{l.heads, l.kvHeads, l.kvHeads, 1, 1}
}

// packed returns the configuration with weights that are packed before, in memory of the caller.
func (l *classLayer) packed(e *qkv.Engine) qkv.LayerConfig {
	c := l.cfg
	linears, heads := l.linears(&c)
	for i, w := range linears {
		if w.W.Rows() == 0 {
			continue
		}
		mem := aligned(make([]byte, e.PackedSize(c.Precision, w.W, heads[i])))
		packed, err := e.PackInto(mem, c.Precision, w.W, heads[i])
		must(err)
		w.W, w.Packed = qkv.Matrix{}, packed
	}
	return c
}

// classLayers are the classes, and types of weights of each.
var classLayers = []struct {
	precision qkv.Precision
	types     []qkv.WeightType
}{
	{qkv.PrecisionInt8, []qkv.WeightType{qkv.WeightQ8_0, qkv.WeightQ4_1, qkv.WeightQ4_K, qkv.WeightInt8}},
	{qkv.PrecisionBFloat16, []qkv.WeightType{qkv.WeightFloat32, qkv.WeightQ6_K}},
}

// TestLayerClasses: a layer of a class, over whole sequences and in steps of any number of tokens, has the bits of
// products of the class and what follows, on every set, with any number of workers, with weights packed, packed
// before and in place.
func TestLayerClasses(t *testing.T) {
	t.Parallel()
	const tokens = 21
	for _, class := range classLayers {
		for i, typ := range class.types {
			gated := i%2 == 1
			l := newClassLayer(t, class.precision, typ, gated)
			x := draw(tokens*l.in, normal(72))
			want, parts := l.byHand(newAttention(t, qkv.Config{Kernel: "generic"}), x)
			for j, set := range classSets() {
				for form := range 3 {
					if brief() && form != (i+j)%3 {
						continue
					}
					e := newAttention(t, qkv.Config{Kernel: set, Workers: 1 + form%2})
					cfg := l.cfg
					switch form {
					case 1:
						cfg.InPlace = true
					case 2:
						cfg = l.packed(e)
					}
					what := fmt.Sprintf("%s, %v, %v, form %d", set, class.precision, typ, form)
					layer, err := e.NewLayer(cfg)
					must(err)
					y := make([]float32, tokens*l.out)
					must(layer.Forward(qkv.RowMajor(y, tokens, l.out), qkv.RowMajor(x, tokens, l.in)))
					sameBits(t, what, y, want)

					projection, err := e.NewProjection(cfg.ProjectionConfig)
					must(err)
					var own [3][]float32
					var views [3]qkv.View
					for i, heads := range []int{l.heads, l.kvHeads, l.kvHeads} {
						own[i] = make([]float32, tokens*heads*l.dim)
						views[i] = qkv.BSHD(own[i], 1, tokens, heads, l.dim)
					}
					must(projection.Run(&qkv.ProjectionCall{X: qkv.RowMajor(x, tokens, l.in), Q: views[0], K: views[1], V: views[2]}))
					for i := range own {
						sameBits(t, what+", "+[]string{"q", "k", "v"}[i], own[i], parts[i])
					}
					l.steps(t, what, e, layer, x, want)
				}
			}
		}
	}
}

// steps computes the layer in steps, beside another sequence.
func (l *classLayer) steps(t *testing.T, what string, e *qkv.Engine, layer *qkv.Layer, x, want []float32) {
	t.Helper()
	tokens := len(x) / l.in
	cache := newCache(t, qkv.CacheConfig{
		Layers: []qkv.CacheLayer{{KVHeads: l.kvHeads, DimQK: l.dim, DimV: l.dim}}, Pages: 2 * tokens, PageTokens: 3,
	})
	step, sequence, other := newStep(t, e, cache), cache.NewSequence(), cache.NewSequence()
	for done, n := 0, 1; done < tokens; done, n = done+n, min(1+2*n, tokens-done-n) {
		must(step.Begin([]qkv.StepSequence{{Sequence: other, Tokens: 1}, {Sequence: sequence, Tokens: n}}))
		rows := append(slices.Clone(x[:l.in]), x[done*l.in:][:n*l.in]...)
		y := make([]float32, (1+n)*l.out)
		must(layer.Step(step, 0, qkv.RowMajor(y, 1+n, l.out), qkv.RowMajor(rows, 1+n, l.in)))
		must(step.CommitFirst([]int{0, n}))
		sameBits(t, fmt.Sprintf("%s, %d tokens from %d on", what, n, done), y[l.out:], want[done*l.out:][:n*l.out])
		sameBits(t, what+", the other sequence", y[:l.out], want[:l.out])
	}
}

// TestLayerClassesFloat64: what a layer makes of queries and keys is as far from float64 as the products of the
// class are: Int8 rounds X to a 127th of the largest of 32, and BFloat16 both sides to 8 bits.
func TestLayerClassesFloat64(t *testing.T) {
	const tokens = 5
	for _, class := range classLayers {
		l := newClassLayer(t, class.precision, class.types[0], false)
		l.cfg.QNorm, l.cfg.KNorm, l.cfg.Rotary = nil, nil, nil
		x := draw(tokens*l.in, normal(73))
		e := newAttention(t, qkv.Config{})
		projection, err := e.NewProjection(qkv.ProjectionConfig{V: l.cfg.V, KVHeads: l.kvHeads, Precision: class.precision})
		must(err)
		width := l.kvHeads * l.dim
		v := make([]float32, tokens*width)
		must(projection.Run(&qkv.ProjectionCall{X: qkv.RowMajor(x, tokens, l.in), V: qkv.BSHD(v, 1, tokens, l.kvHeads, l.dim)}))
		w := make([]float32, l.in*width) // [in, width], in float32
		eye := make([]float32, l.in*l.in)
		for i := range l.in {
			eye[i*l.in+i] = 1
		}
		must(e.MatMul(&qkv.Product{X: qkv.RowMajor(eye, l.in, l.in), W: l.cfg.V.W, Y: qkv.RowMajor(w, l.in, width)}))
		for i := range tokens {
			for j := range width {
				exact, bound := float64(l.cfg.V.Bias[j]), 0.0
				for b := 0; b < l.in; b += 32 {
					most := 0.0
					for _, v := range x[i*l.in+b:][:32] {
						most = max(most, math.Abs(float64(v)))
					}
					for k := b; k < b+32; k++ {
						size, weight := math.Abs(float64(x[i*l.in+k])), float64(w[k*width+j])
						exact += float64(x[i*l.in+k]) * weight
						if class.precision == qkv.PrecisionInt8 {
							bound += (most/254 + 0x1p-18*most) * math.Abs(weight)
						} else {
							bound += (0x1.02p-7*size + 0x1p-18*most) * math.Abs(weight)
						}
					}
				}
				bound += 0x1p-22 * math.Abs(float64(l.cfg.V.Bias[j]))
				if off := math.Abs(float64(v[i*width+j]) - exact); !(off <= bound) {
					t.Fatalf("%v: element (%d, %d) is %g, want %g: off by %g, at most %g", class.precision, i, j, v[i*width+j], exact, off, bound)
				}
			}
		}
	}
}

// TestLayerClassesErrors: weights that the class does not multiply, weights that are packed for another, and a class
// that there is not.
func TestLayerClassesErrors(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	l := newClassLayer(t, qkv.PrecisionInt8, qkv.WeightQ8_0, true)
	names := []string{"q", "k", "v", "out", "gate"}
	for i, name := range names {
		for _, inPlace := range []bool{false, true} {
			c := l.cfg
			c.InPlace = inPlace
			linears, heads := l.linears(&c)
			w := linears[i].W
			linears[i].W = qkv.RowMajor(make([]float32, w.Rows()*w.Cols()), w.Cols(), w.Rows()).T()
			_, err := e.NewLayer(c)
			isArgError(t, name, err, name+" weights is of type float32, which class Int8 does not multiply")

			packed, err := e.PackHeads(w, heads[i])
			must(err)
			linears[i].W, linears[i].Packed = qkv.Matrix{}, packed
			_, err = e.NewLayer(c)
			isArgError(t, name, err, name+" weights is packed for class Float32, the product is of class Int8")

			before := l.packed(e)
			packedFor, _ := l.linears(&before)
			c = l.cfg
			c.Precision = qkv.PrecisionFloat32
			linears, _ = l.linears(&c)
			*linears[i] = *packedFor[i]
			_, err = e.NewLayer(c)
			isArgError(t, name, err, name+" weights is packed for class Int8, the product is of class Float32")
		}
	}
	c := l.cfg
	c.Precision = 9
	_, err := e.NewLayer(c)
	isArgError(t, "a class", err, "precision is the unknown class Precision(9)")
	_, err = e.NewProjection(c.ProjectionConfig)
	isArgError(t, "a class", err, "precision is the unknown class Precision(9)")
}

// TestAllocsLayerClasses: layers of a class allocate nothing in steady state.
func TestAllocsLayerClasses(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items under the race detector")
	}
	const tokens = 9
	for _, class := range classLayers {
		l := newClassLayer(t, class.precision, class.types[1], true)
		x, y := draw(tokens*l.in, normal(1)), make([]float32, tokens*l.out)
		for _, workers := range []int{1, 2} {
			e := newAttention(t, qkv.Config{Workers: workers})
			for _, l.cfg.InPlace = range []bool{false, true} {
				layer, err := e.NewLayer(l.cfg)
				must(err)
				cache := newCache(t, qkv.CacheConfig{Layers: []qkv.CacheLayer{{KVHeads: l.kvHeads, DimQK: l.dim, DimV: l.dim}}, Pages: 4, PageTokens: 16})
				step := newStep(t, e, cache)
				steps := []qkv.StepSequence{{Sequence: cache.NewSequence(), Tokens: 1}}
				if n := allocsPerCall(20, func() {
					must(layer.Forward(qkv.RowMajor(y, tokens, l.out), qkv.RowMajor(x, tokens, l.in)))
					must(step.Begin(steps))
					must(layer.Step(step, 0, qkv.RowMajor(y[:l.out], 1, l.out), qkv.RowMajor(x[:l.in], 1, l.in)))
					must(step.Rollback())
				}); n != 0 {
					t.Errorf("%v, %d workers, in place %v: %v allocations", class.precision, workers, l.cfg.InPlace, n)
				}
			}
		}
	}
}
