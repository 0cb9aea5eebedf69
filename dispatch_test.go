package qkv

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/cpuid/v2"

	"github.com/qkv-go/qkv/kernel"
)

// cpu returns a CPU as cpuid reports it: with the features that the operating
// system saves the registers of.
func cpu(features ...cpuid.FeatureID) *cpuid.CPUInfo {
	c := new(cpuid.CPUInfo)
	c.Enable(features...)
	return c
}

// A pickCase is a CPU, and the sets that it can run, the best first.
type pickCase struct {
	what string
	cpu  *cpuid.CPUInfo
	want []string
}

// pickCases returns cases of the architecture.
func pickCases() []pickCase {
	if runtime.GOARCH == "arm64" {
		return []pickCase{
			{"SDOT", cpu(cpuid.ASIMD, cpuid.ASIMDDP), []string{"neondot", "neon", "generic"}},
			{"no SDOT (Cortex-A72)", cpu(cpuid.ASIMD), []string{"neon", "generic"}},
		}
	}
	avx2 := []cpuid.FeatureID{cpuid.AVX, cpuid.AVX2, cpuid.FMA3, cpuid.F16C}
	avx512 := append([]cpuid.FeatureID{cpuid.AVX512F, cpuid.AVX512DQ, cpuid.AVX512BW, cpuid.AVX512VL}, avx2...)
	return []pickCase{
		{"AVX-512", cpu(avx512...), []string{"avx512", "avx2", "sse2", "generic"}},
		{"AVX-512 with VNNI", cpu(append([]cpuid.FeatureID{cpuid.AVX512VNNI}, avx512...)...), []string{"avx512vnni", "avx512", "avx2", "sse2", "generic"}},
		{"AVX-512 with BF16", cpu(append([]cpuid.FeatureID{cpuid.AVX512VNNI, cpuid.AVX512BF16}, avx512...)...), []string{"avx512bf16", "avx512vnni", "avx512", "avx2", "sse2", "generic"}},
		{"AVX-512 with AMX", cpu(append([]cpuid.FeatureID{cpuid.AVX512VNNI, cpuid.AVX512BF16, cpuid.AMXINT8}, avx512...)...), []string{"avx512amx", "avx512bf16", "avx512vnni", "avx512", "avx2", "sse2", "generic"}},
		{"AVX-512 with BF16, without VNNI", cpu(append([]cpuid.FeatureID{cpuid.AVX512BF16}, avx512...)...), []string{"avx512", "avx2", "sse2", "generic"}},
		{"AVX2 with VNNI", cpu(append([]cpuid.FeatureID{cpuid.AVXVNNI}, avx2...)...), []string{"avxvnni", "avx2", "sse2", "generic"}},
		// Under an operating system that does not save ZMM, cpuid reports no AVX-512.
		{"AVX2", cpu(avx2...), []string{"avx2", "sse2", "generic"}},
		{"AVX-512 without DQ (Knights Landing)", cpu(append([]cpuid.FeatureID{cpuid.AVX512F}, avx2...)...), []string{"avx2", "sse2", "generic"}},
		{"AVX2 without FMA", cpu(cpuid.AVX, cpuid.AVX2, cpuid.F16C), []string{"sse2", "generic"}},
		{"AVX2 without F16C", cpu(cpuid.AVX, cpuid.AVX2, cpuid.FMA3), []string{"sse2", "generic"}},
		{"nothing", cpu(), []string{"sse2", "generic"}},
	}
}

func TestPick(t *testing.T) {
	if len(archSets()) == 0 {
		t.Skip("no machine code in this build")
	}
	for _, c := range pickCases() {
		infos := kernelsFor(features(c.cpu))
		first := c.want[0]
		if first == "avx512amx" { // which only its name takes
			first = c.want[1]
		}
		if best, err := pick(infos, ""); err != nil || best.Name != first {
			t.Errorf("%s: picked %v, %v, want %s", c.what, best, err, first)
		}
		for _, info := range infos {
			name := info.Set.Name
			set, err := pick(infos, name)
			if slices.Contains(c.want, name) {
				if err != nil || set.Name != name {
					t.Errorf("%s: %s: %v", c.what, name, err)
				}
				continue
			}
			var ke *KernelError
			if !errors.As(err, &ke) || !ke.Known || ke.Missing == 0 || strings.Join(ke.Available, " ") != strings.Join(c.want, " ") {
				t.Errorf("%s: %s: error %v, want one that lists %v", c.what, name, err, c.want)
			}
		}
	}
}

// TestOnlyNamed: an engine without a name has no set that is taken only by its name. With the name it has that
// set, or the error says what the machine lacks.
func TestOnlyNamed(t *testing.T) {
	t.Setenv(KernelEnv, "")
	e, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if e.set.OnlyNamed {
		t.Errorf("the set without a name is %s", e.set.Name)
	}
	for _, k := range Kernels() {
		if !k.Set.OnlyNamed {
			continue
		}
		e, err := New(Config{Kernel: k.Set.Name})
		if k.Missing == 0 {
			if err != nil || e.set.Name != k.Set.Name {
				t.Errorf("%s: %v", k.Set.Name, err)
			}
			continue
		}
		if ke := (*KernelError)(nil); !errors.As(err, &ke) || !ke.Known || ke.Missing != k.Missing {
			t.Errorf("%s: error %v, want one that names %v", k.Set.Name, err, k.Missing)
		}
	}
}

func TestFeatures(t *testing.T) {
	got := features(cpu(cpuid.AVX2, cpuid.AVX512DQ))
	if want := kernel.AVX2 | kernel.AVX512DQ; got != want {
		t.Errorf("features %v, want %v", got, want)
	}
	if got := features(cpu(cpuid.ASIMD)); got != kernel.ASIMD {
		t.Errorf("features %v, want asimd", got)
	}
	if got, want := features(cpu(cpuid.ASIMD, cpuid.ASIMDDP)), kernel.ASIMD|kernel.ASIMDDP; got != want {
		t.Errorf("features %v, want %v", got, want)
	}
}

// TestBaseline: an operating system that tells nothing does not cost arm64 its set.
func TestBaseline(t *testing.T) {
	for arch, want := range map[string]kernel.Features{"arm64": kernel.ASIMD, "amd64": 0, "riscv64": 0} {
		if got := baseline(arch); got != want {
			t.Errorf("%s: features %v, want %v", arch, got, want)
		}
	}
}

// TestZen5: what is chosen for Zen 5 alone.
func TestZen5(t *testing.T) {
	for _, c := range []struct {
		what string
		cpu  cpuid.CPUInfo
		want bool
	}{
		{"Zen 5", cpuid.CPUInfo{VendorID: cpuid.AMD, Family: 0x1a}, true},
		{"Zen 3", cpuid.CPUInfo{VendorID: cpuid.AMD, Family: 0x19}, false},
		{"Emerald Rapids", cpuid.CPUInfo{VendorID: cpuid.Intel, Family: 6, Model: 0xcf}, false},
		{"unknown", cpuid.CPUInfo{}, false},
	} {
		near, apart, turns := asksNear(&c.cpu), takesApart(&c.cpu), takesTurns(&c.cpu)
		if near != c.want || apart != c.want || turns != c.want {
			t.Errorf("%s: near %v, apart %v and turns %v, want %v", c.what, near, apart, turns, c.want)
		}
	}
}
