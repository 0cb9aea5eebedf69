package bench

import (
	"fmt"
	"math"
	"slices"

	"golang.org/x/perf/benchmath"
)

// A Comparison holds the works of a record against those of another, the base.
type Comparison struct {
	Base, Other *Document

	// SameMachine says that both ran on the same kind of machine with the same kernel set, so
	// that efficiencies can be compared: see [Row.Verdict].
	SameMachine bool

	Rows []Row
}

// A Row is a work on a system and a number of workers.
type Row struct {
	Name, System string
	Workers      int
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

// Figures are samples of a work in a record. A sample is the median of a few rounds in a row:
// what disturbs a machine lasts longer than a round, and rounds that share it count once.
type Figures struct {
	Seconds *benchmath.Sample // of a call
	OfLimit *benchmath.Sample // rate over that of the limit beside it: the peak, or reading
}

// Has reports whether the record has the work.
func (f Figures) Has() bool { return f.Seconds != nil }

// A Verdict is what a difference means.
type Verdict int

const (
	OnlyOne       Verdict = iota // one of the records lacks the work
	TooFew                       // fewer than four samples: measure again, with -count
	Same                         // no difference beyond the noise
	Faster                       // beyond the noise
	Slower                       // beyond the noise, within the threshold
	SlowerMachine                // beyond the noise, but no farther from the machine's limits
	Regression                   // beyond the noise and the threshold
)

// String is what a table says.
func (v Verdict) String() string {
	return [...]string{"only in one", "too few samples", "same", "faster", "slower", "slower, as was the machine", "REGRESSION"}[v]
}

const (
	alpha       = 0.05 // significance, as benchstat has it
	leastSample = 4    // samples that can be significant
	mostSamples = 10   // of a run
)

// Compare holds a record against a base. A work is a regression if it takes more time than in
// the base, beyond the noise (p < 0.05) and by more than the threshold, a share such as 0.05. On
// the same machine noise and threshold are those of the share of the limit, which is measured in
// turns with the work, and any more time will do: a neighbour's load slows work and limit alike,
// and hides nothing. The limit is that which binds the work in the base.
func Compare(base, other *Document, threshold float64) *Comparison {
	c := &Comparison{Base: base, Other: other, SameMachine: sameMachine(base, other)}
	rows, limits := make(map[Row]int), make(map[Row]string)
	collect := func(d *Document, of func(*Row) *Figures) {
		seconds, shares := make(map[int][]float64), make(map[int][]float64)
		for i := range d.Runs {
			run := &d.Runs[i]
			key := Row{Name: run.Name, System: run.System, Workers: run.Workers}
			at, ok := rows[key]
			if !ok {
				at = len(c.Rows)
				rows[key], limits[key] = at, run.Limit
				c.Rows = append(c.Rows, key)
			}
			s, l := run.samples(limits[key])
			seconds[at], shares[at] = append(seconds[at], s...), append(shares[at], l...)
		}
		for at, s := range seconds {
			*of(&c.Rows[at]) = Figures{
				benchmath.NewSample(s, &benchmath.DefaultThresholds),
				benchmath.NewSample(shares[at], &benchmath.DefaultThresholds),
			}
		}
	}
	collect(base, func(r *Row) *Figures { return &r.Base })
	collect(other, func(r *Row) *Figures { return &r.Other })
	for i := range c.Rows {
		c.Rows[i].judge(threshold, c.SameMachine)
	}
	return c
}

// samples returns the seconds of a call and the share of a limit, of up to mostSamples
// stretches of rounds.
func (r *Run) samples(limit string) (seconds, ofLimit []float64) {
	n := len(r.Rounds)
	groups := min(n, mostSamples)
	for g := range groups {
		var s, l []float64
		for _, round := range r.Rounds[g*n/groups : (g+1)*n/groups] {
			s = append(s, round.Seconds)
			l = append(l, r.shareOf(limit, round))
		}
		seconds, ofLimit = append(seconds, median(s)), append(ofLimit, median(l))
	}
	return seconds, ofLimit
}

// shareOf returns the share of a limit that a round reached.
func (r *Run) shareOf(limit string, round Round) float64 {
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
	case len(r.Base.Seconds.Values) < leastSample || len(r.Other.Seconds.Values) < leastSample:
		r.Verdict = TooFew
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

// Differences says in a few words each how the machines and builds of two records differ.
func (c *Comparison) Differences() []string {
	var list []string
	add := func(what string, a, b any) {
		if a != b {
			list = append(list, fmt.Sprintf("%s %v and %v", what, a, b))
		}
	}
	a, b := c.Base, c.Other
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
	return x.CPU == y.CPU && x.Family == y.Family && x.Model == y.Model && x.OS == y.OS && x.Arch == y.Arch &&
		x.Cores == y.Cores && x.GOMAXPROCS == y.GOMAXPROCS && a.Ceilings.Kernel == b.Ceilings.Kernel
}
