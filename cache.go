package qkv

import "fmt"

// CacheConfig says how a [Cache] is laid out.
type CacheConfig struct {
	Sequences int // slots, each for a sequence
	KVHeads   int
	Capacity  int // tokens of a slot
	DimQK     int
	DimV      int

	// KeyType and ValueType are what keys and values are kept in.
	KeyType, ValueType ElemType

	// Ring has a slot go round: once it is full, a token takes the place of the oldest that
	// is not one of the first Keep, which stay (Xiao et al., 2023): they are Mask.First.
	Ring bool
	Keep int

	// Window, if not 0, is the number of last keys that a query attends, its own among
	// them, in a ring: besides the first Keep. Append then refuses what would overwrite a
	// key that its own first query attends, and Truncate can go back.
	Window int

	// K and V, if given, are the memory of the cache in any strides: [sequences, kvHeads,
	// capacity, dim], of the types above. KScale and VScale [sequences, kvHeads, capacity, 1]
	// go with int8. Otherwise the cache allocates them, contiguous.
	K, V           View
	KScale, VScale View
}

// A Cache keeps the keys and values of sequences, each in a slot of a fixed number of
// tokens. A sequence is written once, as its tokens come, and read where it is.
//
// Methods that name different slots may run at the same time, as may calls that attend
// them. Len, Use and calls only read a slot and may share it. While a slot is appended to,
// truncated or reset, nothing else may use it, and no call that attends it may run.
type Cache struct {
	store
	capacity     int
	ring         bool
	keep, window int
	slots        []slotState
}

// A slotState is where a sequence stands.
type slotState struct {
	len  int
	lost int // in a ring, the tokens from keep to before it were overwritten
}

// A CapacityError reports tokens for which a slot of a [Cache] has no room. Nothing has been
// written when it is returned.
type CapacityError struct {
	Slot   int
	Len    int // tokens of the sequence
	Tokens int // those to append
	Room   int // how many could be appended
}

func (e *CapacityError) Error() string {
	return fmt.Sprintf("qkv: slot %d has %d tokens and room for %d more, not for %d", e.Slot, e.Len, e.Room, e.Tokens)
}

// NewCache returns a cache of empty sequences. The error is an [*ArgError], or a [*MemoryError]
// for more memory than there is; that of K and V that are given may be of any size.
func NewCache(cfg CacheConfig) (*Cache, error) {
	c := &Cache{
		store:    store{cfg.K, cfg.V, cfg.KScale, cfg.VScale},
		capacity: cfg.Capacity, ring: cfg.Ring, keep: cfg.Keep, window: cfg.Window,
	}
	for _, x := range [...]struct {
		name string
		n    int
	}{{"keep", cfg.Keep}, {"window", cfg.Window}} {
		if x.n < 0 {
			return nil, argError(x.name, x.n, 0, "%s is %d, at least 0 is needed", x.name, x.n)
		}
		if x.n > 0 && !cfg.Ring {
			return nil, argError(x.name, x.n, 0, "%s is %d, it needs ring", x.name, x.n)
		}
	}
	if cfg.Ring && cfg.Capacity > 0 {
		if cfg.Keep >= cfg.Capacity {
			return nil, argError("keep", cfg.Keep, cfg.Capacity-1, "keep is %d, a ring of capacity %d keeps at most %d",
				cfg.Keep, cfg.Capacity, cfg.Capacity-1)
		}
		if n := cfg.Capacity - cfg.Keep; cfg.Window > n {
			return nil, argError("window", cfg.Window, n, "window is %d, capacity %d less keep %d is %d", cfg.Window, cfg.Capacity, cfg.Keep, n)
		}
	}
	err := c.open(storeNames{"sequences", "capacity", "cache"}, cfg.Sequences, cfg.KVHeads, cfg.Capacity, cfg.DimQK, cfg.DimV, cfg.KeyType, cfg.ValueType)
	if err != nil {
		return nil, err
	}
	c.slots = make([]slotState, cfg.Sequences)
	return c, nil
}

// slot returns the state of a slot.
func (c *Cache) slot(i int) (*slotState, error) {
	if c == nil {
		return nil, argError("cache", 0, 1, "cache is nil: NewCache makes one")
	}
	if i < 0 || i >= len(c.slots) {
		return nil, argError("slot", i, len(c.slots), "slot is %d, the cache has %d", i, len(c.slots))
	}
	return &c.slots[i], nil
}

// Len returns the number of tokens of a sequence, those that a ring has overwritten among
// them; 0 if there is no such slot.
func (c *Cache) Len(slot int) int {
	s, err := c.slot(slot)
	if err != nil {
		return 0
	}
	return s.len
}

// Bytes returns the size of the keys and values that the cache has room for, with the scales of
// int8:
//
//	sequences * kvHeads * capacity * (row of dimQK + row of dimV)
//
// A row of n dims is 4n bytes in float32, 2n in Float16 and BFloat16, n + 4 in int8, and 34n/32
// in Q8_0. Gaps that the strides of memory of the caller's leave do not count. Of nil it is 0.
func (c *Cache) Bytes() int {
	if c == nil {
		return 0
	}
	return c.bytes()
}

// size is the tokens of a ring that go round.
func (c *Cache) size() int { return c.capacity - c.keep }

// least returns the first token of a ring, other than those kept, that a sequence of n tokens
// must still have: that of the next query by the window, or without one all that a call takes
// to be there.
func (c *Cache) least(n int) int {
	if c.window > 0 {
		return n - c.window + 1
	}
	return n - c.size()
}

// room returns how many tokens can be appended to a sequence.
func (c *Cache) room(s *slotState) int {
	n := c.capacity - s.len
	if c.ring {
		// Of a ring that is full, the chunk and the keys in the window of its first query
		// fit in what goes round; at the least, the chunk.
		n = max(n, c.size()-max(c.window-1, 0), 0)
		if c.window == 0 {
			n = max(n, c.size()+max(c.keep-s.len, 0))
		}
	}
	return min(n, MaxSeq-s.len)
}

// Append writes the keys and values of the tokens that follow in a sequence, converted to
// the types of the cache: k and v are float32 [1, kvHeads, tokens, dim], and k is rotated
// already where there are rotary embeddings. Nothing else is copied. They share no element
// with the cache.
//
// A ring with a Window takes no more tokens at once than leave it the keys that their queries
// attend: once the slot is full, window + tokens <= capacity - keep + 1. Without a Window it
// then takes up to capacity - keep, and all of their queries attend what is left after the last
// one: of more than one token, the first lose keys that they would have had alone.
//
// The error is an [*ArgError], or a [*CapacityError] where there is no room. Nothing has
// been written then.
func (c *Cache) Append(slot int, k, v View) error {
	s, err := c.slot(slot)
	if err != nil {
		return err
	}
	n, err := c.checkTokens(&k, &v)
	if err != nil {
		return err
	}
	if room := c.room(s); n > room {
		return &CapacityError{Slot: slot, Len: s.len, Tokens: n, Room: room}
	}
	for i := 0; i < n; {
		at := s.len + i
		run := c.capacity - at
		if at >= c.capacity { // only of a ring
			at = c.keep + (at-c.keep)%c.size()
			run = c.capacity - at
		}
		run = min(run, n-i)
		c.write(slot, at, &k, &v, i, run)
		i += run
	}
	s.len += n
	if lost := s.len - c.size(); c.ring && lost > c.keep {
		s.lost = max(s.lost, lost)
	}
	return nil
}

// Truncate goes back to the first n tokens of a sequence. A ring that has overwritten tokens
// goes back only with a Window, and as far as the next query finds the keys that it attends:
// by capacity - keep - window + 1 from the most tokens that it had; or to no more than Keep
// tokens. Tokens that were overwritten stay lost, and no query attends them. The error is an
// [*ArgError]; nothing has changed then.
func (c *Cache) Truncate(slot, n int) error {
	s, err := c.slot(slot)
	if err != nil {
		return err
	}
	if n < 0 {
		return argError("n", n, 0, "n is %d, at least 0 is needed", n)
	}
	if n > s.len {
		return argError("n", n, s.len, "n is %d, slot %d has %d tokens", n, slot, s.len)
	}
	if first := max(c.least(n), c.keep); n < s.len && first < min(n, s.lost) {
		return argError("n", n, s.lost-c.least(0), "n is %d, the tokens of slot %d before %d were overwritten", n, slot, s.lost)
	}
	s.len, s.lost = n, min(n, s.lost)
	return nil
}

// Reset empties a slot. The error is an [*ArgError].
func (c *Cache) Reset(slot int) error {
	s, err := c.slot(slot)
	if err != nil {
		return err
	}
	*s = slotState{}
	return nil
}

// Use has a call attend the sequences of some slots, the i-th of its queries those of
// slots[i]: it sets K, V, KScale, VScale, Tables, LensKV, CuLensKV and Ring, and of a ring
// Lost, Mask.First, to Keep, and Mask.Window, if the cache has a Window and the call none of its
// own, which must not be longer. It takes back what a ring had set before. Q, Out, CuLensQ
// and the rest of the mask are the caller's, but of a ring for a prefix, which there is not:
// a decoder appends the tokens of its queries first, and has Mask.Causal. If Mask.Align does
// not say where the queries stand, it becomes [BottomRight]: the last one at the last token.
//
// The call refers to b, and is good until one of the slots changes. The error is an
// [*ArgError]; the call has not changed then.
func (c *Cache) Use(call *Call, b *Batch, slots []int) error {
	if c == nil {
		return argError("cache", 0, 1, "cache is nil: NewCache makes one")
	}
	if err := checkUse(call, b); err != nil {
		return err
	}
	for i, slot := range slots {
		if slot < 0 || slot >= len(c.slots) {
			return argError("slots", slot, len(c.slots), "slots[%d] is %d, the cache has %d", i, slot, len(c.slots))
		}
	}
	if w := call.Mask.Window; c.window > 0 && w.given && !w.cache && w.left >= c.window {
		return argError("mask", w.left, c.window-1, "mask has a window with left bound %d, that of the cache is %d", w.left, c.window-1)
	}
	if m := &call.Mask; c.ring && m.Prefix != 0 {
		return argError("mask", m.Prefix, c.keep, "mask has prefix %d, a ring keeps its own first %d", m.Prefix, c.keep)
	} else if c.ring && m.Prefixes != nil {
		return argError("mask", len(m.Prefixes), c.keep, "mask has %d prefixes, a ring keeps its own first %d", len(m.Prefixes), c.keep)
	}
	b.grow(len(slots))
	for i, slot := range slots {
		b.slots[i], b.lens[i], b.lost[i] = int32(slot), c.slots[slot].len, c.slots[slot].lost
		b.tables[i] = b.slots[i : i+1 : i+1]
	}
	b.fill(call, &c.store)
	if !c.ring {
		return nil
	}
	call.Ring, call.Lost, call.Mask.First = true, b.lost, c.keep
	if c.window > 0 && !call.Mask.Window.given {
		call.Mask.Window = Window{left: c.window - 1, right: Unbounded, given: true, cache: true}
	}
	return nil
}
