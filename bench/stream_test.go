package bench

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

func TestLevelOf(t *testing.T) {
	caches := []Cache{{"L1", 48 << 10}, {"L2", 1 << 20}, {"L3", 32 << 20}}
	for _, c := range []struct {
		workers, part int
		want          string
	}{
		{1, 48 << 10, "L1"}, {8, 48 << 10, "L1"}, {1, 49 << 10, "L1/L2"}, {1, 97 << 10, "L2"}, {4, 1 << 20, "L2"},
		{1, 2 << 20, "L2/L3"}, {1, 3 << 20, "L3"}, {1, 32 << 20, "L3"}, {2, 16 << 20, "L3"},
		{2, 17 << 20, "L3/memory"}, {2, 33 << 20, "memory"}, {1 << 20, 1 << 30, "memory"},
	} {
		if got := levelOf(caches, c.workers, c.part); got != c.want {
			t.Errorf("%d workers' %d bytes fit in %s, want %s", c.workers, c.part, got, c.want)
		}
	}
	if got := levelOf(nil, 1, 1); got != "memory" {
		t.Errorf("without caches: %s", got)
	}
}

// TestStream: all of a stream is written before and read in turn, each part by one worker.
func TestStream(t *testing.T) {
	for _, c := range []struct {
		workers int
		bytes   int64
		part    int
	}{{1, 1, readGrain}, {3, 3 * readGrain, readGrain}, {3, 3*readGrain + 1, 2 * readGrain}, {2, 3 << 20, 3 << 19}} {
		var mu sync.Mutex
		var start *float32
		var data []int // times that each grain was read
		read := func(p *float32, n int) float32 {
			mu.Lock()
			defer mu.Unlock()
			if data != nil {
				at := int(uintptr(unsafe.Pointer(p)) - uintptr(unsafe.Pointer(start)))
				for i := range 4 * n / readGrain {
					data[at/readGrain+i]++
				}
			}
			for _, x := range unsafe.Slice(p, n) {
				if x != 1 {
					t.Errorf("an element is %v", x)
				}
			}
			return 1
		}
		set := kernel.Set{}.With(kernel.Funcs{Read: read})
		s := newStream(set, c.workers, c.bytes, []Cache{{"L1", 1 << 30}})
		if s.part != c.part || !s.fits(c.workers, c.bytes) || s.fits(c.workers+1, c.bytes) || s.fits(c.workers, c.bytes+readGrain*int64(c.workers)) {
			t.Errorf("%d bytes on %d workers: parts of %d, want %d", c.bytes, c.workers, s.part, c.part)
		}
		for _, level := range []string{"L1", levelMemory} {
			s.level = level
			start, data = &s.buf.data[0], make([]int, c.workers*c.part/readGrain)
			if rate := s.burst(2 * time.Millisecond); !(rate > 0) {
				t.Errorf("a rate of %g", rate)
			}
			most := 0
			for _, n := range data {
				most = max(most, n)
			}
			for i, n := range data {
				if level == "L1" && n == 0 {
					t.Errorf("grain %d of %d is not read", i, len(data))
				}
			}
			if most == 0 {
				t.Error("nothing is read")
			}
		}
	}
}

// TestStreamGoesOn: what no cache holds is read on from where the last burst ended.
func TestStreamGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := func(*float32, int) float32 { time.Sleep(time.Millisecond); return 1 }
		s := newStream(kernel.Set{}.With(kernel.Funcs{Read: read}), 1, 4*readCall, nil)
		for i := range 6 {
			if at, want := s.buf.pos[0].next, i%4*readCall/4; at != want {
				t.Errorf("burst %d begins at element %d, want %d", i, at, want)
			}
			if rate, want := s.burst(time.Millisecond), readCall/1e-3; !near(rate, want) {
				t.Errorf("burst %d: %g bytes a second, want %g", i, rate, want)
			}
		}
	})
}

func TestRoofline(t *testing.T) {
	for _, c := range []struct {
		read, efficiency float64
		precision        string
		limit            string
		fraction         float64
	}{
		{20e9, 0.3, "", LimitBandwidth, 0.5},
		{20e9, 0.6, "", LimitFMA, 0.6},
		{20e9, 0.3, "Int8", LimitBandwidth, 0.5},
		{20e9, 0.6, "Int8", LimitArithmetic, 0.6},
	} {
		r := Run{SecondsMedian: 0.1, Efficiency: c.efficiency, Precision: c.precision}
		r.roofline(1e9, c.read, "L3")
		if r.ReadBytes != 1e9 || !near(r.GBps, 10) || !near(r.ReadGBps, 20) || !near(r.OfRead, 0.5) || r.ReadLevel != "L3" {
			t.Errorf("%+v", r)
		}
		if r.Limit != c.limit || !near(r.OfLimit, c.fraction) {
			t.Errorf("%g of the peak: %s, %g, want %s, %g", c.efficiency, r.Limit, r.OfLimit, c.limit, c.fraction)
		}
	}
}

func TestDecodes(t *testing.T) {
	for text, want := range map[string]bool{
		"h=1,sq=1,skv=9,d=1": true, "h=32,sq=16,d=1": true, "h=1,sq=17,d=1": false,
		"b=2,h=1,sq=512,d=1,prefill=1": true, "b=2,h=1,sq=512,d=1,ragged=1": false,
	} {
		if got := parse(t, text).Decodes(); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
