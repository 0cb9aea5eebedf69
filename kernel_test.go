package qkv

import (
	"math"
	"runtime"
	"testing"

	syscpu "golang.org/x/sys/cpu"

	"github.com/qkv-go/qkv/internal/kerneltest"
	"github.com/qkv-go/qkv/kernel"
)

// TestKernels runs the conformance suite over every set that this machine can run, behind the
// assertions of package kernel: they let pass what conforms.
func TestKernels(t *testing.T) {
	for _, k := range Kernels() {
		t.Run(k.Set.Name, func(t *testing.T) {
			if k.Missing != 0 {
				t.Skipf("this machine lacks %v", k.Missing)
			}
			if k.Set.Base != "" { // of which the rest is the functions
				kerneltest.TestClasses(t, kernel.Checked(k.Set))
				return
			}
			kerneltest.Test(t, kernel.Checked(k.Set))
		})
	}
}

// deep calls f under n frames of its own.
//
//go:noinline
func deep(n int, f func()) int {
	if n == 0 {
		f()
		return 0
	}
	return 1 + deep(n-1, f)
}

// TestKernelsGrowStack calls the function that has local variables wherever a stack may
// end.
func TestKernelsGrowStack(t *testing.T) {
	for _, k := range Kernels() {
		if k.Missing != 0 {
			continue
		}
		weights := make([]float32, 2*k.Set.Lanes)
		weights[0] = float32(math.Copysign(0, -1))
		for n := range 200 {
			value, out := [2]float32{3, 5}, make([]float32, k.Set.Lanes)
			weights[k.Set.Lanes] = float32(n)
			a := kernel.AccumulateArgs{
				V: &value[0], KeyStride: 1, DimStride: 1, Keys: 2, Dim: 1, P: &weights[0], O: &out[0],
				Lanes: k.Set.Lanes, Stride: k.Set.Lanes,
			}
			done := make(chan int)
			go func() { done <- deep(n, func() { k.Set.Accumulate(&a) }) }()
			<-done
			if want := 5 * float32(n); out[0] != want {
				t.Fatalf("%s: %v, want %v", k.Set.Name, out[0], want)
			}
		}
	}
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
			kernel.AVX512VNNI: x.HasAVX512VNNI, kernel.AVXVNNI: x.HasAVXVNNI, kernel.AVX512BF16: x.HasAVX512BF16,
			kernel.AMXINT8: x.HasAMXInt8 && askTiles(),
		}
	case "arm64":
		have = map[kernel.Features]bool{kernel.ASIMD: syscpu.ARM64.HasASIMD, kernel.ASIMDDP: syscpu.ARM64.HasASIMDDP}
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
	if last := infos[len(infos)-1]; last.Set.Name != genericSet.Name || last.Missing != 0 {
		t.Errorf("the last set is %q, missing %v; want generic, missing nothing", last.Set.Name, last.Missing)
	}
}

// TestKernelsStrips: the lanes of vectors and of panels, which files of packed weights have, say how many a strip has.
func TestKernelsStrips(t *testing.T) {
	seen := map[[2]int]*kernel.Set{}
	for _, k := range Kernels() {
		key := [2]int{k.Set.Vec, k.Set.Lanes}
		if other := seen[key]; other != nil && other.StripLanes != k.Set.StripLanes {
			t.Errorf("%s has strips of %d lanes, %s of %d", k.Set.Name, k.Set.StripLanes, other.Name, other.StripLanes)
		}
		seen[key] = k.Set
	}
}

// TestKernelsAreCopies: what callers do to a set that they are handed stays with them.
func TestKernelsAreCopies(t *testing.T) {
	e, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	name := e.Kernel().Name
	*e.Kernel() = kernel.Set{}
	for _, k := range Kernels() {
		*k.Set = kernel.Set{}
	}
	if got := e.Kernel().Name; got != name {
		t.Errorf("the engine's set is %q, want %q", got, name)
	}
	for _, k := range Kernels() {
		if k.Set.Name == "" || k.Set.Lanes == 0 {
			t.Errorf("a set is %+v", *k.Set)
		}
	}
}
