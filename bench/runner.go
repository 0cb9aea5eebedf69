package bench

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/internal/memory"
	"github.com/qkv-go/qkv/kernel"
)

// Options say how a [Runner] measures. The zero value is a good choice.
type Options struct {
	Kernel string        // kernel set, see [qkv.Config]
	Labels bool          // label phases for profiles, see [qkv.Config]
	Tuning *qkv.Tuning   // see [qkv.Config]
	Time   time.Duration // timing each run, 0 means 1.2 s
	Burst  time.Duration // each burst of the peak, and of reading, 0 means 10 ms

	// Counters has each run count what [Counters] has, as far as the machine can, see
	// [Runner.Counters].
	Counters bool

	// Cold has each call find keys, values and weights in memory, not in a cache that an earlier
	// call has left them in: so many copies of them take turns, see [Run.Cold].
	Cold bool

	// Neighbour, if not empty, is the kind of the process that works through memory on another
	// processor while works are timed, see [Neighbour] and [BeNeighbour].
	Neighbour string

	// Unmasked has the samples of each shape alternate with those of its unmasked one, see
	// [Shape.Unmasked], and both be compared.
	Unmasked bool
}

const (
	defaultTime  = 1200 * time.Millisecond
	defaultBurst = 10 * time.Millisecond

	// minSample is the least that one reading of the clock is for: shorter calls are
	// timed several at a time.
	minSample = 200 * time.Microsecond

	// between is how long samples are taken between two bursts, if they are that
	// short.
	between = 20 * time.Millisecond

	// minSamples are taken, of each shape, even if they take longer than Options.Time,
	// unless a limit forbids it.
	minSamples = 5
)

// A Runner measures works on one kernel set, or on other systems beside its peak.
type Runner struct {
	opts     Options
	set      *kernel.Set
	peaks    map[string]*Peak // by Run.Precision
	inputs   Inputs           // of the last run
	unmasked Inputs           // of the last shape that it was compared with
	stream   *stream          // of the last run that reads
	caches   []Cache
	cold     int64 // bytes that drive all others out of the caches
	counters bool

	fastest map[choice]string // names of paths, of what was run before

	neighbours []*neighbourProcess // that were started, of different numbers of workers
}

// NewRunner returns a Runner, to be closed if it has neighbours. The error is that of [qkv.New], or
// says why there cannot be such neighbours.
func NewRunner(opts Options) (*Runner, error) {
	if opts.Time == 0 {
		opts.Time = defaultTime
	}
	if opts.Burst == 0 {
		opts.Burst = defaultBurst
	}
	a, err := qkv.New(qkv.Config{Kernel: opts.Kernel, Tuning: opts.Tuning})
	if err != nil {
		return nil, err
	}
	caches := dataCaches()
	if opts.Neighbour != "" {
		if _, err := newNeighbour(opts.Neighbour, caches, 1); err != nil {
			return nil, err
		}
	}
	return &Runner{
		opts: opts, set: a.Kernel(), peaks: make(map[string]*Peak),
		caches: caches, cold: coldBytes(caches, lastCaches()), counters: opts.Counters,
		fastest: make(map[choice]string),
	}, nil
}

// peakOf returns the peak of the class of a work.
func (r *Runner) peakOf(w Work) *Peak {
	var run Run
	w.describe(&run)
	p := r.peaks[run.Precision]
	if p == nil {
		p = NewPeak(r.set)
		for _, class := range kernel.Precisions() {
			if run.Precision == class.String() {
				p = NewPeakOf(r.set, class)
			}
			for _, other := range kernel.Precisions() {
				if run.Precision == mixedPeak(qkv.Precision(class), qkv.Precision(other)) {
					p = NewMixedPeak(r.set, class, other)
				}
			}
		}
		r.peaks[run.Precision] = p
	}
	return p
}

// Counters returns a [*CountersError] for what the machine cannot count, nil if it counts
// everything.
func (r *Runner) Counters() error {
	s, err := newCounterSet(r.set.Vec)
	if s != nil {
		s.close()
	}
	return err
}

// Kernel returns the kernel set that is measured.
func (r *Runner) Kernel() *kernel.Set { return r.set }

// All runs the jobs. It calls begin before each with its number, and done after
// it, with its run or the reason that it was left out. With a limit of 0 none is;
// with another, a job may take up to three times an even share of the time that is
// left, so that all end within it.
func (r *Runner) All(ctx context.Context, jobs []Job, limit time.Duration, begin func(i int), done func(i int, run *Run, skip *Skip)) error {
	start := time.Now()
	for i, j := range jobs {
		begin(i)
		skip := Skip{Name: j.Work.String(), System: SystemName, Kernel: r.set.Name, Workers: j.workers()}
		if _, err := r.copiesOf(j.Work); err != nil {
			skip.Reason = err.Error()
			done(i, nil, &skip)
			continue
		}
		var budget time.Duration
		if limit != 0 {
			left := limit - time.Since(start)
			budget = max(1, min(left, 3*left/time.Duration(len(jobs)-i)))
			if needs := r.estimate(j); needs > budget {
				skip.Needs, skip.Budget = needs.Seconds(), budget.Seconds()
				done(i, nil, &skip)
				continue
			}
		}
		run, err := r.Run(ctx, j, budget)
		if err != nil {
			return err
		}
		done(i, &run, nil)
	}
	return nil
}

func (j Job) workers() int {
	if j.Workers == 0 {
		return runtime.GOMAXPROCS(0)
	}
	return j.Workers
}

// estimate returns the least time for a job: three calls, two to check and one to time,
// at half the peak, and the operands.
func (r *Runner) estimate(j Job) time.Duration {
	const fill = 100e6 // bytes a second
	rate := r.peakOf(j.Work).Burst(j.workers(), r.opts.Burst)
	works := []Work{j.Work}
	if u, other := r.unmaskedOf(j.Work); other {
		works = append(works, u)
	}
	var needs time.Duration
	for _, w := range works {
		needs += time.Duration(1e9 * (3*w.FLOPs()/(rate/2) + float64(r.bytesOf(w))/fill))
	}
	return needs
}

// An Estimate is what a job will take at the least.
type Estimate struct {
	Bytes int64         // operands
	Call  time.Duration // one call, at the peak
	Calls int           // to check and to time
	Check time.Duration // the comparison with float64, about
}

// Total is the time of all of it.
func (e Estimate) Total() time.Duration { return time.Duration(e.Calls)*e.Call + e.Check }

// Estimate says what a job without a limit will take, from the peak of now.
func (r *Runner) Estimate(j Job) Estimate {
	const reference = 0.5e9 // operations a second of a processor in float64
	e := Estimate{Bytes: r.bytesOf(j.Work), Calls: 2 + minSamples}
	flops := j.Work.FLOPs()
	e.Call = nanoseconds(flops / r.peakOf(j.Work).Burst(j.workers(), r.opts.Burst))
	if s, ok := j.Work.(Shape); ok { // of others a few elements are compared
		rows := float64(s.Batch) * float64(s.Heads) * float64(s.SeqQ)
		e.Check = nanoseconds(flops * min(1, CheckRows/rows) / (reference * float64(runtime.GOMAXPROCS(0))))
	}
	return e
}

// nanoseconds returns a time that is at most some years.
func nanoseconds(seconds float64) time.Duration { return time.Duration(min(1e9*seconds, 1<<58)) }

// unmaskedOf returns the shape that is to be compared with a work, if there is one.
func (r *Runner) unmaskedOf(w Work) (Shape, bool) {
	s, ok := w.(Shape)
	if !ok || !r.opts.Unmasked {
		return Shape{}, false
	}
	return s.Unmasked()
}

// Run checks the job against float64 and times it. It takes about Options.Time, twice that
// beside an unmasked shape, or as long as five calls; with a limit other than 0, it
// stops sampling when that has passed.
func (r *Runner) Run(ctx context.Context, j Job, limit time.Duration) (Run, error) {
	sys := engine{kernel: r.opts.Kernel, labels: r.opts.Labels, tuning: r.opts.Tuning, made: make(map[int]*qkv.Engine)}
	return r.RunOn(ctx, sys, j, limit)
}

// RunOn is Run on any system, by the fastest of its paths. The error is an
// [*UnsupportedError] if it has none.
func (r *Runner) RunOn(ctx context.Context, sys System, j Job, limit time.Duration) (Run, error) {
	start := time.Now()
	workers := j.workers()
	run := Run{
		Name:    j.Work.String(),
		System:  sys.Name(),
		Version: sys.Version(),
		DType:   "float32",
		Kernel:  r.set.Name,
		Workers: workers,
		FLOPs:   j.Work.FLOPs(),
	}
	j.Work.describe(&run)
	work, check, err := r.prepare(ctx, sys, j.Work, workers, &r.inputs)
	if err != nil {
		return Run{}, err
	}
	defer work.close()
	run.Tuned = r.opts.Tuning != nil && sys.Name() == SystemName
	run.CheckedRows, run.MaxError, run.ErrorOfBound = check.Rows, check.MaxError, check.OfBound
	run.Calls, run.Path, run.Cold = work.calls, work.path.Name, len(work.turns)
	budget, cost := r.opts.Time, work.cost
	var unmasked *timed
	if u, other := r.unmaskedOf(j.Work); other {
		if unmasked, _, err = r.prepare(ctx, sys, u, workers, &r.unmasked); err != nil {
			return Run{}, err
		}
		defer unmasked.close()
		run.Unmasked = u.String()
		budget, cost = 2*budget, cost+unmasked.cost
	}
	stream, bytes := r.streamOf(j.Work, workers)
	peak := r.peakOf(j.Work)

	var counters *counterSet
	if r.counters {
		// Once the workers' threads are there; later ones are counted too.
		if counters, _ = newCounterSet(r.set.Vec); counters != nil {
			defer counters.close()
		}
	}

	runtime.GC() // what is left of checking is not to be collected under the clock
	var bursts, reads, ratios, rounds []float64
	neighbour, alone, err := r.beside(workers)
	if err != nil {
		return Run{}, err
	}
	defer alone()
	pid := 0
	if neighbour != nil {
		run.Neighbour, pid = neighbour.is, neighbour.pid
	}
	load := watchLoad(pid)
	deadline := time.Now().Add(budget)
	late := func(t time.Time) bool { return limit != 0 && t.Sub(start)+cost > limit }
	enough := func() bool {
		return len(work.samples) >= minSamples && (unmasked == nil || len(ratios) >= minSamples)
	}
	burst := func() error {
		work.rest()
		bursts = append(bursts, peak.Burst(workers, r.opts.Burst))
		if stream == nil {
			return nil
		}
		reads = append(reads, stream.burst(r.opts.Burst))
		return work.warm()
	}
	if err := burst(); err != nil {
		return Run{}, err
	}
	for {
		seconds, err := work.counted(ctx, counters)
		if err != nil {
			return Run{}, err
		}
		rounds = append(rounds, seconds)
		if unmasked != nil {
			other, err := unmasked.round(ctx, between)
			if err != nil {
				return Run{}, err
			}
			ratios = append(ratios, work.flops/seconds/(unmasked.flops/other))
		}
		if err := burst(); err != nil {
			return Run{}, err
		}
		if neighbour != nil {
			if err := neighbour.alive(); err != nil {
				return Run{}, err
			}
		}
		if now := time.Now(); late(now) || now.After(deadline) && enough() {
			break
		}
	}
	run.Load = load()
	for i, seconds := range rounds {
		round := Round{Seconds: seconds, PeakGFLOPS: 1e-9 * (bursts[i] + bursts[i+1]) / 2}
		if stream != nil {
			round.ReadGBps = 1e-9 * (reads[i] + reads[i+1]) / 2
		}
		run.Rounds = append(run.Rounds, round)
	}
	if counters != nil {
		run.Counters = counters.counted(len(work.samples) * work.calls)
	}
	run.Samples, run.Bursts = len(work.samples), len(bursts)
	run.SecondsMedian, run.SecondsMin = median(work.samples), slices.Min(work.samples)
	run.SecondsQ1, run.SecondsQ3 = quantile(work.samples, 0.25), quantile(work.samples, 0.75)
	run.GFLOPS = 1e-9 * run.FLOPs / run.SecondsMedian
	run.PeakGFLOPS = 1e-9 * slices.Max(bursts)
	run.Efficiency = run.GFLOPS / run.PeakGFLOPS
	if stream != nil {
		run.roofline(bytes, slices.Max(reads), stream.level)
	}
	if unmasked != nil {
		run.UnmaskedGFLOPS = 1e-9 * unmasked.flops / median(unmasked.samples)
		run.OfUnmasked = median(ratios)
	}
	return run, nil
}

// streamOf returns what to read in turns with a work, as much as its calls read or, if they are
// cold, what no cache holds; and how much they read. It returns nil for one that reading does not bind.
func (r *Runner) streamOf(w Work, workers int) (*stream, int64) {
	bytes := w.ReadBytes()
	if bytes == 0 {
		return nil, 0
	}
	size := bytes
	if r.opts.Cold {
		size += r.cold
	}
	if r.stream == nil || !r.stream.fits(workers, size) {
		r.stream = nil // for the collector
		r.stream = newStream(r.set, workers, size, r.caches)
	}
	return r.stream, bytes
}

// farSlower is how many times as long as the fastest path so far the first two calls of another may
// take to be compared with it.
const farSlower = 2

// A choice is what a fastest path is one of.
type choice struct {
	system  string
	work    Work
	workers int
}

// prepare makes the inputs of a work, or takes those of the last one, and returns the fastest
// of the ways in which a system computes them.
func (r *Runner) prepare(ctx context.Context, sys System, w Work, workers int, inputs *Inputs) (*timed, Check, error) {
	if *inputs == nil || (*inputs).Work() != w {
		*inputs = nil // for the collector
		if n := r.bytesOf(w); !memory.Has(n) {
			return nil, Check{}, &qkv.MemoryError{Arg: w.Short(), Bytes: n, Limit: memory.Limit()}
		}
		*inputs = w.Inputs(1)
	}
	copies, err := r.copiesOf(w)
	if err != nil {
		return nil, Check{}, &UnsupportedError{System: sys.Name(), Work: w, Reason: err.Error()}
	}
	paths, err := sys.Paths(*inputs, workers)
	if err != nil {
		return nil, Check{}, err
	}
	key := choice{sys.Name(), w, workers}
	if name := r.fastest[key]; name != "" { // as it was when all were tried
		p, err := pathNamed(paths, name)
		if err != nil {
			return nil, Check{}, err
		}
		paths = []Path{*p}
	}
	var best *timed
	var check Check
	for i := range paths {
		most := time.Duration(0)
		if best != nil {
			most = time.Duration(farSlower * 1e9 * best.quickest())
		}
		t, c, err := newTimed(ctx, &paths[i], *inputs, len(paths) > 1, most)
		if err != nil {
			for _, p := range paths[i:] {
				p.close()
			}
			if best != nil {
				best.path.close()
			}
			return nil, Check{}, fmt.Errorf("%s of %s on %s with %d workers: %w", w, sys.Name(), r.set.Name, workers, err)
		}
		t.rest() // before the next is sampled
		slower := t
		if best == nil || len(t.samples) > 0 && t.quickest() < best.quickest() {
			slower, best, check = best, t, c
		}
		if slower != nil {
			slower.path.close()
		}
	}
	r.fastest[key] = best.path.Name
	best.samples = best.samples[:0]
	if copies > 1 {
		if err := r.cool(ctx, sys, *inputs, workers, copies, best); err != nil {
			best.close()
			return nil, Check{}, fmt.Errorf("%s of %s on %s with %d workers: %w", w, sys.Name(), r.set.Name, workers, err)
		}
	}
	return best, check, nil
}
