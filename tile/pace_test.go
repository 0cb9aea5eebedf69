package tile

import (
	"testing"
	"time"
)

// TestPace has calls take what they would beside processes that come and go, and looks at how
// much longer they take than the faster way.
func TestPace(t *testing.T) {
	const work = 1 << minPace
	var p pace
	run := func(alone, parallel func(i int) time.Duration) (all, best time.Duration) {
		var sums [2]time.Duration
		for i := range 160 * paceCalls {
			a, s := alone(i), parallel(i)
			d, one := s, p.next()
			if one {
				d = a
			}
			p.note(one, work, d)
			all += d
			sums[0], sums[1] = sums[0]+a, sums[1]+s
		}
		return all, min(sums[0], sums[1])
	}
	always := func(d time.Duration) func(int) time.Duration {
		return func(int) time.Duration { return d * time.Microsecond }
	}
	for _, c := range []struct {
		name            string
		alone, parallel func(i int) time.Duration
		most            float64 // times the faster way
	}{
		{"free", always(140), always(75), 1.02},
		{"taken", always(140), always(200), 1.06},
		{"free again", always(140), always(75), 1.05},
		{"away some of the time", always(140), func(i int) time.Duration { // 3 ms in every 4
			if i%20 == 19 {
				return 3 * time.Millisecond
			}
			return 80 * time.Microsecond
		}, 1.10},
		{"hardly ever away", always(140), func(i int) time.Duration {
			if i%500 == 499 {
				return 3 * time.Millisecond
			}
			return 80 * time.Microsecond
		}, 1.06},
	} {
		all, best := run(c.alone, c.parallel)
		if over := float64(all) / float64(best); over > c.most {
			t.Errorf("%s: %.3f times as long as the faster way, want at most %g", c.name, over, c.most)
		}
	}
}

// TestPaceSizes: short and long work have no pace, and each size one of its own.
func TestPaceSizes(t *testing.T) {
	e := new(Engine)
	if e.pace(0) != nil || e.pace(1<<minPace-1) != nil || e.pace(1<<maxPace) != nil {
		t.Error("a pace for work that is too short or too long")
	}
	if a, b := e.pace(1<<minPace), e.pace(1<<maxPace-1); a == nil || b == nil || a == b {
		t.Errorf("paces %p and %p", a, b)
	}
}
