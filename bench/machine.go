package bench

import (
	"cmp"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/cpuid/v2"
)

// A Machine is the CPU that a record is of, and what runs it.
type Machine struct {
	CPU        string   `json:"cpu"`
	Core       string   `json:"microarchitecture,omitempty"` // such as Zen 5, where it is known
	Vendor     string   `json:"vendor"`
	Family     int      `json:"family"`
	Model      int      `json:"model"`
	Stepping   int      `json:"stepping"`
	OS         string   `json:"os"`
	Arch       string   `json:"arch"`
	System     string   `json:"system,omitempty"`     // name and version, such as Debian GNU/Linux 12
	Release    string   `json:"os_release,omitempty"` // of the operating system's kernel
	Hypervisor string   `json:"hypervisor,omitempty"` // such as KVM; empty if none tells of itself
	Memory     int64    `json:"memory_bytes,omitempty"`
	Cores      int      `json:"cores"`                    // physical, 0 if unknown
	Threads    int      `json:"threads"`                  // logical processors that this process may use
	Online     int      `json:"threads_online,omitempty"` // that there are, 0 if unknown
	GOMAXPROCS int      `json:"gomaxprocs"`               // at once
	Caches     []Cache  `json:"caches"`
	Features   []string `json:"features"`
}

// A Cache is a data cache as one core sees it.
type Cache struct {
	Level string `json:"level"`
	Bytes int    `json:"bytes"`
}

// ThisMachine describes the machine that it is called on.
func ThisMachine() Machine {
	cpu := &cpuid.CPU
	m := Machine{
		CPU:        cpu.BrandName,
		Vendor:     cpu.VendorString,
		Family:     cpu.Family,
		Model:      cpu.Model,
		Stepping:   cpu.Stepping,
		OS:         runtime.GOOS,
		Arch:       runtime.GOARCH,
		Cores:      cpu.PhysicalCores,
		Threads:    runtime.NumCPU(),
		GOMAXPROCS: runtime.GOMAXPROCS(0),
		Features:   cpu.FeatureSet(),
		Hypervisor: hypervisor(cpu),
	}
	m.System, m.Release, m.Memory = thisSystem()
	if m.Online = onlineThreads(); m.Online > 0 {
		m.Cores = min(m.Cores, m.Online) // a virtual machine may have fewer than its CPU says
	}
	m.Core = microarchitecture(m.Vendor, m.Family, m.Model)
	if m.CPU == "" {
		m.CPU = cmp.Or(coreName(), "unknown CPU")
	}
	slices.Sort(m.Features)
	m.Caches = dataCaches()
	return m
}

// dataCaches returns the data caches that are known, the smallest first.
func dataCaches() []Cache {
	var list []Cache
	cache := &cpuid.CPU.Cache
	for _, c := range []Cache{{"L1", cache.L1D}, {"L2", cache.L2}, {"L3", cache.L3}} {
		if c.Bytes > 0 { // -1 where unknown
			list = append(list, c)
		}
	}
	return list
}

// hypervisor names what runs the machine, if it is virtual and says so.
func hypervisor(cpu *cpuid.CPUInfo) string {
	switch {
	case !cpu.Supports(cpuid.HYPERVISOR):
		return ""
	case cpu.HypervisorVendorID != cpuid.VendorUnknown:
		return cpu.HypervisorVendorID.String()
	}
	return cmp.Or(strings.Trim(cpu.HypervisorVendorString, "\x00 "), "unknown")
}

// systemName returns the name that an operating system gives itself in the text of
// /etc/os-release.
func systemName(osRelease string) string {
	for line := range strings.Lines(osRelease) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(value, `"'`)
		}
	}
	return ""
}
