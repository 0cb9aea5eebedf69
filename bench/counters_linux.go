package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"github.com/klauspost/cpuid/v2"
	"golang.org/x/sys/unix"
)

// A counterSet is counters of all threads of the process (perf_event_open(2)). A counter of a
// thread goes on in threads that it begins: the runtime begins its own at any time.
type counterSet struct {
	counters []counter
	totals   []float64
	files    [][]int // of each counter, one for each thread
}

// countersOf lists the counters, for vectors of so many float32.
func countersOf(vec int) []counter {
	const l1Misses = unix.PERF_COUNT_HW_CACHE_L1D | unix.PERF_COUNT_HW_CACHE_OP_READ<<8 | unix.PERF_COUNT_HW_CACHE_RESULT_MISS<<16
	list := []counter{
		{"cycles", unix.PERF_TYPE_HARDWARE, unix.PERF_COUNT_HW_CPU_CYCLES, func(c *Counters, n float64) { c.Cycles = n }},
		{"instructions", unix.PERF_TYPE_HARDWARE, unix.PERF_COUNT_HW_INSTRUCTIONS, func(c *Counters, n float64) { c.Instructions = n }},
		{"L1 misses", unix.PERF_TYPE_HW_CACHE, l1Misses, func(c *Counters, n float64) { c.L1Misses = n }},
		{"LLC misses", unix.PERF_TYPE_HARDWARE, unix.PERF_COUNT_HW_CACHE_MISSES, func(c *Counters, n float64) { c.LLCMisses = n }},
		{"task clock", unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_TASK_CLOCK, func(c *Counters, n float64) { c.TaskSeconds = 1e-9 * n }},
		{"context switches", unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_CONTEXT_SWITCHES, func(c *Counters, n float64) { c.ContextSwitches = n }},
		{"page faults", unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_PAGE_FAULTS, func(c *Counters, n float64) { c.PageFaults = n }},
	}
	switch cpu := &cpuid.CPU; {
	case cpu.VendorID == cpuid.Intel && cpu.Family == 6:
		// FP_ARITH_INST_RETIRED of single precision, in which a multiply-add counts twice.
		list = append(list, counter{"multiply-adds", unix.PERF_TYPE_RAW, 0xaac7, func(c *Counters, n float64) { c.FMAFraction = n / 2 }})
	case cpu.VendorID == cpuid.AMD && cpu.Family >= 0x17:
		// Retired SSE and AVX FLOPs: two for each element of a multiply-add.
		list = append(list, counter{"multiply-adds", unix.PERF_TYPE_RAW, 0x1f03, func(c *Counters, n float64) { c.FMAFraction = n / float64(2*vec) }})
	}
	return list
}

// open opens a counter of every thread.
func (s *counterSet) open(k counter) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	attr := unix.PerfEventAttr{
		Type: k.typ, Config: k.event, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Bits: unix.PerfBitDisabled | unix.PerfBitInherit | unix.PerfBitExcludeHv,
	}
	if k.typ != unix.PERF_TYPE_SOFTWARE {
		attr.Bits |= unix.PerfBitExcludeKernel
	}
	var files []int
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		fd, err := unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if errors.Is(err, unix.ESRCH) { // it has ended
			continue
		}
		if err != nil {
			for _, fd := range files {
				unix.Close(fd)
			}
			return explain(err)
		}
		files = append(files, fd)
	}
	s.files = append(s.files, files)
	return nil
}

// explain says what an error of perf_event_open means.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("this processor or virtual machine has none (%w)", err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("/proc/sys/kernel/perf_event_paranoid forbids it (%w)", err)
	}
	return err
}

// start has all counters go on.
func (s *counterSet) start() error { return s.control(unix.PERF_EVENT_IOC_ENABLE) }

func (s *counterSet) control(request int) error {
	for _, files := range s.files {
		for _, fd := range files {
			if err := unix.IoctlSetInt(fd, uint(request), 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// stop has all counters stand still, and reads what they have counted so far.
func (s *counterSet) stop() error {
	if err := s.control(unix.PERF_EVENT_IOC_DISABLE); err != nil {
		return err
	}
	for i, files := range s.files {
		total := 0.0
		for _, fd := range files {
			var b [8]byte
			if n, err := unix.Read(fd, b[:]); err != nil || n != len(b) {
				return fmt.Errorf("reading a counter of %s: %d bytes, %w", s.counters[i].name, n, err)
			}
			total += float64(binary.NativeEndian.Uint64(b[:]))
		}
		s.totals[i] = total
	}
	return nil
}

func (s *counterSet) close() {
	for _, files := range s.files {
		for _, fd := range files {
			unix.Close(fd)
		}
	}
}
