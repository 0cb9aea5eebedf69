package qkv_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
)

// positional are the parts of a call that go by the positions of the queries.
var positional = []struct {
	what string // the message begins with it
	add  func(*qkv.Call)
}{
	{"mask is causal", func(c *qkv.Call) { c.Mask.Causal = true }},
	{"mask has a window", func(c *qkv.Call) { c.Mask.Window = qkv.Sliding(2, 1) }},
	{"mask has ALiBi beside it", func(c *qkv.Call) { c.ALiBi = []float32{0.5, 0.25} }},
	{"mask is causal", func(c *qkv.Call) {
		c.Mask.Causal, c.Mask.Window, c.Mask.First, c.ALiBi = true, qkv.Sliding(3, 0), 1, []float32{1, 2}
	}},
	{"mask is causal", func(c *qkv.Call) { c.Mask.Causal, c.Mask.Prefix = true, 2 }},
}

// alignedLengths give a batch of calls with 2 heads of 4 its lengths, in every way that there is.
// Numbers of queries and keys are the same where bad is -1.
var alignedLengths = []struct {
	name               string
	lenQ, lenKV        []int
	bad, queries, keys int // the first sequence whose numbers differ
	put                func(c *qkv.Call, lenQ, lenKV []int, x []float32)
}{
	{"shape", []int{5, 5}, []int{5, 5}, -1, 0, 0, putShape},
	{"shape", []int{5, 5}, []int{9, 9}, 0, 5, 9, putShape},
	{"shape", []int{5}, []int{3}, 0, 5, 3, putShape},
	{"shape", []int{0, 0}, []int{9, 9}, -1, 0, 0, putShape},
	{"shape", []int{5, 5}, []int{0, 0}, -1, 0, 0, putShape},
	{"lensQ", []int{9, 0, 9}, []int{9, 9, 9}, -1, 0, 0, putLensQ},
	{"lensQ", []int{9, 0, 8}, []int{9, 9, 9}, 2, 8, 9, putLensQ},
	{"lensKV", []int{7, 7, 7}, []int{7, 0, 7}, -1, 0, 0, putLensKV},
	{"lensKV", []int{7, 7, 7}, []int{7, 0, 6}, 2, 7, 6, putLensKV},
	{"lensQ and lensKV", []int{5, 3, 0, 4}, []int{5, 3, 6, 4}, -1, 0, 0, putLens},
	{"lensQ and lensKV", []int{5, 3, 0, 1}, []int{5, 3, 6, 17}, 3, 1, 17, putLens},
	{"cuLensQ and cuLensKV", []int{5, 0, 3, 2}, []int{5, 4, 3, 0}, -1, 0, 0, putRagged},
	{"cuLensQ and cuLensKV", []int{5, 0, 3, 2}, []int{5, 4, 3, 1}, 3, 2, 1, putRagged},
	{"cuLensQ and lensKV", []int{5, 0, 3}, []int{5, 4, 3}, -1, 0, 0, putQueries},
	{"cuLensQ and lensKV", []int{5, 0, 3}, []int{5, 4, 5}, 2, 3, 5, putQueries},
	{"cuLensQ", []int{5, 0, 5}, []int{5, 5, 5}, -1, 0, 0, putQueriesOnly},
	{"cuLensQ", []int{5, 0, 4}, []int{5, 5, 5}, 2, 4, 5, putQueriesOnly},
	{"tables", []int{5, 5, 5}, []int{5, 0, 5}, -1, 0, 0, putTables},
	{"tables", []int{5, 5, 5}, []int{5, 0, 7}, 2, 5, 7, putTables},
	{"tables and cuLensQ", []int{5, 0, 1}, []int{5, 8, 1}, -1, 0, 0, putTablesRagged},
	{"tables and cuLensQ", []int{5, 0, 1}, []int{5, 8, 8}, 2, 1, 8, putTablesRagged},
	{"ring", []int{11, 11}, []int{11, 11}, -1, 0, 0, putRing}, // more than there is room for
	{"ring", []int{8, 8}, []int{8, 11}, 1, 8, 11, putRing},    // as many queries as there is room for
}

const alignedSize = 4096 // elements of each operand

func cumulative(lens []int) []int {
	cu := []int{0}
	for _, n := range lens {
		cu = append(cu, cu[len(cu)-1]+n)
	}
	return cu
}

// putViews has sequences of the greatest lengths.
func putViews(c *qkv.Call, lenQ, lenKV []int, x []float32) {
	n, q, k := len(lenQ), slices.Max(lenQ), slices.Max(lenKV)
	c.Q, c.Out = qkv.BHSD(x, n, 2, q, 4), qkv.BHSD(x[3*alignedSize:], n, 2, q, 4)
	c.K, c.V = qkv.BHSD(x[alignedSize:], n, 2, k, 4), qkv.BHSD(x[2*alignedSize:], n, 2, k, 4)
	c.LSE = x[4*alignedSize:][:n*2*q]
	c.Scores = qkv.Pairs(x[5*alignedSize:6*alignedSize], n, 2, q, k)
}

func putShape(c *qkv.Call, lenQ, lenKV []int, x []float32) { putViews(c, lenQ, lenKV, x) }

func putLensQ(c *qkv.Call, lenQ, lenKV []int, x []float32) {
	putViews(c, lenQ, lenKV, x)
	c.LensQ = lenQ
}

func putLensKV(c *qkv.Call, lenQ, lenKV []int, x []float32) {
	putViews(c, lenQ, lenKV, x)
	c.LensKV = lenKV
}

func putLens(c *qkv.Call, lenQ, lenKV []int, x []float32) {
	putViews(c, lenQ, lenKV, x)
	c.LensQ, c.LensKV = lenQ, lenKV
}

func putQueriesOnly(c *qkv.Call, lenQ, lenKV []int, x []float32) {
	putViews(c, lenQ, lenKV, x)
	c.CuLensQ = cumulative(lenQ)
	tokens := c.CuLensQ[len(lenQ)]
	c.Q, c.Out = qkv.THD(x, tokens, 2, 4), qkv.THD(x[3*alignedSize:], tokens, 2, 4)
	c.LSE = c.LSE[:2*tokens]
}

func putQueries(c *qkv.Call, lenQ, lenKV []int, x []float32) {
	putQueriesOnly(c, lenQ, lenKV, x)
	c.LensKV = lenKV
}

func putRagged(c *qkv.Call, lenQ, lenKV []int, x []float32) {
	putQueriesOnly(c, lenQ, lenKV, x)
	c.CuLensKV = cumulative(lenKV)
	tokens := c.CuLensKV[len(lenKV)]
	c.K, c.V = qkv.THD(x[alignedSize:], tokens, 2, 4), qkv.THD(x[2*alignedSize:], tokens, 2, 4)
}

// putPages has 8 keys of each sequence in pages of 4.
func putPages(c *qkv.Call, lenKV []int, x []float32) {
	n := int32(len(lenKV))
	c.K, c.V = qkv.BHSD(x[alignedSize:], int(2*n), 2, 4, 4), qkv.BHSD(x[2*alignedSize:], int(2*n), 2, 4, 4)
	for i := range n {
		c.Tables = append(c.Tables, []int32{2*n - 1 - i, i})
	}
	c.LensKV = lenKV
}

func putTables(c *qkv.Call, lenQ, lenKV []int, x []float32) {
	putViews(c, lenQ, lenKV, x)
	putPages(c, lenKV, x)
}

func putTablesRagged(c *qkv.Call, lenQ, lenKV []int, x []float32) {
	putQueriesOnly(c, lenQ, lenKV, x)
	putPages(c, lenKV, x)
}

func putRing(c *qkv.Call, lenQ, lenKV []int, x []float32) {
	putTables(c, lenQ, lenKV, x)
	c.Ring = true
}

// TestAlignNotSaid: where the numbers of queries and keys differ, a call that goes by positions
// and does not say how they stand is an error before anything is written; where they are the
// same, it is that of any other alignment.
func TestAlignNotSaid(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	x := make([]float32, 6*alignedSize)
	outputs := x[3*alignedSize:]
	for _, l := range alignedLengths {
		for _, m := range positional {
			t.Run(fmt.Sprintf("%s=%v,%v,%s", l.name, l.lenQ, l.lenKV, m.what), func(t *testing.T) {
				// run returns what a call that says align writes.
				run := func(align qkv.Align) ([]float32, error) {
					copy(x, draw(3*alignedSize, normal(1)))
					for i := range outputs {
						outputs[i] = canary
					}
					c := new(qkv.Call)
					l.put(c, l.lenQ, l.lenKV, x)
					m.add(c)
					c.Mask.Align = align
					err := e.Run(c)
					if _, explained := e.Explain(c); fmt.Sprint(explained) != fmt.Sprint(err) {
						t.Errorf("Explain says %v, Run %v", explained, err)
					}
					return slices.Clone(outputs), err
				}
				topLeft, err := run(qkv.TopLeft)
				bottomRight, err2 := run(qkv.BottomRight)
				must(errors.Join(err, err2))
				got, err := run(0)
				if l.bad < 0 {
					must(err)
					sameBits(t, "top-left", topLeft, got)
					sameBits(t, "bottom-right", bottomRight, got)
					return
				}
				checkArgError(t, err, "mask", fmt.Sprintf("qkv: %s and align is not said: sequence %d has %d queries and %d keys", m.what, l.bad, l.queries, l.keys))
				var arg *qkv.ArgError
				if errors.As(err, &arg) && (arg.Got != l.queries || arg.Want != l.keys) {
					t.Errorf("the error has %d and %d, want %d and %d", arg.Got, arg.Want, l.queries, l.keys)
				}
				for i, v := range got {
					if v != canary {
						t.Fatalf("element %d was written", i)
					}
				}
			})
		}
		// Without any of them, nothing goes by positions.
		c := new(qkv.Call)
		l.put(c, l.lenQ, l.lenKV, x)
		c.Mask.First = 1
		must(e.Run(c))
		c.Mask.First, c.Mask.Prefix = 0, 1
		must(e.Run(c))
	}
}

// TestAlignEmpty: a call without heads ends, however many sequences its shapes say.
func TestAlignEmpty(t *testing.T) {
	const many = math.MaxInt
	e := newAttention(t, qkv.Config{})
	for _, p := range positional {
		for _, queries := range []int{0, 5} {
			view := func(n int) qkv.View { return qkv.BHSD([]float32(nil), many, 0, n, 4) }
			c := &qkv.Call{Q: view(queries), K: view(5), V: view(5), Out: view(queries), LSE: []float32{}}
			p.add(c)
			if c.ALiBi != nil {
				c.ALiBi = []float32{}
			}
			must(e.Run(c))
			_, err := e.Explain(c)
			must(err)
		}
	}
}

func TestAlignString(t *testing.T) {
	for a, want := range map[qkv.Align]string{
		0: "not said", qkv.TopLeft: "top-left", qkv.BottomRight: "bottom-right", qkv.AlignOffset: "offset", 9: "Align(9)",
	} {
		if got := a.String(); got != want {
			t.Errorf("%d: %s, want %s", int(a), got, want)
		}
	}
}
