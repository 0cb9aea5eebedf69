package bench

import (
	"time"

	"github.com/qkv-go/qkv/kernel"
)

// callTime is about how long one call into a kernel lasts: the runtime cannot
// interrupt machine code, and a garbage collection waits for it.
const callTime = 50 * time.Microsecond

// A Peak measures the peak rate of fused multiply-adds of a kernel set, at its own
// vector width, or that of the instructions of a numerical class.
type Peak struct {
	run    func(rounds int)
	ops    int // of a round
	rounds int // per call
}

// NewPeak finds the rounds that last about as long as a call should.
func NewPeak(set *kernel.Set) *Peak { return NewPeakOf(set, kernel.PrecisionFloat32) }

// NewPeakOf is NewPeak of products of a class. That of class BFloat16 is of single numbers or of pairs, whichever
// is faster.
func NewPeakOf(set *kernel.Set, class kernel.Precision) *Peak {
	if class == kernel.PrecisionInt8 {
		return newPeak(set.PeakInt8, set.PeakInt8Ops)
	}
	p := newPeak(set.Peak, set.PeakFLOPs)
	if class == kernel.PrecisionBFloat16 && set.Paired {
		const burst = time.Millisecond
		if pairs := newPeak(set.PeakBFloat16, set.PeakBFloat16FLOPs); pairs.Burst(1, burst) > p.Burst(1, burst) {
			return pairs
		}
	}
	return p
}

// NewMixedPeak is the peak of as many operations of one class as of another, in turns.
func NewMixedPeak(set *kernel.Set, a, b kernel.Precision) *Peak {
	p, q := NewPeakOf(set, a), NewPeakOf(set, b)
	ofP, ofQ := q.ops, p.ops // rounds
	for x, y := ofP, ofQ; ; x, y = y, x%y {
		if y == 0 {
			ofP, ofQ = ofP/x, ofQ/x
			break
		}
	}
	return newPeak(func(rounds int) {
		p.run(rounds * ofP)
		q.run(rounds * ofQ)
	}, ofP*p.ops+ofQ*q.ops)
}

// newPeak finds the rounds of what has so many operations a round.
func newPeak(run func(rounds int), ops int) *Peak {
	p := &Peak{run: run, ops: ops, rounds: 1}
	for p.rounds < 1<<20 {
		best := time.Duration(1 << 62)
		for range 3 { // the least of three: an interruption would end the search early
			start := time.Now()
			p.run(p.rounds)
			best = min(best, time.Since(start))
		}
		if best >= callTime/2 {
			break
		}
		p.rounds *= 2
	}
	return p
}

// Burst runs multiply-adds on workers goroutines at once for d, in calls of less than
// 100 µs, and returns their rate in operations a second: all operations over the time from the
// first start to the last end. Interruptions count, as they do in a timed run.
func (p *Peak) Burst(workers int, d time.Duration) float64 {
	flops := float64(p.rounds) * float64(p.ops)
	return together(workers, d, func(int) float64 {
		p.run(p.rounds)
		return flops
	})
}
