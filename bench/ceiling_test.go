package bench

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
)

func TestLevels(t *testing.T) {
	caches := []Cache{{"L1", 48 << 10}, {"L2", 1 << 20}, {"L3", 32 << 20}}
	for _, c := range []struct {
		caches  []Cache
		workers int
		names   []string
		one     []int
		all     []int
	}{
		{caches, 2, []string{"L1", "L2", "L3", "memory"}, []int{24 << 10, 512 << 10, 5931008, 128 << 20}, []int{24 << 10, 512 << 10, 4 << 20, 64 << 20}},
		{[]Cache{{"L2", 1 << 20}, {"L3", 2 << 20}}, 2, []string{"L2", "L3", "memory"}, []int{512 << 10, 3 << 19, 64 << 20}, []int{512 << 10, 3 << 19, 32 << 20}},
		{nil, 1, []string{"memory"}, []int{64 << 20}, []int{64 << 20}},
		{[]Cache{{"L3", 1 << 30}}, 1 << 30, []string{"L3", "memory"}, []int{512 << 20, 1 << 30}, []int{1 << 10, 1 << 10}},
	} {
		got := levels(c.caches, c.workers)
		if len(got) != len(c.names) {
			t.Fatalf("%v: %v", c.caches, got)
		}
		for i, l := range got {
			if l.Level != c.names[i] || l.BytesOne != c.one[i] || l.BytesAll != c.all[i] {
				t.Errorf("level %d of %v on %d workers: %+v, want %s, %d, %d", i, c.caches, c.workers, l, c.names[i], c.one[i], c.all[i])
			}
		}
	}
}

func TestMeasureCeilings(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	for _, s := range qkv.Kernels() {
		if s.Missing != 0 || !s.Set.Paired {
			continue
		}
		if c := MeasureCeilings(s.Set, nil, 1); !(c.PeakBFloat16One > 0 && c.PeakBFloat16All > 0) {
			t.Errorf("%s: peak of pairs %g, %g", c.Kernel, c.PeakBFloat16One, c.PeakBFloat16All)
		}
	}
	for _, workers := range []int{1, 2} {
		c := MeasureCeilings(qkv.Kernels()[len(qkv.Kernels())-1].Set, []Cache{{"L1", 32 << 10}}, workers)
		if c.Kernel != "generic" || c.Workers != workers || len(c.Read) != 2 || !(c.PeakGFLOPSOne > 0) || !(c.PeakGFLOPSAll > 0) || c.PeakBFloat16One != 0 {
			t.Errorf("%+v", c)
		}
		for _, l := range c.Read {
			if !(l.GBpsOne > 0 && l.GBpsAll > 0) {
				t.Errorf("%+v", l)
			}
		}
	}
}

// TestPeakCalls: a call has to end before a collection would have to wait for it, whatever a
// round takes, and bursts count all calls over the time that they took. The clock is one that
// only the calls move.
func TestPeakCalls(t *testing.T) {
	for _, c := range []struct {
		round       time.Duration // of a call
		interrupted int           // of as many calls one takes a millisecond more
	}{
		{2, 1 << 30}, {3, 1 << 30}, {100, 1 << 30}, {999, 1 << 30}, {time.Microsecond, 2}, {time.Microsecond, 3},
		{callTime / 2, 1 << 30}, {callTime, 1 << 30}, {time.Millisecond, 1 << 30},
	} {
		synctest.Test(t, func(t *testing.T) {
			calls, longest := 0, time.Duration(0)
			set := kernel.Set{PeakFLOPs: 64}.With(kernel.Funcs{Peak: func(rounds int) {
				d := time.Duration(rounds) * c.round
				longest = max(longest, d)
				if calls++; calls%c.interrupted == 0 {
					d += time.Millisecond
				}
				time.Sleep(d)
			}})
			p := NewPeak(set)
			if want := max(callTime, c.round); longest > want || p.rounds > 1 && longest < callTime/2 {
				t.Errorf("rounds of %v: the longest call takes %v, want %v to %v", c.round, longest, callTime/2, want)
			}
			c.interrupted = 1 << 30
			want := float64(set.PeakFLOPs) / c.round.Seconds()
			if rate := p.Burst(1, time.Millisecond); math.Abs(rate/want-1) > 1e-9 {
				t.Errorf("rounds of %v: %g FLOP/s in a burst, want %g", c.round, rate, want)
			}
		})
	}
}

// TestPeaks: of every set there is a rate.
func TestPeaks(t *testing.T) {
	for _, k := range qkv.Kernels() {
		if k.Missing != 0 {
			continue
		}
		for _, values := range []kernel.Precision{kernel.PrecisionFloat32, kernel.PrecisionBFloat16} {
			if rate := NewMixedPeak(k.Set, kernel.PrecisionInt8, values).Burst(2, time.Millisecond); !(rate > 0) || math.IsInf(rate, 0) {
				t.Errorf("%s: mixed rate %v with values in %v", k.Set.Name, rate, values)
			}
		}
		if rate := NewPeak(k.Set).Burst(2, time.Millisecond); !(rate > 0) || math.IsInf(rate, 0) {
			t.Errorf("%s: %g FLOP/s", k.Set.Name, rate)
		}
	}
}

// TestTogether: each worker goes on until the time is over, and all of the work counts over all
// of the time.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pieces := [3]time.Duration{time.Millisecond, 3 * time.Millisecond, 20 * time.Millisecond}
		var n [3]int
		rate := together(3, 10*time.Millisecond, func(w int) float64 {
			n[w]++
			time.Sleep(pieces[w])
			return 1
		})
		if n != [3]int{10, 4, 1} || math.Abs(rate*0.020/15-1) > 1e-9 {
			t.Errorf("pieces %v, rate %g, want 10, 4, 1 and 15 in 20 ms", n, rate)
		}
	})
}
