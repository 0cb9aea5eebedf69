package qkv_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

// An outcome is what an element of a product is.
type outcome int

const (
	unchanged outcome = iota // to the bit
	finite
	notFinite // an infinity or NaN
	isNotANumber
)

// A productCase is a change of a product's operands, and what it makes of the row of X or the column that it is in. Every
// other element stays.
type productCase struct {
	x      float32 // a number of X, unless it is 0
	scale  float32 // of a block of weights, unless it is 0
	least  float32 // of a block of weights with minima, unless it is 0
	weight float32 // a number of weights of float32, unless it is 0
	sum    bool    // that of the numbers that class Int8 has in the place of 32 numbers of X is beyond float32
	want   map[qkv.Precision]outcome
}

func everywhere(o outcome) map[qkv.Precision]outcome {
	return map[qkv.Precision]outcome{qkv.PrecisionFloat32: o, qkv.PrecisionInt8: o, qkv.PrecisionBFloat16: o}
}

// productContract has the cases of the table of products in docs/numerics.md, by name.
var productContract = map[string][]productCase{
	"NaN in X": {{x: nan, want: everywhere(isNotANumber)}},
	"Inf in X": {
		{x: posInf, want: map[qkv.Precision]outcome{qkv.PrecisionFloat32: notFinite, qkv.PrecisionBFloat16: notFinite, qkv.PrecisionInt8: isNotANumber}},
		{x: negInf, want: map[qkv.Precision]outcome{qkv.PrecisionFloat32: notFinite, qkv.PrecisionBFloat16: notFinite, qkv.PrecisionInt8: isNotANumber}},
	},
	"number of X from 2^128 - 2^119 on": {
		{x: 0x1.ffp127, want: map[qkv.Precision]outcome{qkv.PrecisionFloat32: finite, qkv.PrecisionBFloat16: notFinite, qkv.PrecisionInt8: finite}},
		{x: -math.MaxFloat32, sum: true, want: map[qkv.Precision]outcome{qkv.PrecisionFloat32: finite, qkv.PrecisionBFloat16: notFinite, qkv.PrecisionInt8: finite}},
		{x: 0x1.fefffep127, want: everywhere(finite)},
	},
	"NaN in a weight, or in the scale or the minimum of its block": {
		{scale: nan, want: everywhere(isNotANumber)}, {least: nan, want: everywhere(isNotANumber)}, {weight: nan, want: everywhere(isNotANumber)},
	},
	"infinite weight, or scale or minimum of its block": {
		{scale: posInf, want: everywhere(notFinite)}, {scale: negInf, want: everywhere(notFinite)},
		{least: posInf, want: everywhere(notFinite)}, {least: negInf, want: everywhere(notFinite)},
		{weight: posInf, want: everywhere(notFinite)}, {weight: negInf, want: everywhere(notFinite)},
	},
	"weight from 2^128 - 2^119 on": {
		{weight: 0x1.ffp127, want: map[qkv.Precision]outcome{qkv.PrecisionFloat32: finite, qkv.PrecisionBFloat16: notFinite}},
		{weight: -0x1.fefffep127, want: everywhere(finite)},
	},
}

// TestContractProducts runs the cases of products in docs/numerics.md, which must be those that have a test: in every
// class on every set, by weights of each type that has such a number, in place and packed, by few rows and many.
func TestContractProducts(t *testing.T) {
	t.Parallel()
	cases := tableCases(t, "### Matrix products by class")
	sameCases(t, productContract, cases)
	for _, name := range cases {
		t.Run(name, func(t *testing.T) {
			for _, c := range productContract[name] {
				for precision, want := range c.want {
					if c.weight != 0 {
						if precision != qkv.PrecisionInt8 {
							c.check(t, precision, want, nil)
						}
						continue
					}
					types := int8Types
					if raceEnabled {
						types = []qkv.WeightType{qkv.WeightInt8, qkv.WeightQ4_1}
					}
					for _, typ := range types {
						w := newInt8Weights(rand.New(rand.NewPCG(uint64(typ), 9)), typ, 20, 256, 64)
						if c.scale-c.scale != 0 && c.scale == c.scale && typ == qkv.WeightMXFP4 || c.least != 0 && !w.hasMins {
							continue // there is no such number
						}
						o := want
						if precision == qkv.PrecisionInt8 && w.hasMins && c.sum {
							o = notFinite
						}
						c.check(t, precision, o, w)
					}
				}
			}
		})
	}
}

// check compares the product of a class before and after the change, by weights of float32 if there are no others. X and
// the weights are small, so that a number of X of any magnitude leaves sums that are finite.
func (c *productCase) check(t *testing.T, precision qkv.Precision, want outcome, w *int8Weights) {
	t.Helper()
	const n, k, column, at = 20, 256, 7, 130
	floats := draw(n*k, normal(2))
	for i := range floats {
		floats[i] /= 1024
	}
	matrix := qkv.RowMajor(floats, n, k)
	values := 0
	if w != nil {
		if values, _ = w.typ.Block(); w.typ == qkv.WeightInt8 {
			values = w.group
		}
		for i := range n * k / values {
			w.setScale(i*values/k, i*values%k/values, 0x1p-14, 0x1p-14)
		}
		matrix = w.Matrix
	}
	type key struct {
		set    string
		rows   int
		packed bool
	}
	product := func(x []float32) map[key][]float32 {
		ys := map[key][]float32{}
		for _, set := range classSets() {
			e := newAttention(t, qkv.Config{Kernel: set})
			packed, err := e.PackFor(precision, matrix.T(), 1)
			must(err)
			for _, rows := range int8Rows {
				for _, p := range []qkv.Product{{W: matrix.T()}, {Packed: packed}} {
					y := make([]float32, rows*n)
					p.X, p.Y, p.Precision = qkv.RowMajor(x[:rows*k], rows, k), qkv.RowMajor(y, rows, n), precision
					must(e.MatMul(&p))
					ys[key{set, rows, p.Packed != nil}] = y
				}
			}
		}
		return ys
	}
	x := draw(64*k, normal(1))
	for i := range x {
		x[i] /= 1024
	}
	before := product(x)
	switch {
	case c.x != 0:
		x[at] = c.x
	case w == nil:
		floats[column*k+at] = c.weight
	default:
		w.setScale(column, at/values, cmpOr(c.scale, 0x1p-14), cmpOr(c.least, 0x1p-14))
	}
	for at, y := range product(x) {
		for i, got := range y {
			o := unchanged
			if c.x != 0 && i/n == 0 || c.x == 0 && i%n == column {
				o = want
			}
			ok := false
			switch o {
			case unchanged:
				ok = math.Float32bits(got) == math.Float32bits(before[at][i])
			case finite:
				ok = got-got == 0
			case notFinite:
				ok = got-got != 0
			case isNotANumber:
				ok = got != got
			}
			if !ok {
				typ := "float32"
				if w != nil {
					typ = fmt.Sprint(w.typ)
				}
				t.Fatalf("class %v, %s, %+v, %+v: element %d of row %d is %g, was %g", precision, typ, *c, at, i%n, i/n, got, before[at][i])
			}
		}
	}
}

// cmpOr returns x, or y if x is 0. A NaN is x.
func cmpOr(x, y float32) float32 {
	if x == 0 {
		return y
	}
	return x
}
