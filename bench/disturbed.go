package bench

import (
	"cmp"
	"fmt"
	"slices"
)

// What is no noise any more: beyond it, a figure says more of what disturbed it than of a work.
const (
	// othersFraction of the processors may be taken by what else runs. Less than othersLeast
	// seconds of them are not counted: the clock of a system ticks a hundred times a second.
	othersFraction = 0.1
	othersLeast    = 0.05

	// A rate may exceed the best burst of its peak by overPeak, and that of reading by
	// overRead: reading in another order than a burst does was seen to be 13% faster.
	overPeak, overRead = 1.05, 1.2

	// The median burst beside a run reaches calmPeak of the best one on as many workers, of
	// reading calmRead, on a machine that is left alone.
	calmPeak, calmRead = 0.85, 0.75

	// The median call takes at most calmCalls times as long as the fastest.
	calmCalls = 1.3
)

// Disturbed says in a few words each why the figures of a run of the document mislead: because
// of what else ran on the machine, because calls differ much, because a rate exceeds what is
// possible, or because the limits beside it were far below those of the rest of the document. It
// returns nil if nothing tells that they do.
func (d *Document) Disturbed(r *Run) []string { return d.roofs().disturbed(r) }

func (best roofs) disturbed(r *Run) []string {
	var list []string
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if l := r.Load; l != nil && l.Processors > 0 {
		taken := l.Others + l.Steal
		if fraction := taken / float64(l.Processors); fraction > othersFraction && taken*l.Seconds > othersLeast {
			what := "others"
			if l.Steal > l.Others {
				what = "other virtual machines"
			}
			add("%s took %.0f%% of the processors", what, 100*fraction)
		}
	}
	shared := r.Neighbour != nil && r.Neighbour.Shared // so that calls and bursts differ in any case
	if !shared && r.SecondsMin > 0 && r.SecondsMedian > calmCalls*r.SecondsMin {
		add("the median call took %.1f times as long as the fastest", r.SecondsMedian/r.SecondsMin)
	}
	if r.Efficiency > overPeak {
		add("%.0f%% of the peak", 100*r.Efficiency)
	}
	if r.OfRead > overRead {
		add("%.0f%% of reading", 100*r.OfRead)
	}
	peak := max(r.PeakGFLOPS, best[roofKey{r.Kernel, r.Workers, 0, r.neighbourKind(), r.Precision}])
	read := r.ReadGBps
	if r.ReadBytes != 0 {
		read = max(read, best[roofKey{r.Kernel, r.Workers, r.ReadBytes, r.Conditions(), ""}])
	}
	beside := func(of func(Round) float64) float64 {
		if len(r.Rounds) == 0 || shared {
			return 0
		}
		var list []float64
		for _, round := range r.Rounds {
			list = append(list, of(round))
		}
		return median(list)
	}
	if m := beside(func(r Round) float64 { return r.PeakGFLOPS }); m > 0 && m < calmPeak*peak {
		add("the peak beside it was %.0f%% of the best", 100*m/peak)
	}
	if m := beside(func(r Round) float64 { return r.ReadGBps }); m > 0 && m < calmRead*read {
		add("reading beside it was %.0f%% of the best", 100*m/read)
	}
	return list
}

// A roofKey is what the bursts of runs have to share to be of one roof.
type roofKey struct {
	kernel    string
	workers   int
	readBytes int64 // 0 for the peak

	// conditions are those of the runs: of reading all, of the peak the neighbour alone.
	conditions string

	precision string // of the peak, the class
}

// roofs are the best bursts of a document.
type roofs map[roofKey]float64

func (d *Document) roofs() roofs {
	best := make(roofs)
	raise := func(k roofKey, to float64) { best[k] = max(best[k], to) }
	c := &d.Ceilings
	raise(roofKey{c.Kernel, 1, 0, "", ""}, c.PeakGFLOPSOne)
	raise(roofKey{c.Kernel, c.Workers, 0, "", ""}, c.PeakGFLOPSAll)
	for i := range d.Runs {
		r := &d.Runs[i]
		raise(roofKey{r.Kernel, r.Workers, 0, r.neighbourKind(), r.Precision}, r.PeakGFLOPS)
		if r.ReadBytes != 0 {
			raise(roofKey{r.Kernel, r.Workers, r.ReadBytes, r.Conditions(), ""}, r.ReadGBps)
		}
	}
	return best
}

// Add appends a run, and raises the ceilings to the bursts beside it: a roof is the best of all
// bursts of a document.
func (d *Document) Add(r Run) {
	d.Runs = append(d.Runs, r)
	c := &d.Ceilings
	if r.Kernel != c.Kernel || r.Neighbour != nil { // ceilings are those of a machine left alone
		return
	}
	raise := func(one, all *float64, to float64) {
		if r.Workers == 1 {
			*one = max(*one, to)
		}
		if r.Workers == c.Workers {
			*all = max(*all, to)
		}
	}
	if r.Precision == "" {
		raise(&c.PeakGFLOPSOne, &c.PeakGFLOPSAll, r.PeakGFLOPS)
	}
	for i := range c.Read {
		if b := &c.Read[i]; b.Level == r.ReadLevel {
			raise(&b.GBpsOne, &b.GBpsAll, r.ReadGBps)
		}
	}
}

// A Result is what the runs of a work on a system and a number of workers say together, one run
// of each pass.
type Result struct {
	// Run is the one whose time is the median, of those that nothing disturbed if there are
	// any. Quartiles are those of the times of several, SecondsMin is the least of all.
	Run

	Passes []*Run // those that nothing disturbed first
	Calm   int    // how many those are

	Disturbed []string // why the run is, see [Document.Disturbed]; nil if it is not
}

// Result returns the result of a job on qkv, nil if there is none.
func (d *Document) Result(j Job) *Result {
	for _, r := range d.Results() {
		if r.Name == j.Work.String() && r.System == SystemName && r.Workers == j.workers() {
			return &r
		}
	}
	return nil
}

// Results returns the results of the document, in the order of their first runs.
func (d *Document) Results() []Result {
	type key struct {
		name, system, conditions string
		workers                  int
	}
	at, best := make(map[key]int), d.roofs()
	var list []Result
	var disturbed [][]*Run
	for i := range d.Runs {
		r := &d.Runs[i]
		k := key{r.Name, r.System, r.Conditions(), r.Workers}
		n, ok := at[k]
		if !ok {
			n = len(list)
			at[k] = n
			list, disturbed = append(list, Result{}), append(disturbed, nil)
		}
		if best.disturbed(r) == nil {
			list[n].Passes = append(list[n].Passes, r)
		} else {
			disturbed[n] = append(disturbed[n], r)
		}
	}
	for i := range list {
		x := &list[i]
		x.Calm = len(x.Passes)
		of := x.Passes
		if x.Calm == 0 {
			of = disturbed[i]
		}
		x.Passes = append(x.Passes, disturbed[i]...)
		of = slices.Clone(of)
		slices.SortStableFunc(of, func(a, b *Run) int { return cmp.Compare(a.SecondsMedian, b.SecondsMedian) })
		x.Run = *of[(len(of)-1)/2]
		if x.Calm == 0 {
			x.Disturbed = best.disturbed(&x.Run)
		}
		var times []float64
		for _, r := range of {
			times = append(times, r.SecondsMedian)
		}
		if len(times) > 1 {
			x.SecondsQ1, x.SecondsQ3 = quantile(times, 0.25), quantile(times, 0.75)
		}
		for _, r := range x.Passes {
			x.SecondsMin = min(x.SecondsMin, r.SecondsMin)
		}
	}
	return list
}
