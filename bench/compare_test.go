package bench

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// noisy makes a record of works that take as much longer as slow says, on a machine whose
// peak and rate of reading change: by what drifts over seconds, and by what a neighbour takes
// for a while.
func noisy(r *rand.Rand, slow float64) *Document {
	d := NewDocument()
	d.Ceilings.Kernel = "avx512"
	for _, w := range works("h=8,sq=64,d=64", "h=8,sq=256,d=64", "h=8,sq=1,skv=4096,d=64", "m=64,n=64,k=64") {
		run := Run{Name: w.String(), System: SystemName, Kernel: "avx512", Workers: 1, FLOPs: w.FLOPs(), ReadBytes: w.ReadBytes()}
		w.describe(&run)
		if run.ReadBytes != 0 {
			run.Limit = LimitBandwidth
		}
		neighbour := r.IntN(80)
		drift := r.NormFloat64()
		for i := range 40 {
			drift += 0.2 * r.NormFloat64()
			machine := 1 + 0.02*drift
			if i >= neighbour && i < neighbour+15 {
				machine *= 1.4
			}
			own := slow * (1 + 0.02*r.NormFloat64()) * (1 + 0.01*math.Abs(r.NormFloat64()))
			run.Rounds = append(run.Rounds, Round{
				Seconds:    own * machine * (1e-9*w.FLOPs() + 1e-9*float64(w.ReadBytes())),
				PeakGFLOPS: 2 / machine,
				ReadGBps:   2 / machine,
			})
		}
		d.Runs = append(d.Runs, run)
	}
	return &d
}

// TestCompareNoise: a machine that is not left alone makes no regression, and hides none of
// 10%.
func TestCompareNoise(t *testing.T) {
	const tries = 100
	r := rand.New(rand.NewPCG(1, 2))
	found, rows := 0, 0
	for range tries {
		base := noisy(r, 1)
		c := Compare(base, noisy(r, 1), 0.05)
		if list := c.Regressions(); !c.SameMachine || len(list) != 0 {
			t.Errorf("the same: %+v", list)
		}
		slower := Compare(base, noisy(r, 1.1), 0.05)
		rows += len(slower.Rows)
		found += len(slower.Regressions())
		if len(slower.Regressions()) == 0 {
			t.Errorf("10%% slower: none of %+v", slower.Rows)
		}
	}
	if found < rows*9/10 {
		t.Errorf("of %d works that are 10%% slower, %d are found", rows, found)
	}
	t.Logf("of %d works that are 10%% slower, %d are found", rows, found)
}

// steady makes a record of a work whose rounds differ by a thousandth, on a machine that is so
// many times as slow.
func steady(rounds int, slow, machine float64) *Document {
	d := NewDocument()
	w := works("h=1,sq=64,d=64")[0]
	run := Run{Name: w.String(), Kind: KindAttention, System: SystemName, Kernel: "avx512", Workers: 2, FLOPs: w.FLOPs()}
	for i := range rounds {
		run.Rounds = append(run.Rounds, Round{Seconds: slow * machine * (1 + 0.001*float64(i%5)), PeakGFLOPS: 1 / machine})
	}
	d.Runs = append(d.Runs, run)
	return &d
}

func TestCompareVerdicts(t *testing.T) {
	for _, c := range []struct {
		name          string
		rounds        int
		slow, machine float64
		want          Verdict
	}{
		{"the same", 20, 1, 1, Same},
		{"faster", 20, 0.9, 1, Faster},
		{"a little slower", 20, 1.03, 1, Slower},
		{"slower", 20, 1.1, 1, Regression},
		{"on a slower machine", 20, 1, 1.1, SlowerMachine},
		{"slower on a faster machine", 20, 1.1, 0.9, Faster},
		{"slower on a slower machine", 20, 1.1, 1.1, Regression},
		{"slower in few samples", 3, 1.1, 1, TooFew},
		{"slower in just enough", 4, 1.1, 1, Regression},
	} {
		got := Compare(steady(c.rounds, 1, 1), steady(c.rounds, c.slow, c.machine), 0.05)
		r := got.Rows[0]
		if len(got.Rows) != 1 || r.Verdict != c.want || math.Abs(r.Slowdown-c.slow*c.machine) > 0.01 || math.Abs(r.LimitSlowdown-c.slow) > 0.01 {
			t.Errorf("%s: %+v, want %s", c.name, r, c.want)
		}
		if mean, limits := got.Geomean(); math.Abs(mean-r.Slowdown) > 1e-9 || math.Abs(limits-r.LimitSlowdown) > 1e-9 {
			t.Errorf("%s: means of one row are %v and %v", c.name, mean, limits)
		}
	}
}

// TestCompareLimits: the limit of the base is that of both, and what takes no more time is no
// regression however much the limit moved.
func TestCompareLimits(t *testing.T) {
	reading := func(limit string) *Document {
		d := steady(20, 1, 1)
		r := &d.Runs[0]
		r.ReadBytes, r.Limit = 1e9, limit
		for i := range r.Rounds {
			r.Rounds[i].ReadGBps = 2
		}
		return d
	}
	base, other := reading(LimitFMA), reading(LimitBandwidth)
	if r := Compare(base, other, 0.05).Rows[0]; r.Verdict != Same || math.Abs(r.LimitSlowdown-1) > 1e-9 {
		t.Errorf("the same, by another limit: %+v", r)
	}
	other = steady(20, 1, 1)
	for i := range other.Runs[0].Rounds {
		other.Runs[0].Rounds[i].PeakGFLOPS *= 1.2
	}
	if r := Compare(steady(20, 1, 1), other, 0.05).Rows[0]; r.Verdict != Same || r.LimitSlowdown < 1.1 || r.LimitP > alpha {
		t.Errorf("the same time beside a higher peak: %+v", r)
	}
}

func TestCompareRows(t *testing.T) {
	a, b := steady(10, 1, 1), steady(10, 1.2, 1)
	a.Runs = append(a.Runs, a.Runs[0])
	a.Runs[1].Workers = 1
	b.Runs = append(b.Runs, b.Runs[0], b.Runs[0])
	b.Runs[1].System = "other"
	b.Machine.CPU = "another"
	c := Compare(a, b, 0.05)
	if len(c.Rows) != 3 || c.SameMachine {
		t.Fatalf("%+v", c)
	}
	both, oneWorker, other := c.Rows[0], c.Rows[1], c.Rows[2]
	if n := len(both.Other.Seconds.Values); n != 20 || both.LimitSlowdown != 0 || both.Verdict != Regression {
		t.Errorf("two runs of a work have %d samples: %+v", n, both)
	}
	if oneWorker.Verdict != OnlyOne || !oneWorker.Base.Has() || oneWorker.Other.Has() {
		t.Errorf("on one worker: %+v", oneWorker)
	}
	if other.Verdict != OnlyOne || other.System != "other" || other.Base.Has() {
		t.Errorf("of another system: %+v", other)
	}
	if d := strings.Join(c.Differences(), ";"); !strings.HasPrefix(d, "CPUs ") || !strings.HasSuffix(d, " and another") {
		t.Errorf("they differ in %q", d)
	}
}
