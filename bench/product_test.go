package bench

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

func TestParseProduct(t *testing.T) {
	p, err := ParseProduct("m=3,n=5, k=7")
	if err != nil || p != (Product{M: 3, N: 5, K: 7}) {
		t.Fatalf("%v, error %v", p, err)
	}
	if w, err := ParseWork(p.String()); err != nil || w != Work(p) {
		t.Errorf("%s is read as %v, error %v", p, w, err)
	}
	if p.FLOPs() != 210 || p.Bytes() != 4*(21+35+15) || p.ReadBytes() != 4*35 {
		t.Errorf("%v FLOPs, %d bytes, %d to read", p.FLOPs(), p.Bytes(), p.ReadBytes())
	}
	if p.Precision = qkv.PrecisionBFloat16; p.Bytes() != 4*(21+35+15)+2*35 || p.ReadBytes() != 2*35 {
		t.Errorf("in class %v %d bytes, %d to read", p.Precision, p.Bytes(), p.ReadBytes())
	}
	for _, c := range []struct{ text, want string }{
		{"m=3,n=5", "k is missing"},
		{"m=3,n=5,n=7", "n is given twice"},
		{"m=0,n=1,k=1", "m=0 is not a positive number"},
		{"m=1,n=1,k=1,l=1", `unknown key "l"`},
		{"m=1,n", `"n" is not key=value`},
		{"m=1000000,n=1000000,k=1", "would take"},
		{"m=2147483647,n=2147483647,k=2147483647", "would take"},
		{"m=1,n=1,k=256,w=q4", `w: "q4" is not one of float32, float16, bfloat16, int8, q8_0, q4_0, `},
		{"m=1,n=1,k=128,w=q4_k", "k=128 is not a multiple of the 256 of a block of Q4_K"},
		{"m=1,n=1,k=128,w=q8_0,packed=2", "packed=2 is not 1"},
		{"m=1,n=1,k=128,w=q8_0,class=int4", `class: "int4" is not float32, int8`},
		{"m=1,n=1,k=128,class=int8", "class Int8 has no products by weights of type float32"},
		{"m=1,n=1,k=48,w=int8,class=int8", "k=48 is not a multiple of the 32 of a block of class Int8"},
	} {
		if _, err := ParseWork(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.text, err, c.want)
		}
	}
}

func TestRunnerProduct(t *testing.T) {
	r := newRunner(t, quick)
	for _, text := range []string{"m=1,n=64,k=300", "m=40,n=50,k=60", "m=1,n=64,k=300,class=bfloat16", "m=40,n=50,k=60,class=bfloat16"} {
		w, err := ParseWork(text)
		if err != nil {
			t.Fatal(err)
		}
		run, err := r.Run(context.Background(), Job{w, 2}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if run.Name != text || run.Kind != KindProduct || run.ReadBytes != w.ReadBytes() || run.CheckedRows == 0 ||
			!near(run.GFLOPS, 1e-9*w.FLOPs()/run.SecondsMedian) || len(run.Rounds) != run.Bursts-1 {
			t.Errorf("%s: %+v", text, run)
		}
	}
}

// TestProductRounds: a result by X rounded to eight bits, block by block, passes as such and as no other,
// and one of zeros does not.
func TestProductRounds(t *testing.T) {
	p := Product{M: 4, N: 40, K: 4096}
	in := p.Inputs(1).(*ProductInputs)
	exact := slices.Clone(in.X)
	for block := range slices.Chunk(in.X, 32) {
		scale := max(slices.Max(block), -slices.Min(block)) / 127
		for i := range block {
			block[i] = scale * float32(math.RoundToEven(float64(block[i]/scale)))
		}
	}
	paths, err := engine{}.Paths(in, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := paths[0].Compute(); err != nil {
		t.Fatal(err)
	}
	copy(in.X, exact)
	rounds := Rounds{X: RoundoffBFloat16, Block: 32} // 2^-8 is more than half of 1/127
	if c, err := in.Check(context.Background(), CheckRows, &Path{Rounds: rounds}); err != nil || c.OfBound < 0.01 {
		t.Errorf("X in eight bits: %+v, error %v", c, err)
	}
	for _, r := range []Rounds{{}, {X: RoundoffFloat16}, {Y: RoundoffFloat16}} {
		if _, err := in.Check(context.Background(), CheckRows, &Path{Rounds: r}); err == nil {
			t.Errorf("X in eight bits passes for %+v", r)
		}
	}
	if _, err := in.Check(context.Background(), CheckRows, &Path{Rounds: Rounds{Y: 1}}); err != nil {
		t.Errorf("results that may be off by all of them: %v", err)
	}
	clear(in.Y)
	if _, err := in.Check(context.Background(), CheckRows, &Path{Rounds: rounds}); err == nil {
		t.Error("zeros pass for a result")
	}
}

// TestProductCheck: an element that is wrong is found, in float32 and, if it is wrong enough,
// in less.
func TestProductCheck(t *testing.T) {
	p := Product{M: 5, N: 9, K: 33}
	in := p.Inputs(1).(*ProductInputs)
	paths, err := engine{}.Paths(in, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := paths[0].Compute(); err != nil {
		t.Fatal(err)
	}
	if c, err := in.Check(context.Background(), CheckRows, nil); err != nil || c.Rows != 5 || !(c.OfBound > 0 && c.OfBound < 1) {
		t.Errorf("%+v, error %v", c, err)
	}
	y := in.Y[31]
	for _, x := range []float32{y + 0.01, float32(math.NaN())} {
		in.Y[31] = x
		if _, err := in.Check(context.Background(), CheckRows, nil); err == nil || !strings.Contains(err.Error(), "row 3, column 4 is") {
			t.Errorf("%v in place of %v: error %v", x, y, err)
		}
	}
	in.Y[31] = y + 0.01
	if _, err := in.Check(context.Background(), CheckRows, &Path{Roundoff: RoundoffBFloat16}); err != nil {
		t.Errorf("an error of 0.01: %v, it is within bfloat16", err)
	}
}

// slow is a system with two paths.
type slow struct {
	engine
	closed *int
	wrong  bool
}

func (s slow) Name() string { return "slow" }

func (s slow) Paths(in Inputs, workers int) ([]Path, error) {
	if in.Work().FLOPs() < 100 {
		return nil, &UnsupportedError{System: s.Name(), Work: in.Work(), Reason: "it is too little"}
	}
	paths, err := s.engine.Paths(in, workers)
	if err != nil {
		return nil, err
	}
	fast := paths[0]
	fast.Name, fast.Close = "fast", func() { *s.closed++ }
	thrice := fast
	thrice.Name = "thrice"
	thrice.Run = func() error { return errors.Join(fast.Run(), fast.Run(), fast.Run()) }
	last := thrice
	if s.wrong {
		last.Name, last.Run = "nothing", func() error { return nil }
		last.Finish = nil
	}
	return []Path{thrice, fast, last}, nil
}

func TestRunOn(t *testing.T) {
	r := newRunner(t, quick)
	closed := 0
	s := slow{closed: &closed}
	run, err := r.RunOn(context.Background(), s, Job{parse(t, "h=2,sq=64,d=32"), 1}, 0)
	if err != nil || run.System != "slow" || run.Path != "fast" || closed != 3 {
		t.Errorf("%+v, error %v, %d paths closed; want the fast one of three", run, err, closed)
	}
	closed = 0
	s.wrong = true
	r = newRunner(t, quick) // the other knows which path is the fastest
	if _, err := r.RunOn(context.Background(), s, Job{parse(t, "h=2,sq=64,d=32"), 1}, 0); err == nil || !strings.Contains(err.Error(), "nothing is wrong") || closed != 3 {
		t.Errorf("a path that computes nothing: error %v, %d paths closed", err, closed)
	}
	if _, err := r.RunOn(context.Background(), s, Job{parse(t, "h=1,sq=1,d=8"), 1}, 0); !errors.As(err, new(*UnsupportedError)) {
		t.Errorf("error %v, want that of a system without a way", err)
	}
}
