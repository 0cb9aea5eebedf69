//go:build !purego

package qkv

import (
	"testing"

	syscpu "golang.org/x/sys/cpu"
)

// TestKernelTaken: every CPU of arm64 can run a set in machine code, so the best for it is taken.
func TestKernelTaken(t *testing.T) {
	t.Setenv(KernelEnv, "")
	a, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	want := neonSet.Name
	if syscpu.ARM64.HasASIMDDP {
		want = neondotSet.Name
	}
	if a.Kernel().Name != want {
		t.Errorf("the set taken is %s, want %s", a.Kernel().Name, want)
	}
}
