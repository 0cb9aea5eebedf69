package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

const perPass = 4 // rounds

// addPasses adds a run for each so many of its rounds.
func addPasses(d *Document, all Run, perPass int) {
	for rounds := range slices.Chunk(all.Rounds, perPass) {
		run := all
		run.Rounds = rounds
		var seconds []float64
		for _, r := range rounds {
			seconds = append(seconds, r.Seconds)
			run.PeakGFLOPS = max(run.PeakGFLOPS, r.PeakGFLOPS)
			if run.ReadBytes != 0 {
				run.ReadGBps = max(run.ReadGBps, r.ReadGBps)
			}
		}
		run.SecondsMin, run.SecondsMedian = slices.Min(seconds), median(seconds)
		d.Runs = append(d.Runs, run)
	}
}

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
		for i := range 10 * perPass {
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
		addPasses(&d, run, perPass)
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

// steady makes a record of a work whose passes differ by a thousandth, on a machine that is so
// many times as slow.
func steady(passes int, slow, machine float64) *Document {
	d := NewDocument()
	w := works("h=1,sq=64,d=64")[0]
	run := Run{Name: w.String(), Kind: KindAttention, System: SystemName, Kernel: "avx512", Workers: 2, FLOPs: w.FLOPs()}
	for i := range passes {
		run.Rounds = append(run.Rounds, Round{Seconds: slow * machine * (1 + 0.001*float64(i%5)), PeakGFLOPS: 1 / machine})
	}
	addPasses(&d, run, 1)
	return &d
}

func TestCompareVerdicts(t *testing.T) {
	for _, c := range []struct {
		name          string
		passes        int
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
		{"slower in one pass", 1, 1.1, 1, TooFew},
		{"slower in few passes", LeastPasses - 1, 1.1, 1, TooFew},
		{"slower in just enough", LeastPasses, 1.1, 1, Regression},
	} {
		got := Compare(steady(c.passes, 1, 1), steady(c.passes, c.slow, c.machine), 0.05)
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
		for i := range d.Runs {
			r := &d.Runs[i]
			r.ReadBytes, r.Limit = 1e9, limit
			r.Rounds[0].ReadGBps = 2
		}
		return d
	}
	base, other := reading(LimitFMA), reading(LimitBandwidth)
	if r := Compare(base, other, 0.05).Rows[0]; r.Verdict != Same || math.Abs(r.LimitSlowdown-1) > 1e-9 {
		t.Errorf("the same, by another limit: %+v", r)
	}
	other = steady(20, 1, 1)
	for i := range other.Runs {
		other.Runs[i].PeakGFLOPS *= 1.2
		other.Runs[i].Rounds[0].PeakGFLOPS *= 1.2
	}
	if r := Compare(steady(20, 1, 1), other, 0.05).Rows[0]; r.Verdict != Same || r.LimitSlowdown < 1.1 || r.LimitP > alpha {
		t.Errorf("the same time beside a higher peak: %+v", r)
	}
}

func TestCompareRows(t *testing.T) {
	const passes = 10
	a, b := steady(passes, 1, 1), steady(passes, 1.2, 1)
	as := func(runs []Run, edit func(*Run)) []Run {
		runs = slices.Clone(runs)
		for i := range runs {
			edit(&runs[i])
		}
		return runs
	}
	a.Runs = append(a.Runs, as(a.Runs, func(r *Run) { r.Workers = 1 })...)
	b.Runs = append(b.Runs, as(b.Runs, func(r *Run) { r.System = "other" })...)
	b.Machine.CPU = "another"
	c := Compare(a, b, 0.05)
	if len(c.Rows) != 3 || c.SameMachine {
		t.Fatalf("%+v", c)
	}
	both, oneWorker, other := c.Rows[0], c.Rows[1], c.Rows[2]
	if n := len(both.Other.Seconds.Values); n != passes || both.Other.Passes != passes || both.LimitSlowdown != 0 || both.Verdict != Regression {
		t.Errorf("a work has %d samples of %d passes: %+v", n, passes, both)
	}
	if oneWorker.Verdict != OnlyOne || !oneWorker.Base.Has() || oneWorker.Other.Has() {
		t.Errorf("on one worker: %+v", oneWorker)
	}
	if other.Verdict != OnlyOne || other.System != "other" || other.Base.Has() {
		t.Errorf("of another system: %+v", other)
	}
	if c.Judged() != 1 || c.Common() != 1 {
		t.Errorf("%d of %d works are judged", c.Judged(), c.Common())
	}
	if d := strings.Join(c.Differences(), ";"); !strings.HasPrefix(d, "CPUs ") || !strings.HasSuffix(d, " and another") {
		t.Errorf("they differ in %q", d)
	}
}

// TestCompareOnce: rounds of one run say nothing of what changes from run to run, however many
// they are.
func TestCompareOnce(t *testing.T) {
	base, other := steady(20, 1, 1), steady(20, 1.5, 1)
	for _, d := range []*Document{base, other} {
		run := d.Runs[0]
		run.Rounds = nil
		for i := range d.Runs {
			run.Rounds = append(run.Rounds, d.Runs[i].Rounds...)
		}
		d.Runs = []Run{run}
	}
	if c := Compare(base, other, 0.05); c.Rows[0].Verdict != TooFew || c.Judged() != 0 {
		t.Errorf("%+v", c.Rows)
	}
}

// TestCompareDisturbed: passes that others disturbed do not count, and where too few are left no
// difference is judged, however great.
func TestCompareDisturbed(t *testing.T) {
	busy := &Load{Seconds: 1, Processors: 2, Own: 1, Others: 0.5}
	for _, c := range []struct {
		disturbed int // of eight passes, which take twice as long
		slow      float64
		want      Verdict
	}{
		{0, 1, Same}, {4, 1, Same}, {4, 1.2, Regression}, {5, 1, Disturbed}, {8, 1.2, Disturbed},
	} {
		base, other := steady(8, 1, 1), steady(8, c.slow, 1)
		for i := range c.disturbed {
			r := &other.Runs[2*i%8+2*i/8]
			r.Load = busy
			r.Rounds[0].Seconds *= 2
		}
		if r := Compare(base, other, 0.05).Rows[0]; r.Verdict != c.want || r.Other.Passes != 8 || r.Other.Calm != 8-c.disturbed {
			t.Errorf("%d of 8 disturbed, %g times as slow: %s, want %s; %+v", c.disturbed, c.slow, r.Verdict, c.want, r.Other)
		}
	}
}

// TestCompareBusy: a record against another of the same binary, on a machine whose processors
// others take for parts of the time, and now more, now less: bursts and calls lose different
// shares.
func TestCompareBusy(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	busy := func() *Document {
		d := NewDocument()
		d.Ceilings.Kernel = "avx512"
		for _, w := range works("h=8,sq=64,d=64", "h=8,sq=256,d=64", "h=8,sq=1,skv=4096,d=64", "m=64,n=64,k=64", "m=512,n=512,k=512") {
			run := Run{Name: w.String(), System: SystemName, Kernel: "avx512", Workers: 2, FLOPs: w.FLOPs(), ReadBytes: w.ReadBytes()}
			level := r.Float64() // of what others want
			for range 6 {
				run.Rounds = nil
				others := 0.0
				for range 12 {
					level = min(1, max(0, level+0.3*r.NormFloat64()))
					others += level / 12
					own := 1 + level*r.Float64() // calls
					machine := 1 + level*r.Float64()
					run.Rounds = append(run.Rounds, Round{
						Seconds:    own * 1e-9 * (w.FLOPs() + float64(w.ReadBytes())),
						PeakGFLOPS: 2 / machine, ReadGBps: 2 / machine,
					})
				}
				run.Load = &Load{Seconds: 1.2, Processors: 2, Own: 2 - others, Others: others}
				addPasses(&d, run, len(run.Rounds))
			}
		}
		return &d
	}
	for range 100 {
		if list := Compare(busy(), busy(), 0.05).Regressions(); len(list) != 0 {
			t.Errorf("the same: %+v", list)
		}
	}
}
