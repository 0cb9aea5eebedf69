package qkv_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/qkv-go/qkv"
)

// inParallel runs f for each number below n at the same time.
func inParallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// checkLast attends the last n tokens of a sequence by itself on an engine of Go code, whose
// reads the race detector sees.
func (s cacheShape) checkLast(t *testing.T, r *rand.Rand, a *qkv.Engine, h *history, n int, use func(*qkv.Call) error) {
	p := s.attend(r, 1, []*history{h}, []int{n})
	out, lse := p.run(t, a)
	c := p.call()
	if err := errors.Join(use(c), a.Run(c)); err != nil {
		t.Error(err)
		return
	}
	sameBits(t, "out", p.out.values(), out)
	sameBits(t, "lse", p.lse, lse)
}

// TestCacheParallel appends to and attends slots of one cache at the same time.
func TestCacheParallel(t *testing.T) {
	for _, s := range cacheShapes[:5] {
		cfg := s.config(4, 60)
		c := newCache(t, cfg)
		a := newAttention(t, qkv.Config{Kernel: "generic", Workers: 1})
		inParallel(4, func(slot int) {
			r := rand.New(rand.NewPCG(uint64(slot), 71))
			var b qkv.Batch
			h := new(history)
			for h.len < 50 {
				n := 1 + r.IntN(9)
				k, v := s.tokens(r, n)
				if err := c.Append(slot, k.view(), v.view()); err != nil {
					t.Error(err)
					return
				}
				h.append(s, k, v)
				s.checkLast(t, r, a, h, n, func(call *qkv.Call) error { return c.Use(call, &b, []int{slot}) })
				if r.IntN(4) == 0 {
					if err := c.Truncate(slot, h.len-1); err != nil {
						t.Error(err)
					}
					h.truncate(s, h.len-1)
				}
			}
			if err := c.Reset(slot); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPagedParallel forks, appends to, attends and frees sequences that share pages at the
// same time.
func TestPagedParallel(t *testing.T) {
	for _, s := range cacheShapes[:5] {
		const pages, users = 300, 4
		c, err := qkv.NewPagedCache(s.paged(pages, 4))
		if err != nil {
			t.Fatal(err)
		}
		a := newAttention(t, qkv.Config{Kernel: "generic", Workers: 1})
		r := rand.New(rand.NewPCG(1, 72))
		prompt, h := c.NewSequence(), new(history)
		k, v := s.tokens(r, 18)
		if err := prompt.Append(k.view(), v.view()); err != nil {
			t.Fatal(err)
		}
		h.append(s, k, v)
		var forks [users]*qkv.Sequence
		for i := range forks {
			if forks[i], err = prompt.Fork(); err != nil {
				t.Fatal(err)
			}
		}
		// Whoever writes first, the prompt stays what it is for all others.
		inParallel(users+1, func(i int) {
			r := rand.New(rand.NewPCG(uint64(i), 73))
			var b qkv.Batch
			if i == users {
				for range 20 {
					s.checkLast(t, r, a, h, 3, func(call *qkv.Call) error { return c.Use(call, &b, []*qkv.Sequence{prompt}) })
				}
				return
			}
			own, h := forks[i], h.clone()
			for range 12 {
				n := 1 + r.IntN(5)
				k, v := s.tokens(r, n)
				if err := own.Append(k.view(), v.view()); err != nil {
					t.Error(err)
					return
				}
				h.append(s, k, v)
				s.checkLast(t, r, a, h, n, func(call *qkv.Call) error { return c.Use(call, &b, []*qkv.Sequence{own}) })
				switch r.IntN(3) {
				case 0: // goes on as a fork of itself
					fork, err := own.Fork()
					if err := errors.Join(err, own.Free()); err != nil {
						t.Error(err)
						return
					}
					own = fork
				case 1: // into the shared pages
					to := max(0, h.len-r.IntN(8))
					if err := own.Truncate(to); err != nil {
						t.Error(err)
					}
					h.truncate(s, to)
				}
			}
			if err := own.Free(); err != nil {
				t.Error(err)
			}
		})
		if err := prompt.Free(); err != nil || c.FreePages() != pages {
			t.Errorf("%v: %d of %d pages are free at the end, error %v", s, c.FreePages(), pages, err)
		}
	}
}

// TestPartingParallel: of two sequences that part within a page, one may write before the
// other has copied it.
func TestPartingParallel(t *testing.T) {
	for _, s := range cacheShapes[:5] {
		m := newPagedModel(t, s, s.paged(4, 32))
		a := newAttention(t, qkv.Config{Kernel: "generic", Workers: 1})
		r := rand.New(rand.NewPCG(1, 75))
		for range 20 {
			m.live = []modelSequence{{m.cache.NewSequence(), new(history)}}
			m.append(t, r, 0, 30)
			fork, err := m.live[0].Fork()
			if err != nil {
				t.Fatal(err)
			}
			m.live = append(m.live, modelSequence{fork, m.live[0].h.clone()})
			inParallel(2, func(i int) {
				r := rand.New(rand.NewPCG(uint64(i), 76))
				one := m.live[i]
				if i == 1 {
					if err := one.Truncate(10); err != nil {
						t.Error(err)
					}
					one.h.truncate(s, 10)
				}
				k, v := s.tokens(r, 1)
				if err := one.Append(k.view(), v.view()); err != nil {
					t.Error(err)
				}
				one.h.append(s, k, v)
			})
			m.check(t)
			m.attend(t, r, a)
			for _, one := range m.live {
				if err := one.Free(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// TestCacheAllocations: appending and attending allocate nothing in steady state.
func TestCacheAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	a := newAttention(t, qkv.Config{Workers: 1})
	for _, s := range cacheShapes {
		r := rand.New(rand.NewPCG(1, 74))
		k, v := s.tokens(r, 5)
		p := s.attend(r, 2, []*history{{}, {}}, []int{5, 5})
		kView, vView := k.view(), v.view()
		cfg := s.config(2, 40)
		cfg.Ring, cfg.Keep, cfg.Window = true, 2, 20
		ring := newCache(t, cfg)
		call, b := p.call(), new(qkv.Batch)
		slots := []int{1, 0}
		check := func(what string, f func() error) {
			t.Helper()
			var err error
			n := testing.AllocsPerRun(100, func() {
				if e := f(); e != nil {
					err = e
				}
			})
			if n != 0 || err != nil {
				t.Errorf("%v, %s: %v allocations, error %v", s, what, n, err)
			}
		}
		check("ring", func() error {
			for _, slot := range slots {
				if err := ring.Append(slot, kView, vView); err != nil {
					return err
				}
			}
			if err := ring.Use(call, b, slots); err != nil {
				return err
			}
			return a.Run(call)
		})

		pages, err := qkv.NewPagedCache(s.paged(20, 4))
		if err != nil {
			t.Fatal(err)
		}
		sequences := []*qkv.Sequence{pages.NewSequence(), pages.NewSequence()}
		check("paged", func() error {
			for _, s := range sequences {
				if err := s.Append(kView, vView); err != nil {
					return err
				}
			}
			if err := pages.Use(call, b, sequences); err != nil {
				return err
			}
			if err := a.Run(call); err != nil {
				return err
			}
			for _, s := range sequences {
				if s.Len() > 30 {
					if err := s.Truncate(1); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
}

// TestUseClears: a call of a ring that another cache is used for attends it as a new call.
func TestUseClears(t *testing.T) {
	s := cacheShapes[0]
	cfg := s.config(1, 8)
	plain := newCache(t, cfg)
	cfg.Ring, cfg.Keep, cfg.Window = true, 2, 3
	ring := newCache(t, cfg)
	call, b := &qkv.Call{Mask: bottomRight}, new(qkv.Batch)
	left := func(c *qkv.Call) int {
		n, _, ok := c.Mask.Window.Bounds()
		if !ok {
			return -1
		}
		return n
	}
	if err := ring.Use(call, b, []int{0}); err != nil {
		t.Fatal(err)
	}
	if !call.Ring || call.Mask.First != 2 || left(call) != 2 {
		t.Errorf("a ring: %v, mask %v", call.Ring, call.Mask)
	}
	if err := plain.Use(call, b, []int{0}); err != nil {
		t.Fatal(err)
	}
	if call.Ring || call.Mask.First != 0 || call.Mask.Window != (qkv.Window{}) || !call.Mask.Causal {
		t.Errorf("no ring: %v, mask %v", call.Ring, call.Mask)
	}
	// Another Batch, and a ring with a wider window.
	cfg.Window = 5
	wide, other := newCache(t, cfg), new(qkv.Batch)
	for range 2 {
		if err := ring.Use(call, b, []int{0}); err != nil || left(call) != 2 {
			t.Errorf("a ring: window %v, error %v", call.Mask.Window, err)
		}
		if err := wide.Use(call, other, []int{0}); err != nil || left(call) != 4 {
			t.Errorf("another ring: window %v, error %v", call.Mask.Window, err)
		}
	}
	if err := plain.Use(call, b, []int{0}); err != nil || call.Mask.Window != (qkv.Window{}) {
		t.Errorf("no ring: mask %v, error %v", call.Mask, err)
	}
	own := qkv.Sliding(1, 0)
	call.Mask.Window, call.Mask.Prefix = own, 1
	if err := plain.Use(call, b, []int{0}); err != nil || call.Mask.Window != own || call.Mask.Prefix != 1 {
		t.Errorf("the caller's: mask %v, error %v", call.Mask, err)
	}
}
