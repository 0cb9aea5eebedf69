package qkv_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

// A cacheState is a sequence as a model keeps it: with every token, and knowing which of them
// the cache has lost.
type cacheState struct {
	h    *history
	lost func(token int) bool
}

// anywhere compares a call that attends some sequences from any positions that they have with
// one on all of their tokens, in tensors, under a mask that takes the lost ones away.
func (s cacheShape) anywhere(t *testing.T, what string, r *rand.Rand, a *qkv.Engine, cfg qkv.CacheConfig, states []cacheState, use func(*qkv.Call) error) {
	t.Helper()
	var histories []*history
	var queries, offsets []int
	most := 0
	for _, x := range states {
		n := 1 + r.IntN(min(x.h.len, 1+r.IntN(20)))
		histories, queries = append(histories, x.h), append(queries, n)
		offsets = append(offsets, r.IntN(x.h.len-n+1))
		most = max(most, x.h.len)
	}
	p := s.attend(r, 1+r.IntN(2), histories, queries)
	p.mask = qkv.Mask{Align: qkv.AlignOffset, Offsets: offsets, Causal: r.IntN(4) > 0}
	if r.IntN(4) == 0 { // the last tokens
		p.mask.Align, p.mask.Offsets = qkv.BottomRight, nil
	}
	own := r.IntN(3) == 0
	if own {
		left := 20
		if cfg.Window > 0 {
			left = cfg.Window
		}
		p.mask.Window = qkv.Sliding(r.IntN(left), r.IntN(20))
	} else if cfg.Window > 0 {
		p.mask.Window = qkv.Sliding(cfg.Window-1, qkv.Unbounded)
	}
	if cfg.Ring {
		p.mask.First = cfg.Keep
	}
	p.keep = &strided[bool]{data: make([]bool, len(states)*most), shape: [4]int{len(states), 1, 1, most}, stride: [4]int{most, 0, 0, 1}}
	for i, x := range states {
		for j := range x.h.len {
			p.keep.data[i*most+j] = !x.lost(j)
		}
	}
	what = fmt.Sprintf("%s: queries %v under %v", what, queries, p.mask)
	p.checkUse(t, what, a, func(call *qkv.Call) error {
		call.Mask.Keep, call.Mask.First = qkv.View{}, 0
		if !own {
			call.Mask.Window = qkv.Window{}
		}
		return use(call)
	})
}

// cacheStates does what the bytes say to the slots of a cache.
func cacheStates(t *testing.T, seed uint64, ops []byte) {
	r := rand.New(rand.NewPCG(seed, 71))
	s := cacheShapes[r.IntN(len(cacheShapes))]
	cfg := s.config(2, 1+r.IntN(30))
	if r.IntN(4) > 0 {
		cfg.Ring, cfg.Keep = true, r.IntN(min(cfg.Capacity, 5))
		cfg.Window = r.IntN(cfg.Capacity - cfg.Keep + 1)
	}
	c := newCache(t, cfg)
	a := newAttention(t, qkv.Config{Workers: 1 + r.IntN(2)})
	models := draw(2, func() *cacheModel { return newCacheModel(cfg) })
	var b qkv.Batch
	for _, op := range ops {
		slot, n := int(op>>7), int(op>>2&31)
		m := models[slot]
		switch op & 3 {
		case 0:
			n = 1 + n%(cfg.Capacity+1)
			k, v := s.tokens(r, n)
			if err := c.Append(slot, k.view(), v.view()); m.append(n) != (err == nil) {
				t.Fatalf("%d tokens: %v", n, err)
			} else if err == nil {
				m.h.append(s, k, v)
			}
		case 1:
			if n == 31 {
				*m = *newCacheModel(cfg)
				if err := c.Reset(slot); err != nil {
					t.Fatal(err)
				}
				break
			}
			to := m.len - n/2
			if n%4 == 0 {
				to = min(m.len, n/4) // to those that a ring keeps
			}
			if err := c.Truncate(slot, to); m.truncate(to) != (err == nil) {
				t.Fatalf("%d of %d tokens: %v", to, m.len, err)
			} else if err == nil {
				m.h.truncate(s, to)
			}
		default:
			var some []int
			var states []cacheState
			for i, m := range models {
				if m.len > 0 {
					some = append(some, i)
					states = append(states, cacheState{m.h, func(token int) bool { return m.has[m.place(token)] != token }})
				}
			}
			if len(some) > 0 {
				what := fmt.Sprintf("capacity %d, ring %v, keep %d, window %d", cfg.Capacity, cfg.Ring, cfg.Keep, cfg.Window)
				s.anywhere(t, what, r, a, cfg, states, func(call *qkv.Call) error { return c.Use(call, &b, some) })
			}
		}
	}
}

// pagedStates does what the bytes say to the sequences of a paged cache.
func pagedStates(t *testing.T, seed uint64, ops []byte) {
	r := rand.New(rand.NewPCG(seed, 72))
	s := cacheShapes[r.IntN(len(cacheShapes))]
	c, err := qkv.NewPagedCache(s.paged(4+r.IntN(40), 1+r.IntN(9)))
	if err != nil {
		t.Fatal(err)
	}
	pages := c.FreePages()
	a := newAttention(t, qkv.Config{Workers: 1 + r.IntN(2)})
	sequences := []*qkv.Sequence{c.NewSequence()}
	histories := []*history{new(history)}
	var b qkv.Batch
	for _, op := range ops {
		i, n := int(op>>5)%len(sequences), int(op>>2&7)
		x, h := sequences[i], histories[i]
		switch op & 3 {
		case 0:
			k, v := s.tokens(r, 3*n)
			var full *qkv.PagesError
			if err := x.Append(k.view(), v.view()); err == nil {
				h.append(s, k, v)
			} else if !errors.As(err, &full) {
				t.Fatal(err)
			}
		case 1:
			switch {
			case n < 3 && len(sequences) < 6:
				fork, err := x.Fork()
				if err != nil {
					t.Fatal(err)
				}
				sequences, histories = append(sequences, fork), append(histories, h.clone())
			case n == 3 && len(sequences) > 1:
				if err := x.Free(); err != nil {
					t.Fatal(err)
				}
				sequences, histories = append(sequences[:i], sequences[i+1:]...), append(histories[:i], histories[i+1:]...)
			default:
				to := max(0, h.len-n)
				if err := x.Truncate(to); err != nil {
					t.Fatal(err)
				}
				h.truncate(s, to)
			}
		default:
			var some []*qkv.Sequence
			var states []cacheState
			for i, h := range histories {
				if h.len > 0 && r.IntN(3) > 0 {
					some, states = append(some, sequences[i]), append(states, cacheState{h, func(int) bool { return false }})
				}
			}
			if len(some) > 0 {
				s.anywhere(t, "pages", r, a, qkv.CacheConfig{}, states, func(call *qkv.Call) error { return c.Use(call, &b, some) })
			}
		}
		for i, x := range sequences {
			if x.Len() != histories[i].len {
				t.Fatalf("sequence %d has %d tokens, want %d", i, x.Len(), histories[i].len)
			}
		}
	}
	for _, x := range sequences {
		if err := x.Free(); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.FreePages(); n != pages {
		t.Fatalf("%d of %d pages are free when all sequences are", n, pages)
	}
}

// TestCacheStates: whatever was done to a cache, a query of any token that it has attends
// what is left of the tokens before it, and no other.
func TestCacheStates(t *testing.T) {
	t.Parallel()
	n := 150
	if brief() {
		n = 40
	}
	for seed := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, 73))
		ops := draw(40, func() byte { return byte(r.Uint32()) })
		cacheStates(t, seed, ops)
		pagedStates(t, seed, ops)
	}
}

// FuzzCacheStates is TestCacheStates on what a fuzzer makes.
func FuzzCacheStates(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(seed, seed%2 == 0, []byte("\x2c\x0c\x09\x02\x0c\x02\x80\x82\x15\x03"))
	}
	f.Fuzz(func(t *testing.T, seed uint64, pages bool, ops []byte) {
		if len(ops) > 100 {
			return
		}
		if pages {
			pagedStates(t, seed, ops)
		} else {
			cacheStates(t, seed, ops)
		}
	})
}

// TestRingRewound: tokens that a ring has overwritten stay lost when it goes back, in a cache
// and in the caller's own ring.
func TestRingRewound(t *testing.T) {
	values := []float32{1, 2, 3, 100, 200, 400}
	for _, c := range []struct {
		capacity, tokens, back, lost int
		want                         float32 // of the last token that is left
	}{
		{2, 3, 2, 1, 2},
		{4, 6, 3, 2, 3},
		{4, 6, 4, 2, (3 + 100) / 2.},
	} {
		cache := newCache(t, qkv.CacheConfig{Sequences: 1, KVHeads: 1, Capacity: c.capacity, DimQK: 1, DimV: 1, Ring: true, Window: 2})
		k := make([]float32, c.tokens)
		for i := range c.tokens {
			if err := cache.Append(0, qkv.BHSD(k[:1], 1, 1, 1, 1), qkv.BHSD(values[i:i+1], 1, 1, 1, 1)); err != nil {
				t.Fatal(err)
			}
		}
		out := []float32{canary}
		call := &qkv.Call{Q: qkv.BHSD([]float32{1}, 1, 1, 1, 1), Out: qkv.BHSD(out, 1, 1, 1, 1), Mask: bottomRight}
		if err := errors.Join(cache.Truncate(0, c.back), cache.Use(call, new(qkv.Batch), []int{0}), qkv.Run(call)); err != nil || out[0] != c.want {
			t.Errorf("%+v: %v, %v", c, out, err)
		}
		// The same memory in a call of its own.
		own := &qkv.Call{
			Q: call.Q, K: call.K, V: call.V, Out: call.Out, Tables: [][]int32{{0}}, LensKV: []int{c.back},
			Ring: true, Lost: []int{c.lost}, Mask: call.Mask,
		}
		out[0] = canary
		if err := qkv.Run(own); err != nil || out[0] != c.want {
			t.Errorf("%+v, in a call: %v, %v", c, out, err)
		}
	}
}
