package asmgen

import (
	"strings"
	"testing"
)

// TestLoop checks that a loop just behind the label of a jump forward is refused, and no other.
func TestLoop(t *testing.T) {
	for _, c := range []struct {
		name    string
		write   func(f *Func)
		refused bool
	}{
		{"no label", func(f *Func) {}, false},
		{"a label of no jump", func(f *Func) { f.Label("here") }, false},
		{"a jump to another label", func(f *Func) { f.Jump("here2"); f.Label("here") }, false},
		{"an instruction between", func(f *Func) { f.Jump("here"); f.Label("here"); f.Op("NOP") }, false},
		{"a jump", func(f *Func) { f.Jump("here"); f.Label("here") }, true},
		{"a jump with a note", func(f *Func) { f.Jump("here"); f.note("far"); f.Op("NOP"); f.Label("here") }, true},
		{"a branch", func(f *Func) { f.Branch(f, f.Ints[1], "EQ", "$1", "here"); f.Op("NOP"); f.Label("here") }, true},
		{"the first of two labels", func(f *Func) { f.Jump("here"); f.Label("here"); f.Label("there") }, true},
		{"a comment between", func(f *Func) { f.Jump("here"); f.Label("here"); f.Comment("a loop") }, true},
	} {
		for _, arch := range []*Arch{avx2, neon} {
			t.Run(c.name+" "+arch.Name, func(t *testing.T) {
				f := newProbe(arch, "loop", "()", 0, "")
				c.write(f)
				defer func() {
					said, ok := recover().(string)
					if ok != c.refused || ok && !strings.Contains(said, "here") {
						t.Errorf("the loop is refused with %q, want %v", said, c.refused)
					}
				}()
				f.Loop("loop")
			})
		}
	}
}
