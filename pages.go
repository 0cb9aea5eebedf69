package qkv

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
)

// A pageGroup is the pages of the layers that have the same window, which share a table: page i is page i of
// each. It is what vLLM calls a KV cache group.
type pageGroup struct {
	layer         int // the first of the layers
	window, first int // those of the layers
	ring          int // most pages of a sequence, which then go round; 0 if there is no bound
	pages         int
	refs          []int32 // sequences that have each page, and Steps
	free          []int32
}

// A PagesError reports that a [Cache] has not enough free pages. Nothing has changed when it is
// returned.
type PagesError struct {
	Layer  int // the first of the layers that share the pages, see [Cache.FreePages]
	Window int // that of these layers, 0 if they attend all keys

	Needed, Free int // in each of these layers
}

func (e *PagesError) Error() string {
	if e.Window == 0 {
		return fmt.Sprintf("qkv: %d pages are needed, %d are free", e.Needed, e.Free)
	}
	return fmt.Sprintf("qkv: %d pages are needed of layers with window %d, %d are free", e.Needed, e.Window, e.Free)
}

// FreePages returns how many pages of a layer no sequence has. Layers that share a table have the same.
// It is 0 if there is no such layer, and of nil.
func (c *Cache) FreePages(layer int) int {
	if c.ready() != nil || layer < 0 || layer >= len(c.layers) {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pageGroups[c.layers[layer].pageGroup].free)
}

// Fits returns the error that [Step.Begin] of the same sequences would return, or nil if it would
// begin. It takes nothing, so that another goroutine may take the pages before Begin does. A scheduler
// asks it which requests fit into the next step; [Cache.StepPages] and [Sequence.Room] say how many
// pages and tokens those are.
func (c *Cache) Fits(sequences []StepSequence) error {
	return c.ask(sequences, (*Step).enough)
}

// StepPages returns how many pages of a layer [Step.Begin] would take for the sequences, copies of
// shared pages among them. Begin succeeds if [Cache.FreePages] of each layer are as many. The error is
// an [*ArgError], as of Begin.
//
// In pages of 16 tokens, a sequence of 30 tokens with 3 new ones takes 1 page, or 2 if a fork shares its
// last page, which is then copied.
func (c *Cache) StepPages(layer int, sequences []StepSequence) (int, error) {
	if err := c.ready(); err != nil {
		return 0, err
	}
	l, err := c.layer(layer)
	if err != nil {
		return 0, err
	}
	n := 0
	err = c.ask(sequences, func(s *Step) error {
		n = s.pageGroups[l.pageGroup].needed()
		return nil
	})
	return n, err
}

// ask counts the pages of a step, and gives them to f.
func (c *Cache) ask(sequences []StepSequence, f func(*Step) error) error {
	if err := c.ready(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.asking
	marked, err := s.count(sequences)
	if err == nil {
		err = f(s)
	}
	s.unmark(marked)
	clear(s.sequences)
	return err
}

// Room returns the most new tokens that a [Step] of this sequence alone can have at the moment. Free
// pages bound it, and what a layer with a Window takes at once. It is 0 of a sequence that cannot be
// written: one in a Step, or one that was freed.
func (s *Sequence) Room() int {
	if s == nil || s.cache == nil {
		return 0
	}
	c := s.cache
	batch := []StepSequence{{Sequence: s}}
	return sort.Search(MaxSeq, func(n int) bool {
		batch[0].Tokens = n + 1
		return c.Fits(batch) != nil
	})
}

// pagesOf returns how many pages so many tokens of a sequence take.
func (g *pageGroup) pagesOf(tokens, pageTokens int) int {
	n := (tokens + pageTokens - 1) / pageTokens
	if g.ring > 0 {
		n = min(n, g.ring)
	}
	return n
}

// room returns how many tokens can be added at once to a sequence of n.
func (g *pageGroup) room(n, pageTokens int) int {
	if g.ring == 0 {
		return MaxSeq
	}
	// Before a ring goes round, what it has room for; then the new tokens and the keys in the
	// window of the first of them fit in what goes round.
	size := g.ring * pageTokens
	return max(size-n, size-g.first-(g.window-1))
}

// least returns the oldest token from g.first on that a sequence of n tokens must still have: that
// of the window of its next query.
func (g *pageGroup) least(n int) int { return n - g.window + 1 }

// overwritten returns the oldest token from g.first on that a ring still has when it has had n; 0 if it
// has all.
func (g *pageGroup) overwritten(n, pageTokens int) int {
	if lost := n - (g.ring*pageTokens - g.first); g.ring > 0 && lost > g.first {
		return lost
	}
	return 0
}

// serves reports whether a sequence of n tokens has all that its next query attends, once tokens
// before lost were overwritten.
func (g *pageGroup) serves(n, lost int) bool {
	return g.ring == 0 || max(g.least(n), g.first) >= min(n, lost)
}

// release gives up a hold of pages. The lock of the cache is held.
func (g *pageGroup) release(pages ...int32) {
	for _, page := range pages {
		if g.refs[page]--; g.refs[page] == 0 {
			g.free = append(g.free, page)
		}
	}
}

// take returns a free page, which there is, held once. The lock of the cache is held.
func (g *pageGroup) take() int32 {
	last := len(g.free) - 1
	page := g.free[last]
	g.free = g.free[:last]
	g.refs[page] = 1
	return page
}

// place returns the page of a token in a table, as an index, and the token there, of a sequence
// whose ring, if it has one, is complete. It returns too how many tokens from it on follow each
// other in the page.
func (g *pageGroup) place(token, pageTokens int) (page, at, run int) {
	run = pageTokens
	if g.ring > 0 {
		size := g.ring * pageTokens
		if token >= g.first {
			token = g.first + (token-g.first)%(size-g.first)
			run = size - token
		} else {
			run = g.first - token
		}
	}
	page, at = token/pageTokens, token%pageTokens
	return page, at, min(run, pageTokens-at)
}

// A pageChange is a page that a sequence of a Step shares and writes: it has a copy in its place, and
// the Step holds the page until it ends, for a sequence that goes back.
type pageChange struct {
	sequence, index int
	page            int32
	token           int // the first new token that goes into the page

	// lost is what else a sequence loses that goes back to the page, where another writes it in
	// place: the tokens from first to before lost.
	lost int
}

// noteShared notes the pages of a page group that a sequence is to write and others have too.
func (s *Step) noteShared(pageGroup, sequence int) {
	x, g, sg := &s.sequences[sequence], &s.cache.pageGroups[pageGroup], &s.pageGroups[pageGroup]
	pages := x.Sequence.tables[pageGroup].pages
	end := x.Sequence.len + x.Tokens
	for token := x.Sequence.len; token < end; {
		index, _, run := g.place(token, s.cache.pageTokens)
		switch {
		case index < len(pages):
			if page := pages[index]; g.refs[page] > 1 {
				sg.changes = append(sg.changes, pageChange{sequence: sequence, index: index, page: page, token: token})
			}
		case g.ring == 0:
			return // those that follow are new
		}
		token += run
	}
}

// settle decides which of the pages noted are copied: not that of the sequence which can write a page
// where it is, for all others that have the page write copies.
func (s *Step) settle(pageGroup int) {
	changes := s.pageGroups[pageGroup].changes
	slices.SortFunc(changes, func(a, b pageChange) int {
		return cmp.Or(cmp.Compare(a.page, b.page), cmp.Compare(a.sequence, b.sequence), cmp.Compare(a.token, b.token))
	})
	// A ring comes to a page twice when it goes round within it.
	changes = slices.CompactFunc(changes, func(a, b pageChange) bool { return a.page == b.page && a.sequence == b.sequence })
	copied := changes[:0]
	for len(changes) > 0 {
		n := 1
		for n < len(changes) && changes[n].page == changes[0].page {
			n++
		}
		same := changes[:n]
		changes = changes[n:]
		stays := s.inPlace(pageGroup, same)
		for i := range same {
			if i != stays {
				copied = append(copied, same[i])
			}
		}
	}
	s.pageGroups[pageGroup].changes = copied
}

// inPlace returns which of the sequences that write a page can do so where it is, -1 if none. Others may
// go back to the page when the step ends. So it is the longest, which overwrites none of their last
// tokens, and of a ring it must leave the windows of all.
func (s *Step) inPlace(pageGroup int, changes []pageChange) int {
	g := &s.cache.pageGroups[pageGroup]
	if int(g.refs[changes[0].page]) > len(changes) {
		return -1 // another sequence reads it, or another Step may go back to it
	}
	longest := 0
	for i := range changes {
		a, b := &s.sequences[changes[i].sequence], &s.sequences[changes[longest].sequence]
		if c := cmp.Compare(a.Sequence.len, b.Sequence.len); c > 0 || c == 0 && a.Tokens < b.Tokens {
			longest = i
		}
	}
	x := &s.sequences[changes[longest].sequence]
	lost := g.overwritten(x.Sequence.len+x.Tokens, s.cache.pageTokens)
	for i := range changes {
		if !g.serves(s.sequences[changes[i].sequence].Sequence.len, lost) {
			return -1
		}
	}
	for i := range changes {
		changes[i].lost = lost
	}
	return longest
}

// needed returns how many pages a step takes.
func (g *stepPageGroup) needed() int { return g.more + len(g.changes) }

// enough reports pages that there are not. The lock of the cache is held.
func (s *Step) enough() error {
	for i := range s.pageGroups {
		g := &s.cache.pageGroups[i]
		if n := s.pageGroups[i].needed(); n > len(g.free) {
			return &PagesError{Layer: g.layer, Window: g.window, Needed: n, Free: len(g.free)}
		}
	}
	return nil
}

// take takes the pages, and looks up the tables. The lock of the cache is held.
func (s *Step) take() {
	for i := range s.pageGroups {
		g, sg := &s.cache.pageGroups[i], &s.pageGroups[i]
		for _, c := range sg.changes {
			s.sequences[c.sequence].Sequence.tables[i].pages[c.index] = g.take()
		}
		for j := range sg.runs {
			r := &sg.runs[j]
			t := &s.sequences[sg.runsOf[j]].Sequence.tables[i]
			for len(t.pages) <= int(r.Page) {
				t.pages = append(t.pages, g.take())
			}
			r.Page = t.pages[r.Page]
		}
		sg.tables, sg.lost = sg.tables[:0], sg.lost[:0]
		for j := range s.sequences {
			t := &s.sequences[j].Sequence.tables[i]
			sg.tables, sg.lost = append(sg.tables, t.pages), append(sg.lost, t.lost)
		}
	}
}

// copyShared copies what pages hold that others share.
func (s *Step) copyShared() {
	for i := range s.pageGroups {
		g := &s.cache.pageGroups[i]
		for _, c := range s.pageGroups[i].changes {
			x := s.sequences[c.sequence].Sequence
			n := s.cache.pageTokens
			if g.ring == 0 {
				n = x.len - c.index*n // the last page
			}
			for j := range s.cache.layers {
				if l := &s.cache.layers[j]; l.pageGroup == i {
					l.move(int(x.tables[i].pages[c.index]), int(c.page), n)
				}
			}
		}
	}
}

// drop gives up a page that was copied, or the copy if it has none of the first accepted new tokens. wrote
// says whether anything was written. The lock of the cache is held.
func (s *Step) drop(pageGroup int, c *pageChange, accepted int, wrote bool) {
	g, x := &s.cache.pageGroups[pageGroup], s.sequences[c.sequence].Sequence
	t := &x.tables[pageGroup]
	if c.token < x.len+accepted {
		g.release(c.page)
		return
	}
	g.release(t.pages[c.index])
	t.pages[c.index] = c.page
	if wrote {
		t.lost = max(t.lost, c.lost)
	}
}
