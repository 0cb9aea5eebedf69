package kerneltest

import (
	"fmt"
	"runtime/debug"
	"testing"
	"unsafe"
)

// regionBytes is the size of a region: memory between two guards, which are pages
// that fault, or words that are checked where pages cannot be protected. No
// operand of the suite is larger. It is a multiple of every page size.
const regionBytes = 1 << 20

// An edge is the end of a region that operands lie flush against.
type edge int

const (
	front edge = iota
	back
)

func (e edge) String() string {
	if e == front {
		return "front"
	}
	return "back"
}

// arena hands out operands, each in a region of its own, flush against a guard.
type arena struct {
	edge    edge
	regions [][]byte
	used    []span
	pool    []uint32 // copies of the operands
}

// A span is the memory of one operand.
type span struct {
	name   string
	mem    []uint32
	exact  bool     // no float32: all bits count
	canary []uint32 // words beside it on the side that has no guard
	init   []uint32
	want   []uint32
}

// Words of memory that is no number of any operand. All are quiet NaNs.
const (
	poison   = 0x7fd0_15ed // not an operand: neither to be read nor to be written
	stale    = 0x7fde_7a1e // an operand yet to be written
	canaries = 64
)

// reset takes back all operands.
func (a *arena) reset(e edge) {
	a.edge = e
	a.used = a.used[:0]
	a.pool = a.pool[:0]
}

// words returns n words of poison.
func (a *arena) words(t testing.TB, name string, n int) []uint32 {
	i := len(a.used)
	if i == len(a.regions) {
		a.regions = append(a.regions, newRegion(t))
	}
	all := unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(a.regions[i]))), regionBytes/4)
	if n+canaries > len(all) {
		t.Fatalf("operand %s of %d words is too large for the arena", name, n)
	}
	s := span{name: name}
	if a.edge == front {
		s.mem, s.canary = all[:n:n], all[n:n+canaries]
	} else {
		b := len(all) - n
		s.mem, s.canary = all[b:], all[b-canaries:b]
	}
	fill(s.mem, poison)
	fill(s.canary, poison)
	a.used = append(a.used, s)
	return s.mem
}

// exactWords returns n words of poison that are no float32: two of them are equal only if all
// their bits are.
func (a *arena) exactWords(t testing.TB, name string, n int) []uint32 {
	w := a.words(t, name, n)
	a.used[len(a.used)-1].exact = true
	return w
}

func fill(w []uint32, v uint32) {
	for i := range w {
		w[i] = v
	}
}

// copyOf returns a copy of w that lives until the next reset.
func (a *arena) copyOf(w []uint32) []uint32 {
	n := len(a.pool)
	a.pool = append(a.pool, w...)
	return a.pool[n:]
}

// catch runs f and reports the address of a memory access that faulted.
func catch(f func()) (addr uintptr, fault bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch e := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			addr, fault = e.Addr(), true
		default:
			panic(e)
		}
	}()
	f()
	return 0, false
}

// near names the operand beside addr.
func (a *arena) near(addr uintptr) string {
	for _, s := range a.used {
		first := uintptr(unsafe.Pointer(unsafe.SliceData(s.mem)))
		if d := int(addr-first) / 4; -1024 <= d && d < len(s.mem)+1024 {
			return fmt.Sprintf(", which is %s[%d]", s.name, d)
		}
	}
	return ""
}

// compare runs want and then got on the same operands and reports where they
// leave them different, then restores them. A NaN equals any NaN, except in what is
// no operand.
func (a *arena) compare(t testing.TB, what func() string, want, got func()) bool {
	t.Helper()
	for i := range a.used {
		s := &a.used[i]
		s.init = a.copyOf(s.mem)
	}
	want()
	for i := range a.used {
		s := &a.used[i]
		s.want = a.copyOf(s.mem)
		copy(s.mem, s.init)
	}
	ok := true
	if addr, fault := catch(got); fault {
		t.Errorf("%s: fault at %#x%s", what(), addr, a.near(addr))
		ok = false
	}
	for i := range a.used {
		s := &a.used[i]
		for j, c := range s.canary {
			if c != poison {
				t.Errorf("%s: wrote outside operand %s (word %d of those at its open side)", what(), s.name, j)
				ok = false
				break
			}
		}
		for j, g := range s.mem {
			w := s.want[j]
			if g == w || isNaN(g) && isNaN(w) && !s.exact && !(w == poison && s.init[j] == poison) {
				continue
			}
			if s.init[j] == poison {
				t.Errorf("%s: %s[%d], no operand, was written: %#08x", what(), s.name, j, g)
			} else {
				t.Errorf("%s: %s[%d] = %s, want %s (was %s)", what(), s.name, j, show(g), show(w), show(s.init[j]))
			}
			ok = false
			break
		}
		copy(s.mem, s.init)
	}
	return ok
}
