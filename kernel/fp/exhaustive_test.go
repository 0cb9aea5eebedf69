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

// A curve is an exact function of float32 of one sign. Where each of them is asked for, those whose bits differ in the
// last 6 alone have the values of one parabola, through the first, the one in the middle and the one after the last: they
// lie evenly in a 2^17th of their size. TestCurves bounds how far it is off.
type curve struct {
	f     func(float64) float64
	every bool

	block        uint64 // of bits, and one more
	first, slope float64
	bend         float64
}

// curveOf returns a curve, exact unless every float32 is tested.
func curveOf(f func(float64) float64) curve { return curve{f: f, every: *exhaustive} }

// at returns f of the float32 of some bits.
func (c *curve) at(b uint32) float64 {
	if !c.every {
		return c.f(float64(math.Float32frombits(b)))
	}
	const size = 1 << 6
	if block := uint64(b/size) + 1; block != c.block {
		x := float64(math.Float32frombits(b &^ (size - 1)))
		half := float64(math.Float32frombits(b&^(size-1)|size/2)) - x
		y0, y1, y2 := c.f(x), c.f(x+half), c.f(x+2*half)
		c.block, c.first, c.slope, c.bend = block, y0, y1-y0, ((y2-y1)-(y1-y0))/2
	}
	t := float64(b%size) / (size / 2)
	return c.first + t*(c.slope+(t-1)*c.bend)
}

// TestCurves: a parabola is off by less than a 2,000th of a last place of float32.
func TestCurves(t *testing.T) {
	for name, c := range map[string]struct {
		f      func(float64) float64
		lo, hi float32
	}{
		"exp2": {wideExp2, -0x1p-26, -63}, "tanh": {exactSoftcap, 0x1p-20, 40},
		"SiLU above 0": {exactSiLU, 0x1p-20, 128}, "SiLU": {exactSiLU, -0x1p-20, -88.3},
		"GELUTanh above 0": {exactGELUTanh, 0x1p-20, 128}, "GELUTanh": {exactGELUTanh, -0x1p-20, -10},
		"GELU above 0": {exactGELU, 0x1p-20, 128}, "GELU": {exactGELU, -0x1p-20, -13.2},
	} {
		worst := worstCase{}
		near, every := curveOf(c.f), uint32(5003)
		near.every = true
		for b := math.Float32bits(c.lo); b <= math.Float32bits(c.hi); b += every {
			x := math.Float32frombits(b)
			worst.note(x, ulpsOf(near.at(b), c.f(float64(x))))
		}
		t.Logf("%s: off by %.3g ulp at %v", name, worst.error, worst.at)
		if !(worst.error <= 1.0/2000) {
			t.Errorf("%s: off by %g ulp at %v", name, worst.error, worst.at)
		}
	}
}

// ulpsOf returns how far a float32 is from what it should be, in units of its last place: of
// 2^-126 where that is subnormal.
func ulpsOf(got, want float64) float64 {
	e := max(int(math.Float64bits(math.Abs(want))>>52)-1023, -126)
	return math.Abs(got-want) * math.Float64frombits(uint64(1023+23-e)<<52)
}
