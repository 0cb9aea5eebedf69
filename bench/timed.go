package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// longCall is how long a call takes that is not made again without need: the first of a shorter
// one says little, and costs little.
const longCall = 100 * time.Millisecond

// timed is a path that is right and warm. Of a cold work others like it take turns with it.
type timed struct {
	path    *Path
	turns   []*Path // path first, nil of a work that is not cold
	next    int     // of turns
	flops   float64
	calls   int           // of a sample
	cost    time.Duration // of a sample
	samples []float64     // seconds of a call
}

// newTimed checks a path against float64 and finds how many calls make a sample. One that is
// to be compared with others is sampled, unless its first two calls take longer than most, if that
// is not 0.
func newTimed(ctx context.Context, p *Path, in Inputs, compare bool, most time.Duration) (*timed, Check, error) {
	t := &timed{path: p, flops: in.Work().FLOPs(), calls: 1}
	if p.Bind != nil {
		p.Bind(ctx)
	}
	in.Spoil()
	start := time.Now()
	err := p.Compute()
	cost := time.Since(start)
	if err != nil {
		return nil, Check{}, fmt.Errorf("%s: %w", p.Name, err)
	}
	check, err := in.Check(ctx, CheckRows, p)
	if err != nil {
		return nil, Check{}, fmt.Errorf("%s is wrong: %w", p.Name, err)
	}
	if limit := max(most, longCall); most != 0 && cost > limit {
		// A call that the machine held up does not tell: the next one does.
		start = time.Now()
		if err := p.Compute(); err != nil {
			return nil, Check{}, fmt.Errorf("%s: %w", p.Name, err)
		}
		if cost = time.Since(start); cost > limit {
			return t, check, nil
		}
	}
	t.cost = cost
	// Calls until now were the first: count them again, warm, if they are short.
	if cost < minSample {
		if err := t.count(); err != nil {
			return nil, Check{}, err
		}
	}
	if compare {
		if _, err := t.round(ctx, 3*between); err != nil {
			return nil, Check{}, err
		}
	}
	return t, check, nil
}

// count finds how many calls make a sample, and what one costs.
func (t *timed) count() (err error) {
	for t.calls = 1; ; t.calls *= 2 {
		if t.cost, err = t.sample(t.calls); err != nil || t.cost >= minSample {
			return err
		}
	}
}

// call calls the path once, or the next of those that take turns.
func (t *timed) call() error {
	if t.turns == nil {
		return t.path.Run()
	}
	p := t.turns[t.next]
	t.next = (t.next + 1) % len(t.turns)
	return p.Run()
}

// close closes all paths.
func (t *timed) close() {
	t.path.close()
	for i := 1; i < len(t.turns); i++ {
		t.turns[i].close()
	}
}

// quickest returns the least time of a call among the samples.
func (t *timed) quickest() float64 {
	if len(t.samples) == 0 {
		return 0
	}
	return slices.Min(t.samples)
}

// rest has threads of the path leave the processors alone.
func (t *timed) rest() {
	for _, p := range append([]*Path{t.path}, t.turns...) {
		if p.Rest != nil {
			p.Rest()
		}
	}
}

// warm brings back what bursts of reading have driven out of the caches, unless the calls are
// too long for that to show, or nothing is to be there.
func (t *timed) warm() error {
	if t.cost > between || t.turns != nil {
		return nil
	}
	return t.path.Run()
}

// sample times that many calls together.
func (t *timed) sample(calls int) (time.Duration, error) {
	start := time.Now()
	for range calls {
		if err := t.call(); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

// counted takes a round of samples under counters, if there are any.
func (t *timed) counted(ctx context.Context, counters *counterSet) (seconds float64, err error) {
	if counters == nil {
		return t.round(ctx, between)
	}
	if err := counters.start(); err != nil {
		return 0, err
	}
	seconds, err = t.round(ctx, between)
	return seconds, errors.Join(err, counters.stop())
}

// round takes samples until d has passed, at least one, and returns the median of a call's
// seconds.
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
			return median(slices.Clone(t.samples[first:])), nil
		}
	}
}

// median returns the median of x, which it sorts.
func median(x []float64) float64 { return quantile(x, 0.5) }

// quantile returns the value below which that fraction of x lies, between the two nearest. It
// sorts x.
func quantile(x []float64, fraction float64) float64 {
	slices.Sort(x)
	at := fraction * float64(len(x)-1)
	i := int(at)
	j := min(i+1, len(x)-1)
	return x[i] + (at-float64(i))*(x[j]-x[i])
}
