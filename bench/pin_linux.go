package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// allowedCPUs returns the processors that this process may use.
func allowedCPUs() []int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	var cpus []int
	for cpu := range 8 * int(unsafe.Sizeof(set)) {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}

// siblingsOf returns the processors of the core of one, as far as Linux tells.
func siblingsOf(cpu int) []int {
	text, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu))
	if err != nil {
		return nil
	}
	return parseCPUs(string(text))
}

func cpuSet(cpus []int) *unix.CPUSet {
	set := new(unix.CPUSet)
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	return set
}

// pinThread keeps the calling thread to a processor.
func pinThread(cpu int) error { return unix.SchedSetaffinity(0, cpuSet([]int{cpu})) }

// pinTo binds every thread of this process, and of those that it has started but for one, to
// processors. What it returns undoes that. Threads that are begun meanwhile have it from the one
// that begins them.
func pinTo(cpus []int, except int) (undo func(), err error) {
	before := allowedCPUs()
	set := func(cpus []int) error {
		seen := make(map[int]bool)
		for again := true; again; {
			again = false
			for _, thread := range threadsOf(os.Getpid(), except) {
				if seen[thread] {
					continue
				}
				seen[thread], again = true, true
				if err := unix.SchedSetaffinity(thread, cpuSet(cpus)); err != nil && !errors.Is(err, unix.ESRCH) {
					return fmt.Errorf("keeping threads to processors %s: %w", formatCPUs(cpus), err)
				}
			}
		}
		return nil
	}
	if err := set(cpus); err != nil {
		set(before)
		return nil, err
	}
	return func() { set(before) }, nil
}

// threadsOf returns the threads of a process and of its children, but for those of one child.
func threadsOf(process, except int) []int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", process))
	if err != nil {
		return nil // it has ended
	}
	var threads []int
	for _, e := range entries {
		thread, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		threads = append(threads, thread)
		children, err := os.ReadFile(filepath.Join(fmt.Sprintf("/proc/%d/task", process), e.Name(), "children"))
		if err != nil { // not every kernel has it
			continue
		}
		for _, field := range strings.Fields(string(children)) {
			if child, err := strconv.Atoi(field); err == nil && child != except && !slices.Contains(threads, child) {
				threads = append(threads, threadsOf(child, except)...)
			}
		}
	}
	return threads
}

// processTime returns the processor time that a process has taken, 0 if there is none.
func processTime(process int) time.Duration {
	const schedClock = 2 // CPUCLOCK_SCHED
	var t unix.Timespec
	if process == 0 || unix.ClockGettime(int32(^process<<3|schedClock), &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// diesWithParent has a process be killed when the thread that starts it ends.
func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
