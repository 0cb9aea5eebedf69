package qkv_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv"
)

// An arena is one slice that all operands of a call lie in, at random: many share elements, some reach beyond
// it. What each of them is, element by element, is known by its definition.
type arena struct {
	r   *rand.Rand
	mem []float32
}

// A spot is a matrix in an arena, of float32 or of weights from a byte on.
type spot struct {
	m       qkv.Matrix
	offset  int
	row     int
	col     int
	rows    int
	cols    int
	outside bool
	typ     qkv.WeightType // of weights
	bytes   []bool         // those that it has
}

// inside reports whether a matrix stays in n elements.
func inside(n, offset, rows, cols, row, col int) bool {
	for _, i := range []int{0, rows - 1} {
		for _, j := range []int{0, cols - 1} {
			at := float64(offset) + float64(i)*float64(row) + float64(j)*float64(col)
			if at < 0 || at >= float64(n) {
				return false
			}
		}
	}
	return true
}

// matrix draws one of such a size. A writable one repeats no element.
func (a *arena) matrix(rows, cols int, writable bool) *spot {
	r := a.r
	s := &spot{rows: rows, cols: cols, row: cols, col: 1}
	switch r.IntN(8) {
	case 0:
		s.row, s.col = 1, rows
	case 1:
		s.row, s.col = cols+r.IntN(5), 1
	case 2:
		s.row, s.col = 2*cols+1, 2
	case 3:
		s.row, s.col = -cols, -1
	case 4:
		if !writable {
			s.row, s.col = drawn(r, 0, cols), drawn(r, 0, 1)
		}
	case 5:
		s.row, s.col = drawn(r, math.MaxInt, math.MinInt, math.MaxInt/4+1, -1, 0, cols), drawn(r, 1, 1, 0, math.MaxInt/8+1, -1)
	}
	low := min(0, (rows-1)*s.row) + min(0, (cols-1)*s.col)
	s.offset = r.IntN(len(a.mem))
	if low < 0 && low > -len(a.mem) {
		s.offset = min(s.offset-low, len(a.mem)-1)
	}
	if r.IntN(40) == 0 {
		s.offset = drawn(r, -1, math.MaxInt, math.MinInt, len(a.mem))
	}
	s.m = qkv.StridedMatrix(a.mem, s.offset, rows, cols, s.row, s.col)
	if s.outside = !inside(len(a.mem), s.offset, rows, cols, s.row, s.col); s.outside {
		return s
	}
	s.bytes = make([]bool, 4*len(a.mem))
	for i := range rows {
		for j := range cols {
			s.has(4*(s.offset+i*s.row+j*s.col), 4)
		}
	}
	return s
}

func (s *spot) has(byte, n int) {
	for i := range n {
		s.bytes[byte+i] = true
	}
}

// repeats reports whether two indices name one element.
func (s *spot) repeats() bool {
	n := 0
	for _, b := range s.bytes {
		if b {
			n++
		}
	}
	return n != 4*s.rows*s.cols
}

// raw is the memory as bytes.
func (a *arena) raw() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&a.mem[0])), 4*len(a.mem))
}

// weights draws weights [in, out] stored [out, in] at any byte, of a type whose blocks are small.
func (a *arena) weights(in, out int) *spot {
	r := a.r
	if r.IntN(2) == 0 {
		return a.matrix(in, out, false)
	}
	types := []qkv.WeightType{qkv.WeightFloat32, qkv.WeightFloat16, qkv.WeightBFloat16, qkv.WeightInt8}
	if in%32 == 0 {
		types = append(types, qkv.WeightQ8_0, qkv.WeightQ4_1, qkv.WeightMXFP4)
	}
	s := &spot{typ: drawn(r, types...), rows: in, cols: out, bytes: make([]bool, 4*len(a.mem))}
	block, size := s.typ.Block()
	n := in / block * size * out
	at := r.IntN(4 * len(a.mem))
	if s.outside = at+n > 4*len(a.mem); !s.outside {
		s.has(at, n)
	}
	data := a.raw()[at:]
	s.m = qkv.WeightMatrix(s.typ, data, out, in).T()
	if s.typ == qkv.WeightInt8 {
		groupSize := drawn(r, 0, 1, 3, 7, 256)
		scales := out
		if groupSize > 0 {
			scales = out * ((in-1)/groupSize + 1)
		}
		from := r.IntN(len(a.mem))
		if from+scales > len(a.mem) {
			s.outside = true
		} else if !s.outside {
			s.has(4*from, 4*scales)
		}
		s.m = qkv.Int8Matrix(unsafe.Slice((*int8)(unsafe.Pointer(&data[0])), len(data)), a.mem[from:], out, in, groupSize).T()
	}
	return s
}

// slice draws a slice of n numbers, or none.
func (a *arena) slice(n int) (x []float32, bytes []bool) {
	bytes = make([]bool, 4*len(a.mem))
	if a.r.IntN(2) == 0 {
		return nil, bytes
	}
	at := a.r.IntN(len(a.mem) - n)
	for i := range 4 * n {
		bytes[4*at+i] = true
	}
	return a.mem[at:][:n], bytes
}

// common reports whether two operands share a byte.
func common(a, b []bool) bool {
	for i := range min(len(a), len(b)) {
		if a[i] && b[i] {
			return true
		}
	}
	return false
}

// An arenaCall is a call whose operands lie in an arena.
type arenaCall struct {
	what    string
	run     func(e *qkv.Engine) error
	valid   bool
	written []*spot
	apart   func(e *qkv.Engine) [][]float32 // what is written, computed of copies
}

// copied returns a copy of float32.
func (s *spot) copied(e *qkv.Engine) qkv.Matrix {
	ids := make([]int32, s.rows)
	for i := range ids {
		ids[i] = int32(i)
	}
	m := qkv.RowMajor(make([]float32, s.rows*s.cols), s.rows, s.cols)
	must(e.Lookup(m, s.m, ids))
	return m
}

// product draws products.
func (a *arena) product() *arenaCall {
	r := a.r
	rows, in := drawn(r, 1, 1, 2, 3, 17), drawn(r, 1, 3, 16, 32, 64)
	x := a.matrix(rows, in, false)
	c := &arenaCall{what: fmt.Sprintf("x %+v", x.m), valid: !x.outside}
	type one struct {
		w, up, y *spot
		b, b2    []float32
		act      qkv.Activation
		add      bool
		reads    []bool
	}
	var all []*one
	for range 1 + r.IntN(3)/2*r.IntN(3) {
		out := drawn(r, 1, 2, 5, 16, 20)
		p := &one{w: a.weights(in, out), y: a.matrix(rows, out, true)}
		var b, b2 []bool
		p.b, b = a.slice(out)
		p.reads = slices.Clone(p.w.bytes)
		if p.reads == nil {
			p.reads = make([]bool, 4*len(a.mem))
		}
		merge := func(x []bool) {
			for i := range x {
				p.reads[i] = p.reads[i] || x[i]
			}
		}
		merge(b)
		if r.IntN(3) == 0 {
			p.act, p.up = drawn(r, activations...), a.weights(in, out)
			p.b2, b2 = a.slice(out)
			merge(b2)
			merge(p.up.bytes)
			c.valid = c.valid && !p.up.outside
			c.what += fmt.Sprintf(", up %v %v", p.up.m.Rows(), p.up.typ)
		} else {
			p.add = r.IntN(2) == 0
		}
		c.what += fmt.Sprintf(", w %v %+v, y %+v", p.w.typ, p.w.m, p.y.m)
		c.valid = c.valid && !p.w.outside && !p.y.outside && !p.y.repeats() && !common(p.y.bytes, x.bytes)
		all = append(all, p)
		c.written = append(c.written, p.y)
	}
	for i, p := range all {
		for j, o := range all {
			c.valid = c.valid && !common(p.y.bytes, o.reads) && (i == j || !common(p.y.bytes, o.y.bytes))
		}
	}
	products := func(of func(s *spot) qkv.Matrix) (list []*qkv.Product) {
		x := of(x)
		for _, p := range all {
			q := &qkv.Product{X: x, W: of(p.w), Bias: p.b, Y: of(p.y), Accumulate: p.add, Activation: p.act}
			if p.up != nil {
				q.Up = qkv.Linear{W: of(p.up), Bias: p.b2}
			}
			list = append(list, q)
		}
		return list
	}
	c.run = func(e *qkv.Engine) error {
		return e.MatMul(products(func(s *spot) qkv.Matrix { return s.m })...)
	}
	c.apart = func(e *qkv.Engine) (y [][]float32) {
		list := products(func(s *spot) qkv.Matrix { return s.copied(e) })
		for i, p := range list {
			must(e.MatMul(p))
			y = append(y, matrixValues(e, p.Y, all[i].y))
		}
		return y
	}
	return c
}

// matrixValues returns the elements of a copy of a spot.
func matrixValues(e *qkv.Engine, m qkv.Matrix, s *spot) []float32 {
	out := make([]float32, 0, s.rows*s.cols)
	for i := range s.rows {
		row := make([]float32, s.cols)
		must(e.Lookup(qkv.RowMajor(row, 1, s.cols), m, []int32{int32(i)}))
		out = append(out, row...)
	}
	return out
}

// norm draws a norm.
func (a *arena) norm() *arenaCall {
	r := a.r
	rows, cols := drawn(r, 1, 2, 3, 9), drawn(r, 1, 3, 16, 33)
	x, y := a.matrix(rows, cols, true), a.matrix(rows, cols, true)
	var add *spot
	if r.IntN(2) == 0 {
		add = a.matrix(rows, cols, r.IntN(2) == 0)
	}
	same := func(s, o *spot) bool { // elements at the same places
		for i := range rows {
			for j := range cols {
				if s.offset+i*s.row+j*s.col != o.offset+i*o.row+j*o.col {
					return false
				}
			}
		}
		return true
	}
	switch {
	case r.IntN(4) == 0:
		y = x
	case add != nil && r.IntN(4) == 0:
		y = add
	}
	weight, wb := a.slice(cols)
	bias, bb := a.slice(cols)
	if weight == nil {
		bias, bb = nil, wb
	}
	c := &arenaCall{valid: !x.outside && !y.outside && (add == nil || !add.outside)}
	c.what = fmt.Sprintf("norm, x %+v, y %+v", x.m, y.m)
	if c.valid {
		c.valid = !y.repeats() && (same(x, y) || !common(x.bytes, y.bytes)) && !common(y.bytes, wb) && !common(y.bytes, bb)
		if add != nil {
			c.what += fmt.Sprintf(", add %+v", add.m)
			c.valid = c.valid && !x.repeats() && (same(add, y) || !common(add.bytes, y.bytes)) && !common(x.bytes, add.bytes) && !common(x.bytes, wb) && !common(x.bytes, bb)
		}
	}
	c.written = []*spot{y}
	if add != nil && !(c.valid && same(x, y)) {
		c.written = append(c.written, x)
	}
	centred := r.IntN(2) == 0
	run := func(e *qkv.Engine, n *qkv.Norm) error {
		n.Weight, n.Bias = weight, bias
		if centred {
			return e.LayerNorm(n)
		}
		return e.RMSNorm(n)
	}
	c.run = func(e *qkv.Engine) error {
		n := &qkv.Norm{X: x.m, Y: y.m}
		if add != nil {
			n.Add = add.m
		}
		return run(e, n)
	}
	c.apart = func(e *qkv.Engine) [][]float32 {
		n := &qkv.Norm{X: x.copied(e), Y: y.copied(e)}
		if add != nil {
			n.Add = add.copied(e)
		}
		must(run(e, n))
		out := [][]float32{matrixValues(e, n.Y, y)}
		if len(c.written) > 1 {
			out = append(out, matrixValues(e, n.X, x))
		}
		return out
	}
	return c
}

// lookup draws rows of a table.
func (a *arena) lookup() *arenaCall {
	r := a.r
	rows, cols := drawn(r, 1, 2, 9), drawn(r, 1, 3, 16, 32)
	table, dst := a.weights(rows, cols), a.matrix(drawn(r, 1, 2, 5), cols, true)
	ids := draw(dst.rows, func() int32 { return int32(r.IntN(rows)) })
	c := &arenaCall{valid: !table.outside && !dst.outside, written: []*spot{dst}}
	if r.IntN(20) == 0 {
		ids[0] = drawn(r, -1, int32(rows), math.MaxInt32, math.MinInt32)
		c.valid = false
	}
	c.what = fmt.Sprintf("lookup, table %v %+v, dst %+v", table.typ, table.m, dst.m)
	c.valid = c.valid && !dst.repeats() && !common(dst.bytes, table.bytes)
	c.run = func(e *qkv.Engine) error { return e.Lookup(dst.m, table.m, ids) }
	c.apart = func(e *qkv.Engine) [][]float32 {
		values, out := matrixValues(e, table.copied(e), table), []float32(nil)
		for _, id := range ids {
			out = append(out, values[int(id)*cols:][:cols]...)
		}
		return [][]float32{out}
	}
	return c
}

// TestArena: a call whose operands lie in one slice at random is an *ArgError that writes nothing, or has
// the bits of the call by copies of the operands and writes nothing else. It is an error only of operands
// that reach beyond their slice, or of which one is written that another shares, or that repeats elements.
func TestArena(t *testing.T) {
	t.Parallel()
	a := &arena{r: rand.New(rand.NewPCG(81, 82))}
	rounds := 6000
	if testing.Short() || raceEnabled {
		rounds = 1500
	}
	plain := newAttention(t, qkv.Config{Kernel: "generic", Workers: 1})
	var engines []*qkv.Engine
	for i, set := range sets() {
		engines = append(engines, newAttention(t, qkv.Config{Kernel: set, Workers: 1 + i%3}))
	}
	good, bad, unclear := 0, 0, 0
	for round := range rounds {
		a.mem = draw(drawn(a.r, 400, 1500, 6000), func() float32 { return float32(a.r.NormFloat64()) })
		c := drawn(a.r, a.product, a.norm, a.lookup)()
		before := slices.Clone(a.mem)
		var want [][]float32
		if c.valid {
			want = c.apart(plain)
			sameBits(t, c.what+": copies", a.mem, before)
		}
		for _, e := range engines {
			what := fmt.Sprintf("round %d, kernel %s, %s", round, e.Kernel().Name, c.what)
			copy(a.mem, before)
			err := c.run(e)
			if err != nil {
				if !errors.As(err, new(*qkv.ArgError)) {
					t.Fatalf("%s: error %v", what, err)
				}
				sameBits(t, what+": memory after an error", a.mem, before)
				switch {
				case !c.valid:
					bad++
				case strings.Contains(err.Error(), "too irregular") || strings.Contains(err.Error(), "overlaps itself"):
					unclear++
				default:
					t.Fatalf("%s: error %v", what, err)
				}
				continue
			}
			if !c.valid {
				t.Fatalf("%s: no error", what)
			}
			good++
			after := slices.Clone(before)
			for i, s := range c.written {
				for k, x := range want[i] {
					after[s.offset+k/s.cols*s.row+k%s.cols*s.col] = x
				}
			}
			sameBits(t, what, a.mem, after)
		}
	}
	t.Logf("%d calls, %d errors, %d not told", good, bad, unclear)
	if n := rounds * len(engines); good < n/20 || bad < n/20 || unclear > n/20 {
		t.Errorf("%d calls, %d errors, %d not told", good, bad, unclear)
	}
}
