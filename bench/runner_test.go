package bench

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/qkv-go/qkv"
)

var quick = Options{Time: time.Millisecond, Burst: time.Millisecond}

func newRunner(t *testing.T, opts Options) *Runner {
	t.Helper()
	r, err := NewRunner(opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRunner(t *testing.T) {
	for _, k := range qkv.Kernels() {
		if k.Missing != 0 {
			continue
		}
		opts := quick
		opts.Kernel = k.Set.Name
		r := newRunner(t, opts)
		for _, text := range []string{"h=1,sq=1,d=8", "h=4,hkv=2,sq=64,d=32,mask=causal", "h=2,sq=3,d=8,mask=causal@-9"} {
			for _, workers := range []int{1, 2} {
				s := parse(t, text)
				run, err := r.Run(context.Background(), Job{s, workers}, 0)
				if err != nil {
					t.Fatal(err)
				}
				if run.Name != s.String() || run.Kernel != k.Set.Name || run.Workers != workers || run.FLOPs != s.FLOPs() {
					t.Errorf("%s: %+v", text, run)
				}
				if !(0 < run.SecondsMin && run.SecondsMin <= run.SecondsMedian) || run.Samples < minSamples || run.Bursts < 2 || run.Calls < 1 {
					t.Errorf("%s: times %+v", text, run)
				}
				if want := 1e-9 * run.FLOPs / run.SecondsMedian; !near(run.GFLOPS, want) || !near(run.Efficiency, run.GFLOPS/run.PeakGFLOPS) {
					t.Errorf("%s: rates %+v", text, run)
				}
				if run.CheckedRows == 0 {
					t.Errorf("%s: nothing was checked", text)
				}
			}
		}
	}
}

// TestRunnerDecodes: what decodes is timed beside the rate of reading, other shapes are not.
func TestRunnerDecodes(t *testing.T) {
	r := newRunner(t, quick)
	for _, c := range []struct{ text, path, k, v string }{
		{"h=8,hkv=2,sq=1,skv=300,d=32", "decode", "float32", "float32"},
		{"b=3,h=8,hkv=2,sq=2,skv=300,d=32,mask=causal,kvlens=9,page=16,k=q8_0,v=int8", "decode", "q8_0", "int8"},
		{"b=3,h=8,hkv=2,sq=40,skv=300,d=32,mask=causal,kvlens=9,prefill=1,page=16,kv=float16", "prefill and decode", "float16", "float16"},
		{"h=8,hkv=2,sq=70,d=32", "prefill", "float32", "float32"},
		{"h=1,sq=1,skv=40,d=16,mask=causal@-40", "decode", "float32", "float32"}, // no key
	} {
		s := parse(t, c.text)
		run, err := r.Run(context.Background(), Job{s, 2}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if run.Path != c.path || run.KDType != c.k || run.VDType != c.v {
			t.Errorf("%s: %+v", c.text, run)
		}
		bytes := s.KVBytes()
		if !s.Decodes() || bytes == 0 {
			if run.ReadBytes != 0 || run.ReadGBps != 0 || run.Limit != "" {
				t.Errorf("%s: %+v, want no rate of reading", c.text, run)
			}
			continue
		}
		if run.ReadBytes != bytes || !near(run.GBps, 1e-9*float64(bytes)/run.SecondsMedian) || !near(run.OfRead, run.GBps/run.ReadGBps) ||
			!(run.ReadGBps > 0) || run.ReadLevel == "" || run.OfLimit != max(run.OfRead, run.Efficiency) {
			t.Errorf("%s: %+v", c.text, run)
		}
	}
}

func TestRunnerUnmasked(t *testing.T) {
	opts := quick
	opts.Unmasked = true
	r := newRunner(t, opts)
	for _, c := range []struct{ text, want string }{
		{"h=2,sq=64,d=32", ""},
		{"h=2,sq=64,d=32,mask=causal,alibi=1", "h=2,sq=64,d=32"},
		{"b=3,h=2,sq=64,d=32,ragged=9", "h=2,sq=64,d=32"},
	} {
		run, err := r.Run(context.Background(), Job{parse(t, c.text), 1}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if c.want == "" {
			if run.Unmasked != "" || run.OfUnmasked != 0 {
				t.Errorf("%s: %+v, want no comparison with itself", c.text, run)
			}
			continue
		}
		if run.Unmasked != parse(t, c.want).String() || !(run.UnmaskedGFLOPS > 0 && run.OfUnmasked > 0) {
			t.Errorf("%s: %+v, want a comparison with %s", c.text, run, c.want)
		}
	}
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-12*math.Abs(b) }

func TestRunnerErrors(t *testing.T) {
	if _, err := NewRunner(Options{Kernel: "none"}); !errors.As(err, new(*qkv.KernelError)) {
		t.Errorf("an unknown kernel set: error %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := newRunner(t, quick).Run(ctx, Job{parse(t, "h=1,sq=1,d=8"), 1}, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled run: error %v", err)
	}
}

func TestAll(t *testing.T) {
	r := newRunner(t, quick)
	// The large one takes days at 100 GFLOP/s, the others microseconds: no load on the machine
	// moves either to the other side of the limit.
	jobs := []Job{{parse(t, "h=1,sq=16,d=8"), 1}, {parse(t, "h=16,sq=1000000,d=64"), 1}, {parse(t, "h=1,sq=32,d=8"), 1}}
	var begun, ran, skipped []int
	err := r.All(context.Background(), jobs, time.Hour,
		func(i int) { begun = append(begun, i) },
		func(i int, run *Run, skip *Skip) {
			if run != nil {
				ran = append(ran, i)
			} else {
				skipped = append(skipped, i)
				if !(skip.Needs > skip.Budget) || skip.Name != jobs[i].Work.String() {
					t.Errorf("%+v", skip)
				}
			}
		})
	if err != nil || len(begun) != 3 || len(ran) != 2 || len(skipped) != 1 || skipped[0] != 1 {
		t.Errorf("error %v, begun %v, ran %v, left out %v; want 1 left out of 0, 1, 2", err, begun, ran, skipped)
	}
}

// TestDocument pins the names of the fields that others read.
func TestDocument(t *testing.T) {
	r := newRunner(t, quick)
	run, err := r.Run(context.Background(), Job{parse(t, "h=1,sq=16,d=8"), 1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	whole := NewDocument()
	whole.Runs = append(whole.Runs, run)
	text, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Machine  map[string]any
		Build    map[string]any
		Ceilings map[string]any
		Runs     []map[string]any
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	has := func(m map[string]any, keys ...string) {
		t.Helper()
		for _, k := range keys {
			if _, ok := m[k]; !ok {
				t.Errorf("field %s is missing", k)
			}
		}
	}
	has(doc.Machine, "cpu", "os", "arch", "cores", "threads", "gomaxprocs", "caches", "features")
	has(doc.Build, "version", "go_version")
	has(doc.Ceilings, "kernel", "workers", "peak_gflops_one", "peak_gflops_all", "read")
	if len(doc.Runs) != 1 {
		t.Fatalf("%d runs", len(doc.Runs))
	}
	has(doc.Runs[0], "name", "kind", "system", "version", "rounds", "seconds_q1", "seconds_q3", "batch", "heads", "kv_heads", "seq_q", "seq_kv", "dim_qk", "dim_v", "mask", "dtype",
		"kernel", "workers", "seconds_median", "seconds_min", "gflops", "peak_gflops", "efficiency",
		"path", "k_dtype", "v_dtype", "read_bytes", "gbps", "read_gbps", "read_level", "of_read", "limit", "of_limit")
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		x    []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 2}, 2}} {
		if got := median(c.x); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.x, got, c.want)
		}
	}
}

// twoPaths is a system with a fast path and a slow one, which counts its runs.
type twoPaths struct {
	engine
	slow  int
	stall time.Duration // of the first call of the fast path
}

func (*twoPaths) Name() string { return "two paths" }

func (s *twoPaths) Paths(in Inputs, workers int) ([]Path, error) {
	paths, err := s.engine.Paths(in, workers)
	if err != nil {
		return nil, err
	}
	slow := paths[0]
	slow.Name = "slow"
	slow.Run = func() error {
		s.slow++
		time.Sleep(200 * time.Millisecond) // more than a stall of a busy machine
		return paths[0].Run()
	}
	fast := paths[0]
	fast.Run = func() error {
		time.Sleep(s.stall)
		s.stall = 0
		return paths[0].Run()
	}
	return []Path{slow, fast}, nil
}

// TestFastestPathStalls: a path whose first call is held up is not taken for a slow one.
func TestFastestPathStalls(t *testing.T) {
	r, s := newRunner(t, quick), &twoPaths{stall: 600 * time.Millisecond}
	run, err := r.RunOn(context.Background(), s, Job{parse(t, "h=2,sq=64,d=32"), 1}, 0)
	if err != nil || run.Path != "prefill" {
		t.Fatalf("path %q, error %v", run.Path, err)
	}
}

// TestFastestPath: all paths are tried once for a work on a number of workers, and the fastest alone
// is run again.
func TestFastestPath(t *testing.T) {
	r, s := newRunner(t, quick), new(twoPaths)
	var slow []int
	for _, workers := range []int{1, 1, 2, 1, 2} {
		before := s.slow
		run, err := r.RunOn(context.Background(), s, Job{parse(t, "h=2,sq=64,d=32"), workers}, 0)
		if err != nil || run.Path != "prefill" {
			t.Fatalf("path %q, error %v", run.Path, err)
		}
		slow = append(slow, min(1, s.slow-before))
	}
	if want := []int{1, 0, 1, 0, 0}; !slices.Equal(slow, want) {
		t.Errorf("the slow path was tried %d times, want %d", slow, want)
	}
}
