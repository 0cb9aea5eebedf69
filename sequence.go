package qkv

// A Sequence is a sequence of a [PagedCache], which makes it: [PagedCache.NewSequence].
type Sequence struct {
	cache *PagedCache
	pages []int32
	len   int
	freed bool
}

// NewSequence returns an empty sequence, which has no pages yet. It panics on a cache of nil.
func (c *PagedCache) NewSequence() *Sequence {
	if c == nil {
		panic("qkv: PagedCache is nil: NewPagedCache makes one")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return &Sequence{cache: c, pages: c.list()}
}

// misuse is what is wrong with a sequence.
type misuse string

func (m misuse) Error() string { return string(m) }

const (
	noSequence    misuse = "it is no sequence: NewSequence makes one"
	freedSequence misuse = "it was freed"
	otherCache    misuse = "it is of another cache"
	noCache       misuse = "its cache has no pages: NewPagedCache makes one"
)

// check reports a sequence that cannot be used, or not with that cache.
func (s *Sequence) check(c *PagedCache) error {
	switch {
	case s == nil || s.cache == nil:
		return noSequence
	case s.freed:
		return freedSequence
	case s.cache != c:
		return otherCache
	case c.pageTokens == 0:
		return noCache
	}
	return nil
}

// live returns the cache of a sequence that can be used.
func (s *Sequence) live() (*PagedCache, error) {
	var c *PagedCache
	if s != nil {
		c = s.cache
	}
	if err := s.check(c); err != nil {
		return nil, argError("sequence", 0, 0, "sequence: %s", err)
	}
	return c, nil
}

// Len returns the number of tokens, 0 of a sequence that was freed.
func (s *Sequence) Len() int {
	if s == nil {
		return 0
	}
	return s.len
}

// Append writes the keys and values of the tokens that follow, converted to the types of the
// cache: k and v are float32 [1, kvHeads, tokens, dim], and k is rotated already where there
// are rotary embeddings. They share no element with the cache. A last page that others share
// is copied first; of several sequences that do so at one time, each takes a page.
//
// The error is an [*ArgError], or a [*PagesError] where there are not enough pages. Nothing
// has been written then.
func (s *Sequence) Append(k, v View) error {
	c, err := s.live()
	if err != nil {
		return err
	}
	n, err := c.checkTokens(&k, &v)
	if err != nil {
		return err
	}
	if most := MaxSeq - s.len; n > most {
		return argError("k", n, most, "k has sequence length %d, a sequence of %d tokens takes at most %d more", n, s.len, most)
	}
	if n == 0 {
		return nil
	}
	last, used := s.len/c.pageTokens, s.len%c.pageTokens // the page of the next token, and its tokens
	shared, err := s.reserve(last, used, n)
	if err != nil {
		return err
	}
	if shared >= 0 {
		// Held until it is copied, so that nobody else writes it.
		c.move(int(s.pages[last]), int(shared), used)
		c.mu.Lock()
		c.release([]int32{shared})
		c.mu.Unlock()
	}
	for i := 0; i < n; {
		at := s.len + i
		run := min(n-i, c.pageTokens-at%c.pageTokens)
		c.write(int(s.pages[at/c.pageTokens]), at%c.pageTokens, &k, &v, i, run)
		i += run
	}
	s.len += n
	return nil
}

// reserve takes the pages for n tokens more, the first of which goes to the last page, at
// token used. If others share that, it takes another in its place and returns the old one,
// still held; otherwise -1.
func (s *Sequence) reserve(last, used, n int) (shared int32, err error) {
	c := s.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	shared = -1
	if used > 0 && c.refs[s.pages[last]] > 1 {
		shared = s.pages[last]
	}
	more := c.pages(s.len+n) - len(s.pages)
	needed := more
	if shared >= 0 {
		needed++
	}
	if free := len(c.free); needed > free {
		return -1, &PagesError{Needed: needed, Free: free}
	}
	if shared >= 0 {
		s.pages[last] = c.take()
	}
	for range more {
		s.pages = append(s.pages, c.take())
	}
	return shared, nil
}

// Fork returns a sequence of the same tokens. The two share all pages until one of them
// writes. The error is an [*ArgError].
func (s *Sequence) Fork() (*Sequence, error) {
	c, err := s.live()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, page := range s.pages {
		c.refs[page]++
	}
	return &Sequence{cache: c, pages: append(c.list(), s.pages...), len: s.len}, nil
}

// Truncate goes back to the first n tokens, and gives up the pages of the others. The error
// is an [*ArgError]; nothing has changed then.
func (s *Sequence) Truncate(n int) error {
	c, err := s.live()
	if err != nil {
		return err
	}
	if n < 0 {
		return argError("n", n, 0, "n is %d, at least 0 is needed", n)
	}
	if n > s.len {
		return argError("n", n, s.len, "n is %d, the sequence has %d tokens", n, s.len)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	keep := c.pages(n)
	c.release(s.pages[keep:])
	s.pages, s.len = s.pages[:keep], n
	return nil
}

// Free gives up all pages; the sequence cannot be used any more. The error is an
// [*ArgError], such as for one that was freed.
func (s *Sequence) Free() error {
	c, err := s.live()
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.freed {
		return argError("sequence", 0, 0, "sequence: %s", freedSequence)
	}
	c.release(s.pages)
	c.lists = append(c.lists, s.pages[:0])
	s.pages, s.len, s.freed = nil, 0, true
	return nil
}
