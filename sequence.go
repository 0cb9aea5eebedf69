package qkv

// A Sequence is a sequence of tokens in a [Cache]. [Cache.NewSequence] makes one, and a [Step] has it
// grow. What can be done with it depends on what is under way, and is [ErrBusy] otherwise:
//
//   - A Step that gives it new tokens: nothing else.
//   - Steps that attend it, or WriteTo: other Steps may attend it, and it may be forked and written to
//     files. It cannot grow, be truncated or freed.
//   - Neither: everything.
//
// Free gives back its pages. A sequence that is forgotten keeps them. It must not be copied.
type Sequence struct {
	cache  *Cache
	tables []sequenceTable // of the page groups of the cache
	len    int
	freed  bool
	use    int // -1 in a Step that writes it, otherwise the Steps that attend it
}

// A sequenceTable is the pages of a sequence in a page group.
type sequenceTable struct {
	pages []int32
	lost  int // of a ring, the tokens from the first ones to before it were overwritten
}

// NewSequence returns an empty sequence, which has no pages yet. It panics on a cache that NewCache
// has not made.
func (c *Cache) NewSequence() *Sequence {
	if err := c.ready(); err != nil {
		panic(err.Error())
	}
	return &Sequence{cache: c, tables: make([]sequenceTable, len(c.pageGroups))}
}

// check reports a sequence that cannot be read, or written, or not with that cache: an argument, or an
// element of one if index is not negative. The lock of the cache is held.
func (s *Sequence) check(c *Cache, write bool, arg string, index int) error {
	var why error
	what := ""
	switch {
	case s == nil || s.cache == nil:
		what = "it is no sequence: NewSequence makes one"
	case s.cache != c:
		why, what = ErrOtherCache, "it is of another cache"
	case s.freed:
		why, what = ErrFreed, "it was freed"
	case s.use < 0 || write && s.use > 0:
		why, what = ErrBusy, "it is in a step that has not ended"
	default:
		return nil
	}
	if index < 0 {
		return because(why, argError(arg, 0, 0, "%s: %s", arg, what))
	}
	return because(why, argError(arg, index, 0, "%s[%d]: %s", arg, index, what))
}

// lock locks the cache of a sequence that can be read, or written.
func (s *Sequence) lock(write bool) error {
	var c *Cache
	if s != nil {
		if c = s.cache; c != nil {
			c.mu.Lock()
		}
	}
	err := s.check(c, write, "sequence", -1)
	if err != nil && c != nil {
		c.mu.Unlock()
	}
	return err
}

// Len returns the number of tokens, without those of a [Step] that is not committed. It is 0 of a
// sequence that was freed, and of nil.
func (s *Sequence) Len() int {
	if s == nil {
		return 0
	}
	return s.len
}

// Table returns the page table of the sequence in a layer: token j lies in page Table[j/PageTokens].
// It is for code that reads the memory in [CacheLayer].K and V, such as a [Call] with Tables. It is a
// copy, and holds until the sequence changes. The error is an [*ArgError].
func (s *Sequence) Table(layer int) ([]int32, error) {
	if err := s.lock(false); err != nil {
		return nil, err
	}
	defer s.cache.mu.Unlock()
	l, err := s.cache.layer(layer)
	if err != nil {
		return nil, err
	}
	return append([]int32(nil), s.tables[l.pageGroup].pages...), nil
}

// Fork returns a sequence of the same tokens. The two share all pages, and copy one before they write it
// (copy-on-write). For example, a fork of 100 tokens in pages of 16 takes no page, and 1 when it gets
// its next token: a copy of the last page, which has 4 of them. The error is an [*ArgError].
func (s *Sequence) Fork() (*Sequence, error) {
	if err := s.lock(false); err != nil {
		return nil, err
	}
	c := s.cache
	defer c.mu.Unlock()
	f := &Sequence{cache: c, tables: make([]sequenceTable, len(s.tables)), len: s.len}
	for i := range s.tables {
		t := &s.tables[i]
		for _, page := range t.pages {
			c.pageGroups[i].refs[page]++
		}
		f.tables[i] = sequenceTable{pages: append([]int32(nil), t.pages...), lost: t.lost}
	}
	return f, nil
}

// Truncate goes back to the first n tokens, and gives up the pages of the others. A layer with a Window
// needs the window of the next query, which may have been overwritten. The least n is then
//
//	most - StepTokens
//
// where most is the largest number of tokens that the sequence has had, or a fork that shares its ring.
// It is less where whole pages make the ring larger; and any n up to First will do. The error is an
// [*ArgError], which wraps [ErrOverwritten] for another n; nothing has changed then.
func (s *Sequence) Truncate(n int) error {
	if err := s.lock(true); err != nil {
		return err
	}
	c := s.cache
	defer c.mu.Unlock()
	if n < 0 {
		return argError("n", n, 0, "n is %d, at least 0 is needed", n)
	}
	if n > s.len {
		return argError("n", n, s.len, "n is %d, the sequence has %d tokens", n, s.len)
	}
	if n == s.len {
		return nil
	}
	for i := range s.tables {
		g, t := &c.pageGroups[i], &s.tables[i]
		if !g.serves(n, t.lost) {
			return because(ErrOverwritten, argError("n", n, t.lost+g.window-1, "n is %d, tokens before %d were overwritten in layers with window %d", n, t.lost, g.window))
		}
	}
	s.truncate(n)
	return nil
}

// truncate goes back to n tokens. The lock of the cache is held.
func (s *Sequence) truncate(n int) {
	for i := range s.tables {
		g, t := &s.cache.pageGroups[i], &s.tables[i]
		keep := min(g.pagesOf(n, s.cache.pageTokens), len(t.pages))
		g.release(t.pages[keep:]...)
		t.pages, t.lost = t.pages[:keep], min(n, t.lost)
	}
	s.len = n
}

// Free gives up all pages. The sequence cannot be used any more. The error is an [*ArgError], such as
// [ErrFreed] for one that was freed before.
func (s *Sequence) Free() error {
	if err := s.lock(true); err != nil {
		return err
	}
	c := s.cache
	defer c.mu.Unlock()
	for i := range s.tables {
		c.pageGroups[i].release(s.tables[i].pages...)
	}
	s.tables, s.len, s.freed = nil, 0, true
	return nil
}
