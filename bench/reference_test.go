package bench

import (
	"context"
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
	copy(o.K.Float32, []float32{0, float32(math.Ln2)})
	copy(o.V.Float32, []float32{3, 9})
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

// TestReferenceValuesByHand changes scores so that the weights can be worked out: the
// keys are 0, so a score is what is made of ln 2 or of 0.
func TestReferenceValuesByHand(t *testing.T) {
	ln := math.Log
	for _, c := range []struct {
		text  string
		query int
		set   func(o *Operands)
		out   float64
		lse   float64
	}{
		{"bias=shared", 1, func(o *Operands) { copy(o.Bias, []float32{9, 9, 0, float32(ln(3))}) }, 7.5, ln(4)},
		{"bias=shared16", 0, func(o *Operands) { copy(o.Bias16, []qkv.Float16{0x3c00, 0xbc00}) },
			(3*math.E*math.E + 9) / (math.E*math.E + 1), ln(math.E + 1/math.E)},
		{"alibi=1", 1, func(o *Operands) { o.ALiBi[0] = float32(ln(2)) }, 7, ln(1.5)},
		{"sinks=1", 1, func(o *Operands) { o.Sinks[0] = float32(ln(2)) }, 3, ln(4)},
		{"softcap=2", 0, func(o *Operands) {
			o.Q[0] = 1
			copy(o.K.Float32, []float32{0, float32(2 * math.Atanh(ln(2)/2))}) // capped to ln 2
		}, 7, ln(3)},
		{"window=0:0", 1, func(*Operands) {}, 9, 0},
		{"mask=causal", 0, func(*Operands) {}, 3, 0},
		{"mask=causal,prefix=2", 0, func(*Operands) {}, 6, ln(2)},
		{"segments=2", 1, func(*Operands) {}, 9, 0},
		{"mask=causal@-1", 0, func(*Operands) {}, 0, math.Inf(-1)},
		{"mask=causal@-1,sinks=1", 0, func(o *Operands) { o.Sinks[0] = 2 }, 0, 2},
	} {
		o := NewOperands(parse(t, "h=1,sq=2,d=1,"+c.text), 1)
		clear(o.K.Float32)
		copy(o.V.Float32, []float32{3, 9})
		c.set(o)
		r := o.Reference(0, 0, c.query)
		if math.Abs(r.Out[0]-c.out) > 1e-6 || r.LSE != c.lse && !(math.Abs(r.LSE-c.lse) <= 1e-6) {
			t.Errorf("%s: %v, lse %v, want %v, %v", c.text, r.Out[0], r.LSE, c.out, c.lse)
		}
		if !(r.OutBound[0] < 1e-4 && r.LSEBound < 1e-5) {
			t.Errorf("%s: bounds %g, %g", c.text, r.OutBound[0], r.LSEBound)
		}
	}
	// Two sequences of 2 and 1 tokens, packed: the second one's heads follow its token.
	o := NewOperands(parse(t, "b=2,h=2,sq=2,d=1,ragged=1"), 1)
	o.tokens = []int{0, 2, 3}
	copy(o.V.Float32, []float32{1, 2, 3, 4, 5, 6})
	for row, want := range [][3]int{{0, 0, 0}, {0, 0, 1}, {1, 0, 0}, {0, 1, 0}, {0, 1, 1}, {1, 1, 0}} {
		if b, h, i := o.locate(row); [3]int{b, h, i} != want {
			t.Errorf("row %d is of %v, want %v", row, [3]int{b, h, i}, want)
		}
	}
	if got := o.V.Float32[o.keyRow(1, 1, 0)]; got != 6 {
		t.Errorf("the value of sequence 1, head 1, token 0 is %v, want 6", got)
	}
}

func TestFloat16(t *testing.T) {
	for _, c := range []struct {
		x    float32
		bits qkv.Float16
		back float64
	}{
		{0, 0, 0}, {1, 0x3c00, 1}, {-2, 0xc000, -2}, {0x1p-14, 0x0400, 0x1p-14}, {0x1p-15, 0, 0}, {1e9, 0x7bff, 65504},
		{1 + 0x1p-10, 0x3c01, 1 + 0x1p-10}, {-1 - 0x1.8p-10, 0xbc01, -1 - 0x1p-10},
	} {
		if got := toFloat16(c.x); got != c.bits || fromFloat16(got) != c.back {
			t.Errorf("%g: %#x, %g, want %#x, %g", c.x, got, fromFloat16(got), c.bits, c.back)
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
			"h=2,sq=70,skv=300,d=16,mask=causal,window=130:0",
			"h=2,sq=70,skv=300,d=16,mask=none@100,window=9:200,prefix=30",
			"b=2,h=4,hkv=2,sq=150,d=16,segments=4,mask=causal",
			"h=2,sq=200,skv=400,d=16,blocks=32:0.25",
			"h=4,hkv=2,sq=70,skv=300,d=16,keep=0.98",
			"h=2,sq=30,d=16,mask=causal,keep=0.1", // rows without a key
			"b=5,h=4,hkv=2,sq=150,d=16,dv=8,mask=causal,ragged=3",
			"b=5,h=4,hkv=2,sq=150,d=16,mask=causal,padded=3,sinks=1",
			"b=2,h=4,hkv=2,sq=50,skv=200,d=16,bias=head",
			"h=2,sq=50,skv=200,d=16,bias=shared",
			"h=2,sq=50,skv=200,d=16,bias=head16",
			"b=3,h=2,sq=150,d=16,bias=shared16,ragged=10,mask=causal",
			"h=4,sq=50,skv=200,d=16,mask=causal,alibi=1",
			"h=4,hkv=2,sq=50,skv=200,d=16,mask=none@70,alibi=1",
			"h=2,sq=50,skv=200,d=40,kv=int8,class=int8",
			"h=2,sq=50,skv=200,d=40,kv=int8,class=int8,values=int8",
			"h=2,sq=50,skv=200,d=40,kv=int8,class=int8,values=bfloat16",
			"h=4,hkv=2,sq=1,skv=200,d=64,k=q8_0,class=int8,values=bfloat16",
			"h=4,hkv=2,sq=1,skv=200,d=64,v=q4_1,sinks=1,class=int8,values=int8",
			"h=2,sq=3,skv=200,d=64,k=q4_1,softcap=5,class=int8",
			"h=2,sq=50,skv=200,d=16,class=bfloat16",
			"h=2,sq=50,skv=200,d=16,softcap=50",
			"h=2,sq=50,skv=200,d=16,softcap=0.5",
			"h=4,hkv=2,sq=50,skv=200,d=16,sinks=1",
			"h=2,sq=30,skv=10,d=8,mask=causal,sinks=1", // rows with a sink alone
			"b=3,h=4,hkv=2,sq=150,d=16,mask=causal,window=60:0,prefix=9,segments=4,blocks=32:0.6,keep=0.5,ragged=40,bias=head,alibi=1,softcap=5,sinks=1",
		} {
			o := NewOperands(parse(t, text), 1)
			if err := a.Run(o.Call()); err != nil {
				t.Fatal(err)
			}
			c, err := o.Check(context.Background(), 1<<30, nil)
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
		if _, err := o.Check(context.Background(), 1<<30, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one about %s", c.name, err, c.want)
		}
		c.x[c.at] = good
	}
	if _, err := o.Check(context.Background(), 1<<30, nil); err != nil {
		t.Error(err)
	}
	o.Out[5] += 1e-3
	for off, ok := range map[float64]bool{0: false, 0.9e-3: false, 1.1e-3: true} {
		if _, err := o.Check(context.Background(), 1<<30, &Path{Off: off, NoLSE: true}); (err == nil) != ok {
			t.Errorf("off by 1e-3 where a path may be by %g: error %v", off, err)
		}
	}
	o.Out[5] -= 1e-3
	for _, c := range []struct {
		text  string
		spoil func(c *qkv.Call)
	}{
		{"h=2,sq=64,d=16,mask=causal,window=20:0", func(c *qkv.Call) { c.Mask.Window = qkv.Sliding(21, 0) }},
		{"h=2,sq=64,d=16,segments=2", func(c *qkv.Call) { c.Mask.SegmentsKV[31] = 1 }},
		{"h=2,sq=64,d=16,blocks=16:0.5", func(c *qkv.Call) { c.Mask.Blocks.Set(0, 0, 0, 0, !c.Mask.Blocks.Kept(0, 0, 0, 0)) }},
		{"h=2,sq=64,d=16,mask=causal,prefix=9", func(c *qkv.Call) { c.Mask.Prefix++ }},
		{"h=2,sq=64,d=16,bias=head", func(c *qkv.Call) { c.Bias = qkv.View{} }},
		{"h=2,sq=64,d=16,alibi=1", func(c *qkv.Call) { c.ALiBi = []float32{0.0626, 0.0039} }},
		{"h=2,sq=64,d=16,softcap=50", func(c *qkv.Call) { c.Softcap = 49.9 }},
		{"h=2,sq=64,d=16,sinks=1", func(c *qkv.Call) { c.Sinks = nil }},
		{"b=3,h=2,sq=64,d=16,padded=9", func(c *qkv.Call) { c.LensKV = nil }},
		{"h=2,sq=1,skv=64,d=16,page=16", func(c *qkv.Call) { c.Tables[0][1], c.Tables[0][2] = c.Tables[0][2], c.Tables[0][1]; c.LensKV[0] = 40 }},
		{"b=4,h=2,sq=1,skv=64,d=16,kvlens=9", func(c *qkv.Call) { c.LensKV[1]-- }},
		{"b=4,h=2,sq=9,skv=64,d=16,prefill=1", func(c *qkv.Call) { c.CuLensQ[3]++ }},
		{"h=2,sq=1,skv=64,d=32,kv=int8", func(c *qkv.Call) { c.KScale = qkv.Strided(make([]float32, 1), 0, [4]int{1, 2, 64, 1}, [4]int{}) }},
		{"h=2,sq=64,d=16,keep=0.9", func(c *qkv.Call) { c.Mask.Keep = qkv.View{} }},
	} {
		o := NewOperands(parse(t, c.text), 1)
		call := o.Call()
		c.spoil(call)
		if err := qkv.Run(call); err != nil {
			t.Fatal(err)
		}
		if _, err := o.Check(context.Background(), 1<<30, nil); err == nil {
			t.Errorf("%s: a call of something else goes through", c.text)
		}
	}
	// A key too many, in every row.
	o.Shape.Mask = Mask{Causal: true, Align: qkv.AlignOffset, Offset: 1}
	if err := qkv.Run(o.Call()); err != nil {
		t.Fatal(err)
	}
	o.Shape.Mask = Mask{Causal: true}
	if _, err := o.Check(context.Background(), CheckRows, nil); err == nil {
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
	if !slices.Equal(a.Q, b.Q) || !slices.Equal(a.V.Float32, b.V.Float32) {
		t.Error("the same seed gives other values")
	}
	if slices.Equal(a.Q, c.Q) || slices.Equal(a.Q, a.K.Float32) {
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
