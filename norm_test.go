package qkv_test

import (
	"context"
	"fmt"
	"log"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/qkv-go/qkv"
)

// A normCase is the operands of a Norm, and what is computed of them.
type normCase struct {
	x, add, y    *matrix // add may be nil
	weight, bias []float32
	eps          float32
	centred      bool
}

func (c *normCase) norm() *qkv.Norm {
	n := &qkv.Norm{X: c.x.matrix(), Y: c.y.matrix(), Weight: c.weight, Bias: c.bias, Eps: c.eps}
	if c.add != nil {
		n.Add = c.add.matrix()
	}
	return n
}

func (c *normCase) run(e *qkv.Engine) error {
	if c.centred {
		return e.LayerNorm(c.norm())
	}
	return e.RMSNorm(c.norm())
}

// check compares y with float64, of what x was before and what was added. u is half a last place of 1:
// sums of n terms have n/16 + 4 roundings, of which the root sees half.
func (c *normCase) check(t *testing.T, what string, x, add []float32) {
	t.Helper()
	const u = 0x1p-24
	cols, eps := c.x.cols, float64(c.eps)
	if eps == 0 {
		eps = float64(float32(1e-6))
	}
	sums := float64(cols)/16 + 6 // roundings of a sum, and of its mean
	y, after := c.y.values(), c.x.values()
	for row := range c.x.rows {
		d := make([]float64, cols)
		mean, size, square, spread := 0.0, 0.0, 0.0, 0.0
		for i := range d {
			v := x[row*cols+i]
			if add != nil {
				v += add[row*cols+i]
			}
			if c.y != c.x && v != after[row*cols+i] {
				t.Fatalf("%s: X %d, %d is %v afterwards, want %v", what, row, i, after[row*cols+i], v)
			}
			d[i] = float64(v)
			mean += d[i] / float64(cols)
			size += math.Abs(d[i]) / float64(cols)
		}
		meanError := sums * u * size
		if !c.centred {
			mean, meanError = 0, 0
		}
		for i := range d {
			d[i] -= mean
			square += d[i] * d[i] / float64(cols)
			spread += math.Abs(d[i]) / float64(cols)
		}
		r := 1 / math.Sqrt(square+eps)
		for i, d := range d {
			w, b := 1.0, 0.0
			if c.weight != nil {
				w = float64(c.weight[i])
			}
			if c.bias != nil {
				b = float64(c.bias[i])
			}
			want := d*r*w + b
			bound := math.Abs(w)*(meanError*r+math.Abs(d)*r*((sums/2+5)*u+meanError*(spread+meanError)*r*r)) + u*math.Abs(want)
			if got := float64(y[row*cols+i]); !(math.Abs(got-want) <= bound) {
				t.Fatalf("%s: Y %d, %d is %v, want %v within %v", what, row, i, got, want, bound)
			}
		}
	}
}

// normRows returns an operand with numbers around a mean.
func normRows(layout string, rows, cols int, mean float32, next func() float32) *matrix {
	return newMatrix(layout, rows, cols, func() float32 { return mean + next() })
}

// TestNorm compares with float64: rows of every length, in every layout, with and without what may be
// there, in place and not. What is beside the rows stays.
func TestNorm(t *testing.T) {
	next := normal(1)
	e := newAttention(t, qkv.Config{})
	turn := 0
	layout := func() string { turn++; return matrixLayouts[turn*7/3%len(matrixLayouts)] }
	for cols := 1; cols <= 200; cols++ {
		for kind := range 12 {
			c := normCase{centred: kind%2 == 1, x: normRows(layout(), 3, cols, float32(kind%3), next)}
			if kind%3 > 0 {
				c.weight = draw(cols, next)
			}
			if kind%3 > 1 {
				c.bias = draw(cols, next)
			}
			if kind%4 == 2 {
				c.eps = 0.25
			}
			if kind >= 4 {
				c.add = normRows(layout(), 3, cols, 0, next)
			}
			switch {
			case kind%5 == 1:
				c.y = c.x
			case kind%5 == 2 && c.add != nil:
				c.y = c.add
			default:
				c.y = normRows(layout(), 3, cols, 0, next)
			}
			x, add := c.x.values(), []float32(nil)
			if c.add != nil {
				add = c.add.values()
			}
			must(c.run(e))
			what := fmt.Sprintf("%d columns, kind %d", cols, kind)
			c.check(t, what, x, add)
			for _, m := range []*matrix{c.x, c.add, c.y} {
				if m == nil {
					continue
				}
				n := 0
				for _, v := range m.data {
					if v == canary {
						n++
					}
				}
				if want := len(m.data) - m.rows*m.cols; n != want {
					t.Fatalf("%s: %d elements beside the rows are as they were, want %d", what, n, want)
				}
			}
		}
	}
}

// TestNormRanges: large and small numbers, up to where squares overflow and down to where they underflow,
// and a mean that is large beside the differences.
func TestNormRanges(t *testing.T) {
	next := normal(2)
	e := newAttention(t, qkv.Config{})
	for _, scale := range []float32{1e-22, 1e-19, 1e-3, 1e10, 1e17} {
		for _, centred := range []bool{false, true} {
			c := normCase{centred: centred, x: newMatrix("rows", 2, 333, func() float32 { return scale * next() }), y: newMatrix("rows", 2, 333, next)}
			if scale < 1e-10 {
				c.eps = 0x1p-125
			}
			must(c.run(e))
			c.check(t, fmt.Sprintf("scale %g, centred %v", scale, centred), c.x.values(), nil)
		}
	}
	c := normCase{centred: true, x: normRows("rows", 2, 4096, 1000, next), y: newMatrix("rows", 2, 4096, next)}
	must(c.run(e))
	c.check(t, "mean 1000", c.x.values(), nil)
}

// TestNormOrder holds the sum of squares to its order. In any other that is not its mirror, a square of 1
// beside 2^24 is lost or counts twice.
func TestNormOrder(t *testing.T) {
	// By the formula, in exact arithmetic: 16 sums of two squares, then the tree.
	x := make([]float32, 32)
	for i := range x {
		x[i] = 1
	}
	x[0] = 4096 // its square is 2^24, to which 1 adds nothing
	// sum[0] = 2^24 + 1 rounds to 2^24; the other sums are 2. The tree adds 2, 4, 8 and 16.
	const sum = 1<<24 + 30
	r := 1 / float32(math.Sqrt(float64(float32(sum)/32)))
	if straight := 1 / float32(math.Sqrt((1<<24)/32)); r == straight {
		t.Fatal("the order does not show")
	}
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		y := make([]float32, len(x))
		must(e.RMSNorm(&qkv.Norm{X: qkv.RowMajor(x, 1, 32), Y: qkv.RowMajor(y, 1, 32), Eps: 0x1p-125}))
		if y[31] != r {
			t.Errorf("%s: 1/rms is %v, want %v", e.Kernel().Name, y[31], r)
		}
	})
}

// TestNormSpecial: zeros stay zeros, signs included, and what is no finite number makes NaN of itself,
// and of no other row.
func TestNormSpecial(t *testing.T) {
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		zero := math.Float32frombits(1 << 31)
		for _, bad := range []float32{nan, posInf, negInf} {
			x := []float32{0, zero, 1, bad, 3, 4}
			y := make([]float32, 6)
			must(e.RMSNorm(&qkv.Norm{X: qkv.RowMajor(x, 3, 2), Y: qkv.RowMajor(y, 3, 2)}))
			sameBits(t, "zeros", y[:2], x[:2])
			if y[3] == y[3] || y[4] != y[4] || y[5] != y[5] {
				t.Errorf("%s: of %v: %v", e.Kernel().Name, bad, y)
			}
			must(e.LayerNorm(&qkv.Norm{X: qkv.RowMajor(x, 3, 2), Y: qkv.RowMajor(y, 3, 2)}))
			if y[0] != 0 || y[1] != 0 || y[2] == y[2] || y[3] == y[3] || y[4] != y[4] || y[5] != y[5] {
				t.Errorf("%s: of %v, centred: %v", e.Kernel().Name, bad, y)
			}
		}
		// Equal elements have no variance.
		y := []float32{7, 7, 7}
		must(e.LayerNorm(&qkv.Norm{X: qkv.RowMajor(y, 1, 3), Y: qkv.RowMajor(y, 1, 3)}))
		sameBits(t, "equal elements", y, []float32{0, 0, 0})
	})
}

// TestSameBitsNorm: a row has the same bits on every set, with any number of workers, alone or among
// others, in any layout, in place or not, and its residual added before by the caller.
func TestSameBitsNorm(t *testing.T) {
	t.Parallel()
	next := normal(3)
	for _, cols := range []int{1, 15, 64, 100, 1000, 40_001} {
		rows := max(9, 3000/cols)
		for kind := range 6 {
			if cols > 1000 && kind != 5 && kind != 2 {
				continue
			}
			c := normCase{centred: kind%2 == 1, x: newMatrix("rows", rows, cols, next), add: newMatrix("rows", rows, cols, next)}
			if kind/2 > 0 {
				c.weight = draw(cols, next)
			}
			if kind/2 > 1 {
				c.bias = draw(cols, next)
			}
			x, sum := c.x.values(), c.x.values()
			for i, v := range c.add.values() {
				sum[i] += v
			}
			var want []float32
			for _, set := range sets() {
				for _, workers := range workerCounts(1, 2, 5) {
					e := newAttention(t, qkv.Config{Kernel: set, Workers: workers})
					what := fmt.Sprintf("%s, %d workers, %d columns, kind %d", set, workers, cols, kind)
					one := c
					one.x, one.y = c.x.clone("rows"), newMatrix("padded", rows, cols, next)
					must(one.run(e))
					if want == nil {
						want = one.y.values()
					}
					sameBits(t, what, one.y.values(), want)
					sameBits(t, what+", X", one.x.values(), sum)
					// A few rows, added before, in place.
					few := c
					few.x = &matrix{data: append([]float32(nil), sum[7*cols:][:2*cols]...), rows: 2, cols: cols, row: cols, col: 1}
					few.add, few.y = nil, few.x
					must(few.run(e))
					sameBits(t, what+", two rows", few.y.values(), want[7*cols:][:2*cols])
				}
			}
			sameBits(t, "x", c.x.values(), x)
		}
	}
}

// TestNormOfHeads: the norms of a projection's heads are RMSNorm, where heads lie side by side and where
// their elements lie apart.
func TestNormOfHeads(t *testing.T) {
	const tokens, in, heads, dim = 5, 24, 3, 40
	next := normal(4)
	x, w, weight := draw(tokens*in, next), draw(in*heads*dim, next), draw(dim, next)
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		for _, layout := range []string{"bshd", "apart"} {
			run := func(norm []float32) []float32 {
				p, err := e.NewProjection(qkv.ProjectionConfig{Q: qkv.Linear{W: qkv.RowMajor(w, in, heads*dim)}, Heads: heads, QNorm: norm, NormEps: 1e-5})
				must(err)
				q := make([]float32, tokens*heads*dim)
				view := qkv.BSHD(q, 1, tokens, heads, dim)
				if layout == "apart" {
					view = qkv.Strided(q, 0, [4]int{1, heads, tokens, dim}, [4]int{0, 1, heads * dim, heads})
				}
				must(p.Run(&qkv.ProjectionCall{X: qkv.RowMajor(x, tokens, in), Q: view}))
				return q
			}
			got, want := run(weight), run(nil)
			if layout == "bshd" {
				m := qkv.RowMajor(want, tokens*heads, dim)
				must(e.RMSNorm(&qkv.Norm{X: m, Y: m, Weight: weight, Eps: 1e-5}))
			} else {
				for token := range tokens {
					m := qkv.StridedMatrix(want, token*heads*dim, heads, dim, 1, heads)
					must(e.RMSNorm(&qkv.Norm{X: m, Y: m, Weight: weight, Eps: 1e-5}))
				}
			}
			sameBits(t, e.Kernel().Name+" "+layout, got, want)
		}
	})
}

func TestNormErrors(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	x, y, add := make([]float32, 12), make([]float32, 12), make([]float32, 12)
	m := func(x []float32) qkv.Matrix { return qkv.RowMajor(x, 3, 4) }
	for text, change := range map[string]func(n *qkv.Norm){
		"x is not given":             func(n *qkv.Norm) { n.X = qkv.Matrix{} },
		"y is not given":             func(n *qkv.Norm) { n.Y = qkv.Matrix{} },
		"x has 0 columns":            func(n *qkv.Norm) { n.X = qkv.RowMajor(x, 3, 0) },
		"x is a matrix of weights":   func(n *qkv.Norm) { n.X = qkv.WeightMatrix(qkv.WeightFloat16, make([]byte, 24), 3, 4) },
		"y has 2 rows, x has 3":      func(n *qkv.Norm) { n.Y = n.Y.Slice(0, 2) },
		"y has 3 columns, x has 4":   func(n *qkv.Norm) { n.Y = qkv.RowMajor(y, 3, 3) },
		"add has 2 rows, x has 3":    func(n *qkv.Norm) { n.Add = m(add).Slice(0, 2) },
		"add has 2 columns, x has 4": func(n *qkv.Norm) { n.Add = qkv.RowMajor(add, 3, 2) },
		"weight has length 3":        func(n *qkv.Norm) { n.Weight = add[:3] },
		"bias has length 5":          func(n *qkv.Norm) { n.Weight, n.Bias = add[:4], add[:5] },
		"there is no weight":         func(n *qkv.Norm) { n.Bias = add[:4] },
		"eps is -1":                  func(n *qkv.Norm) { n.Eps = -1 },
		"eps is NaN":                 func(n *qkv.Norm) { n.Eps = nan },
		"0 or at least":              func(n *qkv.Norm) { n.Eps = 1e-40 },
		"y and x share":              func(n *qkv.Norm) { n.X, n.Y = qkv.RowMajor(x, 2, 4), qkv.RowMajor(x[4:], 2, 4) },
		"y and add share":            func(n *qkv.Norm) { n.X, n.Y, n.Add = n.X.Slice(0, 2), qkv.RowMajor(add[4:], 2, 4), m(add).Slice(0, 2) },
		"y and weight share":         func(n *qkv.Norm) { n.Weight = y[8:] },
		"y and bias share":           func(n *qkv.Norm) { n.Weight, n.Bias = add[:4], y[:4] },
		"x and add share":            func(n *qkv.Norm) { n.Add = n.X },
		"x and weight share":         func(n *qkv.Norm) { n.Add, n.Weight = m(add), x[:4] },
		"x and bias share":           func(n *qkv.Norm) { n.Add, n.Weight, n.Bias = m(add), make([]float32, 4), x[:4] },
		"y overlaps itself":          func(n *qkv.Norm) { n.Y = qkv.StridedMatrix(y, 0, 3, 4, 0, 1) },
		"x overlaps itself":          func(n *qkv.Norm) { n.Add, n.X = m(add), qkv.StridedMatrix(x, 0, 3, 4, 0, 1) },
	} {
		n := &qkv.Norm{X: m(x), Y: m(y)}
		for i := range y {
			x[i], y[i] = 1, canary
		}
		change(n)
		isArgError(t, text, e.RMSNorm(n), text)
		isArgError(t, text, e.LayerNorm(n), text)
		for i := range y {
			if y[i] != canary || x[i] != 1 {
				t.Fatalf("%s: something is written", text)
			}
		}
	}
	isArgError(t, "nil", e.RMSNorm(nil), "norm is nil")
	// A row that is read alone may be every row.
	must(e.RMSNorm(&qkv.Norm{X: qkv.StridedMatrix(x, 0, 3, 4, 0, 1), Y: m(y)}))
}

// TestNormContext: rows of a call that ends early are done or as they were.
func TestNormContext(t *testing.T) {
	const rows, cols = 3000, 200
	e := newAttention(t, qkv.Config{Workers: 2})
	x, add := draw(rows*cols, normal(5)), draw(rows*cols, normal(6))
	m := func(x []float32) qkv.Matrix { return qkv.RowMajor(x, rows, cols) }
	sum, y, zeros := slices.Clone(x), make([]float32, rows*cols), make([]float32, rows*cols)
	must(e.LayerNorm(&qkv.Norm{X: m(sum), Add: m(add), Y: m(y)}))
	for round := range 20 {
		gotX, gotY := slices.Clone(x), make([]float32, rows*cols)
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(round)*20*time.Microsecond)
		err := e.LayerNormContext(ctx, &qkv.Norm{X: m(gotX), Add: m(add), Y: m(gotY)})
		cancel()
		done := 0
		for row := range rows {
			lo, hi := row*cols, (row+1)*cols
			wantX, wantY := sum, y
			if gotX[lo] == x[lo] {
				wantX, wantY = x, zeros
			} else {
				done++
			}
			sameBits(t, "a row of X", gotX[lo:hi], wantX[lo:hi])
			sameBits(t, "a row of Y", gotY[lo:hi], wantY[lo:hi])
		}
		if whole := done == rows; whole != (err == nil) {
			t.Fatalf("%d of %d rows are done, error %v", done, rows, err)
		}
	}
}

// The sum of the parts of a network so far, and the output of the last, which is added to it on the way
// into the next.
func ExampleEngine_RMSNorm() {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	const tokens, model = 2, 2
	x := []float32{1, 2, 3, 4}
	out := []float32{2, 2, 0, 0}
	y := make([]float32, tokens*model)
	err = e.RMSNorm(&qkv.Norm{
		X: qkv.RowMajor(x, tokens, model), Add: qkv.RowMajor(out, tokens, model),
		Weight: []float32{1, 2}, Eps: 1e-6, Y: qkv.RowMajor(y, tokens, model),
	})
	fmt.Printf("%.3f %v %v\n", y, x, err)
	// Output: [0.849 2.263 0.849 2.263] [3 4 3 4] <nil>
}

func ExampleEngine_LayerNorm() {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	x := qkv.RowMajor([]float32{1, 3, 10, 30}, 2, 2)
	y := make([]float32, 4)
	err = e.LayerNorm(&qkv.Norm{X: x, Weight: []float32{1, 1}, Bias: []float32{0, 5}, Eps: 1e-6, Y: qkv.RowMajor(y, 2, 2)})
	fmt.Printf("%.3f %v\n", y, err)
	// Output: [-1.000 6.000 -1.000 6.000] <nil>
}
