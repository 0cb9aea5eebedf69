package bench

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// together repeats piece on each of workers goroutines at once until d is over and
// returns the amount of work done per second, all of them added. A piece returns its
// amount; it should be short beside d.
func together(workers int, d time.Duration, piece func(worker int) float64) float64 {
	type span struct {
		work       float64
		start, end time.Time
	}
	spans := make([]span, workers)
	var arrived atomic.Int64
	var done sync.WaitGroup
	for w := range workers {
		done.Go(func() {
			// Waking takes tens of microseconds, and not for all the same: the
			// clock starts when the last one is awake.
			arrived.Add(1)
			for arrived.Load() < int64(workers) {
				runtime.Gosched()
			}
			s := span{start: time.Now()}
			for s.end.Sub(s.start) < d {
				s.work += piece(w)
				s.end = time.Now()
			}
			spans[w] = s
		})
	}
	done.Wait()
	var work float64
	start, end := spans[0].start, spans[0].end
	for _, s := range spans {
		work += s.work
		if s.start.Before(start) {
			start = s.start
		}
		if s.end.After(end) {
			end = s.end
		}
	}
	return work / end.Sub(start).Seconds()
}
