package qkv

import (
	"os"
	"runtime"

	"github.com/klauspost/cpuid/v2"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

// KernelEnv is the environment variable that names the kernel set to use where
// [Config] names none.
const KernelEnv = "QKV_KERNEL"

// KernelInfo is a kernel set of this architecture.
type KernelInfo struct {
	Set     *kernel.Set     // a copy
	Missing kernel.Features // what this machine lacks to run it; 0 if it can
}

// Kernels lists the kernel sets of this architecture, the best first and the
// generic one, which every machine can run, last. Those that are taken only by their name, see
// [kernel.Set], stand in front of the sets that they are derived from. Where the CPU has AMX, Linux is
// asked to let the process use its tiles.
func Kernels() []KernelInfo {
	have := machine()
	if have&kernel.AMXINT8 != 0 && !askTiles() {
		have &^= kernel.AMXINT8
	}
	return kernelsFor(have)
}

// choose returns the set of that name, or the best if the name is empty. It asks for tiles only where a set
// with them is named, or an error lists the sets.
func choose(name string) (*kernel.Set, error) {
	set, err := pick(kernelsFor(machine()), name)
	if err != nil || set.Needs&kernel.AMXINT8 != 0 {
		return pick(Kernels(), name)
	}
	return set, nil
}

func kernelsFor(have kernel.Features) []KernelInfo {
	var infos []KernelInfo
	for _, s := range append(archSets(), genericSet) {
		set := *s
		infos = append(infos, KernelInfo{Set: &set, Missing: set.Needs.Missing(have)})
	}
	return infos
}

// pick returns the set of that name, or the best if the name is empty, of those that may be taken without one.
func pick(infos []KernelInfo, name string) (*kernel.Set, error) {
	err := &KernelError{Name: name}
	for _, k := range infos {
		if k.Missing == 0 {
			if name == "" && !k.Set.OnlyNamed || name == k.Set.Name {
				return k.Set, nil
			}
			err.Available = append(err.Available, k.Set.Name)
		} else if name == k.Set.Name {
			err.Known, err.Missing = true, k.Missing
		}
	}
	return nil, err
}

// kernelName returns the set that is asked for, by which environment variable if by one, and
// why.
func kernelName(cfg string) (name, env, why string) {
	if cfg != "" {
		return cfg, "", "forced by Config.Kernel"
	}
	if name := os.Getenv(KernelEnv); name != "" {
		return name, KernelEnv, "forced by " + KernelEnv
	}
	return "", "", "the best that this CPU can run"
}

// machine returns the features of this machine, without asking whether the process may have tiles.
func machine() kernel.Features { return features(&cpuid.CPU) | baseline(runtime.GOARCH) }

// features returns what the CPU has and the operating system saves: cpuid reports
// AVX and AVX-512 only where XCR0 enables their registers.
func features(cpu *cpuid.CPUInfo) kernel.Features {
	var f kernel.Features
	for _, x := range []struct {
		id  cpuid.FeatureID
		bit kernel.Features
	}{
		{cpuid.AVX2, kernel.AVX2},
		{cpuid.FMA3, kernel.FMA3},
		{cpuid.F16C, kernel.F16C},
		{cpuid.AVX512F, kernel.AVX512F},
		{cpuid.AVX512DQ, kernel.AVX512DQ},
		{cpuid.AVX512BW, kernel.AVX512BW},
		{cpuid.AVX512VL, kernel.AVX512VL},
		{cpuid.ASIMD, kernel.ASIMD},
		{cpuid.AVX512VNNI, kernel.AVX512VNNI},
		{cpuid.AVXVNNI, kernel.AVXVNNI},
		{cpuid.AVX512BF16, kernel.AVX512BF16},
		{cpuid.AMXINT8, kernel.AMXINT8},
		{cpuid.ASIMDDP, kernel.ASIMDDP},
	} {
		if cpu.Supports(x.id) {
			f |= x.bit
		}
	}
	return f
}

// baseline returns the features that every CPU has on which Go programs of the
// architecture run: on arm64, Go itself works with the vector registers, and cpuid
// cannot tell on Windows, nor where /proc is closed.
func baseline(arch string) kernel.Features {
	if arch == "arm64" {
		return kernel.ASIMD
	}
	return 0
}

// asksNear reports whether the CPU is one for [tile.Tuning.Near]. On Zen 5 one row by weights of class Int8 so reads at 85 to
// 98% of the rate of reading alone, and at 77 to 96% otherwise. On Emerald Rapids it is the other way round, 80 to 94% and
// 91 to 98% (docs/kernels.md). No other CPU was measured.
func asksNear(cpu *cpuid.CPUInfo) bool { return cpu.VendorID == cpuid.AMD && cpu.Family == 0x1a }

// takesApart reports whether the CPU is one for [tile.Tuning.Apart]. On Zen 5 rows of tokens first that are asked for beside
// products are packed and written in half of the time, and the products take no longer. On Emerald Rapids these then take
// as much longer (docs/performance.md). No other CPU was measured.
func takesApart(cpu *cpuid.CPUInfo) bool { return cpu.VendorID == cpuid.AMD && cpu.Family == 0x1a }

// takesTurns reports whether the CPU is one for [tile.Tuning.Turns]. On Zen 5 products of 16 bits in turns run at 86 to 95% of the peak from
// 24 to 128 rows, and at 51 to 88% by panels that are made float32 first (docs/weights.md). On Emerald Rapids eight rows run at 61 to 65%. No
// other CPU was measured.
func takesTurns(cpu *cpuid.CPUInfo) bool { return cpu.VendorID == cpuid.AMD && cpu.Family == 0x1a }

func caches(cpu *cpuid.CPUInfo) tile.Caches {
	return tile.Caches{L1: cpu.Cache.L1D, L2: cpu.Cache.L2, L3: cpu.Cache.L3}
}
