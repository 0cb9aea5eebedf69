package qkv_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

// FuzzMatMul hands arbitrary sizes and strides to MatMul: it returns an error and writes
// nothing, or stays inside Y and computes the product, the same on every set.
func FuzzMatMul(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4})
	for i := range 40 {
		r := rand.New(rand.NewPCG(uint64(i), 7))
		f.Add(draw(60, func() byte { return byte(r.IntN(4 + 2*i)) }))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &byteReader{b}
		next := normal(uint64(len(b)))
		// Some views are near those that fit, so that not all are errors.
		m, n, k := r.near(1+(r.number()&127)%90), r.near(1+(r.number()&127)%90), r.near(1+(r.number()&127)%120)
		view := func(data []float32, rows, cols int) *matrix {
			v := &matrix{data: data, rows: rows, cols: cols, row: cols, col: 1}
			switch r.number() & 3 {
			case 1:
				v.row, v.col = 1, rows
			case 2:
				v.offset, v.row, v.col = r.number(), r.near(cols), r.near(1)
			}
			return v
		}
		fill := func(n int, next func() float32) []float32 {
			v := make([]float32, n)
			for i := range v {
				v[i] = next()
			}
			return v
		}
		const room = 90 * 120
		x, w := view(fill(room, next), m, k), view(fill(room, next), r.near(k), r.near(n))
		old := view(fill(room, next), r.near(m), r.near(n))
		var bias []float32
		if r.flag() {
			bias = fill(max(0, min(old.cols, room)), next)
		}
		add, pack, workers := r.flag(), r.flag(), 1+(r.number()&127)%3
		var first []float32
		for i, set := range sets() {
			e := newAttention(t, qkv.Config{Kernel: set, Workers: workers})
			y := *old
			y.data = append([]float32(nil), old.data...)
			p := qkv.Product{X: x.matrix(), W: w.matrix(), Bias: bias, Y: y.matrix(), Accumulate: add}
			if pack {
				packed, err := e.Pack(w.matrix())
				if err != nil {
					if !errors.As(err, new(*qkv.ArgError)) {
						t.Fatal(err)
					}
					return
				}
				p.W, p.Packed = qkv.Matrix{}, packed
			}
			err := e.MatMul(&p)
			failed := err != nil
			switch {
			case failed:
				if !errors.As(err, new(*qkv.ArgError)) {
					t.Fatal(err)
				}
			case i == 0:
				first = y.values()
				var from *matrix
				if add {
					from = old
				}
				sum, bound := linear(x, w, bias, from)
				for i := range y.rows {
					for j := range y.cols {
						if got := float64(*y.at(i, j)); !(math.Abs(got-sum(i, j)) <= bound(i, j)) {
							t.Fatalf("y[%d,%d] is %g, want %g ± %g", i, j, got, sum(i, j), bound(i, j))
						}
					}
				}
			default:
				sameBits(t, set, y.values(), first)
			}
			if !failed {
				for i := range y.rows {
					for j := range y.cols {
						*y.at(i, j) = *old.at(i, j)
					}
				}
			}
			sameBits(t, "outside of y", y.data, old.data)
		}
		if first == nil || !r.flag() {
			return
		}
		// Class BFloat16 is class Float32 of rounded operands.
		want := old.clone("rows")
		rounded := qkv.Product{X: x.brain().matrix(), W: w.brain().matrix(), Bias: bias, Y: want.matrix(), Accumulate: add}
		if err := newAttention(t, qkv.Config{}).MatMul(&rounded); err != nil {
			t.Fatal(err)
		}
		for e, set := range pairsEngines(t, workers) {
			y := *old
			y.data = append([]float32(nil), old.data...)
			p := qkv.Product{X: x.matrix(), W: w.matrix(), Bias: bias, Y: y.matrix(), Accumulate: add, Precision: qkv.PrecisionBFloat16}
			if pack {
				packed, err := e.PackFor(p.Precision, p.W, 1)
				if err != nil {
					t.Fatal(err)
				}
				p.W, p.Packed = qkv.Matrix{}, packed
			}
			if err := e.MatMul(&p); err != nil {
				t.Fatal(err)
			}
			sameBits(t, set, y.values(), want.values())
		}
	})
}
