package qkv_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel/fp"
)

// int8Types are the types of weights that class Int8 multiplies.
var int8Types = []qkv.WeightType{
	qkv.WeightInt8, qkv.WeightQ8_0, qkv.WeightQ4_0, qkv.WeightQ4_1, qkv.WeightQ5_0, qkv.WeightQ5_1,
	qkv.WeightQ4_K, qkv.WeightQ5_K, qkv.WeightQ6_K, qkv.WeightIQ4_NL, qkv.WeightMXFP4,
}

// int8Weights are weights [out, in] of a test, and of each value the integer, its scale and what is added.
type int8Weights struct {
	qkv.Matrix
	typ          qkv.WeightType
	integers     []int32
	scales, mins []float32
	groups       int // values with the same scale
	hasMins      bool

	data   []byte    // blocks, or nil
	ints   []int8    // or nil
	floats []float32 // scales of groups of int8, or nil
	perRow int       // of floats
	group  int       // values of a group of int8
}

// newInt8Weights returns random weights, with groups of int8 of so many values.
func newInt8Weights(r *rand.Rand, typ qkv.WeightType, rows, cols, group int) *int8Weights {
	w := &int8Weights{typ: typ, groups: 32}
	if typ == qkv.WeightInt8 {
		data := make([]int8, rows*cols)
		perRow := (cols + group - 1) / group
		scales := draw(rows*perRow, func() float32 { return float32(r.NormFloat64() / 100) })
		for i := range data {
			data[i] = int8(r.Uint32())
			w.integers = append(w.integers, int32(data[i]))
			w.scales = append(w.scales, scales[i/cols*perRow+i%cols/group])
		}
		w.mins = make([]float32, len(data))
		w.ints, w.floats, w.perRow, w.group = data, scales, perRow, group
		w.Matrix = qkv.Int8Matrix(data, scales, rows, cols, group)
		return w
	}
	n, size := typ.Block()
	var data []byte
	for range rows * cols / n {
		block := make([]byte, size)
		for i := range block {
			block[i] = byte(r.Uint32())
		}
		// Scales that are numbers, not too far apart.
		for _, at := range halvesOf(typ) {
			binary.LittleEndian.PutUint16(block[at:], uint16(qkv.ToFloat16(float32(r.NormFloat64()/100))))
		}
		if typ == qkv.WeightMXFP4 {
			block[0] = byte(120 + r.IntN(6))
		}
		data = append(data, block...)
		w.append(block)
	}
	if typ == qkv.WeightQ6_K {
		w.groups = 16
	}
	w.hasMins = len(halvesOf(typ)) == 2
	data = append([]byte{0}, data...)[1:] // not aligned
	w.data = data
	w.Matrix = qkv.WeightMatrix(typ, data, rows, cols)
	return w
}

// halvesOf returns where a block has numbers of binary16: the scale, and the minimum if there is one.
func halvesOf(typ qkv.WeightType) []int {
	switch typ {
	case qkv.WeightQ8_0, qkv.WeightQ4_0, qkv.WeightQ5_0, qkv.WeightIQ4_NL:
		return []int{0}
	case qkv.WeightQ4_1, qkv.WeightQ5_1, qkv.WeightQ4_K, qkv.WeightQ5_K:
		return []int{0, 2}
	case qkv.WeightQ6_K:
		return []int{208}
	}
	return nil
}

// parts returns the integers of the values of a block, their scales and what is added to them. Of a type with numbers of
// binary16 a scale is that number times an integer, and so is what is added: Dequantize tells these of blocks with other
// numbers.
func (w *int8Weights) parts(block []byte) (integers []int32, scales, mins []float32) {
	n, _ := w.typ.Block()
	value := func(change func(b []byte)) []float32 {
		b, y := slices.Clone(block), make([]float32, n)
		change(b)
		must(qkv.Dequantize(w.typ, y, b))
		return y
	}
	halves := halvesOf(w.typ)
	set := func(b []byte, i int, half uint16) {
		if i < len(halves) {
			binary.LittleEndian.PutUint16(b[halves[i]:], half)
		}
	}
	number := func(i int) float32 {
		if i < len(halves) {
			return qkv.Float16(binary.LittleEndian.Uint16(block[halves[i]:])).Float32()
		}
		if w.typ == qkv.WeightMXFP4 && block[0] < 255 { // values may be beyond float32 where the scale is not
			return float32(math.Ldexp(1, int(block[0])-128))
		}
		return 1
	}
	const one = 0x3c00
	codes := value(func(b []byte) {
		set(b, 0, one)
		set(b, 1, 0)
		switch w.typ {
		case qkv.WeightQ4_K, qkv.WeightQ5_K: // integer scales of 1
			copy(b[4:16], []byte{1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1})
		case qkv.WeightQ6_K:
			for i := range 16 {
				b[192+i] = 1
			}
		case qkv.WeightMXFP4:
			b[0] = 128
		}
	})
	products := value(func(b []byte) {
		set(b, 0, one)
		set(b, 1, 0)
		if w.typ == qkv.WeightMXFP4 && b[0] < 255 {
			b[0] = 128
		}
	})
	least := value(func(b []byte) {
		set(b, 0, 0)
		set(b, 1, one)
	})
	if len(halves) < 2 {
		clear(least)
	}
	group := 32
	if w.typ == qkv.WeightQ6_K {
		group = 16
	}
	d, m := number(0), number(1)
	for i := range n {
		scale := float32(0)
		for k := i / group * group; k < i/group*group+group; k++ {
			if codes[k] != 0 {
				scale = products[k] / codes[k] // exactly
			}
		}
		integers = append(integers, int32(codes[i]))
		scales, mins = append(scales, d*scale), append(mins, m*least[i])
	}
	return integers, scales, mins
}

// append appends the parts of the values of a block.
func (w *int8Weights) append(block []byte) {
	integers, scales, mins := w.parts(block)
	w.integers = append(w.integers, integers...)
	w.scales, w.mins = append(w.scales, scales...), append(w.mins, mins...)
}

// setScale gives a block, or a group of int8, another scale and, if it has one, another minimum. Of MXFP4 the scale
// is one that a byte stands for, or NaN.
func (w *int8Weights) setScale(row, block int, scale, least float32) {
	if w.typ == qkv.WeightInt8 {
		w.floats[row*w.perRow+block] = scale
		first := row*w.Cols() + block*w.group
		for i := range min(w.group, w.Cols()-block*w.group) {
			w.scales[first+i] = scale
		}
		return
	}
	n, size := w.typ.Block()
	at := row*w.Cols()/n + block
	b := w.data[at*size:][:size]
	if w.typ == qkv.WeightMXFP4 {
		b[0] = 255
		if scale == scale {
			_, exp := math.Frexp(float64(scale))
			b[0] = byte(exp - 1 + 128)
		}
	}
	for i, half := range halvesOf(w.typ) {
		binary.LittleEndian.PutUint16(b[half:], uint16(qkv.ToFloat16([]float32{scale, least}[i])))
	}
	_, scales, mins := w.parts(b)
	copy(w.scales[at*n:], scales)
	copy(w.mins[at*n:], mins)
}

// quantizedBlock returns the integers of 32 values, and their scale.
func quantizedBlock(x []float32) (q [32]int32, d float32) {
	most := float32(0)
	for _, v := range x {
		if v != v {
			most = v
			break
		}
		most = max(most, float32(math.Abs(float64(v))))
	}
	if !(most <= math.MaxFloat32) {
		return q, float32(math.NaN())
	}
	factor := 127 / most
	if math.IsInf(float64(factor), 0) {
		return q, 0
	}
	for i, v := range x {
		q[i] = int32(math.RoundToEven(float64(float32(v * factor))))
	}
	return q, most / 127
}

// int8Product returns Y = old + bias + X Wᵀ in class Int8, by its definition. It would take most of the time under the
// race detector if that looks at it.
//
//go:norace
func int8Product(x []float32, w *int8Weights, bias, old []float32) []float32 {
	n, k := w.Rows(), w.Cols()
	m := len(x) / k
	y := slices.Clone(old)
	for i := range m {
		var q [][32]int32
		var d []float32
		for b := 0; b < k; b += 32 {
			qb, db := quantizedBlock(x[i*k+b:][:32])
			q, d = append(q, qb), append(d, db)
		}
		for j := range n {
			c := y[i*n+j] + bias[j]
			for part := 0; part < k; part += 256 {
				acc := float32(0)
				for b := part / 32; b < min(part+256, k)/32; b++ {
					all := int32(0)
					for first := 0; first < 32; first += w.groups {
						sum := int32(0)
						for t := first; t < first+w.groups; t++ {
							sum += q[b][t] * w.integers[j*k+b*32+t]
							all += q[b][t]
						}
						acc = fp.FMA(float32(sum), float32(w.scales[j*k+b*32+first]*d[b]), acc)
					}
					if w.hasMins {
						acc = fp.FMA(w.mins[j*k+b*32], float32(d[b]*float32(all)), acc)
					}
				}
				if part > 0 {
					c += 0 // the bias of parts behind the first
				}
				c += acc
			}
			y[i*n+j] = c
		}
	}
	return y
}

// TestInt8Products: products of class Int8 have the bits of their definition, whatever the type of the weights, the
// set, the workers, the number of rows and the packing.
func TestInt8Products(t *testing.T) {
	type size struct{ out, in int }
	sizes := []size{{70, 512}, {3, 256}, {130, 768}}
	if testing.Short() {
		sizes = sizes[:1]
	}
	const most = 40 // rows
	for _, typ := range int8Types {
		for _, s := range sizes {
			r := rand.New(rand.NewPCG(uint64(typ), uint64(s.out)))
			w := newInt8Weights(r, typ, s.out, s.in, []int{32, 96, s.in}[r.IntN(3)])
			x := draw(most*s.in, func() float32 { return float32(r.NormFloat64()) })
			bias, old := draw(s.out, normal(3)), draw(most*s.out, normal(4))
			want := int8Product(x, w, bias, old)
			for _, set := range classSets() {
				e := newAttention(t, qkv.Config{Kernel: set, Workers: 1 + r.IntN(3)})
				packed, err := e.PackFor(qkv.PrecisionInt8, w.T(), 1)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range []int{1, 2, 7, most} {
					for _, p := range []qkv.Product{{W: w.T()}, {Packed: packed}} {
						y := slices.Clone(old[:m*s.out])
						p.X, p.Y, p.Bias = qkv.RowMajor(x[:m*s.in], m, s.in), qkv.RowMajor(y, m, s.out), bias
						p.Accumulate, p.Precision = true, qkv.PrecisionInt8
						if err := e.MatMul(&p); err != nil {
							t.Fatal(err)
						}
						sameBits(t, fmt.Sprintf("%v on %s, %v, %d rows, packed %v", typ, set, s, m, p.Packed != nil), y, want[:m*s.out])
					}
				}
			}
		}
	}
}

// TestInt8ProductsTiny: 32 numbers of X whose magnitudes are at most 127 * 2^-128 count as zeros, and those that reach the
// next float32 do not.
func TestInt8ProductsTiny(t *testing.T) {
	const n, k, least = 20, 64, 127 * 0x1p-128
	ones, scales := make([]int8, n*k), make([]float32, n)
	for i := range ones {
		ones[i] = 1
	}
	for i := range scales {
		scales[i] = 1
	}
	w := qkv.Int8Matrix(ones, scales, n, k, 0)
	above := math.Nextafter32(least, 1)
	for _, set := range classSets() {
		e := newAttention(t, qkv.Config{Kernel: set})
		for _, m := range []int{2, 10} { // rows, one of which is above
			x, y := draw(m*k, func() float32 { return least }), make([]float32, m*n)
			for i := range k {
				x[k+i] = above
			}
			must(e.MatMul(&qkv.Product{X: qkv.RowMajor(x, m, k), W: w.T(), Y: qkv.RowMajor(y, m, n), Precision: qkv.PrecisionInt8}))
			for i, v := range y {
				want := float32(0)
				if i/n == 1 {
					want = k * 127 * float32(above/127)
				}
				if v != want {
					t.Fatalf("%s, %d rows: element %d of row %d is %g, want %g", set, m, i%n, i/n, v, want)
				}
			}
		}
	}
}

// TestInt8ProductsPaths: several products of one X, heads, activations and any strides have the bits of the product
// alone, by contiguous rows.
func TestInt8ProductsPaths(t *testing.T) {
	const k, n = 288, 48
	for _, m := range []int{1, 5, 700} {
		r := rand.New(rand.NewPCG(1, uint64(m)))
		x := newMatrix("rows", m, k, normal(1))
		strided := newMatrix("every other", m, k, normal(1))
		w := newInt8Weights(r, qkv.WeightQ4_1, n, k, 0)
		gate, up := newInt8Weights(r, qkv.WeightQ5_0, n, k, 0), newInt8Weights(r, qkv.WeightInt8, n, k, 64)
		var first [2][]float32
		for _, set := range classSets() {
			for _, workers := range []int{1, 3} {
				e := newAttention(t, qkv.Config{Kernel: set, Workers: workers})
				multiply := func(products ...*qkv.Product) {
					t.Helper()
					for _, p := range products {
						p.Precision = qkv.PrecisionInt8
					}
					if err := e.MatMul(products...); err != nil {
						t.Fatal(err)
					}
				}
				y, sums, ups := make([]float32, m*n), make([]float32, m*n), make([]float32, m*n)
				of := func(y []float32) qkv.Matrix { return qkv.RowMajor(y, m, n) }
				multiply(&qkv.Product{X: x.matrix(), W: w.T(), Y: of(y)})
				multiply(&qkv.Product{X: x.matrix(), W: gate.T(), Y: of(sums), Activation: qkv.SiLU})
				multiply(&qkv.Product{X: x.matrix(), W: up.T(), Y: of(ups)})
				for i := range sums {
					sums[i] = float32(sums[i] * ups[i])
				}
				if first[0] == nil {
					first = [2][]float32{y, sums}
				}
				what := fmt.Sprintf("%s, %d rows, %d workers", set, m, workers)
				sameBits(t, what, y, first[0])
				sameBits(t, what+", gated", sums, first[1])

				heads, err := e.PackFor(qkv.PrecisionInt8, w.T(), 4)
				must(err)
				packedUp, err := e.PackFor(qkv.PrecisionInt8, up.T(), 1)
				must(err)
				out, gated := newMatrix("columns", m, n, normal(2)), make([]float32, m*n)
				multiply(
					&qkv.Product{X: strided.matrix(), Packed: heads, Y: out.matrix()},
					&qkv.Product{X: strided.matrix(), W: gate.T(), Activation: qkv.SiLU, Up: qkv.Linear{Packed: packedUp}, Y: of(gated)},
				)
				sameBits(t, what+", gated at once", gated, first[1])
				for i := range m {
					for j := range n {
						if got, want := *out.at(i, j), first[0][i*n+j]; got != want {
							t.Fatalf("%s, by heads: element (%d, %d) is %g, want %g", what, i, j, got, want)
						}
					}
				}
			}
		}
	}
}

// TestInt8ProductsFloat64: the error of class Int8 is that of the integers that stand for X, half a step of a 127th of
// the largest magnitude of 32, and that of sums in float32.
func TestInt8ProductsFloat64(t *testing.T) {
	const m, n, k = 8, 40, 1024
	e := newAttention(t, qkv.Config{})
	for _, typ := range int8Types {
		w := newInt8Weights(rand.New(rand.NewPCG(3, uint64(typ))), typ, n, k, k)
		x, y := draw(m*k, normal(uint64(typ))), make([]float32, m*n)
		must(e.MatMul(&qkv.Product{X: qkv.RowMajor(x, m, k), W: w.T(), Y: qkv.RowMajor(y, m, n), Precision: qkv.PrecisionInt8}))
		for i := range m {
			for j := range n {
				exact, bound, size := 0.0, 0.0, 0.0
				for b := 0; b < k; b += 32 {
					most := 0.0
					for _, v := range x[i*k+b:][:32] {
						most = max(most, math.Abs(float64(v)))
					}
					for t := b; t < b+32; t++ {
						v := float64(w.scales[j*k+t])*float64(w.integers[j*k+t]) + float64(w.mins[j*k+t])
						exact += float64(x[i*k+t]) * v
						bound += most / 254 * math.Abs(v)
						size += most * (math.Abs(float64(w.scales[j*k+t])*float64(w.integers[j*k+t])) + math.Abs(float64(w.mins[j*k+t])))
					}
				}
				// Three roundings a group of 16, which sums of 256 have 48 of, and one for each such sum.
				bound = 1.0001*bound + (48+k/256+2)*0x1p-24*size
				if off := math.Abs(float64(y[i*n+j]) - exact); !(off <= bound) {
					t.Fatalf("%v: element (%d, %d) is %g, want %g: off by %g, at most %g", typ, i, j, y[i*n+j], exact, off, bound)
				}
			}
		}
	}
}

// view returns rows [lo, hi) of the weights, and of those the values [first, end).
func (w *int8Weights) view(lo, hi, first, end int) *int8Weights {
	v := &int8Weights{
		Matrix: w.Slice(lo, hi).T().Slice(first, end).T(), typ: w.typ, groups: w.groups, hasMins: w.hasMins,
	}
	for row := lo; row < hi; row++ {
		from, to := row*w.Cols()+first, row*w.Cols()+end
		v.integers = append(v.integers, w.integers[from:to]...)
		v.scales, v.mins = append(v.scales, w.scales[from:to]...), append(v.mins, w.mins[from:to]...)
	}
	return v
}

// TestInt8ProductsViews: products by a part of the rows and of the values of a matrix, which begins amid a row and,
// of int8, amid a group, have the bits of their definition.
func TestInt8ProductsViews(t *testing.T) {
	const m, n, k = 9, 21, 1024
	for _, typ := range int8Types {
		for _, group := range []int{32, 96} {
			if typ != qkv.WeightInt8 && group != 32 {
				continue
			}
			all := newInt8Weights(rand.New(rand.NewPCG(uint64(group), uint64(typ))), typ, n+5, k, group)
			w := all.view(3, 3+n, 256, 768)
			x, bias := draw(m*w.Cols(), normal(1)), make([]float32, n)
			want := int8Product(x, w, bias, make([]float32, m*n))
			for _, set := range classSets() {
				e := newAttention(t, qkv.Config{Kernel: set})
				packed, err := e.PackFor(qkv.PrecisionInt8, w.T(), 1)
				must(err)
				for _, rows := range []int{1, m} {
					for _, p := range []qkv.Product{{W: w.T()}, {Packed: packed}} {
						y := make([]float32, rows*n)
						p.X, p.Y, p.Precision = qkv.RowMajor(x[:rows*w.Cols()], rows, w.Cols()), qkv.RowMajor(y, rows, n), qkv.PrecisionInt8
						must(e.MatMul(&p))
						sameBits(t, fmt.Sprintf("%s, %v, groups of %d, %d rows", set, typ, group, rows), y, want[:rows*n])
					}
				}
			}
		}
	}
}

// TestInt8ProductsErrors: what the class cannot have is an error that names it, before anything is written.
func TestInt8ProductsErrors(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	r := rand.New(rand.NewPCG(1, 2))
	q8, q4k := newInt8Weights(r, qkv.WeightQ8_0, 6, 64, 0), newInt8Weights(r, qkv.WeightQ4_K, 6, 512, 0)
	float := qkv.RowMajor(draw(6*64, normal(1)), 6, 64)
	halves := qkv.WeightMatrix(qkv.WeightFloat16, make([]byte, 2*6*64), 6, 64)
	q2k := qkv.WeightMatrix(qkv.WeightQ2_K, make([]byte, 84*6), 6, 256)
	odd := newInt8Weights(r, qkv.WeightInt8, 6, 40, 40)
	groups := newInt8Weights(r, qkv.WeightInt8, 6, 64, 48)
	packed32, err := e.Pack(q8.T())
	must(err)
	packed8, err := e.PackFor(qkv.PrecisionInt8, q8.T(), 1)
	must(err)
	inputs := q4k.T().Slice(256, 512) // rows of the transpose: whole blocks
	y := draw(2*6, normal(2))
	before := slices.Clone(y)
	for _, c := range []struct {
		arg, want string
		p         qkv.Product
		k         int
	}{
		{"w", "w is of type float32, which class Int8 does not multiply", qkv.Product{W: float.T(), Precision: qkv.PrecisionInt8}, 64},
		{"w", "w is of type Float16, which class Int8 does not multiply", qkv.Product{W: halves.T(), Precision: qkv.PrecisionInt8}, 64},
		{"w", "w is of type Q2_K, which class Int8 does not multiply", qkv.Product{W: q2k.T(), Precision: qkv.PrecisionInt8}, 256},
		{"w", "w has its blocks along the columns: class Int8 takes weights stored [out, in], given as w.T()", qkv.Product{W: newInt8Weights(r, qkv.WeightQ8_0, 64, 32, 0).Matrix, Precision: qkv.PrecisionInt8}, 64},
		{"w", "w has 40 rows, not a multiple of the 32 of a block of int8 in class Int8", qkv.Product{W: odd.T(), Precision: qkv.PrecisionInt8}, 40},
		{"w", "w has groups of 48 values, not a multiple of 32, as class Int8 needs them", qkv.Product{W: groups.T(), Precision: qkv.PrecisionInt8}, 64},
		{"w", "w begins 32 values after the first of its row, not a multiple of the 256 of a block of Q4_K", qkv.Product{W: q4k.T().Slice(32, 288), Precision: qkv.PrecisionInt8}, 256},
		{"w", "w has 224 rows, not a multiple of the 256 of a block of Q4_K", qkv.Product{W: q4k.T().Slice(0, 224), Precision: qkv.PrecisionInt8}, 224},
		{"w", "w is packed for class Float32, the product is of class Int8", qkv.Product{Packed: packed32, Precision: qkv.PrecisionInt8}, 64},
		{"w", "w is packed for class Int8, the product is of class Float32", qkv.Product{Packed: packed8}, 64},
		{"precision", "precision is the unknown class Precision(99)", qkv.Product{Packed: packed8, Precision: 99}, 64},
		{"up", "up is of type float32, which class Int8 does not multiply", qkv.Product{Packed: packed8, Activation: qkv.SiLU, Up: qkv.Linear{W: float.T()}, Precision: qkv.PrecisionInt8}, 64},
	} {
		p := c.p
		p.X, p.Y = qkv.RowMajor(draw(2*c.k, normal(3)), 2, c.k), qkv.RowMajor(y, 2, 6)
		err := e.MatMul(&p)
		var arg *qkv.ArgError
		if !errors.As(err, &arg) || arg.Arg != c.arg || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q of %q", err, c.want, c.arg)
		}
		sameBits(t, "after an error", y, before)
		if p.Packed == nil {
			if _, err := e.PackFor(p.Precision, p.W, 1); !errors.As(err, &arg) || arg.Arg != c.arg {
				t.Errorf("PackFor: error %v, want %q of %q", err, c.want, c.arg)
			}
			if n := e.PackedSize(p.Precision, p.W, 1); n != 0 {
				t.Errorf("PackedSize is %d: %s", n, c.want)
			}
			if _, err := e.PackInto(nil, p.Precision, p.W, 1); !errors.As(err, &arg) || arg.Arg != c.arg {
				t.Errorf("PackInto: error %v, want %q of %q", err, c.want, c.arg)
			}
		}
	}
	x := qkv.RowMajor(draw(2*64, normal(3)), 2, 64)
	err = e.MatMul(&qkv.Product{X: x, Packed: packed8, Y: qkv.RowMajor(y, 2, 6), Precision: qkv.PrecisionInt8}, &qkv.Product{X: x, Packed: packed32, Y: qkv.RowMajor(make([]float32, 12), 2, 6)})
	if err == nil || !strings.Contains(err.Error(), "product 1: precision is Float32, that of product 0 is Int8") {
		t.Errorf("two classes: %v", err)
	}
	if err := e.LookupPacked(qkv.RowMajor(make([]float32, 64), 1, 64), packed8, []int32{0}); err == nil || !strings.Contains(err.Error(), "table is packed for class Int8") {
		t.Errorf("a lookup: %v", err)
	}
	must(e.MatMul(&qkv.Product{X: qkv.RowMajor(draw(2*256, normal(3)), 2, 256), W: inputs, Y: qkv.RowMajor(y, 2, 6), Precision: qkv.PrecisionInt8}))
	plan, err := e.ExplainMatMul(&qkv.Product{X: x, Packed: packed8, Y: qkv.RowMajor(y, 2, 6), Precision: qkv.PrecisionInt8})
	must(err)
	if plan.Precision != qkv.PrecisionInt8 || !strings.Contains(plan.String(), "in class Int8") {
		t.Errorf("plan %v", plan)
	}
}

// TestInt8ProductsFile: packed weights of class Int8 go into a file and out of it, whose header is checked.
func TestInt8ProductsFile(t *testing.T) {
	const m, n, k = 2, 20, 256
	e := newAttention(t, qkv.Config{})
	for _, typ := range int8Types {
		w := newInt8Weights(rand.New(rand.NewPCG(5, 6)), typ, n, k, 32)
		packed, err := e.PackFor(qkv.PrecisionInt8, w.T(), 2)
		must(err)
		var file bytes.Buffer
		size, err := packed.WriteTo(&file)
		must(err)
		into := aligned(bytes.Repeat([]byte{1}, e.PackedSize(qkv.PrecisionInt8, w.T(), 2)))
		_, err = e.PackInto(into, qkv.PrecisionInt8, w.T(), 2)
		if err != nil || !bytes.Equal(into, file.Bytes()) {
			t.Errorf("%v: PackInto makes %d bytes, WriteTo %d: %v", typ, len(into), size, err)
		}
		mapped, err := e.MapPacked(aligned(file.Bytes()))
		if err != nil || size != int64(file.Len()) || mapped.Precision() != qkv.PrecisionInt8 || mapped.Heads() != 2 || mapped.Rows() != k || mapped.Cols() != n || mapped.Bytes() != packed.Bytes() {
			t.Fatalf("%v: %+v, %v", typ, mapped, err)
		}
		x := draw(m*k, normal(7))
		var ys [2][m * n]float32
		for i, p := range []*qkv.PackedMatrix{packed, mapped} {
			must(e.MatMul(&qkv.Product{X: qkv.RowMajor(x, m, k), Packed: p, Y: qkv.RowMajor(ys[i][:], m, n), Precision: qkv.PrecisionInt8}))
		}
		sameBits(t, typ.String(), ys[1][:], ys[0][:])
		for i := range 60 {
			data := aligned(file.Bytes())
			data[i] ^= 64
			binary.LittleEndian.PutUint32(data[60:], crc32.ChecksumIEEE(data[:60]))
			if p, err := e.MapPacked(data); p != nil || !errors.As(err, new(*qkv.ArgError)) {
				t.Errorf("%v: byte %d changed: %v", typ, i, err)
			}
		}
	}
}

// TestInt8ProductsAllocs: products of class Int8 allocate nothing in steady state.
func TestInt8ProductsAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items under the race detector")
	}
	const m, n, k = 300, 96, 256
	w := newInt8Weights(rand.New(rand.NewPCG(1, 2)), qkv.WeightQ4_K, n, k, 0)
	x, y := draw(m*k, normal(1)), make([]float32, m*n)
	for _, workers := range []int{1, 2} {
		e := newAttention(t, qkv.Config{Workers: workers})
		packed, err := e.PackFor(qkv.PrecisionInt8, w.T(), 1)
		must(err)
		for _, rows := range []int{1, m} {
			for _, p := range []qkv.Product{{Packed: packed}, {W: w.T()}} {
				if n := allocsPerCall(20, func() {
					must(e.MatMul(&qkv.Product{X: qkv.RowMajor(x, rows, k), W: p.W, Packed: p.Packed, Y: qkv.RowMajor(y, rows, n), Precision: qkv.PrecisionInt8}))
				}); n != 0 {
					t.Errorf("%d workers, %d rows, packed %v: %v allocations", workers, rows, p.Packed != nil, n)
				}
			}
		}
	}
}

// TestGoldenInt8Products: a hash of products of class Int8, the same on every architecture.
func TestGoldenInt8Products(t *testing.T) {
	const m, n, k = 3, 10, 512
	e := newAttention(t, qkv.Config{})
	x := draw(m*k, integers(1, 1))
	var all [][]float32
	for _, typ := range int8Types {
		next := integers(uint64(typ), 7)
		values, size := typ.Block()
		data := make([]byte, n*k/values*size)
		for i := range data {
			data[i] = byte(int(next()))
		}
		w := qkv.WeightMatrix(typ, data, n, k)
		if typ == qkv.WeightInt8 {
			w = qkv.Int8Matrix(int8s(data), draw(n*k/64, integers(3, -6)), n, k, 64)
		}
		for at := 0; at < len(data); at += size { // scales that are numbers
			for _, half := range halvesOf(typ) {
				data[at+half+1] &= 0xbb
			}
			if typ == qkv.WeightMXFP4 {
				data[at] &= 0x7f
			}
		}
		y := make([]float32, m*n)
		must(e.MatMul(&qkv.Product{X: qkv.RowMajor(x, m, k), W: w.T(), Y: qkv.RowMajor(y, m, n), Precision: qkv.PrecisionInt8}))
		all = append(all, y)
	}
	if got, want := hash(all...), "6b5a21c485cb4a4e"; got != want {
		t.Errorf("hash %s, want %s", got, want)
	}
}

// FuzzInt8Products: any blocks, and any numbers in X, give the bits of the definition's transcription on one set
// and those on the others.
func FuzzInt8Products(f *testing.F) {
	for i := range 12 {
		f.Add(uint64(i), uint8(i), uint8(3*i), uint8(i), []byte{1, 2, 3})
	}
	f.Fuzz(func(t *testing.T, seed uint64, typ, rows, outs uint8, special []byte) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := newInt8Weights(r, int8Types[int(typ)%len(int8Types)], 1+int(outs)%70, 256*(1+r.IntN(2)), 32<<r.IntN(3))
		m, n, k := 1+int(rows)%40, w.Rows(), w.Cols()
		x := draw(m*k, func() float32 {
			if len(special) > 0 && r.IntN(200) == 0 {
				return math.Float32frombits(r.Uint32() ^ uint32(special[r.IntN(len(special))])<<23)
			}
			return float32(math.Ldexp(r.NormFloat64(), r.IntN(3)))
		})
		bias, old := draw(n, normal(seed)), draw(m*n, normal(seed+1))
		want := int8Product(x, w, bias, old)
		for _, set := range classSets() {
			e := newAttention(t, qkv.Config{Kernel: set, Workers: 1 + r.IntN(2)})
			p := qkv.Product{X: qkv.RowMajor(x, m, k), W: w.T(), Bias: bias, Accumulate: true, Precision: qkv.PrecisionInt8}
			if r.IntN(2) == 0 {
				packed, err := e.PackFor(qkv.PrecisionInt8, w.T(), 1)
				must(err)
				p.W, p.Packed = qkv.Matrix{}, packed
			}
			y := slices.Clone(old)
			p.Y = qkv.RowMajor(y, m, n)
			must(e.MatMul(&p))
			sameBits(t, set, y, want)
		}
	})
}
