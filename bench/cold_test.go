package bench

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
)

func TestColdBytes(t *testing.T) {
	for _, c := range []struct {
		l3, last int
		want     int64
	}{
		{32 << 20, 1, 2 * 32 << 20},
		{32 << 20, 4, 2 * 4 * 32 << 20}, // each group of cores has a last level of its own
		{1 << 20, 1, leastCold},
		{1 << 30, 8, mostCold},
	} {
		if got := coldBytes([]Cache{{"L3", c.l3}}, c.last); got != c.want {
			t.Errorf("%d last levels of %d bytes: %d, want %d", c.last, c.l3, got, c.want)
		}
	}
	l2 := coldBytes([]Cache{{"L1", 32 << 10}, {"L2", 1 << 20}, {"L3", 64 << 20}}, 1)
	if l2 <= 2*64<<20 || coldBytes(nil, 1) != leastCold {
		t.Errorf("%d bytes with the first two levels, %d without any", l2, coldBytes(nil, 1))
	}
	if lastCaches() < 1 {
		t.Error("no last level")
	}
}

// coldRunner returns a runner for which so many bytes are all caches.
func coldRunner(t *testing.T, bytes int64) *Runner {
	opts := quick
	opts.Cold = true
	r := newRunner(t, opts)
	r.cold = bytes
	return r
}

// TestCold: every kind of work is right on copies that take turns, its record says so, and what it
// is bound by is reading from memory.
func TestCold(t *testing.T) {
	for _, text := range []string{
		"h=8,hkv=2,sq=1,skv=300,d=32",
		"b=3,h=4,hkv=2,sq=2,skv=300,d=32,mask=causal,kvlens=9,page=16,k=q8_0,v=int8",
		"h=4,sq=40,d=32,layout=qkv",
		"h=4,sq=40,d=32,layout=bshd+16,kv=bfloat16",
		"m=1,n=100,k=300",
		"m=40,n=100,k=300",
		"project=3,in=48,h=4,d=8",
		"append=40,hkv=2,d=32,kv=float16",
		"append=40,hkv=2,d=32,page=16",
	} {
		w := mustWork(t, text)
		r := coldRunner(t, 5*w.reused()/2)
		run, err := r.Run(context.Background(), Job{w, 2}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if run.Cold != 4 || run.Conditions() != "cold" {
			t.Errorf("%s: %d copies, conditions %q, want 4 and cold", text, run.Cold, run.Conditions())
		}
		if w.ReadBytes() > 0 && (int64(r.stream.workers)*int64(r.stream.part) < r.cold+w.ReadBytes() || run.ReadBytes != w.ReadBytes()) {
			t.Errorf("%s: %d workers read %d bytes each of %d in the caches", text, r.stream.workers, r.stream.part, r.cold)
		}
	}
}

// fromMemory is a system that notes which weights it has multiplied.
type fromMemory struct {
	engine
	wrong bool // in all copies but the first
	seen  []*float32
	open  int
}

func (*fromMemory) Name() string { return "from memory" }

func (s *fromMemory) Paths(in Inputs, workers int) ([]Path, error) {
	paths, err := s.engine.Paths(in, workers)
	if err != nil {
		return nil, err
	}
	p := &paths[0]
	run, product, copied := p.Run, in.(*ProductInputs), s.open > 1 // of the first there are two paths
	s.open += 2
	p.Run = func() error {
		s.seen = append(s.seen, &product.W[0])
		err := run()
		if s.wrong && copied {
			product.Y[0] = float32(math.NaN())
		}
		return err
	}
	p.Close = func() { s.open-- }
	other := *p
	other.Name = "another"
	run2 := p.Run
	other.Run = func() error { // never the fastest
		for range 50 {
			if err := run2(); err != nil {
				return err
			}
		}
		return nil
	}
	return []Path{other, *p}, nil
}

// TestColdTurns: of several paths the fastest has copies, which take turns evenly, are different
// memory and share queries and results; all are closed.
func TestColdTurns(t *testing.T) {
	w := mustWork(t, "m=1,n=64,k=512")
	s := new(fromMemory)
	r := coldRunner(t, 3*w.reused())
	run, err := r.RunOn(context.Background(), s, Job{w, 1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if run.Cold != 4 || run.Path != "packed weights" || s.open != 0 {
		t.Errorf("%d copies of %q, %d paths left open", run.Cold, run.Path, s.open)
	}
	timed := s.seen[len(s.seen)-run.Samples*run.Calls:]
	if len(timed) < 5 {
		t.Fatalf("%d calls were timed, want more than copies", len(timed))
	}
	different := make(map[*float32]int)
	for i, x := range timed {
		different[x]++
		if i >= 4 && x != timed[i-4] {
			t.Errorf("call %d is not of the copy that had its turn 4 calls before", i)
		}
	}
	if len(different) != 4 {
		t.Errorf("weights in %d places, want 4", len(different))
	}

	if _, err := coldRunner(t, 3*w.reused()).RunOn(context.Background(), &fromMemory{wrong: true}, Job{w, 1}, 0); err == nil || !strings.Contains(err.Error(), "copy 4 of 4") {
		t.Errorf("a copy that is computed wrong: error %v", err)
	}
}

// TestColdTooSmall: what cannot be cold is left out, and named.
func TestColdTooSmall(t *testing.T) {
	r := coldRunner(t, 64<<20)
	small, none := mustWork(t, "h=1,sq=1,d=8"), mustWork(t, "h=1,sq=1,skv=40,d=16,mask=causal@-40")
	var skips []*Skip
	err := r.All(context.Background(), []Job{{small, 1}, {none, 1}}, 0, func(int) {}, func(_ int, run *Run, skip *Skip) {
		if run != nil {
			t.Errorf("%s was run", run.Name)
		}
		skips = append(skips, skip)
	})
	if err != nil || len(skips) != 2 || !strings.Contains(skips[0].Reason, "copies to be cold") || !strings.Contains(skips[1].Reason, "reads no keys") {
		t.Errorf("error %v, left out %+v", err, skips)
	}
	if _, err := r.Run(context.Background(), Job{small, 1}, 0); !errors.As(err, new(*UnsupportedError)) {
		t.Errorf("a run: error %v", err)
	}
	if e := r.Estimate(Job{mustWork(t, "m=1,n=1024,k=1024"), 1}); e.Bytes < 64<<20 {
		t.Errorf("an estimate of %d bytes, without the copies", e.Bytes)
	}
}

// TestConditions: what was measured under different conditions is not the same work, and no
// regression is told between records that differ in them.
func TestConditions(t *testing.T) {
	record := func(cold ...int) *Document {
		d := NewDocument()
		for _, n := range cold {
			run := Run{Name: "m=1,n=8,k=8", Kind: KindProduct, System: SystemName, Kernel: "avx2", Workers: 1, FLOPs: 128, Cold: n}
			for i := range 8 {
				run.SecondsMedian = float64(1+n) * (1 + 0.001*float64(i))
				run.Rounds = []Round{{Seconds: run.SecondsMedian, PeakGFLOPS: 1}}
				d.Add(run)
			}
		}
		return &d
	}
	hot, cold, both := record(0), record(3), record(0, 3)
	if n := len(both.Results()); n != 2 {
		t.Errorf("%d results of one work under two conditions", n)
	}
	c := Compare(hot, cold, 0.05)
	if c.SameMachine || len(c.Rows) != 1 || c.Rows[0].Conditions != "" || c.Common() != 1 || !strings.Contains(strings.Join(c.Differences(), "; "), "conditions the usual ones and cold") {
		t.Errorf("%+v, differences %q", c, c.Differences())
	}
	c = Compare(both, cold, 0.05)
	if !c.SameMachine || len(c.Rows) != 2 || c.Common() != 1 || c.Rows[1].Conditions != "cold" || c.Rows[1].Verdict != Same {
		t.Errorf("%+v", c)
	}
	if c := Compare(cold, cold, 0.05); !c.SameMachine || len(c.Differences()) != 0 {
		t.Errorf("%+v, differences %q", c, c.Differences())
	}
}
