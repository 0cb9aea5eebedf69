package qkv

import (
	"fmt"
	"sync"
)

// PagedConfig says how a [PagedCache] is laid out.
type PagedConfig struct {
	Pages      int
	PageTokens int // tokens of a page
	KVHeads    int
	DimQK      int
	DimV       int

	// KeyType and ValueType are what keys and values are kept in.
	KeyType, ValueType ElemType

	// K and V, if given, are the memory of the pages in any strides: [pages, kvHeads, page
	// tokens, dim], of the types above. KScale and VScale [pages, kvHeads, page tokens, 1] go
	// with int8. Otherwise the cache allocates them, contiguous.
	K, V           View
	KScale, VScale View
}

// A PagedCache keeps the keys and values of any number of sequences in pages of a fixed
// number of tokens, which sequences with a common beginning share (Kwon et al.,
// PagedAttention, 2023).
//
// Different sequences may be used at the same time, those that share pages among them:
// appended to, forked, truncated, freed and attended. Len, Use and calls only read a sequence
// and may share it. While it is appended to, forked, truncated or freed, nothing else may use
// it, and no call that attends it may run.
type PagedCache struct {
	store
	pageTokens int

	mu    sync.Mutex
	refs  []int32 // sequences that have each page
	free  []int32
	lists [][]int32 // memory for the pages of sequences to come
}

// A PagesError reports that a [PagedCache] has not enough free pages. Nothing has changed
// when it is returned.
type PagesError struct {
	Needed, Free int
}

func (e *PagesError) Error() string {
	return fmt.Sprintf("qkv: %d pages are needed, %d are free", e.Needed, e.Free)
}

// NewPagedCache returns a cache of free pages. The error is an [*ArgError], or a [*MemoryError]
// for more memory than there is; that of K and V that are given may be of any size.
func NewPagedCache(cfg PagedConfig) (*PagedCache, error) {
	c := &PagedCache{store: store{cfg.K, cfg.V, cfg.KScale, cfg.VScale}, pageTokens: cfg.PageTokens}
	err := c.open(storeNames{"pages", "pageTokens", "pages"}, cfg.Pages, cfg.KVHeads, cfg.PageTokens, cfg.DimQK, cfg.DimV, cfg.KeyType, cfg.ValueType)
	if err != nil {
		return nil, err
	}
	c.refs, c.free = make([]int32, cfg.Pages), make([]int32, cfg.Pages)
	for i := range c.free {
		c.free[i] = int32(cfg.Pages - 1 - i) // the first are taken first
	}
	return c, nil
}

// FreePages returns how many pages no sequence has, 0 of a cache of nil.
func (c *PagedCache) FreePages() int {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.free)
}

// Bytes returns the size of the keys and values that the pages have room for, with the scales of
// int8: as of a [Cache] with as many sequences as there are pages, and a page's tokens as the
// capacity. Tables of pages take 4 bytes a page. Of nil it is 0.
func (c *PagedCache) Bytes() int {
	if c == nil {
		return 0
	}
	return c.bytes()
}

// pages returns how many pages so many tokens take.
func (c *PagedCache) pages(tokens int) int { return (tokens + c.pageTokens - 1) / c.pageTokens }

// release gives up a sequence's hold of pages. The lock is held.
func (c *PagedCache) release(pages []int32) {
	for _, page := range pages {
		if c.refs[page]--; c.refs[page] == 0 {
			c.free = append(c.free, page)
		}
	}
}

// take returns a free page, which there is, as one of one sequence. The lock is held.
func (c *PagedCache) take() int32 {
	last := len(c.free) - 1
	page := c.free[last]
	c.free = c.free[:last]
	c.refs[page] = 1
	return page
}

// list returns an empty list of pages. The lock is held.
func (c *PagedCache) list() []int32 {
	if last := len(c.lists) - 1; last >= 0 {
		l := c.lists[last]
		c.lists = c.lists[:last]
		return l
	}
	return nil
}

// Use has a call attend some sequences, the i-th of its queries those of sequences[i]: it
// sets K, V, KScale, VScale, Tables, LensKV, CuLensKV and Ring, and takes back what the ring
// of a [Cache] had set in Lost and in its mask. Q, Out, CuLensQ and the rest of the mask are the
// caller's: a decoder appends the tokens of its queries first, and has Mask.Causal. If
// Mask.Align does not say where the queries stand, it becomes [BottomRight]: the last one at the
// last token.
//
// The call refers to b, and is good until one of the sequences changes. The error is an
// [*ArgError]; the call has not changed then.
func (c *PagedCache) Use(call *Call, b *Batch, sequences []*Sequence) error {
	if c == nil {
		return argError("cache", 0, 1, "cache is nil: NewPagedCache makes one")
	}
	if err := checkUse(call, b); err != nil {
		return err
	}
	for i, s := range sequences {
		if err := s.check(c); err != nil {
			return argError("sequences", i, len(sequences), "sequences[%d]: %s", i, err)
		}
	}
	b.grow(len(sequences))
	for i, s := range sequences {
		b.tables[i], b.lens[i] = s.pages, s.len
	}
	b.fill(call, &c.store)
	return nil
}
