package bench

import (
	"math"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const stat = "cpu  100 20 30 4000 50 6 7 80 9 0\ncpu0 1 2 3 4 5 6 7 8 9 0\ncpu1 1 2 3 4 5 6 7 8 9 0\nintr 1 2\n"
	got, ok := parseStat(stat)
	if want := (ticks{processors: 2, busy: 163, steal: 80}); !ok || got != want {
		t.Errorf("%+v, %v, want %+v", got, ok, want)
	}
	for _, bad := range []string{"", "cpu 1 2 3\ncpu0 1\n", "cpu  1 2 3 4 5 6 7 x\ncpu0 1\n", "cpu  1 2 3 4 5 6 7 8\n", "intr 1\n"} {
		if got, ok := parseStat(bad); ok {
			t.Errorf("%q is %+v", bad, got)
		}
	}
	for text, want := range map[string]float64{"6.58 2.77 1.44 22/183 15958\n": 6.58, "": 0, "-1 2": 0, "NaN": 0} {
		if got := parseLoadAverage(text); got != want {
			t.Errorf("%q is a load of %v, want %v", text, got, want)
		}
	}
}

func TestLoadSince(t *testing.T) {
	start := time.Now()
	from := &loadMark{at: start, ticks: ticks{4, 1000, 500}, own: time.Second}
	to := &loadMark{at: start.Add(2 * time.Second), ticks: ticks{4, 1600, 540}, own: 4 * time.Second, beside: time.Second, average: 3}
	if got, want := to.since(from), (Load{2, 4, 1.5, 1, 0.5, 0.2, 3}); *got != want {
		t.Errorf("%+v, want %+v", *got, want)
	}
	// The ticks of the system are coarser than the time of a process, and counts go back.
	to.ticks = ticks{4, 1100, 400}
	if got := to.since(from); got.Others != 0 || got.Steal != 0 {
		t.Errorf("%+v", *got)
	}
	if got := from.since(from); got != nil {
		t.Errorf("%+v of no time", *got)
	}
}

// TestWatchLoad: what this process takes is its own.
func TestWatchLoad(t *testing.T) {
	end := watchLoad(0)
	for start := time.Now(); time.Since(start) < 20*time.Millisecond; {
	}
	l := end()
	if l == nil {
		t.Skip("the operating system does not tell")
	}
	if !(l.Own > 0 && l.Seconds >= 0.02 && l.Processors > 0) || math.IsNaN(l.Others) || l.Others < 0 || l.Steal < 0 {
		t.Errorf("%+v", *l)
	}
}

func TestSystemName(t *testing.T) {
	for text, want := range map[string]string{
		"NAME=\"Debian GNU/Linux\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n": "Debian GNU/Linux 12 (bookworm)",
		"PRETTY_NAME=Alpine": "Alpine", "NAME=x": "", "": "",
	} {
		if got := systemName(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}
