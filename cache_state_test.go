package qkv_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

// A cacheModel is what a slot is to hold: all its tokens, and of which of them the memory of
// the slot has each.
type cacheModel struct {
	cfg  qkv.CacheConfig
	has  []int // token in each place of the slot, -1 for none
	len  int
	last int // tokens of the last append that are still there
	h    *history
}

func newCacheModel(cfg qkv.CacheConfig) *cacheModel {
	return &cacheModel{cfg: cfg, has: draw(cfg.Capacity, func() int { return -1 }), h: new(history)}
}

// place returns where a token lies.
func (m *cacheModel) place(token int) int {
	if token < m.cfg.Capacity || !m.cfg.Ring {
		return token
	}
	return m.cfg.Keep + (token-m.cfg.Keep)%(m.cfg.Capacity-m.cfg.Keep)
}

// window returns the keys that a query attends, its own among them, besides those kept.
func (m *cacheModel) window() int {
	switch {
	case m.cfg.Window > 0:
		return m.cfg.Window
	case m.cfg.Ring:
		return m.cfg.Capacity - m.cfg.Keep
	}
	return math.MaxInt32
}

// serves reports whether the memory has what a query at a position attends before it or,
// without a window, all that a sequence of so many tokens keeps.
func (m *cacheModel) serves(has []int, at int) bool {
	least := at - m.window()
	if m.cfg.Window > 0 {
		least++
	}
	for token := range at {
		if token >= m.cfg.Keep && token < least {
			continue
		}
		if has[m.place(token)] != token {
			return false
		}
	}
	return true
}

// append reports whether there is room for n tokens, and if there is, has them.
func (m *cacheModel) append(n int) bool {
	if !m.cfg.Ring && m.len+n > m.cfg.Capacity {
		return false
	}
	has := append([]int(nil), m.has...)
	for token := m.len; token < m.len+n; token++ {
		has[m.place(token)] = token
	}
	for token := m.len; token < m.len+n; token++ {
		if has[m.place(token)] != token {
			return false // the chunk overwrites itself
		}
	}
	if n > 0 && m.cfg.Window > 0 && !m.serves(has, m.len) {
		return false
	}
	m.has, m.len, m.last = has, m.len+n, n
	return true
}

// truncate reports whether n tokens can be gone back to, and if so, does.
func (m *cacheModel) truncate(n int) bool {
	if n < 0 || n > m.len || !m.serves(m.has, n) {
		return false
	}
	m.last = max(0, m.last-(m.len-n))
	m.len = n
	return true
}

// mask is that of a query in a cache that forgets nothing.
func (m *cacheModel) mask() qkv.Mask {
	mask := bottomRight
	if m.cfg.Ring {
		mask.First, mask.Window = m.cfg.Keep, qkv.Sliding(m.window()-1, qkv.Unbounded)
	}
	return mask
}

// fuzzCache does what the bytes say to the two slots of a cache.
func fuzzCache(t *testing.T, seed uint64, ops []byte) {
	r := rand.New(rand.NewPCG(seed, 51))
	s := cacheShapes[r.IntN(len(cacheShapes))]
	cfg := s.config(2, 1+r.IntN(40))
	if r.IntN(3) > 0 {
		cfg.Ring, cfg.Keep = true, r.IntN(cfg.Capacity)
		cfg.Window = r.IntN(cfg.Capacity - cfg.Keep + 1)
	}
	c := newCache(t, cfg)
	a := newAttention(t, qkv.Config{Workers: 1})
	models := draw(2, func() *cacheModel { return newCacheModel(cfg) })
	var b qkv.Batch
	for _, op := range ops {
		slot := int(op >> 7)
		m, n := models[slot], int(op>>2&31)
		switch op & 3 {
		case 0, 1:
			k, v := s.tokens(r, n)
			before := m.len
			room := m.append(n)
			err := c.Append(slot, k.view(), v.view())
			var full *qkv.CapacityError
			if room != (err == nil) || err != nil && (!errors.As(err, &full) || full.Tokens != n || full.Len != before || full.Slot != slot || full.Room >= n) {
				t.Fatalf("%d tokens after %d of a slot of %d, keep %d, window %d: room is %v, error %v", n, before, cfg.Capacity, cfg.Keep, cfg.Window, room, err)
			}
			if room {
				m.h.append(s, k, v)
			}
		case 2:
			if op&0x7c == 0x7c {
				*m = *newCacheModel(cfg)
				if err := c.Reset(slot); err != nil {
					t.Fatal(err)
				}
				break
			}
			to := m.len - n/4
			before := m.len
			can := m.truncate(to)
			err := c.Truncate(slot, to)
			var arg *qkv.ArgError
			if can != (err == nil) || err != nil && (!errors.As(err, &arg) || arg.Arg != "n" || arg.Got != to) {
				t.Fatalf("%d to %d tokens of a slot of %d, keep %d, window %d: possible is %v, error %v", before, to, cfg.Capacity, cfg.Keep, cfg.Window, can, err)
			}
			if can {
				m.h.truncate(s, to)
			}
		case 3:
			var some, queries []int
			var which []*history
			for i, m := range models {
				q := min(m.last, 1)
				if cfg.Window > 0 || !cfg.Ring {
					q = m.last
				}
				if q > 0 { // otherwise its last token may have lost a key
					some, queries, which = append(some, i), append(queries, q), append(which, m.h)
				}
			}
			if len(some) == 0 {
				break
			}
			p := s.attend(r, 1+r.IntN(2), which, queries)
			p.mask = m.mask()
			p.checkUse(t, "attend", a, func(call *qkv.Call) error {
				if cfg.Window == 0 {
					call.Mask.Window = qkv.Window{}
				}
				return c.Use(call, &b, some)
			})
		}
		for i, m := range models {
			if got := c.Len(i); got != m.len {
				t.Fatalf("slot %d has %d tokens, want %d", i, got, m.len)
			}
		}
	}
}

// FuzzCache compares a cache with a model under random appends, truncations and resets.
func FuzzCache(f *testing.F) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 52))
		f.Add(seed, draw(60, func() byte { return byte(r.Uint32()) }))
	}
	f.Add(uint64(10), []byte("00 \x1a7")) // a ring without a window that has gone round, truncated
	f.Fuzz(func(t *testing.T, seed uint64, ops []byte) {
		if len(ops) > 200 {
			return
		}
		fuzzCache(t, seed, ops)
	})
}

// TestRingRewind: a ring with room beyond its window takes back speculative tokens.
func TestRingRewind(t *testing.T) {
	s := cacheShapes[3]
	cfg := s.config(1, 20)
	cfg.Ring, cfg.Keep, cfg.Window = true, 2, 10
	c := newCache(t, cfg)
	r := rand.New(rand.NewPCG(1, 53))
	add := func(n int) error {
		k, v := s.tokens(r, n)
		return c.Append(0, k.view(), v.view())
	}
	if err := errors.Join(add(20), add(9), c.Truncate(0, 20), add(9), add(9), c.Truncate(0, 29)); err != nil {
		t.Fatal(err)
	}
	var full *qkv.CapacityError
	if err := add(10); !errors.As(err, &full) || *full != (qkv.CapacityError{Slot: 0, Len: 29, Tokens: 10, Room: 9}) {
		t.Errorf("10 tokens: %v", err)
	}
	var arg *qkv.ArgError
	if err := c.Truncate(0, 28); !errors.As(err, &arg) || arg.Arg != "n" || arg.Got != 28 || arg.Want != 29 {
		t.Errorf("28 tokens: %v", err)
	}
	if c.Len(0) != 29 {
		t.Errorf("%d tokens after errors", c.Len(0))
	}
	if err := errors.Join(c.Reset(0), add(20)); err != nil {
		t.Error(err)
	}
}
