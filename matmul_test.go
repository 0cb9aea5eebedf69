package qkv_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// A matrix is a matrix of a test, with room between its elements that is no part of it.
type matrix struct {
	data                         []float32
	offset, rows, cols, row, col int
}

var matrixLayouts = []string{"rows", "columns", "padded", "reversed", "every other"}

// newMatrix returns a matrix of numbers that next gives.
func newMatrix(layout string, rows, cols int, next func() float32) *matrix {
	m := &matrix{rows: rows, cols: cols}
	switch layout {
	case "rows":
		m.row, m.col = cols, 1
	case "columns":
		m.row, m.col = 1, rows
	case "padded":
		m.row, m.col, m.offset = cols+5, 1, 3
	case "reversed":
		m.row, m.col, m.offset = -cols, -1, rows*cols-1
	case "every other":
		m.row, m.col = 2*cols+1, 2
	}
	m.data = make([]float32, m.offset+max(0, (rows-1)*m.row)+max(0, (cols-1)*m.col)+1)
	for i := range m.data {
		m.data[i] = canary
	}
	for i := range rows {
		for j := range cols {
			*m.at(i, j) = next()
		}
	}
	return m
}

func (m *matrix) at(i, j int) *float32 { return &m.data[m.offset+i*m.row+j*m.col] }

func (m *matrix) matrix() qkv.Matrix {
	return qkv.StridedMatrix(m.data, m.offset, m.rows, m.cols, m.row, m.col)
}

// values returns the elements row by row.
func (m *matrix) values() []float32 {
	v := make([]float32, 0, m.rows*m.cols)
	for i := range m.rows {
		for j := range m.cols {
			v = append(v, *m.at(i, j))
		}
	}
	return v
}

// clone returns a copy in another layout.
func (m *matrix) clone(layout string) *matrix {
	v := m.values()
	return newMatrix(layout, m.rows, m.cols, func() float32 {
		x := v[0]
		v = v[1:]
		return x
	})
}

// checkGaps fails if what is no element has changed.
func (m *matrix) checkGaps(t *testing.T) {
	t.Helper()
	elements := make(map[int]bool, m.rows*m.cols)
	for i := range m.rows {
		for j := range m.cols {
			elements[m.offset+i*m.row+j*m.col] = true
		}
	}
	for i, x := range m.data {
		if !elements[i] && x != canary {
			t.Fatalf("element %d, outside of the matrix, is %g", i, x)
		}
	}
}

// linear returns x w + bias + y in float64, and a bound of the error of float32 sums in
// parts of kernel.KC: each term takes part in at most that many roundings, and in one for
// each part.
func linear(x, w *matrix, bias []float32, y *matrix) (sum, bound func(i, j int) float64) {
	both := func(i, j int) (sum, size float64) {
		if bias != nil {
			sum, size = float64(bias[j]), math.Abs(float64(bias[j]))
		}
		if y != nil {
			sum, size = sum+float64(*y.at(i, j)), size+math.Abs(float64(*y.at(i, j)))
		}
		for k := range x.cols {
			p := float64(*x.at(i, k)) * float64(*w.at(k, j))
			sum, size = sum+p, size+math.Abs(p)
		}
		return sum, size
	}
	roundings := float64(min(x.cols, kernel.KC) + (x.cols+kernel.KC-1)/kernel.KC + 2)
	sum = func(i, j int) float64 { s, _ := both(i, j); return s }
	bound = func(i, j int) float64 { _, size := both(i, j); return roundings * 0x1p-24 * size }
	return sum, bound
}

// forms are what weights may be given as.
var forms = []string{"packed", "packed columns", "rows", "columns", "padded", "reversed", "every other"}

// withWeights gives a product weights in a form.
func withWeights(t *testing.T, e *qkv.Engine, p *qkv.Product, w *matrix, form string) {
	t.Helper()
	if layout, ok := strings.CutPrefix(form, "packed"); ok {
		if layout = strings.TrimSpace(layout); layout == "" {
			layout = "rows"
		}
		packed, err := e.Pack(w.clone(layout).matrix())
		if err != nil {
			t.Fatal(err)
		}
		if packed.Rows() != w.rows || packed.Cols() != w.cols {
			t.Fatalf("packed %d x %d as %d x %d", w.rows, w.cols, packed.Rows(), packed.Cols())
		}
		p.Packed, p.W = packed, qkv.Matrix{}
		return
	}
	p.Packed, p.W = nil, w.clone(form).matrix()
}

// matmulSizes bracket what micro-tiles, panels, parts of a sum and blocks of rows have.
func matmulSizes(r *rand.Rand, n int) (sizes [][3]int) {
	pick := func(of ...int) int { return of[r.IntN(len(of))] }
	sizes = [][3]int{{1, 1, 1}, {600, 70, 20}, {70, 300, kernel.KC}, {3, 2, 2*kernel.KC + 1}}
	for range n {
		sizes = append(sizes, [3]int{
			pick(1, 2, 3, 5, 6, 7, 8, 11, 12, 13, 15, 16, 17, 33, 64, 65, 100, 130),
			pick(1, 2, 3, 4, 7, 8, 9, 12, 13, 15, 16, 17, 31, 48, 63, 64, 65, 80, 100, 129, 193, 200),
			pick(1, 2, 3, 7, 8, 15, 16, 17, 100, kernel.KC-1, kernel.KC, kernel.KC+1, 2*kernel.KC+3),
		})
	}
	return sizes
}

// TestMatMul compares products with float64, and each form of the weights, each layout,
// set, number of workers and rows alone bit for bit.
func TestMatMul(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	next := normal(3)
	n := 60
	if testing.Short() || raceEnabled {
		n = 10
	}
	for i, s := range matmulSizes(r, n) {
		m, n, k := s[0], s[1], s[2]
		x, w := newMatrix("rows", m, k, next), newMatrix("rows", k, n, next)
		var old *matrix
		var bias []float32
		if i%3 != 0 {
			bias = newMatrix("rows", 1, n, next).data
		}
		if i%4 == 1 {
			old = newMatrix("rows", m, n, next)
		}
		var first []float32
		for _, set := range sets() {
			for _, workers := range workerCounts(1, 3) {
				e := newAttention(t, qkv.Config{Kernel: set, Workers: workers})
				for _, form := range forms {
					xLayout, yLayout := matrixLayouts[r.IntN(len(matrixLayouts))], matrixLayouts[r.IntN(len(matrixLayouts))]
					what := fmt.Sprintf("kernel=%s workers=%d m=%d n=%d k=%d bias=%v add=%v x=%s y=%s w=%s",
						set, workers, m, n, k, bias != nil, old != nil, xLayout, yLayout, form)
					y := newMatrix(yLayout, m, n, func() float32 { return nan })
					if old != nil {
						y = old.clone(yLayout)
					}
					p := qkv.Product{X: x.clone(xLayout).matrix(), Bias: bias, Y: y.matrix(), Accumulate: old != nil}
					withWeights(t, e, &p, w, form)
					if err := e.MatMul(&p); err != nil {
						t.Fatalf("%s: %v", what, err)
					}
					y.checkGaps(t)
					got := y.values()
					if first == nil {
						first = got
						sum, bound := linear(x, w, bias, old)
						for i := range m {
							for j := range n {
								if diff := math.Abs(float64(*y.at(i, j)) - sum(i, j)); !(diff <= bound(i, j)) {
									t.Fatalf("%s: y[%d,%d] is %g, want %g ± %g", what, i, j, *y.at(i, j), sum(i, j), bound(i, j))
								}
							}
						}
					}
					sameBits(t, what, got, first)
				}
				// Some rows alone.
				lo := r.IntN(m)
				hi := lo + 1 + r.IntN(m-lo)
				y := newMatrix("rows", m, n, func() float32 { return nan })
				if old != nil {
					y = old.clone("rows")
				}
				p := qkv.Product{X: x.matrix().Slice(lo, hi), Bias: bias, Y: y.matrix().Slice(lo, hi), Accumulate: old != nil}
				withWeights(t, e, &p, w, forms[r.IntN(len(forms))])
				if err := e.MatMul(&p); err != nil {
					t.Fatal(err)
				}
				sameBits(t, fmt.Sprintf("kernel=%s m=%d n=%d k=%d rows %d to %d alone", set, m, n, k, lo, hi), y.data[lo*n:hi*n], first[lo*n:hi*n])
			}
		}
	}
}

// TestMatMulSpecial has signs of zeros, infinities and NaN go where IEEE arithmetic has
// them, in each form of the weights.
func TestMatMulSpecial(t *testing.T) {
	values := []float32{0, float32(math.Copysign(0, -1)), 1, -1, posInf, negInf, nan, math.MaxFloat32, math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32}
	r := rand.New(rand.NewPCG(5, 6))
	next := func() float32 { return values[r.IntN(len(values))] }
	for range 20 {
		m, n, k := 1+r.IntN(70), 1+r.IntN(70), 1+r.IntN(3)
		x, w, old := newMatrix("rows", m, k, next), newMatrix("rows", k, n, next), newMatrix("rows", m, n, next)
		bias := newMatrix("rows", 1, n, next).data
		for variant := range 4 {
			want := make([]float32, 0, m*n)
			for i := range m {
				for j := range n {
					acc, c, b := float32(0), float32(0), float32(0)
					for l := range k {
						acc = fp.FMA(*x.at(i, l), *w.at(l, j), acc)
					}
					if variant&1 != 0 {
						c = *old.at(i, j)
					}
					if variant&2 != 0 {
						b = bias[j]
					}
					want = append(want, (c+b)+acc)
				}
			}
			forEachSet(t, func(t *testing.T, e *qkv.Engine) {
				for _, form := range forms {
					y := old.clone("rows")
					p := qkv.Product{X: x.matrix(), Y: y.matrix(), Accumulate: variant&1 != 0}
					if variant&2 != 0 {
						p.Bias = bias
					}
					withWeights(t, e, &p, w, form)
					if err := e.MatMul(&p); err != nil {
						t.Fatal(err)
					}
					sameBits(t, fmt.Sprintf("m=%d n=%d k=%d w=%s", m, n, k, form), y.data, want)
				}
			})
		}
	}
}

// TestMatMulDeep has an inner dimension on either side of that above which no form of the
// weights is multiplied transposed.
func TestMatMulDeep(t *testing.T) {
	next := normal(17)
	for _, k := range []int{1 << 16, 1<<16 + 1} {
		x, w := newMatrix("rows", 17, k, next), newMatrix("columns", k, 2, next)
		var want []float32
		for _, set := range sets() {
			e := newAttention(t, qkv.Config{Kernel: set})
			for _, form := range []string{"packed", "columns"} {
				y := make([]float32, 17*2)
				p := qkv.Product{X: x.matrix(), Y: qkv.RowMajor(y, 17, 2)}
				withWeights(t, e, &p, w, form)
				if err := e.MatMul(&p); err != nil {
					t.Fatal(err)
				}
				if want == nil {
					want = y
				}
				sameBits(t, fmt.Sprintf("kernel=%s k=%d w=%s", set, k, form), y, want)
			}
		}
	}
}

// TestMatMulNegativeZero adds products that underflow to -0 to a Y and a bias of -0, which
// only a sum of nothing else keeps.
func TestMatMulNegativeZero(t *testing.T) {
	all := func(rows, cols int, v float32) *matrix {
		return newMatrix("rows", rows, cols, func() float32 { return v })
	}
	negZero := float32(math.Copysign(0, -1))
	const m, n = 70, 33
	x, w, bias := all(m, 1, 0x1p-100), all(1, n, -0x1p-100), all(1, n, negZero).data
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		for _, form := range forms {
			y := all(m, n, negZero)
			p := qkv.Product{X: x.matrix(), Bias: bias, Y: y.matrix(), Accumulate: true}
			withWeights(t, e, &p, w, form)
			if err := e.MatMul(&p); err != nil {
				t.Fatal(err)
			}
			sameBits(t, "w="+form, y.data, all(m, n, negZero).data)
		}
	})
}

func TestMatMulErrors(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	x, w, bias := make([]float32, 6), make([]float32, 12), make([]float32, 4)
	y := make([]float32, 8)
	packed, err := e.Pack(qkv.RowMajor(w, 3, 4))
	if err != nil {
		t.Fatal(err)
	}
	other, err := newAttention(t, qkv.Config{Kernel: "generic"}).Pack(qkv.RowMajor(w, 3, 4))
	if err != nil {
		t.Fatal(err)
	}
	good := func() *qkv.Product {
		return &qkv.Product{X: qkv.RowMajor(x, 2, 3), W: qkv.RowMajor(w, 3, 4), Bias: bias, Y: qkv.RowMajor(y, 2, 4)}
	}
	if err := e.MatMul(good()); err != nil {
		t.Fatal(err)
	}
	huge := math.MaxInt / 2
	cases := []struct {
		arg, want string
		spoil     func(p *qkv.Product)
	}{
		{"w", "qkv: w has 4 rows and 3 columns, x has 3 columns: weights stored [out, in] are given as w.T()", func(p *qkv.Product) { p.W = qkv.RowMajor(w, 4, 3) }},
		{"w", "qkv: w has 2 rows, x has 3 columns", func(p *qkv.Product) { p.W = qkv.RowMajor(w, 2, 4) }},
		{"y", "qkv: y has 1 rows, x has 2", func(p *qkv.Product) { p.Y = qkv.RowMajor(y, 1, 4) }},
		{"y", "qkv: y has 3 columns, w has 4", func(p *qkv.Product) { p.Y = qkv.RowMajor(y, 2, 3) }},
		{"bias", "qkv: bias has length 3, w has 4 columns", func(p *qkv.Product) { p.Bias = bias[:3] }},
		{"precision", "qkv: precision is the unknown class Precision(-1)", func(p *qkv.Product) { p.Precision = -1 }},
		{"x", "qkv: x is not given", func(p *qkv.Product) { p.X = qkv.Matrix{} }},
		{"x", "qkv: x has 0 columns, at least 1 is needed", func(p *qkv.Product) { p.X = qkv.RowMajor(x, 2, 0) }},
		{"y", "qkv: y has -1 rows, at least 1 is needed", func(p *qkv.Product) { p.Y = qkv.RowMajor(y, -1, 4) }},
		{"w", "qkv: w is not given", func(p *qkv.Product) { p.W = qkv.Matrix{} }},
		{"x", "qkv: x reaches element 5, its slice has 5", func(p *qkv.Product) { p.X = qkv.RowMajor(x[:5], 2, 3) }},
		{"x", "qkv: x begins at element -1, at least 0 is needed", func(p *qkv.Product) { p.X = qkv.StridedMatrix(x, -1, 2, 3, 3, 1) }},
		{"w", "before the first of its slice (rows 3, stride -4)", func(p *qkv.Product) { p.W = qkv.StridedMatrix(w, 0, 3, 4, -4, 1) }},
		{"x", "elements in a slice of 6, at most", func(p *qkv.Product) { p.X = qkv.StridedMatrix(x, 0, huge, 3, 0, 0) }},
		{"w", "elements in a slice of 12, at most", func(p *qkv.Product) { p.W = qkv.StridedMatrix(w, 0, 3, huge, 0, 0) }},
		{"y", "qkv: y overlaps itself: its columns stride is 0, at least 1 is needed", func(p *qkv.Product) { p.Y = qkv.StridedMatrix(y, 0, 2, 4, 4, 0) }},
		{"y", "qkv: y and x share elements", func(p *qkv.Product) { p.X = qkv.RowMajor(y, 2, 3) }},
		{"y", "qkv: y and w share elements", func(p *qkv.Product) { p.W = qkv.StridedMatrix(y, 0, 3, 4, 1, 1) }},
		{"w", "qkv: w is given twice, packed with 3 rows and not packed with 3", func(p *qkv.Product) { p.Packed = packed }},
		{"w", "qkv: w is the zero PackedMatrix: Engine.Pack makes one", func(p *qkv.Product) { p.W, p.Packed = qkv.Matrix{}, new(qkv.PackedMatrix) }},
	}
	if e.Kernel().Vec != 4 { // that of generic
		cases = append(cases, cases[0])
		last := &cases[len(cases)-1]
		last.want = "qkv: w is packed for kernel set generic, in panels of 16 lanes of vectors of 4, this engine runs " + e.Kernel().Name
		last.spoil = func(p *qkv.Product) { p.W, p.Packed = qkv.Matrix{}, other }
	}
	for _, c := range cases {
		p := good()
		c.spoil(p)
		for i := range y {
			y[i] = canary
		}
		err := e.MatMul(p)
		var arg *qkv.ArgError
		if !errors.As(err, &arg) || arg.Arg != c.arg || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q of %q", err, c.want, c.arg)
		}
		for i := range y {
			if y[i] != canary {
				t.Fatalf("%s: y was written", c.want)
			}
		}
	}
	for _, m := range []qkv.Matrix{
		{}, qkv.RowMajor(w, 3, 5), qkv.StridedMatrix(w, 0, huge, 1, 0, 0), qkv.StridedMatrix(w, 0, 1, math.MaxInt/16, 0, 0), qkv.StridedMatrix(w, 0, 13, 1, 0, 0),
	} {
		if p, err := e.Pack(m); !errors.As(err, new(*qkv.ArgError)) || p != nil {
			t.Errorf("Pack of %d x %d: %v, error %v", m.Rows(), m.Cols(), p, err)
		}
	}
}

// TestMatrixRepeated has matrices that repeat the elements of a slice: few are multiplied,
// and so many that they would take forever are an error.
func TestMatrixRepeated(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	one, y := []float32{1}, []float32{canary}
	repeated := func(rows, cols int) qkv.Matrix { return qkv.StridedMatrix(one, 0, rows, cols, 0, 0) }
	p := qkv.Product{X: repeated(1, 1000), W: repeated(1000, 1), Y: qkv.RowMajor(y, 1, 1)}
	if err := e.MatMul(&p); err != nil || y[0] != 1000 {
		t.Errorf("%v, error %v", y[0], err)
	}
	const many = math.MaxInt / 16
	y[0] = canary
	p.X, p.W = repeated(1, many), repeated(many, 1)
	var arg *qkv.ArgError
	if err := e.MatMul(&p); !errors.As(err, &arg) || arg.Arg != "x" || !strings.Contains(err.Error(), "elements in a slice of 1, at most") || y[0] != canary {
		t.Errorf("error %v, y %v", err, y[0])
	}
	// The lanes of the panels of both together wrap to a few.
	_, err := e.NewProjection(qkv.ProjectionConfig{
		Q: qkv.Linear{W: repeated(1, many+1)}, Heads: many + 1,
		K: qkv.Linear{W: repeated(1, many+2)}, KVHeads: many + 2,
	})
	if !errors.As(err, &arg) || arg.Arg != "q weights" {
		t.Errorf("error %v", err)
	}
}

func TestMatrixSlice(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	m := qkv.RowMajor(make([]float32, 12), 4, 3)
	if s := m.Slice(1, 3); s.Rows() != 2 || s.Cols() != 3 {
		t.Errorf("%d x %d", s.Rows(), s.Cols())
	}
	far := qkv.StridedMatrix([]float32{1, 2, 3, 4}, 0, math.MaxInt/64, 4, math.MaxInt/64, 1).Slice(128, 129)
	y := []float32{canary}
	if err := qkv.MatMul(&qkv.Product{X: far, W: qkv.RowMajor([]float32{1, 1, 1, 1}, 4, 1), Y: qkv.RowMajor(y, 1, 1)}); err == nil {
		t.Errorf("rows beyond what an int counts: %v", y)
	}
	// Offsets that go round all ints come back to where the elements are.
	const most = math.MaxInt
	for _, far := range []qkv.Matrix{
		qkv.StridedMatrix(y, 0, most, most, most, 1).Slice(1, most).Slice(1, 2).T().Slice(2, 3),
		qkv.StridedMatrix(y, most, most, most, most, 1).Slice(1, 2).T().Slice(2, 3),
		qkv.StridedMatrix(y, most, 4, 4, 1, 1).Slice(1, 2).T().Slice(0, 1),
		qkv.StridedMatrix(y, -2, most, 4, -most, most).Slice(1, 2).T().Slice(1, 2).T(),
		qkv.StridedMatrix(y, 0, 4, 1, most/2+1, 1).Slice(3, 4).T(),
		qkv.StridedMatrix(y, 0, 4, 4, most/2+1, most/2+1).Slice(2, 4).Slice(1, 2).T().Slice(1, 2).T(),
	} {
		isArgError(t, "an offset that is no int", e.MatMul(&qkv.Product{X: far, W: qkv.RowMajor([]float32{1}, 1, 1), Y: qkv.RowMajor(make([]float32, 1), 1, 1)}), "x begins at element")
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	m.Slice(3, 5)
}

func TestMatMulAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items under the race detector")
	}
	for _, workers := range []int{1, 2} {
		e := newAttention(t, qkv.Config{Workers: workers})
		for _, form := range forms {
			w := newMatrix("rows", 300, 200, normal(1))
			p := qkv.Product{X: newMatrix("rows", 70, 300, normal(2)).matrix(), Y: newMatrix("rows", 70, 200, normal(3)).matrix()}
			withWeights(t, e, &p, w, form)
			if n := allocsPerCall(20, func() {
				if err := e.MatMul(&p); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("workers=%d w=%s: %v allocations a call", workers, form, n)
			}
		}
	}
}

// TestMatMulCopies: no product takes memory for a copy of rows that grows with their length. Strides
// of 0 make long ones of a few elements.
func TestMatMulCopies(t *testing.T) {
	const bound = 1 << 16
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		for _, c := range []struct{ rows, depth, step int }{
			{1, bound + 64, 1}, {1, bound + 64, 0}, {2, bound, 1}, {2, bound + 64, 1}, {16, bound + 64, 1},
		} {
			data := make([]float32, bound+64)
			x := qkv.StridedMatrix(data, 0, c.rows, c.depth, 0, c.step)
			y := qkv.RowMajor(make([]float32, c.rows*32), c.rows, 32)
			w := qkv.StridedMatrix(data, 0, c.depth, 32, 1, 0)
			plan, err := e.ExplainMatMul(&qkv.Product{X: x, W: w, Y: y})
			if err != nil {
				t.Fatal(err)
			}
			copies := plan.Path == "transposed" || plan.Path == "dots" && (c.rows > 1 || c.step != 1)
			if copies && c.depth > bound {
				t.Errorf("%d rows of %d elements, %d apart, are copied: %s", c.rows, c.depth, c.step, plan.Path)
			}
		}
	})
}

// TestExplainMatMul names the path of each form of the weights.
func TestExplainMatMul(t *testing.T) {
	for _, set := range sets() {
		e := newAttention(t, qkv.Config{Kernel: set, Workers: 2})
		vec := e.Kernel().Vec
		for _, c := range []struct {
			rows int
			form string
			path string
		}{
			{1, "packed", "packed"}, {300, "packed columns", "packed"},
			{1, "columns", "dots"}, {vec - 1, "columns", "dots"}, {vec, "columns", "transposed"}, {300, "columns", "transposed"},
			{1, "rows", "combine"}, {vec - 1, "rows", "combine"}, {vec, "rows", "packing"}, {300, "rows", "packing"}, {300, "every other", "packing"},
		} {
			p := qkv.Product{X: qkv.RowMajor(make([]float32, c.rows*70), c.rows, 70), Y: qkv.RowMajor(make([]float32, c.rows*90), c.rows, 90)}
			withWeights(t, e, &p, newMatrix("rows", 70, 90, normal(1)), c.form)
			plan, err := e.ExplainMatMul(&p)
			if err != nil {
				t.Fatal(err)
			}
			if plan.Path != c.path || plan.Kernel != set || plan.KC != kernel.KC || plan.FLOPs != float64(2*c.rows*70*90) {
				t.Errorf("kernel=%s m=%d w=%s: %+v, want path %s", set, c.rows, c.form, plan, c.path)
			}
			if plan.MC < 1 || plan.NC < 1 || plan.Items < 1 || plan.Workers < 1 || plan.Workers > min(2, plan.Items) ||
				!strings.HasPrefix(plan.String(), c.path+" on "+set+": ") {
				t.Errorf("%v", plan)
			}
			p.Y = qkv.Matrix{}
			if _, err := e.ExplainMatMul(&p); err == nil || err.Error() != e.MatMul(&p).Error() {
				t.Errorf("ExplainMatMul says %v, MatMul %v", err, e.MatMul(&p))
			}
		}
	}
}
