package report

import (
	"fmt"
	"strings"
)

// facts are what a record says of its machine and build, name and value.
func (r *record) facts() [][2]string {
	m := &r.Machine
	var facts [][2]string
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, [2]string{name, value})
		}
	}
	add("CPU", m.CPU)
	add("family, model", strings.TrimSpace(fmt.Sprintf("%s %d, %d, stepping %d", m.Vendor, m.Family, m.Model, m.Stepping)))
	add("microarchitecture", m.Core)
	cores := ""
	if m.Cores > 0 {
		cores = fmt.Sprintf("%d cores, ", m.Cores)
	}
	add("processors", fmt.Sprintf("%s%d threads, GOMAXPROCS %d", cores, m.Threads, m.GOMAXPROCS))
	var caches []string
	for _, c := range m.Caches {
		caches = append(caches, fmt.Sprintf("%s %g KiB", c.Level, float64(c.Bytes)/1024))
	}
	add("caches", strings.Join(caches, ", "))
	for _, c := range r.Ceilings.Clocks {
		clock := fmt.Sprintf("%.2f GHz on one core", c.GHzOne)
		if r.Ceilings.Workers > 1 {
			clock += fmt.Sprintf(", %.2f on %d", c.GHzAll, r.Ceilings.Workers)
		}
		add("clock, "+c.Load+" load", clock)
	}
	add("system", m.OS+"/"+m.Arch)
	add("kernel set", r.Ceilings.Kernel)
	add("qkv", r.Build.Short())
	add("Go", r.Build.GoVersion)
	add("measured", r.Time.UTC().Format("2006-01-02 15:04 UTC"))
	return facts
}
