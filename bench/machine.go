package bench

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/klauspost/cpuid/v2"
)

// A Machine is the CPU and the build that a record is of.
type Machine struct {
	CPU        string   `json:"cpu"`
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
	GoVersion  string   `json:"go_version"`
	Commit     string   `json:"commit,omitempty"`   // what the build knows of it
	Modified   bool     `json:"modified,omitempty"` // the build had changes not in the commit
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
		GoVersion:  runtime.Version(),
	}
	if m.CPU == "" {
		m.CPU = cmp.Or(coreName(), "unknown CPU")
	}
	slices.Sort(m.Features)
	m.Caches = dataCaches()
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				m.Commit = s.Value
			case "vcs.modified":
				m.Modified = s.Value == "true"
			}
		}
	}
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
