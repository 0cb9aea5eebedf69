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
	add("processors", fmt.Sprintf("%s, GOMAXPROCS %d", m.Processors(), m.GOMAXPROCS))
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
	memory := ""
	if m.Memory > 0 {
		memory = fmt.Sprintf("%.3g GiB", float64(m.Memory)/(1<<30))
	}
	add("memory", memory)
	add("system", label(m.System, m.OS+"/"+m.Arch))
	add("OS kernel", m.Release)
	add("virtual machine", m.Hypervisor)
	add("kernel set", r.Ceilings.Kernel)
	add("qkv", r.Build.Short())
	add("Go", r.Build.GoVersion)
	add("conditions", r.conditions)
	add("load", r.load())
	add("measured", r.Time.UTC().Format("2006-01-02 15:04 UTC"))
	return facts
}

// briefFacts are those that tables need beside them.
var briefFacts = []string{"CPU", "microarchitecture", "processors", "caches", "memory", "system", "OS kernel", "virtual machine", "kernel set", "qkv", "Go", "conditions", "load", "measured"}

// load says what else ran while the runs of a record were timed.
func (r *record) load() string {
	var others, steal, average float64
	known := false
	for i := range r.Runs {
		if l := r.Runs[i].Load; l != nil && l.Processors > 0 && l.Seconds >= leastLoad {
			known = true
			others, steal = max(others, l.Others/float64(l.Processors)), max(steal, l.Steal/float64(l.Processors))
			average = max(average, l.Average)
		}
	}
	if !known {
		return ""
	}
	return fmt.Sprintf("other processes took up to %.0f%% of the processors, other virtual machines %.0f%%; load average up to %.1f", 100*others, 100*steal, average)
}

// leastLoad is how many seconds have to be watched for a share of them to say anything: the clock
// of a system ticks a hundred times a second.
const leastLoad = 0.2
