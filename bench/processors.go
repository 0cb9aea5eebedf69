package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Processors says how many cores and threads the machine has, and how many of the threads this
// process may run on if these are fewer.
func (m *Machine) Processors() string {
	count := func(n int, of string) string {
		if n != 1 {
			of += "s"
		}
		return fmt.Sprint(n, " ", of)
	}
	s := count(max(m.Threads, m.Online), "thread")
	if m.Cores > 0 {
		s = count(m.Cores, "core") + ", " + s
	}
	if m.Threads < m.Online {
		s += fmt.Sprintf(", %d of them allowed", m.Threads)
	}
	return s
}

// onlineThreads returns how many logical processors are on line, whether this process may run
// on them or not, or 0 where Linux does not tell.
func onlineThreads() int {
	text, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return 0
	}
	return len(parseCPUs(string(text)))
}

// parseCPUs reads a list of Linux, such as 0-3,8. It returns nil if it is none.
func parseCPUs(list string) []int {
	const most = 1 << 16
	var cpus []int
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, ok := strings.Cut(part, "-")
		if !ok {
			last = first
		}
		a, errA := strconv.Atoi(first)
		b, errB := strconv.Atoi(last)
		if errA != nil || errB != nil || a < 0 || b < a || b >= most {
			return nil
		}
		for cpu := a; cpu <= b; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}

// formatCPUs writes processors as parseCPUs reads them.
func formatCPUs(cpus []int) string {
	var parts []string
	for _, cpu := range cpus {
		parts = append(parts, strconv.Itoa(cpu))
	}
	return strings.Join(parts, ",")
}
