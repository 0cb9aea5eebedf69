package bench

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"golang.org/x/perf/benchmath"
)

// A Comparison holds the works of a record against those of another, the base.
type Comparison struct {
	Base, Other *Document

	// SameMachine says that both ran on the same kind of machine with the same kernel set, under
	// the same conditions, so that efficiencies can be compared: see [Row.Verdict].
	SameMachine bool

	Rows []Row
}

// A Row is a work on a system and a number of workers.
type Row struct {
	Name, System string
	Workers      int
	Conditions   string  // see [Run.Conditions]; "" where each record has the same for all its runs
	Base, Other  Figures // without samples where the record lacks the work

	// Slowdown is the time over that of the base. LimitSlowdown is the share of the limit
	// of the base over that of the other, which is what remains of it if the machine's
	// own ceilings moved as much; 0 unless on the same machine.
	Slowdown, LimitSlowdown float64

	// P and LimitP are the probabilities of differences as great as these if there were none,
	// by the Mann-Whitney U-test.
	P, LimitP float64

	Verdict Verdict
}

// Figures are samples of a work in a record, one of each pass: what disturbs a machine lasts
// longer than a run, so that rounds of one run share it and count once. Passes that were
// disturbed are left out, see [Document.Disturbed], unless fewer than four would remain.
type Figures struct {
	Seconds *benchmath.Sample // of a call, the median of the rounds
	OfLimit *benchmath.Sample // rate over that of the limit beside it: the peak, or reading

	Passes, Calm int // how often the work was measured, and how often nothing disturbed it
}

// Has reports whether the record has the work.
func (f Figures) Has() bool { return f.Seconds != nil }

// A Verdict is what a difference means.
type Verdict int

const (
	OnlyOne       Verdict = iota // one of the records lacks the work
	TooFew                       // measured fewer than six times: measure again, with -count
	Same                         // no difference beyond the noise
	Faster                       // beyond the noise
	Slower                       // beyond the noise, within the threshold
	SlowerMachine                // beyond the noise, but no farther from the machine's limits
	Disturbed                    // different, but of one record fewer than four passes were left alone
	Regression                   // beyond the noise and the threshold
)

var verdictNames = [...]string{"only in one", "too few passes", "same", "faster", "slower", "slower, as was the machine", "disturbed, cannot tell", "REGRESSION"}

// String is what a table says.
func (v Verdict) String() string { return nameOf(verdictNames[:], "Verdict", int(v)) }

const (
	alpha = 0.05 // significance, as benchstat has it

	// LeastPasses is how often a record has to measure a work to be compared. So few as
	// leastCalm of them can differ significantly, in a U-test against as many.
	LeastPasses = 6
	leastCalm   = 4
)

// Compare holds a record against a base. A work is a regression if it takes more time than in
// the base, beyond the noise (p < 0.05) and by more than the threshold, a share such as 0.05. On
// the same machine noise and threshold are those of the share of the limit, which is measured in
// turns with the work, and any more time will do: a neighbour's load slows work and limit alike,
// and hides nothing. The limit is that which binds the work in the base. A record that has measured
// a work fewer than [LeastPasses] times cannot tell, nor one of which too few passes were left
// alone, see [Figures].
func Compare(base, other *Document, threshold float64) *Comparison {
	c := &Comparison{Base: base, Other: other, SameMachine: sameMachine(base, other)}
	rows, limits := make(map[Row]int), make(map[Row]string)
	_, sameInBase := base.Conditions()
	_, sameInOther := other.Conditions()
	collect := func(d *Document, of func(*Row) *Figures) {
		for _, x := range d.Results() {
			key := Row{Name: x.Name, System: x.System, Workers: x.Workers}
			if !sameInBase || !sameInOther {
				key.Conditions = x.Conditions()
			}
			at, ok := rows[key]
			if !ok {
				at = len(c.Rows)
				rows[key], limits[key] = at, x.Limit
				c.Rows = append(c.Rows, key)
			}
			*of(&c.Rows[at]) = x.figures(limits[key])
		}
	}
	collect(base, func(r *Row) *Figures { return &r.Base })
	collect(other, func(r *Row) *Figures { return &r.Other })
	for i := range c.Rows {
		c.Rows[i].judge(threshold, c.SameMachine)
	}
	return c
}

// figures returns the samples of the passes that are compared, against a limit.
func (x *Result) figures(limit string) Figures {
	passes := x.Passes
	if x.Calm >= leastCalm {
		passes = passes[:x.Calm]
	}
	var seconds, ofLimit []float64
	for _, r := range passes {
		s, l := r.sample(limit)
		seconds, ofLimit = append(seconds, s), append(ofLimit, l)
	}
	return Figures{
		Seconds: benchmath.NewSample(seconds, &benchmath.DefaultThresholds),
		OfLimit: benchmath.NewSample(ofLimit, &benchmath.DefaultThresholds),
		Passes:  len(x.Passes), Calm: x.Calm,
	}
}

// sample returns the seconds of a call and the share of a limit, the medians of the rounds.
func (r *Run) sample(limit string) (seconds, ofLimit float64) {
	rounds := r.Rounds
	if len(rounds) == 0 { // of a document that was not read from a file
		rounds = []Round{{Seconds: r.SecondsMedian, PeakGFLOPS: r.PeakGFLOPS, ReadGBps: r.ReadGBps}}
	}
	var s, l []float64
	for _, round := range rounds {
		s = append(s, round.Seconds)
		l = append(l, r.fractionOf(limit, round))
	}
	return median(s), median(l)
}

// fractionOf returns the fraction of a limit that a round reached.
func (r *Run) fractionOf(limit string, round Round) float64 {
	if r.ReadBytes != 0 && (limit == LimitBandwidth || r.FLOPs == 0) {
		return 1e-9 * float64(r.ReadBytes) / round.Seconds / round.ReadGBps
	}
	return 1e-9 * r.FLOPs / round.Seconds / round.PeakGFLOPS
}

func (r *Row) judge(threshold float64, sameMachine bool) {
	if !r.Base.Has() || !r.Other.Has() {
		return
	}
	r.Slowdown, r.P = slowdown(r.Base.Seconds, r.Other.Seconds)
	worst, p := r.Slowdown, r.P
	if sameMachine {
		r.LimitSlowdown, r.LimitP = slowdown(r.Other.OfLimit, r.Base.OfLimit)
		worst, p = r.LimitSlowdown, r.LimitP
	}
	switch {
	case min(r.Base.Passes, r.Other.Passes) < LeastPasses:
		r.Verdict = TooFew
	case min(r.Base.Calm, r.Other.Calm) < leastCalm && (p < alpha && worst != 1 || r.P < alpha && r.Slowdown != 1):
		r.Verdict = Disturbed
	case p < alpha && worst > 1+threshold && r.Slowdown > 1:
		r.Verdict = Regression
	case !(r.P < alpha) || r.Slowdown == 1:
		r.Verdict = Same
	case r.Slowdown < 1:
		r.Verdict = Faster
	case !(p < alpha && worst > 1):
		r.Verdict = SlowerMachine
	default:
		r.Verdict = Slower
	}
}

// slowdown returns the median of b over that of a, and the probability of such a difference
// by chance.
func slowdown(a, b *benchmath.Sample) (ratio, p float64) {
	if center(a) == 0 || center(b) == 0 { // the share of a limit where nothing counts
		return 1, 1
	}
	if nan := func(x float64) bool { return x != x }; slices.ContainsFunc(a.Values, nan) || slices.ContainsFunc(b.Values, nan) {
		return 1, 1 // the test ranks them for ever
	}
	return center(b) / center(a), benchmath.AssumeNothing.Compare(a, b).P
}

func center(s *benchmath.Sample) float64 { return benchmath.AssumeNothing.Summary(s, 0.95).Center }

// Median returns the median of a sample, and half of the distance between its quartiles as a
// share of it.
func Median(s *benchmath.Sample) (median, spread float64) {
	x := slices.Clone(s.Values)
	median = quantile(x, 0.5)
	return median, (quantile(x, 0.75) - quantile(x, 0.25)) / 2 / median
}

// Geomean returns the geometric means of both slowdowns over the rows that both records have;
// 1 if there is none. That of the limits is 0 unless the machine is the same.
func (c *Comparison) Geomean() (slowdown, limitSlowdown float64) {
	var sum, limits float64
	for _, r := range c.Rows {
		if r.Verdict != OnlyOne {
			sum += math.Log(r.Slowdown)
			limits += math.Log(r.LimitSlowdown)
		}
	}
	n := float64(c.Common())
	if n == 0 {
		return 1, 1
	}
	return math.Exp(sum / n), math.Exp(limits / n)
}

// Judged returns how many works of both records were measured often enough to be compared.
func (c *Comparison) Judged() int {
	n := 0
	for _, r := range c.Rows {
		if r.Verdict != OnlyOne && r.Verdict != TooFew {
			n++
		}
	}
	return n
}

// Common returns how many works both records have.
func (c *Comparison) Common() int {
	n := 0
	for _, r := range c.Rows {
		if r.Verdict != OnlyOne {
			n++
		}
	}
	return n
}

// Regressions returns the rows that are.
func (c *Comparison) Regressions() []Row {
	var list []Row
	for _, r := range c.Rows {
		if r.Verdict == Regression {
			list = append(list, r)
		}
	}
	return list
}

// Join puts the runs of an earlier document of the same build on the same machine before those of
// d, whose passes then go on with its own. The error says how they differ.
func (d *Document) Join(earlier *Document) error {
	c := Comparison{Base: earlier, Other: d}
	if differ := c.Differences(); len(differ) > 0 {
		return fmt.Errorf("they differ: %s", strings.Join(differ, "; "))
	}
	if earlier.Build != d.Build {
		return fmt.Errorf("they are of different builds")
	}
	d.Time, d.Label = earlier.Time, cmp.Or(d.Label, earlier.Label)
	d.Runs = append(slices.Clone(earlier.Runs), d.Runs...)
	d.Skipped = append(slices.Clone(earlier.Skipped), d.Skipped...)
	d.Ceilings.Raise(&earlier.Ceilings)
	return nil
}

// Differences says in a few words each how the machines and builds of two records differ.
func (c *Comparison) Differences() []string {
	var list []string
	add := func(what string, a, b any) {
		if a != b {
			list = append(list, fmt.Sprintf("%s %v and %v", what, a, b))
		}
	}
	a, b := c.Base, c.Other
	under := func(d *Document) string {
		conditions, same := d.Conditions()
		if !same {
			return "several"
		}
		return cmp.Or(conditions, UsualConditions)
	}
	add("conditions", under(a), under(b))
	add("CPUs", a.Machine.CPU, b.Machine.CPU)
	add("cores", a.Machine.Cores, b.Machine.Cores)
	add("GOMAXPROCS", a.Machine.GOMAXPROCS, b.Machine.GOMAXPROCS)
	add("systems", a.Machine.OS+"/"+a.Machine.Arch, b.Machine.OS+"/"+b.Machine.Arch)
	add("kernel sets", a.Ceilings.Kernel, b.Ceilings.Kernel)
	add("builds", a.Build.Short(), b.Build.Short())
	add("Go versions", a.Build.GoVersion, b.Build.GoVersion)
	return list
}

func sameMachine(a, b *Document) bool {
	x, y := a.Machine, b.Machine
	conditionsA, sameA := a.Conditions()
	conditionsB, sameB := b.Conditions()
	if sameA && sameB && conditionsA != conditionsB {
		return false
	}
	return x.CPU == y.CPU && x.Family == y.Family && x.Model == y.Model && x.OS == y.OS && x.Arch == y.Arch &&
		x.Cores == y.Cores && x.GOMAXPROCS == y.GOMAXPROCS && a.Ceilings.Kernel == b.Ceilings.Kernel
}
