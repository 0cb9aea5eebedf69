package qkv_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

// A severalCase is products of one X, of weights of any type, form and width.
type severalCase struct {
	rows, depth int
	x           qkv.Matrix
	products    []qkv.Product
	y           []*matrix // of the products, as they are before
	packed      []int     // heads to pack the weights as; 0 for weights in place
	what        string
}

// anyWidth draws heads and the columns of all of them.
func anyWidth(r *rand.Rand) func(i int) (heads, cols int) {
	return func(int) (int, int) {
		heads := 1 + r.IntN(4)/3*r.IntN(4)
		return heads, heads * (1 + r.IntN(200/heads))
	}
}

// newSeveral draws n products, of such heads and columns.
func newSeveral(r *rand.Rand, n int, width func(i int) (heads, cols int)) *severalCase {
	next := func() float32 { return float32(r.NormFloat64()) }
	c := &severalCase{rows: []int{1, 2, 3, 7, 15, 16, 17, 33, 64, 130, 300}[r.IntN(11)], depth: 32 * (1 + r.IntN(20))}
	c.what = fmt.Sprintf("m=%d k=%d", c.rows, c.depth)
	c.x = newMatrix(matrixLayouts[r.IntN(len(matrixLayouts))], c.rows, c.depth, next).matrix()
	for i := range n {
		p := qkv.Product{X: c.x, Accumulate: r.IntN(3) == 0}
		heads, cols := width(i)
		form := matrixLayouts[r.IntN(len(matrixLayouts))]
		packed := 0
		if r.IntN(3) == 0 {
			packed = heads
		}
		switch typ := weightTypes[r.IntN(len(weightTypes))]; {
		case r.IntN(2) == 0:
			p.W = newMatrix(form, c.depth, cols, next).matrix()
		case c.depth%values(typ) == 0:
			form = fmt.Sprint(typ)
			p.W = newWeights(r, typ, cols, c.depth, 1000).Matrix.T()
		default:
			form = "bfloat16 rows"
			p.W = newWeights(r, qkv.WeightBFloat16, c.depth, cols, 1000).Matrix
		}
		if r.IntN(2) == 0 {
			p.Bias = draw(cols, next)
		}
		c.what += fmt.Sprintf(", %d of %s packed as %d bias %v add %v", cols, form, packed, p.Bias != nil, p.Accumulate)
		c.products, c.packed = append(c.products, p), append(c.packed, packed)
		c.y = append(c.y, newMatrix(matrixLayouts[r.IntN(len(matrixLayouts))], c.rows, cols, next))
	}
	return c
}

// values are those of a block.
func values(t qkv.WeightType) int {
	n, _ := t.Block()
	return n
}

// of returns the products with weights that e reads, each with a Y of its own.
func (c *severalCase) of(t *testing.T, e *qkv.Engine) (products []*qkv.Product, y []*matrix) {
	t.Helper()
	for i, p := range c.products {
		if heads := c.packed[i]; heads > 0 {
			packed, err := e.PackHeads(p.W, heads)
			if err != nil {
				t.Fatal(err)
			}
			p.W, p.Packed = qkv.Matrix{}, packed
		}
		own := *c.y[i]
		own.data = slices.Clone(own.data)
		p.Y = own.matrix()
		products, y = append(products, &p), append(y, &own)
	}
	return products, y
}

// TestMatMulSeveral: products of one X, of any types, forms and widths of weights, have the bits of each
// alone, on every set, whatever the number of workers, and write nothing else.
func TestMatMulSeveral(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(31, 32))
	rounds := 60
	if testing.Short() || raceEnabled {
		rounds = 12
	}
	for round := range rounds {
		c := newSeveral(r, 1+round%5, anyWidth(r))
		var first [][]float32
		for _, set := range sets() {
			for _, workers := range workerCounts(1, 2, 5) {
				e := newAttention(t, qkv.Config{Kernel: set, Workers: workers})
				what := fmt.Sprintf("kernel=%s workers=%d %s", set, workers, c.what)
				products, y := c.of(t, e)
				if first == nil {
					for i, p := range products {
						if err := e.MatMul(p); err != nil {
							t.Fatalf("%s: product %d: %v", what, i, err)
						}
						first = append(first, y[i].values())
					}
					products, y = c.of(t, e)
				}
				if err := e.MatMul(products...); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				for i := range y {
					y[i].checkGaps(t)
					sameBits(t, fmt.Sprintf("%s, product %d", what, i), y[i].values(), first[i])
				}
			}
		}
	}
}

// TestMatMulSeveralErrors: several products name the one that is wrong, and write nothing.
func TestMatMulSeveralErrors(t *testing.T) {
	mem := draw(400, normal(33))
	y := make([]float32, 40)
	matrix := func(at, rows, cols int) qkv.Matrix { return qkv.RowMajor(mem[at:], rows, cols) }
	good := func() []*qkv.Product {
		return []*qkv.Product{
			{X: matrix(0, 2, 3), W: matrix(10, 3, 4), Y: qkv.RowMajor(y, 2, 4), Bias: mem[30:34]},
			{X: matrix(0, 2, 3), W: matrix(40, 3, 5), Y: qkv.RowMajor(y[8:], 2, 5)},
			{X: matrix(0, 2, 3), W: matrix(60, 3, 6), Y: qkv.RowMajor(y[18:], 2, 6)},
		}
	}
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		packed, err := e.Pack(matrix(10, 3, 5))
		must(err)
		must(e.MatMul(good()...))
		for _, c := range []struct {
			arg, want string
			spoil     func(p []*qkv.Product) []*qkv.Product
		}{
			{"product", "qkv: there are 0 products, at least 1 is needed", func(p []*qkv.Product) []*qkv.Product { return nil }},
			{"product", "qkv: product is nil", func(p []*qkv.Product) []*qkv.Product { return []*qkv.Product{nil} }},
			{"product", "qkv: product 1: product is nil", func(p []*qkv.Product) []*qkv.Product { p[1] = nil; return p }},
			{"w", "qkv: product 2: w has 2 rows, x has 3 columns", func(p []*qkv.Product) []*qkv.Product { p[2].W = matrix(60, 2, 6); return p }},
			{"w", "qkv: product 0: w is not given", func(p []*qkv.Product) []*qkv.Product { p[0].W = qkv.Matrix{}; return p }},
			{"bias", "qkv: product 1: bias has length 4, w has 5 columns", func(p []*qkv.Product) []*qkv.Product { p[1].Bias = mem[:4]; return p }},
			{"y", "qkv: product 1: y has 4 columns, w has 5", func(p []*qkv.Product) []*qkv.Product { p[1].Y = qkv.RowMajor(y[8:], 2, 4); return p }},
			{"x", "qkv: product 2: x is not that of product 0, though both are [2, 3]: products of one call have the same x in memory", func(p []*qkv.Product) []*qkv.Product { p[2].X = matrix(100, 2, 3); return p }},
			{"x", "qkv: product 1: x [1, 3] is not that of product 0 [2, 3]", func(p []*qkv.Product) []*qkv.Product {
				p[1].X, p[1].Y = matrix(0, 1, 3), qkv.RowMajor(y[8:], 1, 5)
				return p
			}},
			{"y", "qkv: product 2: y and y of product 1 share elements", func(p []*qkv.Product) []*qkv.Product { p[2].Y = qkv.RowMajor(y[17:], 2, 6); return p }},
			{"y", "qkv: product 1: y and w share elements, which product 0 reads", func(p []*qkv.Product) []*qkv.Product { p[1].Y = qkv.StridedMatrix(mem, 21, 2, 5, 200, 1); return p }},
			{"y", "qkv: product 1: y and bias share elements, which product 0 reads", func(p []*qkv.Product) []*qkv.Product { p[1].Y = qkv.StridedMatrix(mem, 33, 2, 5, 200, 1); return p }},
			{"y", "qkv: product 2: y and w share elements, which product 0 writes", func(p []*qkv.Product) []*qkv.Product { p[0].Y = qkv.StridedMatrix(mem, 77, 2, 4, 200, 1); return p }},
			{"y", "qkv: product 1: y and x share elements", func(p []*qkv.Product) []*qkv.Product { p[1].Y = qkv.StridedMatrix(mem, 5, 2, 5, 200, 1); return p }},
			{"w", "qkv: product 1: w is given twice, packed with 3 rows and not packed with 3", func(p []*qkv.Product) []*qkv.Product { p[1].Packed = packed; return p }},
		} {
			p := c.spoil(good())
			for i := range y {
				y[i] = canary
			}
			was := slices.Clone(mem)
			var arg *qkv.ArgError
			if err := e.MatMul(p...); !errors.As(err, &arg) || arg.Arg != c.arg || err.Error() != c.want {
				t.Errorf("error %v, want %q of %q", err, c.want, c.arg)
			}
			if _, err := e.ExplainMatMul(p...); err == nil || err.Error() != c.want {
				t.Errorf("ExplainMatMul: error %v, want %q", err, c.want)
			}
			if slices.ContainsFunc(y, func(x float32) bool { return x != canary }) || !slices.Equal(mem, was) {
				t.Fatalf("%s: something was written", c.want)
			}
		}
	})
}

// TestExplainMatMulSeveral: several products are divided as one, and each path is named once.
func TestExplainMatMulSeveral(t *testing.T) {
	e := newAttention(t, qkv.Config{Workers: 2})
	const m, k = 300, 70
	w := newMatrix("columns", k, 90, normal(1))
	packed, err := e.Pack(w.matrix())
	must(err)
	var products []*qkv.Product
	for i := range 4 {
		p := &qkv.Product{X: qkv.RowMajor(make([]float32, m*k), m, k), W: w.matrix(), Y: qkv.RowMajor(make([]float32, m*90), m, 90)}
		if i > 0 {
			p.X = products[0].X
		}
		if i == 2 {
			p.W, p.Packed = qkv.Matrix{}, packed
		}
		products = append(products, p)
	}
	plan, err := e.ExplainMatMul(products...)
	must(err)
	if plan.Path != "transposed and packed" || plan.FLOPs != 4*2*m*90*k || plan.Items < 1 || plan.NC < 90/4 || plan.NC > 4*90 {
		t.Errorf("%+v", plan)
	}
	if text := plan.String(); strings.Count(text, "path transposed: ") != 1 || strings.Count(text, "path packed: ") != 1 {
		t.Error(text)
	}
}

// FuzzMatMulSeveral has several products of arbitrary numbers, types and forms have the bits of each
// alone.
func FuzzMatMulSeveral(f *testing.F) {
	for i := range 20 {
		f.Add(uint64(i), byte(i%6), byte(i%4))
	}
	f.Fuzz(func(t *testing.T, seed uint64, n, workers byte) {
		r := rand.New(rand.NewPCG(seed, 37))
		c := newSeveral(r, 1+int(n%6), anyWidth(r))
		for _, set := range sets() {
			e := newAttention(t, qkv.Config{Kernel: set, Workers: 1 + int(workers%4)})
			products, y := c.of(t, e)
			alone, want := c.of(t, e)
			must(e.MatMul(products...))
			for i, p := range alone {
				must(e.MatMul(p))
				sameBits(t, fmt.Sprintf("kernel=%s %s, product %d", set, c.what, i), y[i].data, want[i].data)
			}
		}
	})
}
