package bench

import (
	"slices"
	"time"

	"github.com/qkv-go/qkv/kernel"
)

// A Clock is the frequency at which cores run under a load, as they count it themselves: by a
// chain of operations, each of which takes the result of the one before and a cycle.
type Clock struct {
	Load   string  `json:"load"` // integer or FMA
	GHzOne float64 `json:"ghz_one"`
	GHzAll float64 `json:"ghz_all"`
}

// Loads of a [Clock].
const (
	loadInteger = "integer" // the chain alone
	loadFMA     = "FMA"     // right after calls of multiply-adds at the set's vector width
)

const (
	chainOps   = 1 << 15 // about 10 µs
	clockCalls = 400
)

// measureClocks measures the clock on one worker and on workers at once.
func measureClocks(set *kernel.Set, peak *Peak, workers int) []Clock {
	clocks := []Clock{{Load: loadInteger}, {Load: loadFMA}}
	for i := range clocks {
		before := func() {}
		if clocks[i].Load == loadFMA {
			before = func() { set.Peak(peak.rounds) }
		}
		clocks[i].GHzOne = clock(1, before)
		clocks[i].GHzAll = clock(workers, before)
	}
	return clocks
}

// clock returns the median of chains on so many workers, in GHz. What is interrupted is
// slower, so that the upper half of them counts.
func clock(workers int, before func()) float64 {
	rates := make([][]float64, workers)
	sums := make([]uint64, workers)
	together(workers, clockCalls*25*time.Microsecond, func(w int) float64 {
		before()
		start := time.Now()
		sums[w] = chain(sums[w])
		rates[w] = append(rates[w], chainOps/float64(time.Since(start).Nanoseconds()))
		return 1
	})
	return quantile(slices.Concat(rates...), 0.75)
}

// chain does chainOps additions and exclusive ors in turns, one after the other: of additions
// alone a compiler makes fewer.
func chain(x uint64) uint64 {
	y := x + 1
	for range chainOps / 8 {
		x += y
		y ^= x
		x += y
		y ^= x
		x += y
		y ^= x
		x += y
		y ^= x
	}
	return x
}
