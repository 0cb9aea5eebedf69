package bench

import (
	"strconv"
	"strings"
	"time"
)

// A Load is what else ran on a machine while something was measured. Own, Others, Neighbour and
// Steal are in processors: 0.5 is half of one, all the time.
type Load struct {
	Seconds    float64 `json:"seconds"`             // that were watched
	Processors int     `json:"processors"`          // of the machine
	Own        float64 `json:"own"`                 // what this process took
	Others     float64 `json:"others"`              // what other processes and the system took
	Neighbour  float64 `json:"neighbour,omitempty"` // what the neighbour took, see [Run.Neighbour]
	Steal      float64 `json:"steal"`               // what other virtual machines took of these processors
	Average    float64 `json:"load_average"`        // of the last minute, at the end
}

// ticks are how long the processors of a machine did what, in hundredths of a second, since it
// was started.
type ticks struct {
	processors  int
	busy, steal uint64
}

const tick = 10 * time.Millisecond // of /proc/stat, on every architecture of Go

// parseStat reads the text of /proc/stat (proc_stat(5)).
func parseStat(text string) (t ticks, ok bool) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || !strings.HasPrefix(f[0], "cpu") {
			break
		}
		if f[0] != "cpu" {
			t.processors++
			continue
		}
		// user, nice, system, idle, iowait, irq, softirq, steal; what follows is part of user.
		if len(f) < 9 {
			return ticks{}, false
		}
		for i, text := range f[1:9] {
			n, err := strconv.ParseUint(text, 10, 64)
			switch {
			case err != nil:
				return ticks{}, false
			case i == 3 || i == 4:
			case i == 7:
				t.steal = n
			default:
				t.busy += n
			}
		}
		ok = true
	}
	return t, ok && t.processors > 0
}

// parseLoadAverage reads the text of /proc/loadavg. It returns 0 for what is none.
func parseLoadAverage(text string) float64 {
	one, _, _ := strings.Cut(text, " ")
	x, err := strconv.ParseFloat(one, 64)
	if err != nil || !(x >= 0) {
		return 0
	}
	return x
}

// A loadMark is a moment at which a load begins or ends.
type loadMark struct {
	at      time.Time
	ticks   ticks
	own     time.Duration // processor time of this process
	beside  time.Duration // of the neighbour
	average float64
}

// since returns the load between two moments.
func (m *loadMark) since(from *loadMark) *Load {
	seconds := m.at.Sub(from.at).Seconds()
	if seconds <= 0 {
		return nil
	}
	processors := func(d time.Duration) float64 { return max(0, d.Seconds()) / seconds }
	// Counts of stolen time were seen to go back.
	passed := func(from, to uint64) time.Duration { return time.Duration(max(from, to)-from) * tick }
	own, beside := m.own-from.own, m.beside-from.beside
	return &Load{
		Seconds: seconds, Processors: m.ticks.processors,
		Own: processors(own), Neighbour: processors(beside), Others: processors(passed(from.ticks.busy, m.ticks.busy) - own - beside), Steal: processors(passed(from.ticks.steal, m.ticks.steal)),
		Average: m.average,
	}
}

// watchLoad begins to watch what runs on the machine, with a neighbour if its process is not 0. What
// it returns ends that, and returns nil where the operating system does not tell.
func watchLoad(neighbour int) (end func() *Load) {
	from, ok := markLoad(neighbour)
	if !ok {
		return func() *Load { return nil }
	}
	return func() *Load {
		to, ok := markLoad(neighbour)
		if !ok {
			return nil
		}
		return to.since(from)
	}
}
