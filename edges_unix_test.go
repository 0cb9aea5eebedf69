//go:build linux || darwin

package qkv_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/qkv-go/qkv"
)

// Edges is memory between pages that fault, a region for each operand.
type edges struct {
	regions [][]byte
	used    int
	r       *rand.Rand
}

const edgeRegion = 1 << 20

// bytes returns n bytes that end, or begin, where an access faults.
func (m *edges) bytes(t *testing.T, n int, back bool) []byte {
	t.Helper()
	if m.used == len(m.regions) {
		page := os.Getpagesize()
		mem, err := unix.Mmap(-1, 0, edgeRegion+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		must(err)
		t.Cleanup(func() { must(unix.Munmap(mem)) })
		must(unix.Mprotect(mem[:page], unix.PROT_NONE))
		must(unix.Mprotect(mem[page+edgeRegion:], unix.PROT_NONE))
		m.regions = append(m.regions, mem[page:][:edgeRegion:edgeRegion])
	}
	all := m.regions[m.used]
	m.used++
	if back {
		return all[edgeRegion-n:]
	}
	return all[:n:n]
}

// floats moves numbers to an edge.
func (m *edges) floats(t *testing.T, x []float32) []float32 { return atEdge(t, m, x) }

// move moves the elements of a matrix to an edge.
func (m *edges) move(t *testing.T, x *matrix) *matrix {
	to := *x
	to.data = m.floats(t, x.data)
	return &to
}

// An edgeWeights is weights of a product that can be moved, and what they stand for.
type edgeWeights struct {
	typ        qkv.WeightType
	data       []byte
	scales     []float32
	rows, cols int // stored
	groupSize  int
	transposed bool
	in, out    [2]int // the rows and columns that are taken
}

// newEdgeWeights draws weights [in, out], mostly a part of those that are stored.
func newEdgeWeights(r *rand.Rand, in, out int) *edgeWeights {
	w := &edgeWeights{typ: weightTypes[r.IntN(len(weightTypes))], transposed: r.IntN(4) > 0}
	from := func(n int) [2]int { lo := r.IntN(3) / 2 * r.IntN(9); return [2]int{lo, lo + n} }
	w.in, w.out = from(in), from(out)
	rows, cols := w.in[1], w.out[1]
	if w.transposed {
		rows, cols = cols, rows
	}
	block, size := w.typ.Block()
	cols = (cols + block - 1) / block * block
	w.rows, w.cols = rows, cols
	for range rows * cols / block {
		values := draw(block, func() float32 { return float32(r.NormFloat64()) })
		b := make([]byte, size)
		if qkv.Quantize(w.typ, b, values) != nil {
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			if w.typ != qkv.WeightInt8 { // scales are half-precision numbers
				for _, i := range []int{0, 2, size - 4, size - 2} {
					b[i+1] = b[i+1]&0x80 | 0x2c
				}
			}
		}
		w.data = append(w.data, b...)
	}
	if w.typ == qkv.WeightInt8 {
		w.groupSize = drawn(r, 1, 3, 7, 48, 256, cols, 2*cols)
		w.scales = draw(rows*((cols-1)/w.groupSize+1), func() float32 { return float32(r.NormFloat64() / 64) })
	}
	return w
}

// matrix returns the weights.
func (w *edgeWeights) matrix() qkv.Matrix {
	m := qkv.WeightMatrix(w.typ, w.data, w.rows, w.cols)
	if w.typ == qkv.WeightInt8 {
		m = qkv.Int8Matrix(unsafe.Slice((*int8)(unsafe.Pointer(&w.data[0])), len(w.data)), w.scales, w.rows, w.cols, w.groupSize)
	}
	if w.transposed {
		m = m.T()
	}
	return m.Slice(w.in[0], w.in[1]).T().Slice(w.out[0], w.out[1]).T()
}

// move moves the weights to edges, at any address.
func (w *edgeWeights) move(t *testing.T, m *edges) *edgeWeights {
	to := *w
	to.data = m.bytes(t, len(w.data), m.r.IntN(3) > 0)
	copy(to.data, w.data)
	to.scales = m.floats(t, w.scales)
	return &to
}

// values returns a copy as float32.
func (w *edgeWeights) values(e *qkv.Engine) qkv.Matrix {
	m := w.matrix()
	ids := make([]int32, m.Rows())
	for i := range ids {
		ids[i] = int32(i)
	}
	to := qkv.RowMajor(make([]float32, m.Rows()*m.Cols()), m.Rows(), m.Cols())
	must(e.Lookup(to, m, ids))
	return to
}

// edgeNumbers draws what operands have: normal numbers, zeros of both signs, or any.
func edgeNumbers(r *rand.Rand) func() float32 {
	few := [][]float32{nil, {0, -1 / posInf}, {0, -1 / posInf, 1, -1, 1e-45, -1e-45}, {nan, posInf, negInf, 0, -1 / posInf, 1, -1e38, 1e38, 1e-38}}[r.IntN(4)]
	many := r.IntN(2) == 0
	return func() float32 {
		if few != nil && (many || r.IntN(100) == 0) {
			return few[r.IntN(len(few))]
		}
		return float32(r.NormFloat64())
	}
}

// TestEdgesProduct: products by weights of any type, cut anywhere, gated or not, one or several, read and
// write nothing beside their operands, wherever these begin and end, and have the bits of the generic set.
func TestEdgesProduct(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(71, 72))
	m := &edges{r: r}
	plain := newAttention(t, qkv.Config{Kernel: "generic", Workers: 1})
	rounds := 150
	if testing.Short() || raceEnabled {
		rounds = 40
	}
	for round := range rounds {
		rows, in := drawn(r, 1, 2, 3, 5, 8, 15, 16, 17, 33, 40, 66), drawn(r, 1, 7, 31, 32, 33, 64, 100, 255, 256, 257, 300, 512, 520)
		next := edgeNumbers(r)
		x := newMatrix(drawn(r, matrixLayouts...), rows, in, next)
		n := 1 + r.IntN(3)
		what := fmt.Sprintf("round %d, %d x %d", round, rows, in)
		type part struct {
			w, up       *edgeWeights
			bias, bias2 []float32
			y           *matrix
			add         bool
			act         qkv.Activation
		}
		var parts []part
		for range n {
			out := 1 + r.IntN(70)
			p := part{w: newEdgeWeights(r, in, out), y: newMatrix(drawn(r, matrixLayouts...), rows, out, next), add: r.IntN(3) == 0}
			what += fmt.Sprintf(", %d by %v %v %v of %d x %d in groups of %d", out, p.w.typ, p.w.in, p.w.out, p.w.rows, p.w.cols, p.w.groupSize)
			if r.IntN(2) == 0 {
				p.bias = draw(out, next)
			}
			if !p.add && r.IntN(2) == 0 {
				p.act = drawn(r, activations...)
				if r.IntN(2) == 0 {
					p.up = newEdgeWeights(r, in, out)
					what += fmt.Sprintf(" up %v %v %v", p.up.typ, p.up.in, p.up.out)
					if r.IntN(2) == 0 {
						p.bias2 = draw(out, next)
					}
				}
			}
			parts = append(parts, p)
		}
		var want [][]float32
		for _, p := range parts {
			y := p.y.clone("rows")
			q := qkv.Product{X: x.matrix(), W: p.w.values(plain), Bias: p.bias, Y: y.matrix(), Accumulate: p.add, Activation: p.act}
			if p.up != nil {
				q.Up = qkv.Linear{W: p.up.values(plain), Bias: p.bias2}
			}
			must(plain.MatMul(&q))
			want = append(want, y.values())
		}
		for _, set := range sets() {
			e := newAttention(t, qkv.Config{Kernel: set, Workers: 1 + r.IntN(3)})
			m.used = 0
			mx := m.move(t, x)
			var products []*qkv.Product
			var ys []*matrix
			for _, p := range parts {
				y := m.move(t, p.y)
				q := qkv.Product{X: mx.matrix(), W: p.w.move(t, m).matrix(), Bias: m.floats(t, p.bias), Y: y.matrix(), Accumulate: p.add, Activation: p.act}
				if p.up != nil {
					q.Up = qkv.Linear{W: p.up.move(t, m).matrix(), Bias: m.floats(t, p.bias2)}
				}
				if r.IntN(4) == 0 {
					packed, err := e.Pack(q.W)
					must(err)
					q.W, q.Packed = qkv.Matrix{}, packed
				}
				products, ys = append(products, &q), append(ys, y)
			}
			must(e.MatMul(products...))
			for i, y := range ys {
				y.checkGaps(t)
				sameBits(t, fmt.Sprintf("%s, kernel %s, product %d", what, set, i), y.values(), want[i])
			}
			sameBits(t, what+", x", mx.data, x.data)
		}
	}
}

// TestEdgesRows is TestEdgesProduct of norms and of rows of tables.
func TestEdgesRows(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(73, 74))
	m := &edges{r: r}
	plain := newAttention(t, qkv.Config{Kernel: "generic", Workers: 1})
	rounds := 200
	if testing.Short() || raceEnabled {
		rounds = 50
	}
	for round := range rounds {
		next := normal(uint64(round))
		rows, cols := drawn(r, 1, 2, 3, 9), drawn(r, 1, 2, 7, 15, 16, 17, 31, 63, 64, 65, 100, 1000, 5000)
		layout := func() string { return drawn(r, matrixLayouts...) }
		c := normCase{x: newMatrix(layout(), rows, cols, next), y: newMatrix(layout(), rows, cols, next), centred: r.IntN(2) == 0}
		if r.IntN(2) == 0 {
			c.add = newMatrix(layout(), rows, cols, next)
		}
		if r.IntN(3) > 0 {
			c.weight = draw(cols, next)
			if r.IntN(2) == 0 {
				c.bias = draw(cols, next)
			}
		}
		w := newEdgeWeights(r, 1+r.IntN(40), 1+r.IntN(300))
		table := w.values(plain)
		ids := draw(7, func() int32 { return int32(r.IntN(table.Rows())) })
		found := qkv.RowMajor(make([]float32, len(ids)*table.Cols()), len(ids), table.Cols())
		must(plain.Lookup(found, table, ids))
		values := (&matrix{data: make([]float32, len(ids)*table.Cols()), rows: len(ids), cols: table.Cols(), row: table.Cols(), col: 1})
		must(plain.Lookup(values.matrix(), table, ids))

		alone := c
		alone.x, alone.y = c.x.clone("rows"), c.y.clone("rows")
		must(alone.run(plain))
		for _, set := range sets() {
			e := newAttention(t, qkv.Config{Kernel: set, Workers: 1 + r.IntN(3)})
			what := fmt.Sprintf("round %d, kernel %s, %d x %d", round, set, rows, cols)
			m.used = 0
			edge := c
			edge.x, edge.y, edge.weight, edge.bias = m.move(t, c.x), m.move(t, c.y), m.floats(t, c.weight), m.floats(t, c.bias)
			if c.add != nil {
				edge.add = m.move(t, c.add)
			}
			must(edge.run(e))
			sameBits(t, what, edge.y.values(), alone.y.values())
			sameBits(t, what+", x", edge.x.values(), alone.x.values())
			edge.x.checkGaps(t)
			edge.y.checkGaps(t)

			dst := m.move(t, newMatrix(layout(), len(ids), table.Cols(), next))
			moved := w.move(t, m)
			must(e.Lookup(dst.matrix(), moved.matrix(), ids))
			what += fmt.Sprintf(", table %v %v %v", w.typ, w.in, w.out)
			sameBits(t, what, dst.values(), values.values())
			dst.checkGaps(t)
			packed, err := e.Pack(moved.matrix().T())
			must(err)
			dst = m.move(t, newMatrix(layout(), len(ids), table.Cols(), next))
			must(e.LookupPacked(dst.matrix(), packed, ids))
			sameBits(t, what+", packed", dst.values(), values.values())
			dst.checkGaps(t)
			if !slices.Equal(moved.data, w.data) {
				t.Fatalf("%s: the table was written", what)
			}
		}
	}
}

// TestEdgesAttention is TestEdgesProduct of attention in each class, over keys and values of any types.
func TestEdgesAttention(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(75, 76))
	m := &edges{r: r}
	rounds := 200
	if testing.Short() || raceEnabled {
		rounds = 50
	}
	for round := range rounds {
		next := normal(uint64(round))
		kvHeads := 1 + r.IntN(2)
		keyType, valueType := drawn(r, elemTypes...), drawn(r, elemTypes...)
		dim := func(typ qkv.ElemType) int {
			if inBlocks(typ) {
				return 32 * (1 + r.IntN(4))
			}
			return drawn(r, 1, 7, 16, 24, 32, 63, 64, 65, 100)
		}
		d := dims{1 + r.IntN(2), kvHeads * (1 + r.IntN(3)), kvHeads, drawn(r, 1, 2, 5, 17, 40), drawn(r, 1, 3, 16, 33, 64, 130), dim(keyType), dim(valueType)}
		p := newProblem(d, drawn(r, "bhsd", "bshd", "bhds", "reversed"), drawn(r, none, bottomRight), next)
		p.precision = attentionClasses[round%len(attentionClasses)]
		pairs := [4]int{d.batch, d.heads, d.seqQ, d.seqKV}
		if r.IntN(3) == 0 {
			p.bias = pairsOf(r, pairs, false, next)
		}
		if r.IntN(3) == 0 {
			p.keep = pairsOf(r, pairs, false, func() bool { return r.IntN(3) > 0 })
		}
		keys, values := poolOf(keyType, p.k), poolOf(valueType, p.v)
		if p.precision == qkv.PrecisionInt8 {
			p.valuePrecision = drawn(r, attentionClasses...)
		}
		p.change = func(c *qkv.Call) {
			c.K, c.KScale = keys.views()
			c.V, c.VScale = values.views()
		}
		out, lse := p.run(t, newAttention(t, qkv.Config{Kernel: "generic", Workers: 1}))
		for _, set := range p.sets() {
			m.used = 0
			edge := *p
			edge.q, edge.out, edge.lse = moved(t, m, p.q), moved(t, m, p.out), atEdge(t, m, p.lse)
			if p.bias != nil {
				edge.bias = moved(t, m, p.bias)
			}
			if p.keep != nil {
				edge.keep = moved(t, m, p.keep)
			}
			k, v := keys.move(t, m), values.move(t, m)
			edge.change = func(c *qkv.Call) {
				c.K, c.KScale = k.views()
				c.V, c.VScale = v.views()
			}
			what := fmt.Sprintf("round %d, kernel %s, class %v, keys %v, values %v in %v, %+v", round, set, p.precision, keyType, valueType, p.valuePrecision, d)
			gotOut, gotLSE := edge.run(t, newAttention(t, qkv.Config{Kernel: set, Workers: 1 + r.IntN(3)}))
			sameBits(t, what+", out", gotOut, out)
			sameBits(t, what+", lse", gotLSE, lse)
			edge.checkUnwritten(t)
		}
	}
}

// atEdge moves values to an edge.
func atEdge[T any](t *testing.T, m *edges, x []T) []T {
	if len(x) == 0 {
		return x
	}
	b := m.bytes(t, len(x)*int(unsafe.Sizeof(x[0])), m.r.IntN(3) > 0)
	to := unsafe.Slice((*T)(unsafe.Pointer(&b[0])), len(x))
	copy(to, x)
	return to
}

// moved moves the elements of a tensor to an edge.
func moved[T qkv.Element](t *testing.T, m *edges, x *strided[T]) *strided[T] {
	to := *x
	to.data = atEdge(t, m, x.data)
	return &to
}

// move moves what p has to edges.
func (p *pool) move(t *testing.T, m *edges) *pool {
	to := *p
	to.floats, to.halves, to.brains, to.ints = atEdge(t, m, p.floats), atEdge(t, m, p.halves), atEdge(t, m, p.brains), atEdge(t, m, p.ints)
	to.scales, to.blocks, to.e4m3, to.e5m2 = atEdge(t, m, p.scales), atEdge(t, m, p.blocks), atEdge(t, m, p.e4m3), atEdge(t, m, p.e5m2)
	to.q4, to.q41 = atEdge(t, m, p.q4), atEdge(t, m, p.q41)
	return &to
}

// TestCacheTurnedMemory: a copy of queries that no machine has the memory for is refused by an error.
func TestCacheTurnedMemory(t *testing.T) {
	queries, dim := 1<<30, 1<<12
	if math.MaxInt == math.MaxInt32 {
		t.Skip("an int does not count so many bytes")
	}
	mem, err := unix.Mmap(-1, 0, 4*queries, unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
	must(err)
	defer func() { must(unix.Munmap(mem)) }()
	cache := newCache(t, qkv.CacheConfig{Pages: 1, PageTokens: 1, Layers: []qkv.CacheLayer{{KVHeads: 1, DimQK: dim, DimV: 1, HadamardK: true}}})
	step := newStep(t, newAttention(t, qkv.Config{}), cache)
	must(step.Begin([]qkv.StepSequence{{Sequence: cache.NewSequence(), Queries: queries}}))
	err = step.Attend(0, &qkv.Call{
		Q:   qkv.Strided(make([]float32, dim), 0, [4]int{1, 1, queries, dim}, [4]int{0, 0, 0, 1}),
		Out: qkv.Strided(unsafe.Slice((*float32)(unsafe.Pointer(&mem[0])), queries), 0, [4]int{1, 1, queries, 1}, [4]int{0, 0, 1, 1}),
	})
	var m *qkv.MemoryError
	if !errors.As(err, &m) || m.Arg != "workspace" || m.Bytes != 4*int64(queries)*int64(dim) {
		t.Errorf("error %v", err)
	}
	must(step.Rollback())
}
