package qkv_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
)

// A modelSequence is a sequence and all its tokens.
type modelSequence struct {
	*qkv.Sequence
	h *history
}

// A pagedModel is a paged cache beside slices of all tokens of each of its sequences.
type pagedModel struct {
	shape cacheShape
	cfg   qkv.PagedConfig
	cache *qkv.PagedCache
	live  []modelSequence
	batch qkv.Batch
}

func newPagedModel(t *testing.T, s cacheShape, cfg qkv.PagedConfig) *pagedModel {
	c, err := qkv.NewPagedCache(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &pagedModel{shape: s, cfg: cfg, cache: c}
}

// tables returns the pages of each sequence.
func (m *pagedModel) tables(t *testing.T) [][]int32 {
	t.Helper()
	var call qkv.Call
	var sequences []*qkv.Sequence
	for _, s := range m.live {
		sequences = append(sequences, s.Sequence)
	}
	if err := m.cache.Use(&call, &m.batch, sequences); err != nil {
		t.Fatal(err)
	}
	return call.Tables
}

// check counts the pages, and the tokens and pages of each sequence.
func (m *pagedModel) check(t *testing.T) {
	t.Helper()
	used := make(map[int32]bool)
	for i, table := range m.tables(t) {
		s := m.live[i]
		if s.Len() != s.h.len {
			t.Fatalf("sequence %d has %d tokens, want %d", i, s.Len(), s.h.len)
		}
		if got, want := len(table), (s.h.len+m.cfg.PageTokens-1)/m.cfg.PageTokens; got != want {
			t.Fatalf("sequence %d of %d tokens has %d pages, want %d", i, s.h.len, got, want)
		}
		for _, page := range table {
			used[page] = true
		}
	}
	if free := m.cache.FreePages(); free+len(used) != m.cfg.Pages {
		t.Fatalf("%d pages are free and %d used, of %d", free, len(used), m.cfg.Pages)
	}
}

// append appends n tokens to a sequence, and requires an error if and only if there are not
// enough pages.
func (m *pagedModel) append(t *testing.T, r *rand.Rand, i, n int) {
	t.Helper()
	s, tokens := m.live[i], m.cfg.PageTokens
	k, v := m.shape.tokens(r, n)
	needed := (s.h.len+n+tokens-1)/tokens - (s.h.len+tokens-1)/tokens
	if tables := m.tables(t); n > 0 && s.h.len%tokens != 0 {
		page := tables[i][s.h.len/tokens]
		for j, table := range tables {
			if j != i && slices.Contains(table, page) {
				needed++ // the page is shared
				break
			}
		}
	}
	free := m.cache.FreePages()
	err := s.Append(k.view(), v.view())
	var pages *qkv.PagesError
	switch {
	case needed <= free && err != nil:
		t.Fatalf("%d pages of %d: %v", needed, free, err)
	case needed > free && (!errors.As(err, &pages) || *pages != qkv.PagesError{Needed: needed, Free: free}):
		t.Fatalf("%d pages of %d: error %v", needed, free, err)
	case err == nil:
		s.h.append(m.shape, k, v)
	}
}

// attend attends some sequences by their last tokens.
func (m *pagedModel) attend(t *testing.T, r *rand.Rand, a *qkv.Engine) {
	t.Helper()
	var sequences []*qkv.Sequence
	var which []*history
	var queries []int
	for _, s := range m.live {
		if s.h.len > 0 && r.IntN(3) > 0 {
			sequences, which = append(sequences, s.Sequence), append(which, s.h)
			queries = append(queries, 1+r.IntN(min(s.h.len, drawn(r, 1, 20))))
		}
	}
	if len(which) == 0 {
		return
	}
	p := m.shape.attend(r, 1+r.IntN(3), which, queries)
	p.checkUse(t, "attend", a, func(c *qkv.Call) error { return m.cache.Use(c, &m.batch, sequences) })
}

// fuzzPaged does what the bytes say to a paged cache.
func fuzzPaged(t *testing.T, seed uint64, ops []byte) {
	r := rand.New(rand.NewPCG(seed, 61))
	s := cacheShapes[r.IntN(len(cacheShapes))]
	m := newPagedModel(t, s, s.paged(1+r.IntN(30), 1+r.IntN(9)))
	a := newAttention(t, qkv.Config{Workers: 1})
	for _, op := range ops {
		n := int(op >> 3)
		if len(m.live) == 0 || op&7 == 0 && len(m.live) < 12 {
			m.live = append(m.live, modelSequence{m.cache.NewSequence(), new(history)})
		}
		i := r.IntN(len(m.live))
		one := m.live[i]
		switch op & 7 {
		case 0, 1, 2:
			m.append(t, r, i, n)
		case 3:
			fork, err := one.Fork()
			if err != nil {
				t.Fatal(err)
			}
			m.live = append(m.live, modelSequence{fork, one.h.clone()})
		case 4:
			to := max(0, one.h.len-n)
			if err := one.Truncate(to); err != nil {
				t.Fatal(err)
			}
			one.h.truncate(s, to)
		case 5:
			if err := one.Free(); err != nil {
				t.Fatal(err)
			}
			m.live = slices.Delete(m.live, i, i+1)
			if err := one.Free(); err == nil {
				t.Fatal("a sequence was freed twice")
			}
		case 6, 7:
			m.attend(t, r, a)
		}
		m.check(t)
	}
	m.attend(t, r, a)
	for _, s := range m.live {
		if err := s.Free(); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.cache.FreePages(); got != m.cfg.Pages {
		t.Fatalf("%d of %d pages are free at the end", got, m.cfg.Pages)
	}
}

// FuzzPaged compares a paged cache with a model under random appends, forks, truncations and
// frees.
func FuzzPaged(f *testing.F) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 62))
		f.Add(seed, draw(60, func() byte { return byte(r.Uint32()) }))
	}
	f.Fuzz(func(t *testing.T, seed uint64, ops []byte) {
		if len(ops) > 200 {
			return
		}
		fuzzPaged(t, seed, ops)
	})
}

// TestFork: forks share the pages of a prompt, and copy only the page in which they part.
func TestFork(t *testing.T) {
	for _, s := range cacheShapes {
		r := rand.New(rand.NewPCG(1, 63))
		m := newPagedModel(t, s, s.paged(10, 8))
		a := newAttention(t, qkv.Config{})
		m.live = append(m.live, modelSequence{m.cache.NewSequence(), new(history)})
		m.append(t, r, 0, 28)
		for range 3 {
			fork, err := m.live[0].Fork()
			if err != nil {
				t.Fatal(err)
			}
			m.live = append(m.live, modelSequence{fork, m.live[0].h.clone()})
		}
		if got := m.cache.FreePages(); got != 6 {
			t.Fatalf("%v: %d pages are free after the forks, want 6", s, got)
		}
		for i := range m.live {
			m.append(t, r, i, 2)
			m.check(t)
			m.attend(t, r, a)
		}
		// The last of four has the page to itself.
		if got := m.cache.FreePages(); got != 3 {
			t.Errorf("%v: %d pages are free after the forks parted, want 3", s, got)
		}
		tables := m.tables(t)
		for i := range 4 {
			if !slices.Equal(tables[i][:3], tables[0][:3]) || i > 0 && tables[i][3] == tables[0][3] {
				t.Errorf("%v: pages %v", s, tables)
			}
		}
		m.attend(t, r, a)
	}
}
