package qkv

import (
	"runtime"
	"testing"

	syscpu "golang.org/x/sys/cpu"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/kerneltest"
)

// TestKernels runs the conformance suite over every set that this machine can run.
func TestKernels(t *testing.T) {
	for _, k := range Kernels() {
		t.Run(k.Set.Name, func(t *testing.T) {
			if k.Missing != 0 {
				t.Skipf("this machine lacks %v", k.Missing)
			}
			kerneltest.Test(t, k.Set)
		})
	}
}

// TestCheckedKernels shows that the assertions let pass what conforms.
func TestCheckedKernels(t *testing.T) {
	kerneltest.Test(t, kernel.Checked(&genericSet))
}

// TestKernelsFound asks another library for the CPU's features, so that a machine
// that can run a set does not skip it.
func TestKernelsFound(t *testing.T) {
	var have map[kernel.Features]bool
	switch runtime.GOARCH {
	case "amd64":
		x := &syscpu.X86
		have = map[kernel.Features]bool{
			kernel.AVX2: x.HasAVX2, kernel.FMA3: x.HasFMA, kernel.F16C: x.HasF16C,
			kernel.AVX512F: x.HasAVX512F, kernel.AVX512DQ: x.HasAVX512DQ,
			kernel.AVX512BW: x.HasAVX512BW, kernel.AVX512VL: x.HasAVX512VL,
		}
	case "arm64":
		have = map[kernel.Features]bool{kernel.ASIMD: syscpu.ARM64.HasASIMD}
	default:
		t.Skip("no set of this architecture needs a feature")
	}
	for _, k := range Kernels() {
		for f, ok := range have {
			if missing := k.Set.Needs&f&k.Missing != 0; k.Set.Needs&f != 0 && missing == ok {
				t.Errorf("%s needs %v: missing is %v, but golang.org/x/sys/cpu says that it is there: %v", k.Set.Name, f, missing, ok)
			}
		}
	}
}

// TestKernelsOrder: the generic set comes last, and every name is its own.
func TestKernelsOrder(t *testing.T) {
	infos := Kernels()
	seen := map[string]bool{}
	for _, k := range infos {
		if seen[k.Set.Name] {
			t.Errorf("two sets are named %q", k.Set.Name)
		}
		seen[k.Set.Name] = true
	}
	if last := infos[len(infos)-1]; last.Set != &genericSet || last.Missing != 0 {
		t.Errorf("the last set is %q, missing %v; want generic, missing nothing", last.Set.Name, last.Missing)
	}
}
