package qkv

// A Sequence is a sequence of tokens in a [Cache], which makes it: [Cache.NewSequence]. It grows in a
// [Step]. While it has new tokens in one, nothing else can be done with it. While it is attended in
// some, or [Sequence.WriteTo] runs, it can be attended in others, forked and written to files, but not
// grow, be truncated or freed. Its pages are free again when Free has been called: forgetting it does
// not give them back. It is not to be copied.
type Sequence struct {
	cache  *Cache
	tables []sequenceTable // of the groups of the cache
	len    int
	freed  bool
	use    int // -1 in a Step that writes it, otherwise the Steps that attend it
}

// A sequenceTable is the pages of a sequence in a group of layers.
type sequenceTable struct {
	pages []int32
	lost  int // of a ring, the tokens from keep to before it were overwritten
}

// NewSequence returns an empty sequence, which has no pages yet. It panics on a cache that NewCache
// has not made.
func (c *Cache) NewSequence() *Sequence {
	if err := c.ready(); err != nil {
		panic(err.Error())
	}
	return &Sequence{cache: c, tables: make([]sequenceTable, len(c.groups))}
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

// Len returns the number of tokens, without those of a [Step] that is not committed; 0 of a sequence
// that was freed.
func (s *Sequence) Len() int {
	if s == nil {
		return 0
	}
	return s.len
}

// Table returns the pages of a layer that the sequence has, for code that reads the memory that the
// caller gave, such as a [Call] with Tables. It is a copy, and holds until the sequence changes. The
// error is an [*ArgError].
func (s *Sequence) Table(layer int) ([]int32, error) {
	if err := s.lock(false); err != nil {
		return nil, err
	}
	defer s.cache.mu.Unlock()
	l, err := s.cache.layer(layer)
	if err != nil {
		return nil, err
	}
	return append([]int32(nil), s.tables[l.group].pages...), nil
}

// Fork returns a sequence of the same tokens. The two share all pages until one of them writes: a
// page that others share is copied first. The error is an [*ArgError].
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
			c.groups[i].refs[page]++
		}
		f.tables[i] = sequenceTable{pages: append([]int32(nil), t.pages...), lost: t.lost}
	}
	return f, nil
}

// Truncate goes back to the first n tokens, and gives up the pages of the others. Layers with a
// Window have overwritten tokens that the next query would attend if n is too small: a sequence that
// had most tokens at one time goes back to
//
//	most - StepTokens, or what PageTokens rounds up beside that
//
// or to no more tokens than every such layer keeps. The error is an [*ArgError]; nothing has changed
// then.
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
		g, t := &c.groups[i], &s.tables[i]
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
		g, t := &s.cache.groups[i], &s.tables[i]
		keep := min(g.pagesOf(n, s.cache.pageTokens), len(t.pages))
		g.release(t.pages[keep:]...)
		t.pages, t.lost = t.pages[:keep], min(n, t.lost)
	}
	s.len = n
}

// Free gives up all pages; the sequence cannot be used any more. The error is an [*ArgError], such
// as for one that was freed.
func (s *Sequence) Free() error {
	if err := s.lock(true); err != nil {
		return err
	}
	c := s.cache
	defer c.mu.Unlock()
	for i := range s.tables {
		c.groups[i].release(s.tables[i].pages...)
	}
	s.tables, s.len, s.freed = nil, 0, true
	return nil
}
