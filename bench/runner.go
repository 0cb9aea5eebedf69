package bench

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
)

// Options say how a [Runner] measures. The zero value is a good choice.
type Options struct {
	Kernel string        // kernel set, see [qkv.Config]
	Labels bool          // label phases for profiles, see [qkv.Config]
	Time   time.Duration // timing each run, 0 means 1.2 s
	Burst  time.Duration // each burst of the peak, and of reading, 0 means 10 ms

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
	minSamples = 3
)

// A Runner measures shapes on one kernel set.
type Runner struct {
	opts     Options
	set      *kernel.Set
	peak     *Peak
	operands *Operands // of the last run
	unmasked *Operands // of the last shape that it was compared with
	stream   *stream   // of the last run of a shape that decodes
	caches   []Cache
}

// NewRunner returns a Runner. The error is that of [qkv.New].
func NewRunner(opts Options) (*Runner, error) {
	if opts.Time == 0 {
		opts.Time = defaultTime
	}
	if opts.Burst == 0 {
		opts.Burst = defaultBurst
	}
	a, err := qkv.New(qkv.Config{Kernel: opts.Kernel})
	if err != nil {
		return nil, err
	}
	return &Runner{opts: opts, set: a.Kernel(), peak: NewPeak(a.Kernel()), caches: dataCaches()}, nil
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
		var share time.Duration
		if limit != 0 {
			left := limit - time.Since(start)
			share = max(1, min(left, 3*left/time.Duration(len(jobs)-i)))
			if needs := r.estimate(j); needs > share {
				done(i, nil, &Skip{
					Name: j.Shape.String(), Kernel: r.set.Name, Workers: j.workers(),
					Needs: needs.Seconds(), Share: share.Seconds(),
				})
				continue
			}
		}
		run, err := r.Run(ctx, j, share)
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

// estimate returns the least time for a job: two calls, one to check and one to time,
// at half the peak, and the operands.
func (r *Runner) estimate(j Job) time.Duration {
	const fill = 100e6 // bytes a second
	rate := r.peak.Burst(j.workers(), r.opts.Burst)
	shapes := []Shape{j.Shape}
	if u, other := j.Shape.Unmasked(); r.opts.Unmasked && other {
		shapes = append(shapes, u)
	}
	var needs time.Duration
	for _, s := range shapes {
		needs += time.Duration(1e9 * (2*s.FLOPs()/(rate/2) + float64(s.Bytes())/fill))
	}
	return needs
}

// Run checks the job against float64 and times it. It takes about Options.Time, twice that
// beside an unmasked shape, or as long as three calls; with a limit other than 0, it
// stops sampling when that has passed.
func (r *Runner) Run(ctx context.Context, j Job, limit time.Duration) (Run, error) {
	start := time.Now()
	workers := j.workers()
	run := Run{
		Name:    j.Shape.String(),
		Batch:   j.Shape.Batch,
		Heads:   j.Shape.Heads,
		KVHeads: j.Shape.KVHeads,
		SeqQ:    j.Shape.SeqQ,
		SeqKV:   j.Shape.SeqKV,
		DimQK:   j.Shape.DimQK,
		DimV:    j.Shape.DimV,
		Mask:    MaskName(j.Shape.Mask),
		Options: j.Shape.Options(),
		DType:   "float32",
		KDType:  elemName(j.Shape.KV.K),
		VDType:  elemName(j.Shape.KV.V),
		Kernel:  r.set.Name,
		Workers: workers,
		FLOPs:   j.Shape.FLOPs(),
	}
	a, err := qkv.New(qkv.Config{Kernel: r.opts.Kernel, Workers: workers, Labels: r.opts.Labels})
	if err != nil {
		return Run{}, err
	}
	shape, check, err := r.prepare(a, j.Shape, &r.operands)
	if err != nil {
		return Run{}, err
	}
	run.CheckedRows, run.MaxError, run.ErrorOfBound = check.Rows, check.MaxError, check.OfBound
	run.Calls, run.Path = shape.calls, shape.path
	budget, cost := r.opts.Time, shape.cost
	var unmasked *timed
	if u, other := j.Shape.Unmasked(); r.opts.Unmasked && other {
		if unmasked, _, err = r.prepare(a, u, &r.unmasked); err != nil {
			return Run{}, err
		}
		run.Unmasked = u.String()
		budget, cost = 2*budget, cost+unmasked.cost
	}
	stream, bytes := r.streamOf(j.Shape, workers)

	runtime.GC() // what is left of checking is not to be collected under the clock
	var bursts, reads, ratios []float64
	deadline := time.Now().Add(budget)
	late := func(t time.Time) bool { return limit != 0 && t.Sub(start)+cost > limit }
	enough := func() bool {
		return len(shape.samples) >= minSamples && (unmasked == nil || len(ratios) >= minSamples)
	}
	burst := func() error {
		bursts = append(bursts, r.peak.Burst(workers, r.opts.Burst))
		if stream == nil {
			return nil
		}
		reads = append(reads, stream.burst(r.opts.Burst))
		return shape.warm()
	}
	if err := burst(); err != nil {
		return Run{}, err
	}
	for {
		rate, err := shape.round(ctx, between)
		if err != nil {
			return Run{}, err
		}
		if unmasked != nil {
			other, err := unmasked.round(ctx, between)
			if err != nil {
				return Run{}, err
			}
			ratios = append(ratios, rate/other)
		}
		if err := burst(); err != nil {
			return Run{}, err
		}
		if now := time.Now(); late(now) || now.After(deadline) && enough() {
			break
		}
	}
	run.Samples, run.Bursts = len(shape.samples), len(bursts)
	run.SecondsMedian, run.SecondsMin = median(shape.samples), slices.Min(shape.samples)
	run.GFLOPS = 1e-9 * run.FLOPs / run.SecondsMedian
	run.PeakGFLOPS = 1e-9 * median(bursts)
	run.Efficiency = run.GFLOPS / run.PeakGFLOPS
	if stream != nil {
		run.roofline(bytes, median(reads), stream.level)
	}
	if unmasked != nil {
		run.UnmaskedGFLOPS = 1e-9 * unmasked.flops / median(unmasked.samples)
		run.OfUnmasked = median(ratios)
	}
	return run, nil
}

// streamOf returns what to read in turns with a shape, and how much of it its calls read. It
// returns nil for a shape that does not decode, or has no key to read.
func (r *Runner) streamOf(s Shape, workers int) (*stream, int64) {
	if !s.Decodes() {
		return nil, 0
	}
	bytes := s.KVBytes()
	if bytes == 0 {
		return nil, 0
	}
	if r.stream == nil || !r.stream.fits(workers, bytes) {
		r.stream = nil // for the collector
		r.stream = newStream(r.set, workers, bytes, r.caches)
	}
	return r.stream, bytes
}

// timed is a call that is right and warm.
type timed struct {
	a       *qkv.Engine
	call    *qkv.Call
	path    string
	flops   float64
	calls   int           // of a sample
	cost    time.Duration // of a sample
	samples []float64     // seconds of a call
}

// prepare checks a shape against float64 and finds how many calls make a sample. It keeps
// the operands.
func (r *Runner) prepare(a *qkv.Engine, s Shape, operands **Operands) (*timed, Check, error) {
	if *operands == nil || (*operands).Shape != s {
		*operands = nil // for the collector
		*operands = NewOperands(s, 1)
	}
	o := *operands
	t := &timed{a: a, call: o.Call(), flops: s.FLOPs(), calls: 1}

	o.Spoil()
	cost, err := t.sample(1)
	if err != nil {
		return nil, Check{}, err
	}
	check, err := o.Check(CheckRows)
	if err != nil {
		return nil, Check{}, fmt.Errorf("%s on %s with %d workers is wrong: %w", s, r.set.Name, a.Workers(), err)
	}
	t.call.LSE = nil // only the output is timed
	plan, err := a.Explain(t.call)
	if err != nil {
		return nil, Check{}, err
	}
	t.path = plan.Path

	// Calls until now were the first: count them again, warm, if they are short.
	for cost < minSample {
		if cost, err = t.sample(t.calls); err != nil {
			return nil, Check{}, err
		}
		if cost < minSample {
			t.calls *= 2
		}
	}
	t.cost = cost
	return t, check, nil
}

// warm brings back what bursts of reading have driven out of the caches, unless the calls are
// too long for that to show.
func (t *timed) warm() error {
	if t.cost > between {
		return nil
	}
	return t.a.Run(t.call)
}

// sample times that many calls together.
func (t *timed) sample(calls int) (time.Duration, error) {
	start := time.Now()
	for range calls {
		if err := t.a.Run(t.call); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

// round takes samples until d has passed, at least one, and returns their rate in FLOP/s.
func (t *timed) round(ctx context.Context, d time.Duration) (float64, error) {
	start := time.Now()
	first := len(t.samples)
	for {
		cost, err := t.sample(t.calls)
		if err != nil {
			return 0, err
		}
		t.samples = append(t.samples, cost.Seconds()/float64(t.calls))
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if time.Since(start) > d {
			return t.flops / median(slices.Clone(t.samples[first:])), nil
		}
	}
}

// median returns the median of x, which it sorts.
func median(x []float64) float64 {
	slices.Sort(x)
	n := len(x)
	return (x[(n-1)/2] + x[n/2]) / 2
}
