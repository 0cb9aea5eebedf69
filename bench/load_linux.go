package bench

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// markLoad says how the processors have spent their time until now, a neighbour among others if
// its process is not 0.
func markLoad(neighbour int) (*loadMark, bool) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil, false
	}
	m := &loadMark{at: time.Now()}
	var ok bool
	if m.ticks, ok = parseStat(string(stat)); !ok {
		return nil, false
	}
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return nil, false
	}
	m.own = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	m.beside = processTime(neighbour)
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.average = parseLoadAverage(string(text))
	}
	return m, true
}
