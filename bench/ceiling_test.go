package bench

import (
	"testing"
	"time"

	"github.com/qkv-go/qkv"
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
	for _, workers := range []int{1, 2} {
		c := MeasureCeilings(qkv.Kernels()[len(qkv.Kernels())-1].Set, []Cache{{"L1", 32 << 10}}, workers)
		if c.Kernel != "generic" || c.Workers != workers || len(c.Read) != 2 || !(c.PeakGFLOPSOne > 0) || !(c.PeakGFLOPSAll > 0) {
			t.Errorf("%+v", c)
		}
		for _, l := range c.Read {
			if !(l.GBpsOne > 0.01 && l.GBpsAll > 0.01) {
				t.Errorf("%+v", l)
			}
		}
	}
}

// TestPeakCalls: a call has to end before a collection would have to wait for it.
func TestPeakCalls(t *testing.T) {
	for _, k := range qkv.Kernels() {
		if k.Missing != 0 {
			continue
		}
		p := NewPeak(k.Set)
		best := time.Hour
		for range 20 {
			start := time.Now()
			k.Set.Peak(p.rounds)
			best = min(best, time.Since(start))
		}
		if best > 2*callTime {
			t.Errorf("%s: a call of Peak takes %v", k.Set.Name, best)
		}
		// Bursts agree with the clock on single calls; the best of both, since others
		// use the machine too.
		want, rate := float64(p.rounds*k.Set.PeakFLOPs)/best.Seconds(), 0.0
		for range 20 {
			rate = max(rate, p.Burst(1, time.Millisecond))
		}
		if !(rate > want/4 && rate < want*4) {
			t.Errorf("%s: %g FLOP/s in bursts, %g in the best call", k.Set.Name, rate, want)
		}
	}
}

func TestTogether(t *testing.T) {
	var n [3]int
	rate := together(3, 2*time.Millisecond, func(w int) float64 {
		n[w]++
		return 1
	})
	if n[0] == 0 || n[1] == 0 || n[2] == 0 || rate <= 0 || rate > float64(n[0]+n[1]+n[2])/0.002 {
		t.Errorf("pieces %v, rate %g", n, rate)
	}
}
