package qkv_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
)

// fusedTypes are the types of weights that sets in machine code multiply by as they decode them.
var fusedTypes = []qkv.WeightType{
	qkv.WeightQ8_0, qkv.WeightQ4_0, qkv.WeightQ4_1, qkv.WeightQ5_0, qkv.WeightQ5_1,
	qkv.WeightQ4_K, qkv.WeightIQ4_NL, qkv.WeightMXFP4,
}

// fuses reports whether one row goes by path fused through a vector or more of weights of a type, of so many
// inputs, the first of which is that number of a row.
func fuses(e *qkv.Engine, typ qkv.WeightType, first, inputs int) bool {
	set := e.Kernel().Name
	n, _ := typ.Block()
	return set != "generic" && set != "sse2" && slices.Contains(fusedTypes, typ) && first%n == 0 && inputs%n == 0
}

// fusedPath returns the path of a product.
func fusedPath(e *qkv.Engine, p *qkv.Product) string {
	plan, err := e.ExplainMatMul(p)
	must(err)
	return plan.Path
}

// signed returns numbers of which some are zeros of either sign.
func signed(seed uint64) func() float32 {
	r := rand.New(rand.NewPCG(seed, 2))
	return func() float32 {
		switch r.IntN(4) {
		case 0:
			return float32(math.Copysign(0, -1))
		case 1:
			return 0
		}
		return float32(r.NormFloat64())
	}
}

// TestWeightsFused: one row by whole blocks of weights has the bits of the product by their values, whatever
// the columns, the depth, the workers and what it is added to, and takes path fused where the set has it.
func TestWeightsFused(t *testing.T) {
	t.Parallel()
	for _, set := range sets() {
		for _, workers := range workerCounts(1, 3) {
			e := newAttention(t, qkv.Config{Kernel: set, Workers: workers})
			vec := e.Kernel().Vec
			for _, typ := range weightTypes {
				r := rand.New(rand.NewPCG(20, uint64(typ)))
				block, _ := typ.Block()
				whole := max(block, 32)
				for _, size := range [][2]int{
					{vec, whole}, {vec + 1, 256 + whole}, {70, 512}, {5*vec - 1, 3*256 + whole}, {200, 1024}, {2*vec + 3, 16*256 + whole},
				} {
					if testing.Short() && workers > 1 && size[0] < 70 {
						continue
					}
					out, in := size[0], size[1]
					w := newWeights(r, typ, out, in, 100)
					for _, c := range []struct {
						x         string
						add, bias bool
						from, to  int // inputs
					}{
						{"rows", false, false, 0, in}, {"rows", true, false, 0, in}, {"rows", false, true, 0, in}, {"rows", true, true, 0, in},
						{"every other", true, true, 0, in}, {"rows", true, true, in - whole, in}, {"rows", true, true, 0, in - 1}, {"rows", true, true, 1, in}, {"rows", true, true, 3, in - 5},
					} {
						if c.from == c.to {
							continue
						}
						what := fmt.Sprintf("%s on %d, %v %v, %+v", set, workers, typ, size, c)
						x := newMatrix(c.x, 1, c.to-c.from, normal(21))
						y, bias := draw(out, signed(22)), draw(out, signed(23))
						product := func(w qkv.Matrix) (*qkv.Product, []float32) {
							y := slices.Clone(y)
							p := &qkv.Product{X: x.matrix(), W: w.T().Slice(c.from, c.to), Y: qkv.RowMajor(y, 1, out), Accumulate: c.add}
							if c.bias {
								p.Bias = bias
							}
							return p, y
						}
						have, got := product(w.Matrix)
						values, want := product(w.floats())
						must(e.MatMul(have))
						must(e.MatMul(values))
						sameBits(t, what, got, want)
						fused := fuses(e, typ, c.from, c.to-c.from) && c.x == "rows"
						if path := fusedPath(e, have); (path == "fused") != fused {
							t.Errorf("%s: path %s", what, path)
						}
					}
				}
			}
		}
	}
}

// TestWeightsFusedPath: more rows than one, weights of fewer columns than a vector and those with a row for
// each input take other paths.
func TestWeightsFusedPath(t *testing.T) {
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		w := newWeights(rand.New(rand.NewPCG(24, 24)), qkv.WeightQ8_0, 64, 64, 1).Matrix
		vec := e.Kernel().Vec
		for _, c := range []struct {
			rows  int
			w     qkv.Matrix
			fused bool
		}{
			{1, w.T(), true}, {1, w.Slice(3, 3+vec).T(), true}, {2, w.T(), false}, {1, w, false}, {1, w.Slice(3, 2+vec).T(), false},
		} {
			n := c.w.Cols()
			p := &qkv.Product{X: qkv.RowMajor(make([]float32, c.rows*c.w.Rows()), c.rows, c.w.Rows()), W: c.w, Y: qkv.RowMajor(make([]float32, c.rows*n), c.rows, n)}
			if path := fusedPath(e, p); (path == "fused") != (c.fused && fuses(e, qkv.WeightQ8_0, 0, 64)) {
				t.Errorf("%d rows, weights %d x %d: path %s", c.rows, c.w.Rows(), n, path)
			}
		}
	})
}

// TestWeightsFusedNaN: a scale that is NaN reaches its column, and no other.
func TestWeightsFusedNaN(t *testing.T) {
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		const out, in = 37, 320
		w := newWeights(rand.New(rand.NewPCG(25, 25)), qkv.WeightQ8_0, out, in, 1)
		for _, col := range []int{0, 20, out - 1} {
			data := slices.Clone(w.data)
			copy(data[col*len(data)/out+34:], []byte{0, 0x7e}) // the scale of its second block
			y := make([]float32, out)
			must(e.MatMul(&qkv.Product{X: newMatrix("rows", 1, in, normal(26)).matrix(), W: qkv.WeightMatrix(qkv.WeightQ8_0, data, out, in).T(), Y: qkv.RowMajor(y, 1, out)}))
			for i, v := range y {
				if (v != v) != (i == col) {
					t.Errorf("column %d is NaN: column %d is %v", col, i, v)
				}
			}
		}
	})
}

// TestWeightsFusedGated: gate and up, each of a type that takes path fused or of another, packed or not,
// have the bits of their values.
func TestWeightsFusedGated(t *testing.T) {
	t.Parallel()
	const in, most = 512, 300
	types := []qkv.WeightType{qkv.WeightQ8_0, qkv.WeightQ4_K, qkv.WeightQ6_K, qkv.WeightFloat32}
	r := rand.New(rand.NewPCG(27, 27))
	gates, ups := make([]weights, len(types)), make([]weights, len(types))
	for i, typ := range types {
		gates[i], ups[i] = newWeights(r, typ, most, in, 1), newWeights(r, typ, most, in, 1)
	}
	for _, set := range sets() {
		for _, workers := range workerCounts(1, 3) {
			e := newAttention(t, qkv.Config{Kernel: set, Workers: workers})
			for i, out := range []int{70, most} {
				x := newMatrix("rows", 1, in, normal(28)).matrix()
				bias := draw(out, normal(29))
				for g := range types {
					for u := range types {
						gate, up := gates[g].Slice(0, out).T(), ups[u].Slice(0, out).T()
						gateFloats, upFloats := gates[g].floats().Slice(0, out).T(), ups[u].floats().Slice(0, out).T()
						for j, layout := range []string{"rows", "every other"} {
							if brief() && ((g+u+i)%2 > 0 || (g+i)%2 != j) {
								continue
							}
							multiply := func(p qkv.Product) []float32 {
								y := newMatrix(layout, 1, out, normal(30))
								p.X, p.Bias, p.Activation, p.Up.Bias, p.Y = x, bias, qkv.SiLU, bias, y.matrix()
								must(e.MatMul(&p))
								y.checkGaps(t)
								return draw(out, func() func() float32 {
									i := -1
									return func() float32 { i++; return *y.at(0, i) }
								}())
							}
							what := fmt.Sprintf("%s on %d, %d of %v and %v, %s", set, workers, out, types[g], types[u], layout)
							want := multiply(qkv.Product{W: gateFloats, Up: qkv.Linear{W: upFloats}})
							sameBits(t, what, multiply(qkv.Product{W: gate, Up: qkv.Linear{W: up}}), want)
							packed, err := e.Pack(up)
							must(err)
							sameBits(t, what+", up packed", multiply(qkv.Product{W: gate, Up: qkv.Linear{Packed: packed}}), want)
						}
					}
				}
			}
		}
	}
}

// TestWeightsFusedStep: steps of a token by weights in place, with norms, rotary embeddings and rows of K
// and V on their way to pages, have the bits of their values.
func TestWeightsFusedStep(t *testing.T) {
	const tokens, in, out, heads, kvHeads, dim = 5, 256, 70, 4, 2, 20
	r := rand.New(rand.NewPCG(31, 31))
	rotary := newRotary(t, qkv.RotaryConfig{Dim: dim, MaxPositions: tokens})
	norm := draw(dim, normal(32))
	xs := draw(tokens*in, normal(33))
	for _, typ := range []qkv.WeightType{qkv.WeightBFloat16, qkv.WeightQ8_0, qkv.WeightQ4_K, qkv.WeightQ6_K} {
		q, k, v := newWeights(r, typ, heads*dim, in, 1), newWeights(r, typ, kvHeads*dim, in, 1), newWeights(r, typ, kvHeads*dim, in, 1)
		o := newWeights(r, qkv.WeightFloat16, out, heads*dim, 1)
		forEachSet(t, func(t *testing.T, e *qkv.Engine) {
			run := func(matrix func(w *weights) qkv.Matrix) []float32 {
				layer, err := e.NewLayer(qkv.LayerConfig{
					ProjectionConfig: qkv.ProjectionConfig{
						Q: qkv.Linear{W: matrix(&q).T()}, K: qkv.Linear{W: matrix(&k).T()}, V: qkv.Linear{W: matrix(&v).T()},
						Heads: heads, KVHeads: kvHeads, QNorm: norm, KNorm: norm, Rotary: rotary, InPlace: true,
					},
					Out: qkv.Linear{W: matrix(&o).T()},
				})
				must(err)
				cache := newCache(t, qkv.CacheConfig{
					Layers: []qkv.CacheLayer{{KVHeads: kvHeads, DimQK: dim, DimV: dim}}, PageTokens: 2, Pages: tokens, StepTokens: 1,
				})
				step, s := newStep(t, e, cache), cache.NewSequence()
				y := make([]float32, tokens*out)
				for i := range tokens {
					must(step.Begin([]qkv.StepSequence{{Sequence: s, Tokens: 1}}))
					must(layer.Step(step, 0, qkv.RowMajor(y[i*out:], 1, out), qkv.RowMajor(xs[i*in:], 1, in)))
					must(step.Commit())
				}
				return y
			}
			sameBits(t, typ.String(), run(func(w *weights) qkv.Matrix { return w.Matrix }), run((*weights).floats))
		})
	}
}

// TestWeightsFusedEnds: a context that is done ends a product of one row before it writes.
func TestWeightsFusedEnds(t *testing.T) {
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		w := newWeights(rand.New(rand.NewPCG(34, 34)), qkv.WeightQ8_0, 100, 320, 1)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		y := make([]float32, 100)
		p := &qkv.Product{X: newMatrix("rows", 1, 320, normal(35)).matrix(), W: w.T(), Y: qkv.RowMajor(y, 1, 100)}
		if err := e.MatMulContext(ctx, p); !errors.Is(err, context.Canceled) || !allZero(y) {
			t.Errorf("error %v, y %v", err, y)
		}
	})
}

// TestAllocsWeightsFused: a product of one row allocates nothing.
func TestAllocsWeightsFused(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items under the race detector")
	}
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		w := newWeights(rand.New(rand.NewPCG(36, 36)), qkv.WeightQ8_0, 70, 320, 1)
		p := &qkv.Product{X: newMatrix("rows", 1, 320, normal(37)).matrix(), W: w.T(), Y: qkv.RowMajor(make([]float32, 70), 1, 70)}
		if n := allocsPerCall(10, func() { must(e.MatMul(p)) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
