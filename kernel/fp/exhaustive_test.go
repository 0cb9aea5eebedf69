package fp

import (
	"flag"
	"math"
	"runtime"
	"sync"
	"testing"
)

var exhaustive = flag.Bool("exhaustive", false, "bound errors at every float32, not at a sample")

// strideOf returns of how many float32 one is tested.
func strideOf(sample, short uint32) uint32 {
	switch {
	case *exhaustive:
		return 1
	case testing.Short():
		return short
	}
	return sample
}

// A worstCase is the argument with the largest of some errors.
type worstCase struct {
	at    float32
	error float64
}

func (w *worstCase) note(at float32, error float64) {
	if !(error <= w.error) {
		*w = worstCase{at, error}
	}
}

// eachFloat calls f with consecutive parts of the bits from lo to hi, on all processors, and
// returns the worst of all.
func eachFloat(lo, hi uint32, f func(lo, hi uint32) worstCase) (worst worstCase) {
	var mu sync.Mutex
	var done sync.WaitGroup
	parts := uint64(4 * runtime.GOMAXPROCS(0))
	span := uint64(hi-lo) + 1
	sem := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i := range parts {
		from, to := lo+uint32(span*i/parts), lo+uint32(span*(i+1)/parts-1)
		sem <- struct{}{}
		done.Go(func() {
			w := f(from, to)
			mu.Lock()
			worst.note(w.at, w.error)
			mu.Unlock()
			<-sem
		})
	}
	done.Wait()
	return worst
}

// ulpsOf returns how far a float32 is from what it should be, in units of its last place: of
// 2^-126 where that is subnormal.
func ulpsOf(got, want float64) float64 {
	e := max(int(math.Float64bits(math.Abs(want))>>52)-1023, -126)
	return math.Abs(got-want) * math.Float64frombits(uint64(1023+23-e)<<52)
}
