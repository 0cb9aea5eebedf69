package qkv_test

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
)

// brain returns a copy of m with its numbers as class BFloat16 multiplies them.
func (m *matrix) brain() *matrix {
	c := m.clone("rows")
	for i, x := range c.data[:m.rows*m.cols] {
		c.data[i] = kernel.Brain(x)
	}
	return c
}

// brainNumbers are numbers that class BFloat16 treats apart, among normal ones.
func brainNumbers(seed uint64) func() float32 {
	r, next := rand.New(rand.NewPCG(seed, 5)), normal(seed)
	special := []float32{
		0, float32(math.Copysign(0, -1)), 0x1p-56, -0x1.fefffep-57, 0x1.ffp-57, 1e-30, math.SmallestNonzeroFloat32, 0x1.01p0, 0x1.03p0, 3e38, -0x1.ffp127,
	}
	return func() float32 {
		if r.IntN(40) == 0 {
			return special[r.IntN(len(special))]
		}
		return next()
	}
}

// pairsEngines has an Engine of each set, and its name: two of a set with an instruction for pairs, which
// take each way of many rows.
func pairsEngines(t *testing.T, workers int) iter.Seq2[*qkv.Engine, string] {
	return func(yield func(*qkv.Engine, string) bool) {
		for _, set := range classSets() {
			e := newAttention(t, qkv.Config{Kernel: set, Workers: workers})
			if e.TakePairs(false); !yield(e, set) {
				return
			}
			if e.TakePairs(true); e.Kernel().Paired && !yield(e, set+" in pairs") {
				return
			}
		}
	}
}

// packFor gives a product of class BFloat16 weights in a form.
func packFor(t *testing.T, e *qkv.Engine, p *qkv.Product, w *matrix, form string) {
	t.Helper()
	p.Precision = qkv.PrecisionBFloat16
	if form != "packed" {
		p.Packed, p.W = nil, w.clone(form).matrix()
		return
	}
	packed, err := e.PackFor(qkv.PrecisionBFloat16, w.matrix(), 1)
	if err != nil {
		t.Fatal(err)
	}
	p.Packed, p.W = packed, qkv.Matrix{}
}

// TestBFloat16Products: products of class BFloat16 have the bits of those of class Float32 of rounded
// operands, on every set, in every form of the weights, each layout and number of workers, and of rows alone.
func TestBFloat16Products(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	next := brainNumbers(3)
	n := 24
	if testing.Short() || raceEnabled {
		n = 5
	}
	reference := newAttention(t, qkv.Config{})
	for i, s := range matmulSizes(r, n) {
		m, n, k := s[0], s[1], s[2]
		x, w := newMatrix("rows", m, k, next), newMatrix("rows", k, n, next)
		old := newMatrix("rows", m, n, next)
		add := i%4 == 1
		var bias []float32
		if i%3 != 0 {
			bias = newMatrix("rows", 1, n, next).data
		}
		want := old.clone("rows")
		if err := reference.MatMul(&qkv.Product{X: x.brain().matrix(), W: w.brain().matrix(), Bias: bias, Y: want.matrix(), Accumulate: add}); err != nil {
			t.Fatal(err)
		}
		for e, set := range pairsEngines(t, 1+2*r.IntN(2)) {
			for f, form := range []string{"packed", "rows", "columns", "every other"} {
				if raceEnabled && (i+f)%2 > 0 {
					continue
				}
				xLayout, yLayout := matrixLayouts[r.IntN(len(matrixLayouts))], matrixLayouts[r.IntN(len(matrixLayouts))]
				what := fmt.Sprintf("kernel=%s workers=%d m=%d n=%d k=%d bias=%v add=%v x=%s y=%s w=%s",
					set, e.Workers(), m, n, k, bias != nil, add, xLayout, yLayout, form)
				y := old.clone(yLayout)
				p := qkv.Product{X: x.clone(xLayout).matrix(), Bias: bias, Y: y.matrix(), Accumulate: add}
				packFor(t, e, &p, w, form)
				if err := e.MatMul(&p); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				y.checkGaps(t)
				sameBits(t, what, y.values(), want.data)

				lo := r.IntN(m)
				hi := lo + 1 + r.IntN(m-lo)
				y = old.clone("rows")
				p.X, p.Y = x.matrix().Slice(lo, hi), y.matrix().Slice(lo, hi)
				if err := e.MatMul(&p); err != nil {
					t.Fatal(err)
				}
				sameBits(t, fmt.Sprintf("%s rows %d to %d alone", what, lo, hi), y.data[lo*n:hi*n], want.data[lo*n:hi*n])
			}
		}
	}
}

// TestBFloat16ProductsLarge has blocks of rows, and steps over the depth that come before the panels.
func TestBFloat16ProductsLarge(t *testing.T) {
	next := normal(5)
	sizes := [][3]int{{300, 70, 1000}}
	if !testing.Short() && !raceEnabled {
		sizes = append(sizes, [3]int{1100, 20, 300}, [3]int{9, 6, 1<<16 + 3})
	}
	reference := newAttention(t, qkv.Config{})
	for _, s := range sizes {
		m, n, k := s[0], s[1], s[2]
		x, w := newMatrix("rows", m, k, next), newMatrix("columns", k, n, next)
		want := newMatrix("rows", m, n, next)
		if err := reference.MatMul(&qkv.Product{X: x.brain().matrix(), W: w.brain().matrix(), Y: want.matrix()}); err != nil {
			t.Fatal(err)
		}
		for e, set := range pairsEngines(t, 2) {
			for _, form := range []string{"packed", "columns"} {
				y := newMatrix("rows", m, n, next)
				p := qkv.Product{X: x.matrix(), Y: y.matrix()}
				packFor(t, e, &p, w, form)
				if err := e.MatMul(&p); err != nil {
					t.Fatal(err)
				}
				sameBits(t, fmt.Sprintf("kernel=%s m=%d n=%d k=%d w=%s", set, m, n, k, form), y.data, want.data)
			}
		}
	}
}

// TestBFloat16ProductsOf: several products of one call, gated ones, and weights of other types have the bits of
// class Float32 of rounded operands, with every number of rows that a way of its own is for.
func TestBFloat16ProductsOf(t *testing.T) {
	const k, n = 300, 75
	next := normal(11)
	w, other, bias := newMatrix("rows", k, n, next), newMatrix("rows", k, n, next), newMatrix("rows", 1, n, next).data
	half := newMatrix("rows", n, k, next)
	stored := make([]byte, 0, 2*n*k)
	for _, v := range half.data {
		b := math.Float32bits(v) >> 16
		stored = append(stored, byte(b), byte(b>>8))
	}
	halves := qkv.WeightMatrix(qkv.WeightBFloat16, stored, n, k).T()
	rounded := func() *matrix { // what the halves are
		c := half.clone("rows")
		for i, v := range c.data {
			c.data[i] = kernel.Brain(math.Float32frombits(math.Float32bits(v) &^ 0xffff))
		}
		return c
	}()
	reference := newAttention(t, qkv.Config{})
	for _, m := range []int{1, 4, 7, 40} {
		x := newMatrix("rows", m, k, next)
		want := [4][]float32{}
		y := func(i int) qkv.Matrix {
			want[i] = make([]float32, m*n)
			return qkv.RowMajor(want[i], m, n)
		}
		rx := x.brain().matrix()
		if err := reference.MatMul(
			&qkv.Product{X: rx, W: w.brain().matrix(), Bias: bias, Activation: qkv.SiLU, Up: qkv.Linear{W: other.brain().matrix(), Bias: bias}, Y: y(0)},
			&qkv.Product{X: rx, W: w.brain().matrix(), Activation: qkv.GELU, Y: y(1)},
			&qkv.Product{X: rx, W: rounded.matrix().T(), Y: y(2)},
			&qkv.Product{X: rx, W: other.brain().matrix(), Y: y(3)},
		); err != nil {
			t.Fatal(err)
		}
		for e, set := range pairsEngines(t, 2) {
			for _, packed := range []string{"none", "all", "some"} {
				linear := func(w qkv.Matrix, often bool) qkv.Linear {
					if packed == "none" || packed == "some" && !often {
						return qkv.Linear{W: w}
					}
					p, err := e.PackFor(qkv.PrecisionBFloat16, w, 1)
					if err != nil {
						t.Fatal(err)
					}
					return qkv.Linear{Packed: p}
				}
				var got [4][]float32
				products := make([]*qkv.Product, 4)
				for i, l := range []qkv.Linear{linear(w.matrix(), true), linear(w.matrix(), false), linear(halves, true), linear(other.matrix(), true)} {
					got[i] = make([]float32, m*n)
					products[i] = &qkv.Product{X: x.matrix(), W: l.W, Packed: l.Packed, Y: qkv.RowMajor(got[i], m, n), Precision: qkv.PrecisionBFloat16}
				}
				products[0].Activation, products[0].Bias, products[0].Up = qkv.SiLU, bias, linear(other.matrix(), false)
				products[0].Up.Bias = bias
				products[1].Activation = qkv.GELU
				if err := e.MatMul(products...); err != nil {
					t.Fatal(err)
				}
				for i := range got {
					sameBits(t, fmt.Sprintf("kernel=%s m=%d packed=%s product %d", set, m, packed, i), got[i], want[i])
				}
			}
		}
	}
}

// TestBFloat16ProductsError holds products of class BFloat16 to float64: beside the bound of class Float32, each
// operand is off by 2^-8 of itself at most, or by 2^-56 where it is made 0. 1 + 2^-8 on both sides comes close to that.
func TestBFloat16ProductsError(t *testing.T) {
	random, farthest := normal(23), func() float32 { return 1 + 0x1p-8 }
	for i, s := range [][3]int{{3, 40, 1000}, {33, 20, 64}, {8, 8, 5}, {3, 40, 1000}} {
		next := random
		if i == 3 {
			next = farthest
		}
		worst := 0.0
		x, w := newMatrix("rows", s[0], s[2], next), newMatrix("rows", s[2], s[1], next)
		y := newMatrix("rows", s[0], s[1], next)
		e := newAttention(t, qkv.Config{})
		p := qkv.Product{X: x.matrix(), Y: y.matrix()}
		packFor(t, e, &p, w, "packed")
		if err := e.MatMul(&p); err != nil {
			t.Fatal(err)
		}
		sum, bound := linear(x, w, nil, nil)
		for i := range y.rows {
			for j := range y.cols {
				size := 0.0
				for k := range x.cols {
					a, b := math.Abs(float64(*x.at(i, k))), math.Abs(float64(*w.at(k, j)))
					size += (a*0x1p-8+0x1p-56)*(b*(1+0x1p-8)+0x1p-56) + a*(b*0x1p-8+0x1p-56)
				}
				most := bound(i, j)*(1+0x1p-7) + size
				diff := math.Abs(float64(*y.at(i, j)) - sum(i, j))
				if worst = max(worst, diff/most); !(diff <= most) {
					t.Fatalf("y[%d,%d] of %v is %g, want %g ± %g", i, j, s, *y.at(i, j), sum(i, j), most)
				}
			}
		}
		t.Logf("%v: largest error %.2g of its bound", s, worst)
		if i == 3 && worst < 0.9 {
			t.Errorf("the largest error of 1 + 2^-8 is %.2g of its bound", worst)
		}
	}
}

// TestBFloat16ProductsSpecial: a NaN or an infinity shows in the rows and columns that it is a factor of, and
// in no other.
func TestBFloat16ProductsSpecial(t *testing.T) {
	const n, k = 40, 70
	for e, set := range pairsEngines(t, 1) {
		for _, m := range []int{1, 3, 20} {
			for _, bad := range []float32{nan, posInf, negInf, math.MaxFloat32} { // the last rounds to an infinity
				for _, form := range []string{"packed", "columns"} {
					x, w := newMatrix("rows", m, k, normal(1)), newMatrix("rows", k, n, normal(2))
					*x.at(m-1, k-1), *w.at(2, 7) = bad, bad
					y := newMatrix("rows", m, n, normal(3))
					p := qkv.Product{X: x.matrix(), Y: y.matrix()}
					packFor(t, e, &p, w, form)
					if err := e.MatMul(&p); err != nil {
						t.Fatal(err)
					}
					for i := range m {
						for j := range n {
							finite := !math.IsNaN(float64(*y.at(i, j))) && !math.IsInf(float64(*y.at(i, j)), 0)
							if want := i != m-1 && j != 7; finite != want {
								t.Fatalf("kernel=%s m=%d w=%s: y[%d,%d] is %g with %g in row %d of x and column 7 of w", set, m, form, i, j, *y.at(i, j), bad, m-1)
							}
						}
					}
				}
			}
		}
	}
}

// TestGoldenBFloat16Products has hashes of products, the same on every architecture.
func TestGoldenBFloat16Products(t *testing.T) {
	for _, g := range []struct {
		size [3]int
		hash string
	}{
		{[3]int{1, 70, 300}, "56e865c4a1eea6bd"},
		{[3]int{5, 33, 513}, "1f63b659914b6838"},
		{[3]int{40, 17, 7}, "8cb9b3ade983d223"},
	} {
		next := integers(uint64(g.size[0]), 1)
		x, w := newMatrix("rows", g.size[0], g.size[2], next), newMatrix("rows", g.size[2], g.size[1], next)
		for e, set := range pairsEngines(t, 1) {
			for _, form := range []string{"packed", "rows"} {
				y := newMatrix("rows", g.size[0], g.size[1], next)
				p := qkv.Product{X: x.matrix(), Y: y.matrix()}
				packFor(t, e, &p, w, form)
				if err := e.MatMul(&p); err != nil {
					t.Fatal(err)
				}
				if got := hash(y.values()); got != g.hash {
					t.Errorf("kernel=%s %v w=%s: hash %s, want %s", set, g.size, form, got, g.hash)
				}
			}
		}
	}
}

// TestBFloat16ProductsPacked: packed weights take 2 bytes each, know their class, and come back from a file.
func TestBFloat16ProductsPacked(t *testing.T) {
	for _, set := range classSets() {
		e := newAttention(t, qkv.Config{Kernel: set, Workers: 2})
		for _, s := range [][3]int{{300, 70, 5}, {7, 6, 1}, {1, 1, 1}} {
			w := newMatrix("rows", s[0], s[1], normal(1))
			packed, err := e.PackFor(qkv.PrecisionBFloat16, w.matrix(), s[2])
			if err != nil {
				t.Fatal(err)
			}
			same, err := e.PackHeads(w.matrix(), s[2])
			if err != nil {
				t.Fatal(err)
			}
			if got, want := packed.Bytes(), same.Bytes()/s[0]*((s[0]+1)/2); got != want || packed.Precision() != qkv.PrecisionBFloat16 {
				t.Errorf("%s %v: %d bytes of class %v, want %d", set, s, got, packed.Precision(), want)
			}
			var file bytes.Buffer
			if _, err := packed.WriteTo(&file); err != nil {
				t.Fatal(err)
			}
			into := aligned(bytes.Repeat([]byte{1}, e.PackedSize(qkv.PrecisionBFloat16, w.matrix(), s[2])))
			if _, err := e.PackInto(into, qkv.PrecisionBFloat16, w.matrix(), s[2]); err != nil || !bytes.Equal(into, file.Bytes()) {
				t.Errorf("%v: PackInto and WriteTo differ: %v", s, err)
			}
			mapped, err := e.MapPacked(aligned(file.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			x := newMatrix("rows", 3, s[0], normal(2)).matrix()
			var results [2][]float32
			for i, p := range []*qkv.PackedMatrix{packed, mapped} {
				results[i] = make([]float32, 3*s[1])
				if err := e.MatMul(&qkv.Product{X: x, Packed: p, Y: qkv.RowMajor(results[i], 3, s[1]), Precision: qkv.PrecisionBFloat16}); err != nil {
					t.Fatal(err)
				}
			}
			sameBits(t, "mapped", results[1], results[0])

			ids := []int32{int32(s[1] - 1), 0}
			rows := make([]float32, len(ids)*s[0])
			if err := e.LookupPacked(qkv.RowMajor(rows, len(ids), s[0]), packed, ids); err != nil {
				t.Fatal(err)
			}
			var want []float32
			for _, id := range ids {
				for i := range s[0] {
					want = append(want, kernel.Brain(*w.at(i, int(id))))
				}
			}
			if !slices.Equal(rows, want) {
				t.Errorf("%s %v: rows of the table are %v, want %v", set, s, rows, want)
			}
		}
	}
}

// TestBFloat16ProductsErrors: weights that are packed for another class, classes of one call that differ, and
// classes that there are not.
func TestBFloat16ProductsErrors(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	w, x, y := qkv.RowMajor(make([]float32, 12), 3, 4), qkv.RowMajor(make([]float32, 6), 2, 3), make([]float32, 16)
	floats, err := e.Pack(w)
	if err != nil {
		t.Fatal(err)
	}
	pairs, err := e.PackFor(qkv.PrecisionBFloat16, w, 1)
	if err != nil {
		t.Fatal(err)
	}
	y0, y1 := qkv.RowMajor(y[:8], 2, 4), qkv.RowMajor(y[8:], 2, 4)
	const brain = qkv.PrecisionBFloat16
	for _, c := range []struct {
		products []*qkv.Product
		want     string
	}{
		{[]*qkv.Product{{X: x, Packed: floats, Y: y0, Precision: brain}}, "w is packed for class Float32, the product is of class BFloat16"},
		{[]*qkv.Product{{X: x, Packed: pairs, Y: y0}}, "w is packed for class BFloat16, the product is of class Float32"},
		{[]*qkv.Product{{X: x, Packed: pairs, Y: y0, Precision: brain, Activation: qkv.SiLU, Up: qkv.Linear{Packed: floats}}},
			"up is packed for class Float32, the product is of class BFloat16"},
		{[]*qkv.Product{{X: x, W: w, Y: y0, Precision: brain}, {X: x, W: w, Y: y1}}, "product 1: precision is Float32, that of product 0 is BFloat16"},
		{[]*qkv.Product{{X: x, W: w, Y: y0, Precision: 77}}, "precision is the unknown class Precision(77)"},
	} {
		for i := range y {
			y[i] = 7
		}
		err := e.MatMul(c.products...)
		if !errors.As(err, new(*qkv.ArgError)) || err.Error() != "qkv: "+c.want {
			t.Errorf("error %v, want %s", err, c.want)
		}
		if slices.Contains(y, 0) {
			t.Errorf("%s: y was written", c.want)
		}
	}
	plan, err := e.ExplainMatMul(&qkv.Product{X: x, Packed: pairs, Y: y0, Precision: brain})
	if err != nil || plan.Precision != brain || !strings.Contains(plan.String(), "class BFloat16: what was asked for") {
		t.Errorf("ExplainMatMul: %v, %v", plan, err)
	}
	if _, err := e.PackFor(77, w, 1); !errors.As(err, new(*qkv.ArgError)) {
		t.Errorf("PackFor of class 77: %v", err)
	}
}
