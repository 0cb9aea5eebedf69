package qkv_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv"
)

// weightTypes are all types of weights.
var weightTypes = []qkv.WeightType{
	qkv.WeightFloat32, qkv.WeightFloat16, qkv.WeightBFloat16, qkv.WeightInt8, qkv.WeightQ8_0,
	qkv.WeightQ4_0, qkv.WeightQ4_1, qkv.WeightQ5_0, qkv.WeightQ5_1,
	qkv.WeightQ2_K, qkv.WeightQ3_K, qkv.WeightQ4_K, qkv.WeightQ5_K, qkv.WeightQ6_K,
	qkv.WeightIQ4_NL, qkv.WeightMXFP4,
}

// Weights are a matrix of a test, stored row after row, and what it stands for.
type weights struct {
	qkv.Matrix
	data   []byte
	values []float32
}

// newWeights returns random weights of a type, of blocks whose values are at most so large, or any.
func newWeights(r *rand.Rand, typ qkv.WeightType, rows, cols int, most float64) (w weights) {
	n, size := typ.Block()
	block, values := make([]byte, size), make([]float32, n)
	for range rows * cols / n {
		for fits := false; !fits; {
			for i := range block {
				block[i] = byte(r.Uint32())
			}
			must(qkv.Dequantize(typ, values, block))
			fits = true
			for _, v := range values {
				fits = fits && (math.Abs(float64(v)) <= most || math.IsInf(most, 1))
			}
		}
		w.data, w.values = append(w.data, block...), append(w.values, values...)
	}
	w.data = append([]byte{0}, w.data...)[1:] // not aligned
	w.Matrix = qkv.WeightMatrix(typ, w.data, rows, cols)
	if typ == qkv.WeightInt8 {
		const groupSize = 48
		perRow := (cols + groupSize - 1) / groupSize
		scales := draw(rows*perRow, func() float32 { return float32(r.NormFloat64() / 100) })
		w.Matrix = qkv.Int8Matrix(int8s(w.data), scales, rows, cols, groupSize)
		for i := range w.values {
			w.values[i] *= scales[i/cols*perRow+i%cols/groupSize]
		}
	}
	return w
}

// int8s returns bytes as integers, where they lie.
func int8s(data []byte) []int8 { return unsafe.Slice((*int8)(unsafe.Pointer(&data[0])), len(data)) }

// floats returns the matrix of the values.
func (w *weights) floats() qkv.Matrix { return qkv.RowMajor(w.values, w.Rows(), w.Cols()) }

// weightSizes returns outputs and inputs of weights of a type, which bracket panels and blocks.
func weightSizes(typ qkv.WeightType) [][2]int {
	switch n, _ := typ.Block(); n {
	case 1:
		return [][2]int{{1, 1}, {1, 70}, {33, 1}, {70, 300}}
	case 32:
		return [][2]int{{3, 32}, {70, 288}, {130, 320}}
	}
	return [][2]int{{1, 256}, {70, 512}}
}

// TestWeights: a product by weights of any type has the bits of one by what they stand for, wherever they
// are read: in place, packed and in memory of the caller, transposed or not, whatever the rows of X, the
// set and the workers.
func TestWeights(t *testing.T) {
	t.Parallel()
	rows := []int{1, 2, 3, 7, 11, 16, 64, 130}
	if testing.Short() {
		rows = []int{1, 7, 11, 33}
	}
	for _, typ := range weightTypes {
		r := rand.New(rand.NewPCG(1, uint64(typ)))
		for i, size := range weightSizes(typ) {
			w := newWeights(r, typ, size[0], size[1], 100)
			inputs := newWeights(r, typ, size[0], size[1], math.Inf(1)) // with a row for each input
			for j, set := range sets() {
				for k, workers := range workerCounts(1, 3) {
					first, last := rows, rows
					if brief() { // each type meets each number of rows, and each number both orders of W
						n := (int(typ) + i + j + k) % len(rows)
						first, last = rows[n:][:1], rows[(n+1)%len(rows):][:1]
					}
					e := newAttention(t, qkv.Config{Kernel: set, Workers: workers})
					what := fmt.Sprintf("%s on %d, %v %v", set, workers, typ, size)
					checkWeights(t, e, what, w.Matrix.T(), w.floats().T(), first...)
					checkWeights(t, e, what+", inputs first", inputs.Matrix, inputs.floats(), last...)
				}
			}
		}
	}
}

// TestWeightsManyRows: rows of X of more than one block, for each of which weights are decoded, have the bits of those by
// their values.
func TestWeightsManyRows(t *testing.T) {
	const rows, out, in = 1100, 5, 256
	for _, typ := range weightTypes {
		w := newWeights(rand.New(rand.NewPCG(3, uint64(typ))), typ, out, in, 100)
		for _, set := range sets() {
			e := newAttention(t, qkv.Config{Kernel: set, Workers: 1})
			plan, err := e.ExplainMatMul(&qkv.Product{X: qkv.RowMajor(make([]float32, rows*in), rows, in), W: w.T(), Y: qkv.RowMajor(make([]float32, rows*out), rows, out)})
			must(err)
			if plan.MC >= rows {
				t.Errorf("%s: a block has %d rows", set, plan.MC)
			}
			checkWeights(t, e, fmt.Sprintf("%s, %v", set, typ), w.T(), w.floats().T(), rows)
			if testing.Short() && set != sets()[0] {
				break
			}
		}
	}
}

// checkWeights holds products by weights against those by their values, for some numbers of rows of X.
func checkWeights(t *testing.T, e *qkv.Engine, what string, w, values qkv.Matrix, numbers ...int) {
	t.Helper()
	packed, err := e.Pack(w)
	must(err)
	into, err := e.PackInto(aligned(make([]byte, e.PackedSize(qkv.PrecisionFloat32, w, 1))), qkv.PrecisionFloat32, w, 1)
	must(err)
	bias := draw(w.Cols(), normal(7))
	for _, rows := range numbers {
		x, y := newMatrix("padded", rows, w.Rows(), normal(uint64(rows))), draw(rows*w.Cols(), normal(8))
		multiply := func(p qkv.Product) []float32 {
			y := slices.Clone(y)
			p.X, p.Bias, p.Y, p.Accumulate = x.matrix(), bias, qkv.RowMajor(y, rows, w.Cols()), rows%2 == 0
			must(e.MatMul(&p))
			return y
		}
		what := fmt.Sprintf("%s, %d rows", what, rows)
		want := multiply(qkv.Product{W: values})
		sameBits(t, what+", in place", multiply(qkv.Product{W: w}), want)
		sameBits(t, what+", packed", multiply(qkv.Product{Packed: packed}), want)
		sameBits(t, what+", packed into memory", multiply(qkv.Product{Packed: into}), want)
	}
}

// TestWeightsSlice: rows of weights, and of their transpose, wherever blocks begin.
func TestWeightsSlice(t *testing.T) {
	for _, typ := range weightTypes {
		r := rand.New(rand.NewPCG(2, uint64(typ)))
		w := newWeights(r, typ, 50, 512, 100)
		e := newAttention(t, qkv.Config{})
		for range 6 {
			lo := r.IntN(50)
			hi := lo + 1 + r.IntN(50-lo)
			checkWeights(t, e, fmt.Sprintf("%v: outputs %d to %d", typ, lo, hi), w.Slice(lo, hi).T(), w.floats().Slice(lo, hi).T(), 5)
			lo = r.IntN(512)
			hi = lo + 1 + r.IntN(512-lo)
			checkWeights(t, e, fmt.Sprintf("%v: inputs %d to %d", typ, lo, hi), w.T().Slice(lo, hi), w.floats().T().Slice(lo, hi), 5)
		}
	}
}

// TestWeightsAligned: weights of type float32 at an address of float32 are read as a RowMajor is, by the
// same paths.
func TestWeightsAligned(t *testing.T) {
	const out, in = 70, 300
	w := newWeights(rand.New(rand.NewPCG(10, 10)), qkv.WeightFloat32, out, in, 100)
	data := aligned(make([]byte, len(w.data)))
	copy(data, w.data)
	e := newAttention(t, qkv.Config{})
	blocks, floats := qkv.WeightMatrix(qkv.WeightFloat32, data, out, in), w.floats()
	rows := []int{1, 5, 40}
	checkWeights(t, e, "all", blocks.T(), floats.T(), rows...)
	checkWeights(t, e, "inputs first", blocks, floats, rows...)
	checkWeights(t, e, "some", blocks.T().Slice(3, 290), floats.T().Slice(3, 290), rows...)
	for _, m := range rows {
		path := func(w qkv.Matrix) string {
			plan, err := e.ExplainMatMul(&qkv.Product{X: qkv.RowMajor(make([]float32, m*in), m, in), W: w, Y: qkv.RowMajor(make([]float32, m*out), m, out)})
			must(err)
			return plan.Path
		}
		if a, b := path(blocks.T()), path(floats.T()); a != b {
			t.Errorf("%d rows: path %s, of RowMajor %s", m, a, b)
		}
	}
}

// TestWeightsGroups: integers in groups of any size, from any input on.
func TestWeightsGroups(t *testing.T) {
	t.Parallel()
	const out, in = 37, 600
	r := rand.New(rand.NewPCG(11, 11))
	data, values := make([]int8, out*in), make([]float32, out*in)
	for i := range data {
		data[i] = int8(r.Uint32())
	}
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		for _, groupSize := range []int{1, 5, 16, 100, 256, 300, in, 2 * in} {
			perRow := (in-1)/groupSize + 1
			scales := draw(out*perRow, normal(uint64(groupSize)))
			for i, q := range data {
				values[i] = float32(q) * scales[i/in*perRow+i%in/groupSize]
			}
			w, floats := qkv.Int8Matrix(data, scales, out, in, groupSize), qkv.RowMajor(values, out, in)
			what := fmt.Sprintf("groups of %d", groupSize)
			checkWeights(t, e, what, w.T(), floats.T(), 1, 40)
			checkWeights(t, e, what+", some", w.Slice(4, 30).T().Slice(33, 555), floats.Slice(4, 30).T().Slice(33, 555), 1, 40)
		}
	})
}

// TestWeightsHeads: heads of any width, which vectors and panels do not fill, of fewer rows of weights than
// a vector has lanes and of more.
func TestWeightsHeads(t *testing.T) {
	t.Parallel()
	const in = 256
	r := rand.New(rand.NewPCG(12, 12))
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		for _, typ := range []qkv.WeightType{qkv.WeightFloat16, qkv.WeightInt8, qkv.WeightQ8_0, qkv.WeightQ4_K} {
			for _, c := range []struct{ heads, dim int }{{1, 3}, {2, 5}, {3, 20}, {2, 72}, {1, 130}} {
				w := newWeights(r, typ, c.heads*c.dim, in, 1)
				linear := func(w qkv.Matrix) qkv.ProjectionConfig {
					return qkv.ProjectionConfig{Q: qkv.Linear{W: w.T(), Bias: draw(c.heads*c.dim, normal(1))}, Heads: c.heads, InPlace: true}
				}
				for _, seq := range []int{1, 9, 40} {
					if raceEnabled && seq > 9 {
						continue // nothing that 9 do not share
					}
					x := newMatrix("padded", seq, in, normal(2)).matrix()
					run := func(cfg qkv.ProjectionConfig) []float32 {
						p, err := e.NewProjection(cfg)
						must(err)
						q := make([]float32, c.heads*seq*c.dim)
						must(p.Run(&qkv.ProjectionCall{X: x, Q: qkv.BHSD(q, 1, c.heads, seq, c.dim)}))
						return q
					}
					sameBits(t, fmt.Sprintf("%v, %d heads of %d, %d rows", typ, c.heads, c.dim, seq), run(linear(w.Matrix)), run(linear(w.floats())))
				}
			}
		}
	})
}

// FuzzWeights: products by rows of weights of any type and size.
func FuzzWeights(f *testing.F) {
	for typ := range weightTypes {
		f.Add(uint64(typ), byte(typ), byte(40), byte(3), byte(9), uint16(100))
	}
	engines := map[int]*qkv.Engine{}
	for _, workers := range []int{1, 4} {
		engines[workers] = newAttention(f, qkv.Config{Workers: workers})
	}
	f.Fuzz(func(t *testing.T, seed uint64, typ, out, blocks, rows byte, first uint16) {
		w := weightTypes[int(typ)%len(weightTypes)]
		values, _ := w.Block()
		in := values * (1 + int(blocks)%max(2, 600/values))
		r := rand.New(rand.NewPCG(seed, 1))
		m := newWeights(r, w, 1+int(out)%100, in, math.Inf(1))
		what := fmt.Sprintf("%v, %d x %d", w, m.Rows(), in)
		for _, e := range engines {
			checkWeights(t, e, what, m.Matrix.T().Slice(int(first)%in, in), m.floats().T().Slice(int(first)%in, in), 1+int(rows)%40)
			checkWeights(t, e, what+", inputs first", m.Slice(int(first)%m.Rows(), m.Rows()), m.floats().Slice(int(first)%m.Rows(), m.Rows()), 1+int(rows)%40)
		}
	})
}

// TestWeightsLayer: a layer by weights of several types, of which those of Q, K and V are rows of one
// tensor or are apart, gives the bits of one by their values, packed and in place.
func TestWeightsLayer(t *testing.T) {
	t.Parallel()
	const in, heads, kvHeads, dim, out = 512, 4, 2, 64, 40
	r := rand.New(rand.NewPCG(3, 3))
	fused := newWeights(r, qkv.WeightQ4_K, (heads+2*kvHeads)*dim, in, 1)
	apart := [3]weights{
		newWeights(r, qkv.WeightQ8_0, heads*dim, in, 1), newWeights(r, qkv.WeightQ6_K, kvHeads*dim, in, 1),
		newWeights(r, qkv.WeightInt8, kvHeads*dim, in, 1),
	}
	o := newWeights(r, qkv.WeightMXFP4, out, heads*dim, 1)
	parts := func(w qkv.Matrix) (q, k, v qkv.Matrix) {
		return w.Slice(0, heads*dim), w.Slice(heads*dim, (heads+kvHeads)*dim), w.Slice((heads+kvHeads)*dim, (heads+2*kvHeads)*dim)
	}
	bias := draw(in, normal(4))
	config := func(q, k, v, o qkv.Matrix) qkv.LayerConfig {
		return qkv.LayerConfig{
			ProjectionConfig: qkv.ProjectionConfig{
				Q: qkv.Linear{W: q.T(), Bias: bias[:heads*dim]}, K: qkv.Linear{W: k.T()}, V: qkv.Linear{W: v.T()},
				Heads: heads, KVHeads: kvHeads,
			},
			Out: qkv.Linear{W: o.T(), Bias: bias[:out]},
		}
	}
	type form struct {
		what         string
		have, values qkv.LayerConfig
	}
	q, k, v := parts(fused.Matrix)
	fq, fk, fv := parts(fused.floats())
	forms := []form{
		{"one tensor", config(q, k, v, o.Matrix), config(fq, fk, fv, o.floats())},
		{"apart", config(apart[0].Matrix, apart[1].Matrix, apart[2].Matrix, o.Matrix),
			config(apart[0].floats(), apart[1].floats(), apart[2].floats(), o.floats())},
		{"some in float32", config(apart[0].floats(), apart[1].Matrix, apart[2].floats(), o.floats()),
			config(apart[0].floats(), apart[1].floats(), apart[2].floats(), o.floats())},
	}
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		for _, seq := range []int{1, 37} {
			x := newMatrix("padded", seq, in, normal(5)).matrix()
			run := func(cfg qkv.LayerConfig) []float32 {
				l, err := e.NewLayer(cfg)
				if err != nil {
					t.Fatal(err)
				}
				y := make([]float32, seq*out)
				if err := l.Forward(qkv.RowMajor(y, seq, out), x); err != nil {
					t.Fatal(err)
				}
				return y
			}
			for _, f := range forms {
				want := run(f.values)
				sameBits(t, f.what+", packed", run(f.have), want)
				f.have.InPlace = true
				sameBits(t, f.what+", in place", run(f.have), want)
			}
		}
	})
}

// TestWeightsErrors: each mistake is named before anything is written, whoever is handed the weights.
func TestWeightsErrors(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	r := rand.New(rand.NewPCG(4, 4))
	w := newWeights(r, qkv.WeightQ4_K, 8, 256, 1)
	integers, scales := make([]int8, 8*256), make([]float32, 8*6)
	for _, c := range []struct {
		want string // behind the name
		w    qkv.Matrix
	}{
		{"has 1151 bytes, 8 rows of 256 values of type Q4_K take 1152", qkv.WeightMatrix(qkv.WeightQ4_K, w.data[:1151], 8, 256)},
		{"has 0 bytes, 8 rows of 256 values of type Float16 take 4096", qkv.WeightMatrix(qkv.WeightFloat16, nil, 8, 256)},
		{"has rows of 100 values, not a multiple of the 256 of a block of Q4_K", qkv.WeightMatrix(qkv.WeightQ4_K, w.data, 8, 100)},
		{"has rows of 240 values, not a multiple of the 32 of a block of MXFP4", qkv.WeightMatrix(qkv.WeightMXFP4, w.data, 8, 240)},
		{"is of the unknown type WeightType(16)", qkv.WeightMatrix(16, w.data, 8, 256)},
		{"is of the unknown type WeightType(-1)", qkv.WeightMatrix(-1, w.data, 8, 256)},
		{"has 0 columns, at least 1 is needed", qkv.WeightMatrix(qkv.WeightQ4_K, w.data, 0, 256)},
		{"has -256 rows, at least 1 is needed", qkv.WeightMatrix(qkv.WeightQ4_K, w.data, 8, -256)},
		{fmt.Sprintf("has 1152 bytes, %d rows of 256 values of type Q4_K take %d", math.MaxInt, math.MaxInt), qkv.WeightMatrix(qkv.WeightQ4_K, w.data, math.MaxInt, 256)},
		{"has 0 columns, at least 1 is needed", w.Slice(3, 3)},
		{"is of type int8 without scales: Int8Matrix takes them", qkv.WeightMatrix(qkv.WeightInt8, w.data, 4, 256)},
		{"has groups of -1 values, at least 1 is needed", qkv.Int8Matrix(integers, scales, 8, 256, -1)},
		{"has 47 scales, 8 rows in groups of 48 of 256 values need 48", qkv.Int8Matrix(integers, scales[:47], 8, 256, 48)},
		{"has 7 scales, 8 rows in groups of 256 of 256 values need 8", qkv.Int8Matrix(integers, scales[:7], 8, 256, 0)},
		{"has 2047 bytes, 8 rows of 256 values of type int8 take 2048", qkv.Int8Matrix(integers[1:], scales, 8, 256, 0)},
	} {
		check := func(name string, err error) {
			t.Helper()
			var arg *qkv.ArgError
			if !errors.As(err, &arg) || arg.Arg != name || err.Error() != "qkv: "+name+" "+c.want {
				t.Errorf("error %v, want %s of %q", err, c.want, name)
			}
		}
		y := make([]float32, 3*8)
		check("w", e.MatMul(&qkv.Product{X: qkv.RowMajor(make([]float32, 3*256), 3, 256), W: c.w.T(), Y: qkv.RowMajor(y, 3, 8)}))
		if !allZero(y) {
			t.Errorf("%s: y was written", c.want)
		}
		_, err := e.Pack(c.w.T())
		check("w", err)
		into := aligned(make([]byte, 1<<16))
		_, err = e.PackInto(into, qkv.PrecisionFloat32, c.w.T(), 1)
		check("w", err)
		if slices.Max(into) != 0 {
			t.Errorf("%s: the memory to pack into was written", c.want)
		}
		_, err = e.NewProjection(qkv.ProjectionConfig{Q: qkv.Linear{W: c.w.T()}, Heads: 1})
		check("q weights", err)
		good := w.Matrix.T()
		_, err = e.NewLayer(qkv.LayerConfig{
			ProjectionConfig: qkv.ProjectionConfig{Q: qkv.Linear{W: good}, K: qkv.Linear{W: good}, V: qkv.Linear{W: good}, Heads: 1, InPlace: true},
			Out:              qkv.Linear{W: c.w.T()},
		})
		check("out weights", err)
	}
}

func allZero(x []float32) bool {
	for _, v := range x {
		if v != 0 {
			return false
		}
	}
	return true
}

// TestWeightsAreWeights: a matrix of another type is neither X nor Y, and no output lies in its memory.
func TestWeightsAreWeights(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	r := rand.New(rand.NewPCG(5, 5))
	w := newWeights(r, qkv.WeightQ4_K, 256, 256, 1)
	mem := make([]float32, 4096)
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&mem[0])), 4*len(mem))
	integers := unsafe.Slice((*int8)(unsafe.Pointer(&mem[0])), 4*len(mem))
	x, y := qkv.RowMajor(make([]float32, 256), 1, 256), qkv.RowMajor(make([]float32, 256), 1, 256)
	inData, inScales := qkv.RowMajor(mem[1000:], 1, 8), qkv.RowMajor(mem[4000:], 1, 8)
	blocks := qkv.WeightMatrix(qkv.WeightQ8_0, bytes, 8, 256).T()
	for _, c := range []struct {
		want string
		p    qkv.Product
	}{
		{"qkv: x is a matrix of weights of type Q4_K, float32 is needed", qkv.Product{X: w.Matrix, W: w.Matrix.T(), Y: y}},
		{"qkv: y is a matrix of weights of type Q4_K, float32 is needed", qkv.Product{X: x, W: w.Matrix.T(), Y: w.Matrix}},
		{"qkv: w has 256 rows, x has 8 columns", qkv.Product{X: inData, W: w.Matrix.T(), Y: y}},
		{"qkv: y and w share elements", qkv.Product{X: x, W: qkv.WeightMatrix(qkv.WeightFloat16, bytes, 8, 256).T(), Y: inData}},
		{"qkv: y and the scales of w share elements", qkv.Product{X: x, W: qkv.Int8Matrix(integers[:8*256], mem[4000:], 8, 256, 0).T(), Y: inScales}},
	} {
		if err := e.MatMul(&c.p); !errors.As(err, new(*qkv.ArgError)) || err.Error() != c.want {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	if err := e.MatMul(&qkv.Product{X: x, W: blocks, Y: inScales}); err != nil { // behind the blocks
		t.Error(err)
	}
	if !allZero(mem[:1000]) {
		t.Error("weights were written")
	}

	// What a layer keeps.
	integersOut := qkv.Int8Matrix(integers[:8*256], mem[4000:], 8, 256, 0).T()
	for _, cfg := range []qkv.LayerConfig{
		{
			ProjectionConfig: qkv.ProjectionConfig{Q: qkv.Linear{W: integersOut}, K: qkv.Linear{W: integersOut}, V: qkv.Linear{W: integersOut}, Heads: 1, InPlace: true},
			Out:              qkv.Linear{W: qkv.RowMajor(make([]float32, 64), 8, 8)},
		},
		{
			ProjectionConfig: qkv.ProjectionConfig{Q: qkv.Linear{W: w.Matrix.T()}, K: qkv.Linear{W: w.Matrix.T()}, V: qkv.Linear{W: w.Matrix.T()}, Heads: 1, InPlace: true},
			Out:              qkv.Linear{W: integersOut},
		},
	} {
		l, err := e.NewLayer(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, y := range []qkv.Matrix{qkv.RowMajor(mem[100:], 1, 8), inScales} {
			if err := l.Forward(y, x); !errors.As(err, new(*qkv.ArgError)) {
				t.Errorf("an output in the memory of weights: %v", err)
			}
		}
	}
}

// TestWeightsMemory: packing takes the memory of the packed copy and no other that grows with the
// weights, and a product by weights in place allocates nothing.
func TestWeightsMemory(t *testing.T) {
	const out, in = 1024, 1024
	w := newWeights(rand.New(rand.NewPCG(6, 6)), qkv.WeightQ6_K, out, in, 1)
	e := newAttention(t, qkv.Config{Workers: 2})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	packed, err := e.Pack(w.T())
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	// A page of 2 MiB, and for each worker a step of a panel.
	if n, most := after.TotalAlloc-before.TotalAlloc, uint64(packed.Bytes()+2<<20+2<<18); n > most {
		t.Errorf("%d bytes were allocated, more than %d", n, most)
	}
	if raceEnabled {
		t.Skip("sync.Pool drops items under the race detector")
	}
	x, y := draw(3*in, normal(1)), make([]float32, 3*out)
	if n := allocsPerCall(10, func() {
		if err := e.MatMul(&qkv.Product{X: qkv.RowMajor(x, 3, in), W: w.T(), Y: qkv.RowMajor(y, 3, out)}); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a product", n)
	}
	plan, err := e.ExplainMatMul(&qkv.Product{X: qkv.RowMajor(x, 3, in), W: w.T(), Y: qkv.RowMajor(y, 3, out)})
	if err != nil {
		t.Fatal(err)
	}
	if want := "path packing: the weights are of type Q6_K, which is decoded on the way"; plan.Path != "packing" || !strings.Contains(plan.String(), want) {
		t.Errorf("the plan is %v, want %q in it", plan, want)
	}
}

// TestQuantize: blocks of each type that there is an encoder of, and errors.
func TestQuantize(t *testing.T) {
	src := draw(512, normal(9))
	for _, typ := range weightTypes {
		n, size := typ.Block()
		dst := make([]byte, 512/n*size)
		err := qkv.Quantize(typ, dst, src)
		if typ == qkv.WeightInt8 || typ >= qkv.WeightQ2_K && typ <= qkv.WeightQ6_K {
			want := fmt.Sprintf("qkv: dst is of type %v, which Quantize does not make", typ)
			if typ == qkv.WeightInt8 {
				want += ": QuantizeInt8 does"
			}
			if err == nil || err.Error() != want {
				t.Errorf("error %v, want %q", err, want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got := make([]float32, 512)
		if err := qkv.Dequantize(typ, got, dst); err != nil {
			t.Fatal(err)
		}
		for i, x := range src {
			if off := math.Abs(float64(x - got[i])); off > 1 { // package kernel tests by how much
				t.Fatalf("%v: %v became %v", typ, x, got[i])
			}
		}
	}
	for _, c := range []struct {
		arg, want string
		err       error
	}{
		{"dst", "dst is of the unknown type WeightType(16)", qkv.Quantize(16, nil, nil)},
		{"src", "src is of the unknown type WeightType(-3)", qkv.Dequantize(-3, nil, nil)},
		{"src", "src has 31 values, not a multiple of the 32 of a block of Q4_0", qkv.Quantize(qkv.WeightQ4_0, nil, src[:31])},
		{"dst", "dst has 17 bytes, 32 values of type Q4_0 take 18", qkv.Quantize(qkv.WeightQ4_0, make([]byte, 17), src[:32])},
		{"dst", "dst has 128 values, not a multiple of the 256 of a block of Q5_K", qkv.Dequantize(qkv.WeightQ5_K, make([]float32, 128), nil)},
		{"src", "src has 177 bytes, 256 values of type Q5_K take 176", qkv.Dequantize(qkv.WeightQ5_K, make([]float32, 256), make([]byte, 177))},
	} {
		var arg *qkv.ArgError
		if !errors.As(c.err, &arg) || arg.Arg != c.arg || c.err.Error() != "qkv: "+c.want {
			t.Errorf("error %v, want %q", c.err, c.want)
		}
	}
	if values, bytes := qkv.WeightType(99).Block(); values != 0 || bytes != 0 {
		t.Errorf("a block of no type has %d values and %d bytes", values, bytes)
	}
}

// TestLookup: rows of a table of any type and layout, to rows of any layout.
func TestLookup(t *testing.T) {
	const rows, cols = 9, 512
	ids := []int32{8, 0, 3, 3, 7}
	e := newAttention(t, qkv.Config{Workers: 2})
	check := func(what string, table, values qkv.Matrix, at func(i, j int) float32) {
		t.Helper()
		for _, layout := range matrixLayouts {
			dst := newMatrix(layout, len(ids), values.Cols(), func() float32 { return 0 })
			if err := e.Lookup(dst.matrix(), table, ids); err != nil {
				t.Fatal(err)
			}
			for i, id := range ids {
				for j := range values.Cols() {
					sameBits(t, what+", "+layout, []float32{*dst.at(i, j)}, []float32{at(int(id), j)})
				}
			}
			dst.checkGaps(t)
		}
	}
	for _, typ := range weightTypes {
		w := newWeights(rand.New(rand.NewPCG(7, uint64(typ))), typ, rows, cols, math.Inf(1))
		check(typ.String(), w.Matrix, w.floats(), func(i, j int) float32 { return w.values[i*cols+j] })
		check(typ.String()+", transposed", w.T(), w.floats().T(), func(i, j int) float32 { return w.values[j*cols+i] })
	}
	for _, layout := range matrixLayouts {
		m := newMatrix(layout, rows, 20, normal(1))
		check("float32, "+layout, m.matrix(), m.matrix(), func(i, j int) float32 { return *m.at(i, j) })
	}
}

func TestLookupErrors(t *testing.T) {
	table := newWeights(rand.New(rand.NewPCG(8, 8)), qkv.WeightQ8_0, 5, 64, 1)
	mem := make([]float32, 1000)
	dst := qkv.RowMajor(mem, 3, 64)
	e := newAttention(t, qkv.Config{})
	for _, c := range []struct {
		want       string
		dst, table qkv.Matrix
		ids        []int32
	}{
		{"qkv: ids[1] is 5, table has 5 rows", dst, table.Matrix, []int32{4, 5, 0}},
		{"qkv: ids[2] is -1, table has 5 rows", dst, table.Matrix, []int32{4, 0, -1}},
		{"qkv: dst has 3 rows, there are 2 ids", dst, table.Matrix, []int32{4, 0}},
		{"qkv: dst has 64 columns, rows of table have 5 elements", dst, table.Matrix.T(), []int32{4, 0, 1}},
		{"qkv: dst is not given", qkv.Matrix{}, table.Matrix, []int32{4, 0, 1}},
		{"qkv: table is not given", dst, qkv.Matrix{}, []int32{4, 0, 1}},
		{"qkv: dst is a matrix of weights of type Q8_0, float32 is needed", table.Matrix, table.Matrix, []int32{0, 0, 0, 0, 0}},
		{"qkv: table has 339 bytes, 5 rows of 64 values of type Q8_0 take 340", dst, qkv.WeightMatrix(qkv.WeightQ8_0, table.data[:339], 5, 64), []int32{0, 1, 2}},
		{"qkv: dst overlaps itself: its rows stride is 63, at least 64 is needed", qkv.StridedMatrix(mem, 0, 3, 64, 63, 1), table.Matrix, []int32{0, 1, 2}},
		{"qkv: dst and table share elements", dst, qkv.RowMajor(mem[100:], 5, 64), []int32{0, 1, 2}},
	} {
		err := e.Lookup(c.dst, c.table, c.ids)
		if !errors.As(err, new(*qkv.ArgError)) || err.Error() != c.want {
			t.Errorf("error %v, want %q", err, c.want)
		}
		if !allZero(mem) {
			t.Fatalf("%s: dst was written", c.want)
		}
	}
}

// TestLookupMany: many rows, by any number of workers.
func TestLookupMany(t *testing.T) {
	const rows, cols = 300, 700
	m := newMatrix("rows", rows, cols, normal(2))
	ids := make([]int32, 1000)
	for i := range ids {
		ids[i] = int32(i * 7 % rows)
	}
	for _, workers := range workerCounts(1, 2, 5) {
		e := newAttention(t, qkv.Config{Workers: workers})
		dst := make([]float32, len(ids)*cols)
		must(e.Lookup(qkv.RowMajor(dst, len(ids), cols), m.matrix(), ids))
		for i, id := range ids {
			sameBits(t, "a row", dst[i*cols:][:cols], m.data[int(id)*cols:][:cols])
		}
	}
}

// TestLookupPacked: rows of a table that is packed as its transpose, of any width and heads, on every set,
// and by an engine of another set.
func TestLookupPacked(t *testing.T) {
	other := newAttention(t, qkv.Config{Kernel: "generic", Workers: 3})
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		for vocab := 1; vocab <= 260; vocab++ {
			cols := 1 + vocab%9
			heads := 1
			if vocab%3 == 0 {
				heads = 3
			}
			table := newMatrix("padded", vocab, cols, normal(uint64(vocab)))
			packed, err := e.PackHeads(table.matrix().T(), heads)
			must(err)
			ids := make([]int32, vocab+2)
			for i := range ids {
				ids[i] = int32(i * 5 % vocab)
			}
			want := newMatrix("rows", len(ids), cols, func() float32 { return 0 })
			must(e.Lookup(want.matrix(), table.matrix(), ids))
			for i, layout := range matrixLayouts {
				dst := newMatrix(layout, len(ids), cols, func() float32 { return 0 })
				must([]*qkv.Engine{e, other}[i%2].LookupPacked(dst.matrix(), packed, ids))
				sameBits(t, fmt.Sprintf("%s, %d rows, %s", e.Kernel().Name, vocab, layout), dst.values(), want.values())
				dst.checkGaps(t)
			}
		}
		// Quantised weights have the bits of their float32 values.
		w := newWeights(rand.New(rand.NewPCG(7, 7)), qkv.WeightQ4_0, 70, 64, 1)
		packed, err := e.Pack(w.T())
		must(err)
		dst := make([]float32, 2*64)
		must(e.LookupPacked(qkv.RowMajor(dst, 2, 64), packed, []int32{69, 3}))
		sameBits(t, "Q4_0", dst[:64], w.values[69*64:][:64])
		sameBits(t, "Q4_0", dst[64:], w.values[3*64:][:64])
	})
}

func TestLookupPackedErrors(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	size := e.PackedSize(qkv.PrecisionFloat32, qkv.RowMajor(nil, 8, 5), 1)
	mem := make([]float32, size/4+16)
	for uintptr(unsafe.Pointer(&mem[0]))%64 != 0 {
		mem = mem[1:]
	}
	mem = mem[:size/4]
	inMem, err := e.PackInto(unsafe.Slice((*byte)(unsafe.Pointer(&mem[0])), size), qkv.PrecisionFloat32, qkv.RowMajor(make([]float32, 8*5), 8, 5), 1)
	must(err)
	packed, err := e.Pack(qkv.RowMajor(make([]float32, 8*5), 8, 5))
	must(err)
	dst := make([]float32, 24)
	for _, c := range []struct {
		want  string
		table *qkv.PackedMatrix
		dst   qkv.Matrix
		ids   []int32
	}{
		{"table is nil or zero", nil, qkv.RowMajor(dst, 3, 8), []int32{0, 1, 2}},
		{"table is nil or zero", new(qkv.PackedMatrix), qkv.RowMajor(dst, 3, 8), []int32{0, 1, 2}},
		{"ids[1] is 5, table has 5 packed columns", packed, qkv.RowMajor(dst, 3, 8), []int32{0, 5, 2}},
		{"ids[2] is -1", packed, qkv.RowMajor(dst, 3, 8), []int32{0, 1, -1}},
		{"dst has 3 rows, there are 2 ids", packed, qkv.RowMajor(dst, 3, 8), []int32{0, 1}},
		{"dst has 5 columns, rows of table have 8 elements", packed, qkv.RowMajor(dst, 3, 5), []int32{0, 1, 2}},
		{"dst and table share elements", inMem, qkv.RowMajor(mem[len(mem)-24:], 3, 8), []int32{0, 1, 2}},
		{"dst is not given", packed, qkv.Matrix{}, []int32{0, 1, 2}},
		{"dst overlaps itself", packed, qkv.StridedMatrix(dst, 0, 3, 8, 7, 1), []int32{0, 1, 2}},
	} {
		isArgError(t, c.want, e.LookupPacked(c.dst, c.table, c.ids), c.want)
	}
}

// TestWeightsExtremes: whatever the numbers of a matrix, and wherever it is cut, it is used or is an error,
// to all users alike.
func TestWeightsExtremes(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	e := newAttention(t, qkv.Config{Workers: 1})
	number := func() int {
		return drawn(r, 0, 1, 2, 31, 32, 64, 256, 257, -1, -32, math.MaxInt, math.MaxInt/2, math.MaxInt/2+1, math.MinInt, math.MaxInt32, math.MaxInt-31, math.MaxInt/34)
	}
	good := 0
	for range 10000 {
		rows, cols := number(), number()
		if r.IntN(2) == 0 {
			rows, cols = 1+r.IntN(9), 32*(1+r.IntN(9))
		}
		typ, n := qkv.WeightType(r.IntN(18)-1), r.IntN(3000)
		m := qkv.WeightMatrix(typ, make([]byte, n), rows, cols)
		what := fmt.Sprintf("%v, %d bytes, %d x %d", typ, n, rows, cols)
		if r.IntN(4) == 0 {
			groupSize := number()
			m = qkv.Int8Matrix(make([]int8, n), make([]float32, r.IntN(3000)), rows, cols, groupSize)
			what += fmt.Sprintf(", or int8 in groups of %d", groupSize)
		}
		for range r.IntN(5) {
			if m = m.T(); m.Rows() > 0 && r.IntN(2) == 0 {
				lo := r.IntN(m.Rows())
				m = m.Slice(lo, lo+r.IntN(m.Rows()-lo))
			}
		}
		in, out := m.Rows(), m.Cols()
		if in < 1 || in > 4000 || out < 1 || out > 4000 {
			in, out = 3, 3
		}
		y := make([]float32, 2*out)
		multiplied := e.MatMul(&qkv.Product{X: qkv.RowMajor(make([]float32, 2*in), 2, in), W: m, Y: qkv.RowMajor(y, 2, out)})
		found := e.Lookup(qkv.RowMajor(y, 2, out), m, []int32{int32(in - 1), 0})
		_, packed := e.Pack(m)
		if (multiplied == nil) != (found == nil) || (multiplied == nil) != (packed == nil) {
			t.Fatalf("%s, cut to %d x %d: %v, %v, %v", what, m.Rows(), m.Cols(), multiplied, found, packed)
		}
		if multiplied == nil {
			good++
		}
	}
	if good < 1000 {
		t.Errorf("%d matrices are used", good)
	}
}
