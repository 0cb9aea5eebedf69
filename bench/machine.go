package bench

import (
	"cmp"
	"runtime"
	"slices"

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
	Cores      int      `json:"cores"`      // physical, 0 if unknown
	Threads    int      `json:"threads"`    // logical processors that this process may use
	GOMAXPROCS int      `json:"gomaxprocs"` // at once
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
