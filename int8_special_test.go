package qkv_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

// int8Rows are how many rows of X products of class Int8 are tested with: one, a few and many.
var int8Rows = []int{1, 7, 64}

// eachInt8Product calls f with the products of the rows of x and weights, in place and packed, by 1, 7 and 64 rows from
// one on, on every set. Those of one row begin at each of the first seven.
func eachInt8Product(t *testing.T, x []float32, w *int8Weights, f func(what string, row, rows int, y []float32)) {
	t.Helper()
	n, k := w.Rows(), w.Cols()
	for _, set := range classSets() {
		e := newAttention(t, qkv.Config{Kernel: set})
		packed, err := e.PackFor(qkv.PrecisionInt8, w.T(), 1)
		must(err)
		for _, rows := range int8Rows {
			last := 0
			if rows == 1 {
				last = 6
			}
			for row := range last + 1 {
				for _, p := range []qkv.Product{{W: w.T()}, {Packed: packed}} {
					y := make([]float32, rows*n)
					p.X, p.Y, p.Precision = qkv.RowMajor(x[row*k:][:rows*k], rows, k), qkv.RowMajor(y, rows, n), qkv.PrecisionInt8
					must(e.MatMul(&p))
					f(fmt.Sprintf("%v on %s, %d rows from %d on, packed %v", w.typ, set, rows, row, p.Packed != nil), row, rows, y)
				}
			}
		}
	}
}

// specialRows returns rows of X: of each of the first seven the 32 numbers from k/2 on are of another kind.
func specialRows(k int) []float32 {
	x := draw(64*k, normal(7))
	for row, special := range []float32{1, 0, nan, posInf, 127 * 0x1p-128, 3e38, 1e-40} {
		block := x[row*k+k/2:][:32]
		for i := range block {
			switch {
			case row == 0:
			case row == 2 || row == 3:
				block[11] = special
			default:
				block[i] = special * float32(1-i%2*2)
			}
		}
	}
	return x
}

// TestInt8ProductsNotFinite: a number of X that is none makes its row NaN. A scale or a minimum of weights that is NaN
// makes its column NaN, and one that is infinite leaves no finite number in it. Numbers that are huge, subnormal or zero
// have the bits of the definition, and so has every other element.
func TestInt8ProductsNotFinite(t *testing.T) {
	const n, k = 70, 512
	x := specialRows(k)
	for _, typ := range int8Types {
		r := rand.New(rand.NewPCG(uint64(typ), 3))
		w := newInt8Weights(r, typ, n, k, 64)
		type numbers struct{ scale, least float32 }
		var specials []numbers
		switch {
		case typ == qkv.WeightInt8:
			for _, s := range []float32{nan, posInf, negInf, math.MaxFloat32, 1e-38, 1e-45, 0} {
				specials = append(specials, numbers{s, 0})
			}
		case typ == qkv.WeightMXFP4:
			for _, s := range []float32{nan, 0x1p126, 0x1p-127, 0x1p-128} {
				specials = append(specials, numbers{s, 0})
			}
		default:
			all := []float32{nan, posInf, negInf, 65504, 0x1p-24, 0}
			for _, s := range all {
				specials = append(specials, numbers{s, 0.5})
			}
			if w.hasMins {
				for _, m := range all {
					specials = append(specials, numbers{0.25, m}, numbers{posInf, m})
				}
			}
		}
		special := map[int]numbers{}
		values, _ := typ.Block()
		if typ == qkv.WeightInt8 {
			values = w.group
		}
		for i, s := range specials {
			column := (4*i + 3) % n
			special[column] = s
			w.setScale(column, r.IntN(k/values), s.scale, s.least)
		}
		if len(special) != len(specials) {
			t.Fatal("two specials in a column")
		}
		bias, old := make([]float32, n), make([]float32, 64*n)
		want := int8Product(x, w, bias, old)
		eachInt8Product(t, x, w, func(what string, row, rows int, y []float32) {
			sameBits(t, what, y, want[row*n:][:rows*n])
			for i, v := range y {
				s, ok := special[i%n]
				isNone := row+i/n == 2 || row+i/n == 3
				none := s.scale-s.scale != 0 || w.hasMins && s.least-s.least != 0
				switch {
				case isNone || ok && (s.scale != s.scale || w.hasMins && s.least != s.least):
					if v == v {
						t.Fatalf("%s: element %d of row %d is %v, want NaN", what, i%n, row+i/n, v)
					}
				case ok && none:
					if v-v == 0 {
						t.Fatalf("%s: element %d of row %d is %v beside a scale or a minimum that is infinite", what, i%n, row+i/n, v)
					}
				case !ok && row+i/n != 5 && v-v != 0:
					t.Fatalf("%s: element %d of row %d is %v", what, i%n, row+i/n, v)
				}
			}
		})
	}
}

// TestInt8ProductsExtremes: where the product of a scale of weights and one of X is subnormal, its rounding is an
// error of the bound's last term, and where it is beyond float32, the element is no number, even if the sum of integers
// is 0.
func TestInt8ProductsExtremes(t *testing.T) {
	const n, k = 20, 256
	for _, typ := range int8Types {
		w := newInt8Weights(rand.New(rand.NewPCG(uint64(typ), 4)), typ, n, k, 32)
		values, _ := typ.Block()
		if typ == qkv.WeightInt8 {
			values = w.group
		}
		setScales := func(scale, least float32) {
			for j := range n {
				for b := range k / values {
					w.setScale(j, b, scale, least)
				}
			}
		}
		small := float32(0x1p-14)
		if values == 256 { // which integers multiply
			small = 0x1p-20
		}
		setScales(small, small)
		x := draw(64*k, normal(5))
		for i := range x { // of one magnitude, so that integers stand for them exactly
			x[i] = float32(math.Copysign(0x1.3p-117, float64(x[i])))
		}
		worst, beyond := 0.0, false
		eachInt8Product(t, x, w, func(what string, first, rows int, y []float32) {
			for i, got := range y {
				row, column := x[(first+i/n)*k:][:k], i%n*k
				exact, size, bound := 0.0, 0.0, 0.0
				for b := 0; b < k; b += 32 {
					q, _ := quantizedBlock(row[b:][:32])
					most, all, sums := 0.0, 0.0, [2]float64{}
					for at := range 32 {
						scale, integer, least := float64(w.scales[column+b+at]), float64(w.integers[column+b+at]), float64(w.mins[column+b+at])
						exact += float64(row[b+at]) * (scale*integer + least)
						most = max(most, math.Abs(float64(row[b+at])))
						all += math.Abs(scale*integer) + math.Abs(least)
						sums[at/w.groups] += float64(q[at]) * integer
					}
					size += most * all
					bound += 0x1p-150 * (math.Abs(sums[0]) + math.Abs(sums[1]) + 3)
				}
				without := (48 + k/256 + 2) * 0x1p-24 * size
				off := math.Abs(float64(got) - exact)
				if off > without+bound {
					t.Fatalf("%s: element %d of row %d is %g, want %g: off by %g, at most %g", what, i%n, i/n, got, exact, off, without+bound)
				}
				worst, beyond = max(worst, off/(without+bound)), beyond || off > without
			}
		})
		t.Logf("%v: largest error %.2g of its bound", typ, worst)
		if !beyond {
			t.Errorf("%v: no error needs the last term of the bound", typ)
		}

		// Sums of the halves of a block are 0.
		setScales(65504, 0)
		for row := range 64 {
			for i := range k {
				x[row*k+i] = 3e38 * float32(1-i%2*2)
			}
		}
		for i := range w.integers {
			if typ == qkv.WeightInt8 {
				w.ints[i], w.integers[i] = 1, 1
			}
		}
		eachInt8Product(t, x, w, func(what string, first, rows int, y []float32) {
			for i, v := range y {
				if v-v == 0 || typ == qkv.WeightInt8 && v == v {
					t.Fatalf("%s: element %d of row %d is %g where a product of scales is infinite", what, i%n, i/n, v)
				}
			}
		})
	}
}
