package bench

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

func parse(t testing.TB, text string) Shape {
	t.Helper()
	s, err := ParseShape(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestReferenceByHand has a result that can be worked out on paper.
func TestReferenceByHand(t *testing.T) {
	o := NewOperands(parse(t, "h=2,hkv=1,sq=2,d=1,mask=causal"), 1)
	copy(o.Q, []float32{1, 1, 0, 2})
	copy(o.K, []float32{0, float32(math.Ln2)})
	copy(o.V, []float32{3, 9})
	for _, c := range []struct {
		head, query int
		out, lse    float64
	}{
		{0, 0, 3, 0},
		{0, 1, 7, math.Log(3)}, // weights 1 and 2
		{1, 0, 3, 0},
		{1, 1, 7.8, math.Log(5)}, // weights 1 and 4
	} {
		r := o.Reference(0, c.head, c.query)
		if math.Abs(r.Out[0]-c.out) > 1e-6 || math.Abs(r.LSE-c.lse) > 1e-6 {
			t.Errorf("head %d, query %d: %v, lse %v, want %v, %v", c.head, c.query, r.Out[0], r.LSE, c.out, c.lse)
		}
		if !(r.OutBound[0] > 0 && r.OutBound[0] < 1e-4 && r.LSEBound > 0 && r.LSEBound < 1e-5) {
			t.Errorf("head %d, query %d: bounds %g, %g", c.head, c.query, r.OutBound[0], r.LSEBound)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, k := range qkv.Kernels() {
		if k.Missing != 0 {
			continue
		}
		a, err := qkv.New(qkv.Config{Kernel: k.Set.Name})
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{
			"h=1,sq=1,d=1",
			"h=3,sq=50,skv=300,d=40,dv=20",
			"b=2,h=4,hkv=2,sq=70,d=64,mask=causal",
			"h=2,sq=30,skv=10,d=8,mask=causal", // rows without a key
			"h=2,sq=30,skv=10,d=8,mask=causal-top-left",
			"h=2,sq=30,skv=10,d=8,mask=causal@-5",
			"h=1,sq=40,skv=2000,d=128",
		} {
			o := NewOperands(parse(t, text), 1)
			if err := a.Run(o.Call()); err != nil {
				t.Fatal(err)
			}
			c, err := o.Check(1 << 30)
			if err != nil {
				t.Errorf("%s, %s: %v", k.Set.Name, text, err)
			}
			if rows := len(o.LSE); c.Rows != rows || c.OfBound > 1 {
				t.Errorf("%s, %s: %+v, want all %d rows within their bound", k.Set.Name, text, c, rows)
			}
		}
	}
}

// TestCheckFindsErrors: what is wrong by a little, in one element, is found.
func TestCheckFindsErrors(t *testing.T) {
	o := NewOperands(parse(t, "h=4,hkv=2,sq=64,d=64,mask=causal"), 1)
	if err := qkv.Run(o.Call()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		x     []float32
		at    int
		value func(float32) float32
		want  string
	}{
		{"off by 1e-3", o.Out, (2*64+17)*64 + 5, func(x float32) float32 { return x + 1e-3 }, "dim 5 of batch 0, head 2, query 17"},
		{"NaN", o.Out, 0, func(float32) float32 { return float32(math.NaN()) }, "dim 0 of batch 0, head 0, query 0"},
		{"Inf", o.Out, len(o.Out) - 1, func(float32) float32 { return float32(math.Inf(1)) }, "dim 63 of batch 0, head 3, query 63"},
		{"lse", o.LSE, 64, func(x float32) float32 { return x * 1.001 }, "log-sum-exp of batch 0, head 1, query 0"},
	} {
		good := c.x[c.at]
		c.x[c.at] = c.value(good)
		if _, err := o.Check(1 << 30); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one about %s", c.name, err, c.want)
		}
		c.x[c.at] = good
	}
	if _, err := o.Check(1 << 30); err != nil {
		t.Error(err)
	}
	// A key too many, in every row.
	o.Shape.Mask = Mask{Causal: true, Align: qkv.AlignOffset, Offset: 1}
	if err := qkv.Run(o.Call()); err != nil {
		t.Fatal(err)
	}
	o.Shape.Mask = Mask{Causal: true}
	if _, err := o.Check(CheckRows); err == nil {
		t.Error("a mask that is off by one goes through")
	}
}

func TestSampleRows(t *testing.T) {
	for _, n := range []int{0, 1, 63, 64, 65, 1000, 1 << 20} {
		rows := sampleRows(n, 64)
		if len(rows) != min(n, 64) {
			t.Fatalf("%d rows of %d", len(rows), n)
		}
		if n == 0 {
			continue
		}
		if rows[0] != 0 || rows[len(rows)-1] != n-1 || !slices.IsSorted(rows) || len(slices.Compact(slices.Clone(rows))) != len(rows) {
			t.Errorf("rows of %d: %v", n, rows)
		}
	}
}

func TestOperandsRepeat(t *testing.T) {
	s := parse(t, "h=3,sq=400,d=100")
	a, b, c := NewOperands(s, 1), NewOperands(s, 1), NewOperands(s, 2)
	if !slices.Equal(a.Q, b.Q) || !slices.Equal(a.V, b.V) {
		t.Error("the same seed gives other values")
	}
	if slices.Equal(a.Q, c.Q) || slices.Equal(a.Q, a.K) {
		t.Error("another seed, or tensor, has the same values")
	}
	var sum, squares float64
	for _, x := range a.Q {
		sum += float64(x)
		squares += float64(x) * float64(x)
	}
	n := float64(len(a.Q))
	if mean, variance := sum/n, squares/n; math.Abs(mean) > 0.02 || math.Abs(variance-1) > 0.02 {
		t.Errorf("mean %g, variance %g, want 0 and 1", mean, variance)
	}
}
