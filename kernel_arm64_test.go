//go:build !purego

package qkv

import "testing"

// TestKernelTaken: every CPU of arm64 can run the set in machine code, so it is taken.
func TestKernelTaken(t *testing.T) {
	t.Setenv(KernelEnv, "")
	a, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if a.Kernel().Name != neonSet.Name {
		t.Errorf("the set taken is %s, want neon", a.Kernel().Name)
	}
}
