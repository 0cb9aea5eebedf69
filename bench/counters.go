package bench

import (
	"fmt"
	"slices"
	"strings"
)

// Counters are what the processor and the operating system counted during the samples of a
// [Run], for each call. What they cannot count is 0.
type Counters struct {
	Cycles       float64 `json:"cycles,omitempty"`       // of all threads, without those of the system
	Instructions float64 `json:"instructions,omitempty"` // likewise, retired
	IPC          float64 `json:"ipc,omitempty"`          // Instructions / Cycles

	// FMAFraction is the fraction of instructions that are vector multiply-adds, if all
	// floating-point operations were of those; a little more than it is.
	FMAFraction float64 `json:"fma_share,omitempty"`

	L1Misses  float64 `json:"l1d_misses,omitempty"` // of loads in the first-level data cache
	LLCMisses float64 `json:"llc_misses,omitempty"` // in the last-level cache

	TaskSeconds     float64 `json:"task_seconds,omitempty"` // that threads were on a processor
	ContextSwitches float64 `json:"context_switches,omitempty"`
	PageFaults      float64 `json:"page_faults,omitempty"`
}

// A counter is an event that is counted.
type counter struct {
	name  string
	typ   uint32
	event uint64

	// set notes the events of a call.
	set func(c *Counters, events float64)
}

// A CountersError says which counters there are none of, and why.
type CountersError struct {
	Missing []string
	Err     error // the first
}

func (e *CountersError) Error() string {
	return fmt.Sprintf("no counters of %s: %v", strings.Join(e.Missing, ", "), e.Err)
}

// Unwrap returns what went wrong.
func (e *CountersError) Unwrap() error { return e.Err }

// counted returns the counters of a number of calls.
func (s *counterSet) counted(calls int) *Counters {
	c := new(Counters)
	for i, k := range s.counters {
		k.set(c, s.totals[i]/float64(calls))
	}
	if c.Cycles > 0 {
		c.IPC = c.Instructions / c.Cycles
	}
	if c.FMAFraction > 0 && c.Instructions > 0 {
		c.FMAFraction /= c.Instructions
	} else {
		c.FMAFraction = 0
	}
	return c
}

// newCounterSet opens the counters that there are. The error, a *CountersError, names the
// others; without any there is no set.
func newCounterSet(vec int) (*counterSet, error) {
	s := &counterSet{}
	missing := &CountersError{}
	for _, k := range countersOf(vec) {
		if err := s.open(k); err != nil {
			missing.Missing = append(missing.Missing, k.name)
			if missing.Err == nil {
				missing.Err = err
			}
			continue
		}
		s.counters = append(s.counters, k)
	}
	s.totals = make([]float64, len(s.counters))
	if len(s.counters) == 0 {
		s = nil
	}
	if missing.Err != nil {
		missing.Missing = slices.Compact(missing.Missing)
		return s, missing
	}
	return s, nil
}
