package qkv_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
	"github.com/qkv-go/qkv/tile"
)

var activations = []qkv.Activation{qkv.SiLU, qkv.GELU, qkv.GELUTanh}

// activate is an activation in float32, as numerics.md has it.
func activate(a qkv.Activation, x float32) float32 {
	switch a {
	case qkv.SiLU:
		return fp.SiLU(x)
	case qkv.GELU:
		return fp.GELU(x)
	}
	return fp.GELUTanh(x)
}

// activated is an activation in float64.
func activated(a qkv.Activation, x float64) float64 {
	switch a {
	case qkv.SiLU:
		return x / (1 + math.Exp(-x))
	case qkv.GELU:
		return x * math.Erfc(-x/math.Sqrt2) / 2
	}
	return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
}

// A gatedCase is a product with an activation, and mostly with what multiplies it.
type gatedCase struct {
	severalCase // the gate, and up if there are two
	activation  qkv.Activation
	y           *matrix
}

// newGated draws one.
func newGated(r *rand.Rand) *gatedCase {
	c := &gatedCase{activation: activations[r.IntN(len(activations))]}
	heads := []int{1, 1, 1, 2, 3}[r.IntN(5)]
	cols := heads * (1 + r.IntN(400)/heads)
	c.severalCase = *newSeveral(r, 1+(r.IntN(4)+2)/3, func(int) (int, int) { return heads, cols })
	layout := matrixLayouts[r.IntN(len(matrixLayouts))]
	c.y = newMatrix(layout, c.rows, cols, func() float32 { return nan })
	c.what = fmt.Sprintf("%v, y %s, %s", c.activation, layout, c.what)
	for i := range c.products {
		c.products[i].Accumulate = false
	}
	return c
}

// gated returns the product, with weights that e reads and a Y of its own.
func (c *gatedCase) gated(t *testing.T, e *qkv.Engine) (p *qkv.Product, y *matrix) {
	t.Helper()
	products, _ := c.of(t, e)
	own := *c.y
	own.data = slices.Clone(own.data)
	p = products[0]
	p.Activation, p.Y = c.activation, own.matrix()
	if len(products) > 1 {
		up := products[1]
		p.Up = qkv.Linear{W: up.W, Packed: up.Packed, Bias: up.Bias}
	}
	return p, &own
}

// want returns what the products by themselves and a loop make.
func (c *gatedCase) want(t *testing.T, e *qkv.Engine) []float32 {
	t.Helper()
	products, y := c.of(t, e)
	for _, p := range products {
		must(e.MatMul(p))
	}
	v := y[0].values()
	for i := range v {
		v[i] = activate(c.activation, v[i])
	}
	if len(y) > 1 {
		for i, up := range y[1].values() {
			v[i] *= up
		}
	}
	return v
}

// TestGated: a product with an activation has the bits of the products by themselves, the activation and
// one multiplication, of weights of any type and form, on every set, whatever the number of workers and
// the rows beside a row.
func TestGated(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(41, 42))
	rounds := 100
	if testing.Short() || raceEnabled {
		rounds = 16
	}
	for round := range rounds {
		c := newGated(r)
		var want []float32
		for _, set := range sets() {
			counts := workerCounts(1, 2, 5)
			if brief() {
				counts = counts[round%len(counts):][:1]
			}
			for _, workers := range counts {
				e := newAttention(t, qkv.Config{Kernel: set, Workers: workers})
				what := fmt.Sprintf("round %d kernel=%s workers=%d %s", round, set, workers, c.what)
				if want == nil {
					want = c.want(t, e)
				}
				p, y := c.gated(t, e)
				if err := e.MatMul(p); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				y.checkGaps(t)
				sameBits(t, what, y.values(), want)
				lo := r.IntN(c.rows)
				hi := lo + 1 + r.IntN(c.rows-lo)
				p, y = c.gated(t, e)
				p.X, p.Y = p.X.Slice(lo, hi), p.Y.Slice(lo, hi)
				must(e.MatMul(p))
				n := y.cols
				sameBits(t, fmt.Sprintf("%s, rows %d to %d", what, lo, hi), y.values()[lo*n:hi*n], want[lo*n:hi*n])
			}
		}
	}
}

// TestGatedExact compares gated products with float64.
func TestGatedExact(t *testing.T) {
	next := normal(43)
	const m, k, n = 9, 300, 70
	x, gate, up := newMatrix("rows", m, k, next), newMatrix("columns", k, n, next), newMatrix("rows", k, n, next)
	for i := range gate.data {
		gate.data[i] /= 8 // where activations bend
	}
	bias, upBias := draw(n, next), draw(n, next)
	g, gBound := linear(x, gate, bias, nil)
	u, uBound := linear(x, up, upBias, nil)
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		for _, a := range activations {
			y := newMatrix("rows", m, n, func() float32 { return nan })
			must(e.MatMul(&qkv.Product{X: x.matrix(), W: gate.matrix(), Bias: bias, Activation: a, Up: qkv.Linear{W: up.matrix(), Bias: upBias}, Y: y.matrix()}))
			for i := range m {
				for j := range n {
					act, other := activated(a, g(i, j)), u(i, j)
					// No activation grows faster than 1.13 times its operand; 2^-20 of it are more
					// than its own rounding.
					off := 1.13*gBound(i, j) + 0x1p-20*math.Abs(act)
					bound := off*(math.Abs(other)+uBound(i, j)) + math.Abs(act)*uBound(i, j) + 0x1p-23*math.Abs(act*other) + 0x1p-120
					if got := float64(*y.at(i, j)); !(math.Abs(got-act*other) <= bound) {
						t.Fatalf("%v: y[%d,%d] is %g, want %g ± %g", a, i, j, got, act*other, bound)
					}
				}
			}
		}
	})
}

// TestGatedSpecial has infinities, NaN and zeros go where the product, the activation and IEEE arithmetic
// have them.
func TestGatedSpecial(t *testing.T) {
	values := []float32{0, float32(math.Copysign(0, -1)), 1, -1, posInf, negInf, nan, math.MaxFloat32, -math.MaxFloat32, 100, -100, math.SmallestNonzeroFloat32}
	r := rand.New(rand.NewPCG(44, 45))
	next := func() float32 { return values[r.IntN(len(values))] }
	for range 10 {
		m, n := 1+r.IntN(40), 1+r.IntN(90)
		x, w, up := newMatrix("rows", m, 1, next), newMatrix("rows", 1, n, next), newMatrix("rows", 1, n, next)
		for _, a := range activations {
			var want []float32
			for i := range m {
				for j := range n {
					sum := func(w *matrix) float32 { return 0 + fp.FMA(*x.at(i, 0), *w.at(0, j), 0) }
					want = append(want, activate(a, sum(w))*sum(up))
				}
			}
			forEachSet(t, func(t *testing.T, e *qkv.Engine) {
				y := make([]float32, m*n)
				must(e.MatMul(&qkv.Product{X: x.matrix(), W: w.matrix(), Activation: a, Up: qkv.Linear{W: up.clone("columns").matrix()}, Y: qkv.RowMajor(y, m, n)}))
				sameBits(t, a.String(), y, want)
			})
		}
	}
}

// TestGatedSlices: gate and up may be slices of one matrix, of any type.
func TestGatedSlices(t *testing.T) {
	r := rand.New(rand.NewPCG(46, 47))
	const m, k, n = 5, 256, 40
	x := newMatrix("rows", m, k, normal(48)).matrix()
	for _, typ := range weightTypes {
		w := newWeights(r, typ, 2*n, k, 1000)
		forEachSet(t, func(t *testing.T, e *qkv.Engine) {
			both, y := make([]float32, m*2*n), make([]float32, m*n)
			must(e.MatMul(&qkv.Product{X: x, W: w.T(), Y: qkv.RowMajor(both, m, 2*n)}))
			must(e.MatMul(&qkv.Product{X: x, W: w.Slice(0, n).T(), Activation: qkv.SiLU, Up: qkv.Linear{W: w.Slice(n, 2*n).T()}, Y: qkv.RowMajor(y, m, n)}))
			for i := range m {
				for j := range n {
					if want := fp.SiLU(both[i*2*n+j]) * both[i*2*n+n+j]; math.Float32bits(y[i*n+j]) != math.Float32bits(want) {
						t.Fatalf("%v: y[%d,%d] is %g, want %g", typ, i, j, y[i*n+j], want)
					}
				}
			}
		})
	}
}

// TestGatedErrors: what does not fit is named, and nothing is written.
func TestGatedErrors(t *testing.T) {
	mem, y := draw(400, normal(49)), make([]float32, 8)
	matrix := func(at, rows, cols int) qkv.Matrix { return qkv.RowMajor(mem[at:], rows, cols) }
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		pack := func(heads int) *qkv.PackedMatrix {
			p, err := e.PackHeads(matrix(20, 3, 4), heads)
			must(err)
			return p
		}
		good := func() *qkv.Product {
			return &qkv.Product{
				X: matrix(0, 2, 3), W: matrix(20, 3, 4), Bias: mem[40:44], Y: qkv.RowMajor(y, 2, 4), Activation: qkv.GELU,
				Up: qkv.Linear{W: matrix(60, 3, 4), Bias: mem[80:84]},
			}
		}
		must(e.MatMul(good()))
		for _, c := range []struct {
			arg, want string
			spoil     func(p *qkv.Product)
		}{
			{"activation", "qkv: activation is Activation(4), which is unknown: the last is GELUTanh, 3", func(p *qkv.Product) { p.Activation = 4 }},
			{"activation", "qkv: activation is Activation(-1), which is unknown: the last is GELUTanh, 3", func(p *qkv.Product) { p.Activation = -1 }},
			{"up", "qkv: up is given, with 4 columns, and no activation for it to multiply", func(p *qkv.Product) { p.Activation = qkv.NoActivation }},
			{"up", "qkv: up is given, with 0 columns, and no activation for it to multiply", func(p *qkv.Product) { p.Activation, p.Up.W = qkv.NoActivation, qkv.Matrix{} }},
			{"up", "qkv: up is given, with 4 columns, and no activation for it to multiply", func(p *qkv.Product) {
				p.Activation, p.Up = qkv.NoActivation, qkv.Linear{Packed: pack(1)}
			}},
			{"accumulate", "qkv: accumulate is set, and activation is GELU: there can be one of them", func(p *qkv.Product) { p.Accumulate = true }},
			{"up", "qkv: up has 3 columns, w has 4", func(p *qkv.Product) { p.Up = qkv.Linear{W: matrix(60, 3, 3)} }},
			{"up", "qkv: up has 2 rows, x has 3 columns", func(p *qkv.Product) { p.Up.W = matrix(60, 2, 4) }},
			{"up", "qkv: up is not given", func(p *qkv.Product) { p.Up.W = qkv.Matrix{} }},
			{"up bias", "qkv: up bias has length 3, up has 4 columns", func(p *qkv.Product) { p.Up.Bias = mem[:3] }},
			{"up", "qkv: up is given twice, packed with 3 rows and not packed with 3", func(p *qkv.Product) { p.Up.Packed = pack(1) }},
			{"up", "qkv: up is the zero PackedMatrix: Engine.Pack makes one", func(p *qkv.Product) { p.Up = qkv.Linear{Packed: new(qkv.PackedMatrix)} }},
			{"up", "qkv: up is packed as 2 heads, w as 4", func(p *qkv.Product) {
				p.W, p.Packed, p.Up = qkv.Matrix{}, pack(4), qkv.Linear{Packed: pack(2)}
			}},
			{"y", "qkv: y and x share elements", func(p *qkv.Product) { p.Y = matrix(5, 2, 4) }},
			{"y", "qkv: y and w share elements", func(p *qkv.Product) { p.Y = matrix(31, 2, 4) }},
			{"y", "qkv: y and bias share elements", func(p *qkv.Product) { p.Y = matrix(43, 2, 4) }},
			{"y", "qkv: y and up share elements", func(p *qkv.Product) { p.Y = matrix(71, 2, 4) }},
			{"y", "qkv: y and up bias share elements", func(p *qkv.Product) { p.Y = matrix(83, 2, 4) }},
		} {
			p := good()
			c.spoil(p)
			for i := range y {
				y[i] = canary
			}
			was := slices.Clone(mem)
			var arg *qkv.ArgError
			if err := e.MatMul(p); !errors.As(err, &arg) || arg.Arg != c.arg || err.Error() != c.want {
				t.Errorf("error %v, want %q of %q", err, c.want, c.arg)
			}
			if slices.ContainsFunc(y, func(x float32) bool { return x != canary }) || !slices.Equal(mem, was) {
				t.Fatalf("%s: something was written", c.want)
			}
		}
		// Heads of one are those of both.
		p := good()
		p.Up = qkv.Linear{Packed: pack(2)}
		must(e.MatMul(p))
		p = good()
		p.W, p.Packed = qkv.Matrix{}, pack(2)
		must(e.MatMul(p))
	})
}

// TestActivationString: the names are those of the constants.
func TestActivationString(t *testing.T) {
	for a, want := range map[qkv.Activation]string{
		qkv.NoActivation: "NoActivation", qkv.SiLU: "SiLU", qkv.GELU: "GELU", qkv.GELUTanh: "GELUTanh", 4: "Activation(4)", -1: "Activation(-1)",
	} {
		if got := a.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if n := len(kernel.Activations()); n != len(activations) {
		t.Errorf("%d activations of kernels, %d here", n, len(activations))
	}
}

// FuzzGated has gated products of arbitrary weights have the bits of their parts by themselves.
func FuzzGated(f *testing.F) {
	for i := range 20 {
		f.Add(uint64(i), byte(i%4))
	}
	f.Fuzz(func(t *testing.T, seed uint64, workers byte) {
		c := newGated(rand.New(rand.NewPCG(seed, 52)))
		for _, set := range sets() {
			e := newAttention(t, qkv.Config{Kernel: set, Workers: 1 + int(workers%4)})
			p, y := c.gated(t, e)
			must(e.MatMul(p))
			y.checkGaps(t)
			sameBits(t, fmt.Sprintf("kernel=%s %s", set, c.what), y.values(), c.want(t, e))
		}
	})
}

// TestGatedDivision: whatever the caches, by which a product is divided, an activation gets each sum
// once, and kernels what their contract has.
func TestGatedDivision(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(53, 54))
	numbers := func(n int) []float32 { return draw(n, func() float32 { return float32(r.NormFloat64()) }) }
	rounds := 60
	if testing.Short() || raceEnabled {
		rounds = 20
	}
	copies, blocks := 0, 0
	tall := false // a set whose micro-tiles have rows enough for blocks that are copied, and narrow panels
	for round := range rounds {
		rows := []int{1, 5, 16, 40, 130, 300}[r.IntN(6)]
		depth := []int{7, 64, 270, 520}[r.IntN(4)]
		heads, width := 1+r.IntN(3)*r.IntN(2), 1+r.IntN(300)
		cols := heads * width
		step := 1 + r.IntN(8)/7
		l2 := []int{8 << 10, 32 << 10, 256 << 10, 2 << 20}[r.IntN(4)]
		packs := [2]bool{round%2 == 0, round%2 == 0 != (r.IntN(8) == 0)}
		if round%10 == 0 { // X is copied where panels are narrow
			rows, depth, step, l2, packs = 130, 270, 1, 8<<10, [2]bool{true, true}
		}
		x, y := numbers(rows*(depth*step+3)), make([]float32, rows*cols)
		p := tile.Product{
			X:    tile.Matrix{Base: unsafe.Pointer(&x[0]), Row: depth*step + 3, Col: step},
			Rows: rows, Seq: rows, Depth: depth,
		}
		var sums [2][]float32
		for i := range 2 - r.IntN(4)/3 {
			part := tile.Part{Heads: heads, Width: width}
			w, bias := numbers(depth*cols), numbers(cols)
			part.W = tile.Matrix{Base: unsafe.Pointer(&w[0]), Row: cols, Col: 1}
			if r.IntN(2) == 0 {
				part.W.Row, part.W.Col = 1, depth
			}
			if r.IntN(2) == 0 {
				part.Bias = unsafe.Pointer(&bias[0])
			}
			sums[i] = make([]float32, rows*cols)
			part.Y = tile.Operand{Base: unsafe.Pointer(&sums[i][0]), Stride: [4]int{rows * cols, width, cols, 1}}
			p.Parts = append(p.Parts, part)
		}
		activation := qkv.Activation(1 + r.IntN(3))
		for _, set := range kernelSets() {
			tall = tall || set.Rows > 5 && set.Lanes < 64
			e := tile.New(kernel.Checked(set), tile.Caches{L1: 8 << 10, L2: l2}, false, tile.Tuning{})
			plain := p
			plain.Parts = slices.Clone(p.Parts)
			for i := range plain.Parts {
				part := &plain.Parts[i]
				if packs[i] {
					packed := alignedFloats(depth * int(e.PackedLanes(part)))
					e.Pack(unsafe.Pointer(&packed[0]), part, depth, 1)
					part.Panels = unsafe.Pointer(&packed[0])
				}
			}
			if !e.Multiply(&plain, 1) {
				t.Fatal("not done")
			}
			gated := plain
			gated.Parts = slices.Clone(plain.Parts)
			gate := &gated.Parts[0]
			gate.Activate, gate.Activation = true, kernel.Activation(activation-1)
			gate.Y.Base = unsafe.Pointer(&y[0])
			if len(gated.Parts) > 1 {
				gated.Parts[1].Up, gated.Parts[1].Y = true, tile.Operand{}
			}
			for _, workers := range workerCounts(1, 3) {
				clear(y)
				plan := e.PlanProduct(&gated, workers)
				if plan.CopyX {
					copies++
				}
				blocks += plan.RowBlocks - 1
				if !e.Multiply(&gated, workers) {
					t.Fatal("not done")
				}
				for i, got := range y {
					want := activate(activation, sums[0][i])
					if len(gated.Parts) > 1 {
						want *= sums[1][i]
					}
					if math.Float32bits(got) != math.Float32bits(want) {
						t.Fatalf("%s, L2 %d, packed %v, %d rows, depth %d, %d heads of %d, %+v: element %d is %v, want %v", set.Name, l2, packs, rows, depth, heads, width, plan, i, got, want)
					}
				}
			}
		}
	}
	if tall && copies == 0 || blocks == 0 {
		t.Errorf("%d products copy X, %d blocks of rows beyond the first", copies, blocks)
	}
}
