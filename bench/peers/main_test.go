package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/kernel"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"x", `unexpected argument "x"`},
		{"-format csv", `-format is "csv", want table or md`},
		{"-workers -1", "-workers is -1"},
		{"-passes 0", "-passes is 0"},
		{"-only openblas,none", `there is no system "none"`},
		{"-work h=1", "sq is missing"},
		{"-weights q4_k,q9", `"q9" is not one of float32, float16`},
	} {
		if _, err := parse(strings.Fields(c.args), new(strings.Builder)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.args, err, c.want)
		}
	}
	o, err := parse([]string{"-weights", "q4_k,bfloat16"}, new(strings.Builder))
	if want := 2 * len(weightRows) * len(weightSizes); err != nil || len(o.works) != want || o.works[0].String() != "m=1,n=4096,k=4096,w=q4_k" {
		t.Errorf("%d works, want %d, error %v", len(o.works), want, err)
	}
	if all, err := worksOf("all"); err != nil || len(all) != (len(kernel.Weights())-1)*len(weightRows)*len(weightSizes) {
		t.Errorf("%d works by weights of all types, error %v", len(all), err)
	}
	o, err = parse(nil, new(strings.Builder))
	if err != nil || len(o.works) != len(defaultWorks) || o.workers[0] != 1 || o.limit == 0 {
		t.Errorf("%+v, error %v", o, err)
	}
}

// other is qkv by another name, or fails.
type other struct {
	bench.System
	err error
}

func (h other) Name() string { return "half" }

func (h other) Paths(in bench.Inputs, workers int) ([]bench.Path, error) {
	if o, ok := in.(*bench.Operands); ok && o.Shape.Layout != (bench.Layout{}) {
		return nil, &bench.UnsupportedError{System: h.Name(), Work: in.Work(), Reason: "it has a layout of its own"}
	}
	paths, err := h.System.Paths(in, workers)
	for i := range paths {
		if h.err != nil {
			paths[i].Run = func() error { return h.err }
		}
	}
	return paths, err
}

// slowly is qkv by a slow path and, if it has one, by another.
type slowly struct {
	bench.System
	quick bool
}

func (slowly) Name() string { return "slowly" }

func (s slowly) Paths(in bench.Inputs, workers int) ([]bench.Path, error) {
	paths, err := s.System.Paths(in, workers)
	slow := paths[0]
	slow.Name, slow.Slow = "the long way", "it goes round by the sea"
	if !s.quick {
		paths = nil
	}
	return append(paths, slow), err
}

// TestSlow: slow paths are named and left out unless they are asked for.
func TestSlow(t *testing.T) {
	in := workOf(t, "h=1,sq=4,d=8").Inputs(1)
	for _, both := range []bool{true, false} {
		paths, err := quick{slowly{bench.Library(), both}}.Paths(in, 1)
		if both && (err != nil || len(paths) != 1 || paths[0].Slow != "") {
			t.Errorf("%d paths, error %v", len(paths), err)
		}
		if both {
			continue
		}
		var unsupported *bench.UnsupportedError
		if !errors.As(err, &unsupported) || unsupported.Reason != "the long way is left out: it goes round by the sea; -slow measures it" {
			t.Errorf("%d paths, error %v", len(paths), err)
		}
	}
}

// TestLeftBehind: who was far behind twice is left out of long works of the kind, and of no others.
func TestLeftBehind(t *testing.T) {
	for _, c := range []struct {
		times []float64
		qkv   float64
		want  bool
	}{{nil, 1, false}, {[]float64{9}, 1, false}, {[]float64{9, 7}, 1, true}, {[]float64{9, 7}, 0.001, false}} {
		if reason := leftBehind(c.times, c.qkv); (reason != "") != c.want || c.want && !strings.Contains(reason, "7 times the least or more in 2 works") {
			t.Errorf("%+v: %q", c, reason)
		}
	}
	s := bench.Library()
	prefill, decode, product := paceOf(s, workOf(t, "h=1,sq=40,d=8")), paceOf(s, workOf(t, "h=1,sq=1,skv=40,d=8")), paceOf(s, workOf(t, "m=40,n=8,k=8"))
	if prefill == decode || prefill == product || prefill == paceOf(s, workOf(t, "h=1,sq=40,d=8,kv=float16")) || prefill != paceOf(s, workOf(t, "h=2,sq=99,d=64,mask=causal")) || product == paceOf(s, workOf(t, "m=40,n=8,k=32,w=q4_0")) {
		t.Errorf("%+v, %+v, %+v", prefill, decode, product)
	}
}

func workOf(t *testing.T, text string) bench.Work {
	t.Helper()
	w, err := bench.ParseWork(text)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestRun(t *testing.T) {
	saved := candidates
	defer func() { candidates = saved }()
	candidates = []candidate{
		{"half", func(string) (bench.System, error) { return other{System: bench.Library()}, nil }, ""},
		{"broken", func(string) (bench.System, error) {
			return other{bench.Library(), errors.New("it is broken")}, nil
		}, ""},
		{"absent", func(string) (bench.System, error) { return nil, errors.New("no such library\nand more") }, "the moon"},
	}
	path := filepath.Join(t.TempDir(), "r.json")
	run := func(args ...string) (string, error) {
		o, err := parse(append(args, "-time", "3ms", "-work", "h=2,sq=40,d=16", "-workers", "1", "-json", path), new(strings.Builder))
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		err = o.run(t.Context(), &out, new(strings.Builder))
		return out.String(), err
	}

	out, err := run("-only", "half,absent")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"absent       missing: no such library (the moon)\n", "h=2,sq=40,d=16, 1 thread", "of peak", "half  "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	d, err := bench.ReadDocument(path)
	if err != nil || len(d.Runs) != 4 || len(d.Results()) != 2 || d.Runs[0].System != bench.SystemName || d.Runs[1].System != "half" { // two passes
		t.Errorf("the record is %+v, error %v", d, err)
	}

	out, err = run("-only", "half", "-work", "h=2,sq=40,d=16,layout=bshd")
	_, contests, _ := strings.Cut(out, "qkv is first in ")
	contests, _, _ = strings.Cut(contests, "\n") // "all 2", or "1 of 2, but not in"
	if err != nil || !strings.Contains(contests, " 2") ||
		!strings.Contains(out, "each of the others has the one that it likes best") {
		t.Errorf("in another layout: error %v\n%s", err, out)
	}
	out, err = run("-only", "half", "-work", "h=8,sq=64,d=128", "-cold")
	if err != nil || !strings.Contains(out, "h=8,sq=64,d=128, 1 thread, cold\n") {
		t.Errorf("cold: error %v\n%s", err, out)
	}

	out, err = run("-only", "half", "-work", "m=2,n=64,k=256,w=q4_k")
	if err != nil || !strings.Contains(out, "qkv-packed ") || !strings.Contains(out, "packed weights") || !strings.Contains(out, ", Q4_K, x float32") ||
		!strings.Contains(out, "qkv-packed: a copy of the weights, packed before the clock runs") {
		t.Errorf("by weights in blocks: error %v\n%s", err, out)
	}
	out, err = run()
	if err == nil || err.Error() != "1 of the results failed" || !strings.Contains(out, "FAILED: ") || !strings.Contains(out, "it is broken") {
		t.Errorf("with a system that fails: error %v\n%s", err, out)
	}
	out, err = run("-limit", "1ns", "-only", "half")
	if err != nil || !strings.Contains(out, "there was no time left") {
		t.Errorf("without time: error %v\n%s", err, out)
	}
}

func TestTable(t *testing.T) {
	w, err := bench.ParseWork("h=2,sq=40,d=16")
	if err != nil {
		t.Fatal(err)
	}
	run := func(system string, seconds float64) bench.Run {
		return bench.Run{System: system, SecondsMedian: seconds, GFLOPS: 1 / seconds, Path: "path of " + system}
	}
	var out strings.Builder
	x := &table{w: &out, md: true}
	x.contest(&contest{work: w, workers: 2, runs: []bench.Run{run("qkv", 2), run("a", 3)}}, new(bench.Document))
	x.contest(&contest{work: w, workers: 1, runs: []bench.Run{run("qkv", 2), run("a", 3), run("b", 1)}, left: []bench.Skip{{System: "c", Reason: "why"}}}, new(bench.Document))
	x.contest(&contest{work: w, workers: 3, runs: []bench.Run{run("qkv", 2), run("a", 3), run("qkv-packed", 1)}}, new(bench.Document)) // first among others
	x.contest(&contest{work: w, workers: 4, runs: []bench.Run{run("qkv", 2), run("qkv-packed", 1)}}, new(bench.Document))              // without others
	x.summary()
	for _, want := range []string{
		"h=2,sq=40,d=16, 2 threads:", "| a | 3000 | 1.50 | 0.3 |", "path of b", "c: why",
		"qkv is first in 2 of 3, but not in\n  h=2,sq=40,d=16, 1 thread: b takes 0.50 of the time",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if x := (options{limit: time.Second, only: "a, b,c"}); len(x.names()) != 3 {
		t.Errorf("names are %q", x.names())
	}
}
