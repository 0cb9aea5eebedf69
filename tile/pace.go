package tile

import (
	"math/bits"
	"sync"
	"time"
)

const (
	// paceCalls is how many calls a pace looks at before it compares.
	paceCalls = 256

	// aloneTrials and parallelTrials are how many of them go the way that is not taken. Few are
	// enough where that is one worker, whose times differ little. All workers have to wake
	// first, and find their processors free some of the time only: they need more.
	aloneTrials, parallelTrials = 2, 16

	// maxDoubt bounds how often paceCalls is doubled for one worker.
	maxDoubt = 4

	// Work of 1<<minPace to before 1<<maxPace operations has a pace: what is less has one
	// worker, and more loses little when a processor is taken.
	minPace, maxPace = 22, 28
)

// A pace decides whether work of about one size is divided among all workers, or done by one
// because other processes have the other processors. Only the time that calls take tells which
// is faster, so a few calls go the way that is not taken.
type pace struct {
	mu    sync.Mutex
	alone bool // the way taken
	doubt int  // grows each time that all turn out slower: trials, which are few, may have misled
	calls int
	taken timing
	other timing
}

// A timing is how long calls took for each operation.
type timing struct {
	calls int
	sum   float64 // nanoseconds for an operation, of all calls
}

func (t *timing) mean() float64 { return t.sum / float64(t.calls) }

// pace returns the pace of so many operations, nil if there is none.
func (e *Engine) pace(work int64) *pace {
	if i := bits.Len64(uint64(work)) - 1; i >= minPace && i < maxPace {
		return &e.paces[i-minPace]
	}
	return nil
}

// next reports whether the next call is to be on one worker.
func (p *pace) next() (alone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	trials := aloneTrials
	if p.alone {
		trials = parallelTrials
	}
	p.calls++
	return p.alone != (p.calls > p.most()-trials)
}

// most returns the calls before the next comparison.
func (p *pace) most() int {
	if p.alone {
		return paceCalls << p.doubt
	}
	return paceCalls
}

// note takes the time of a call.
func (p *pace) note(alone bool, work int64, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := &p.taken
	if alone != p.alone {
		t = &p.other
	}
	t.calls++
	t.sum += float64(d) / float64(work)
	if p.calls < p.most() {
		return
	}
	switch turn := p.taken.calls > 0 && p.other.calls > 0 && p.other.mean() < p.taken.mean(); {
	case turn && p.alone:
		p.alone = false
	case turn:
		p.alone, p.doubt = true, min(p.doubt+1, maxDoubt)
	case !p.alone:
		p.doubt = max(0, p.doubt-1)
	}
	p.calls, p.taken, p.other = 0, timing{}, timing{}
}
