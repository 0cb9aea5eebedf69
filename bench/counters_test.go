package bench

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
)

func TestCounters(t *testing.T) {
	opts := quick
	opts.Counters = true
	r := newRunner(t, opts)
	err := r.Counters()
	missing := new(CountersError)
	if err != nil && (!errors.As(err, &missing) || !strings.HasPrefix(err.Error(), "no counters of "+missing.Missing[0])) {
		t.Fatalf("error %v", err)
	}
	run, err := r.Run(context.Background(), Job{parse(t, "h=4,sq=128,d=32"), 2}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(missing.Missing) == len(countersOf(16)) {
		if run.Counters != nil {
			t.Errorf("without counters there are %+v", run.Counters)
		}
		t.Skip(missing)
	}
	if run.Counters == nil {
		t.Fatal("nothing was counted")
	}
	if runtime.GOOS == "linux" && !(run.Counters.TaskSeconds > 0) {
		t.Errorf("threads were on processors for %v s", run.Counters.TaskSeconds)
	}
}

// TestCounterUnits: what is counted is noted in its own unit.
func TestCounterUnits(t *testing.T) {
	want := map[string]Counters{
		"cycles": {Cycles: 3e9}, "instructions": {Instructions: 3e9}, "L1 misses": {L1Misses: 3e9}, "LLC misses": {LLCMisses: 3e9},
		"task clock": {TaskSeconds: 3}, "context switches": {ContextSwitches: 3e9}, "page faults": {PageFaults: 3e9},
	}
	for _, k := range countersOf(16) {
		x, ok := want[k.name]
		if !ok {
			continue
		}
		var c Counters
		if k.set(&c, 3e9); c != x {
			t.Errorf("3e9 of %s: %+v", k.name, c)
		}
	}
}

func TestCounted(t *testing.T) {
	s := &counterSet{
		counters: []counter{
			{set: func(c *Counters, n float64) { c.Cycles = n }},
			{set: func(c *Counters, n float64) { c.Instructions = n }},
			{set: func(c *Counters, n float64) { c.FMAFraction = n / 2 }},
		},
		totals: []float64{1000, 3000, 4800},
	}
	if got, want := *s.counted(10), (Counters{Cycles: 100, Instructions: 300, IPC: 3, FMAFraction: 0.8}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	s.counters, s.totals = s.counters[2:], s.totals[2:]
	if got := *s.counted(10); got != (Counters{}) {
		t.Errorf("without instructions there is no share: %+v", got)
	}
}
