package qkv_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
)

// A stepModel is a cache of some layers beside slices of all tokens of its sequences.
type stepModel struct {
	cfg    qkv.CacheConfig
	shapes []cacheShape
	cache  *qkv.Cache
	engine *qkv.Engine
	step   *qkv.Step
	r      *rand.Rand
	live   []*stepSequence
}

// A stepSequence is a sequence, what all of its tokens are in each layer, and which of them the memory
// of the layer has.
type stepSequence struct {
	*qkv.Sequence
	layers []history
	has    [][]int // by layer: the token in each place of a ring, or nil if nothing is overwritten
	len    int
}

func (s *stepSequence) clone(q *qkv.Sequence) *stepSequence {
	c := &stepSequence{Sequence: q, len: s.len}
	for i := range s.layers {
		c.layers = append(c.layers, *s.layers[i].clone())
		c.has = append(c.has, append([]int(nil), s.has[i]...))
	}
	return c
}

// newStepModel has layers that attend all keys and such with windows, in pages of any size.
func newStepModel(t *testing.T, r *rand.Rand) *stepModel {
	m := &stepModel{r: r, engine: newAttention(t, qkv.Config{Workers: 1 + r.IntN(2)})}
	m.cfg = qkv.CacheConfig{PageTokens: 1 + r.IntN(9), StepTokens: 1 + r.IntN(12)}
	if r.IntN(5) == 0 {
		m.cfg.PageTokens = 64 // slots
	}
	windows := [][2]int{{}, {1 + r.IntN(12), r.IntN(4)}, {1 + r.IntN(20), 0}}
	for range 1 + r.IntN(4) {
		s := cacheShapes[r.IntN(len(cacheShapes))]
		l, w := s.layer(), windows[r.IntN(len(windows))]
		if l.Window, l.First = w[0], w[1]; l.Window == 0 {
			m.cfg.Pages = 4 + r.IntN(40)
		} else {
			m.cfg.Sequences = 1 + r.IntN(6)
		}
		m.cfg.Layers, m.shapes = append(m.cfg.Layers, l), append(m.shapes, s)
	}
	m.cache = newCache(t, m.cfg)
	m.step = newStep(t, m.engine, m.cache)
	m.add(m.cache.NewSequence())
	return m
}

// add adds an empty sequence.
func (m *stepModel) add(q *qkv.Sequence) {
	s := &stepSequence{Sequence: q, layers: make([]history, len(m.shapes)), has: make([][]int, len(m.shapes))}
	for i := range m.shapes {
		if l := &m.cfg.Layers[i]; l.Window > 0 {
			n := m.cfg.LayerPages(i) / m.cfg.Sequences * m.cfg.PageTokens
			s.has[i] = draw(n, func() int { return -1 })
		}
	}
	m.live = append(m.live, s)
}

// place returns where a token lies in a ring.
func (m *stepModel) place(s *stepSequence, layer, token int) int {
	first, n := m.cfg.Layers[layer].First, len(s.has[layer])
	if token < n {
		return token
	}
	return first + (token-first)%(n-first)
}

// lost reports whether the memory of a layer has a token no more.
func (m *stepModel) lost(s *stepSequence, layer, token int) bool {
	return s.has[layer] != nil && s.has[layer][m.place(s, layer, token)] != token
}

// serves reports whether a query at a position finds what it attends before it.
func (m *stepModel) serves(s *stepSequence, at int) bool {
	for layer := range m.cfg.Layers {
		l := &m.cfg.Layers[layer]
		for token := range at {
			if l.Window > 0 && (token < l.First || token > at-l.Window) && m.lost(s, layer, token) {
				return false
			}
		}
	}
	return true
}

// room returns how many tokens a sequence takes at once.
func (m *stepModel) room(s *stepSequence) int {
	most := 1 << 30
	for layer := range m.cfg.Layers {
		if l := &m.cfg.Layers[layer]; l.Window > 0 {
			n := len(s.has[layer])
			most = min(most, max(n-s.len, n-l.First-(l.Window-1)))
		}
	}
	return most
}

// free returns the free pages of each layer.
func (m *stepModel) free() []int {
	var free []int
	for i := range m.shapes {
		free = append(free, m.cache.FreePages(i))
	}
	return free
}

// run has a step of some sequences, and ends it in any way.
func (m *stepModel) run(t *testing.T) {
	t.Helper()
	r := m.r
	var batch []qkv.StepSequence
	var some []*stepSequence
	total, fits := 0, true
	for _, s := range m.live {
		if r.IntN(3) == 0 {
			continue
		}
		n := min(r.IntN(1+r.IntN(30)), 60)
		if room := m.room(s); n > room && r.IntN(8) > 0 {
			n = room
		} else if n > room {
			fits = false
		}
		x := qkv.StepSequence{Sequence: s.Sequence, Tokens: n}
		switch r.IntN(6) {
		case 0:
			x.Queries = 1 + r.IntN(20)
		case 1:
			x.Queries = qkv.NoQueries
		}
		batch, some = append(batch, x), append(some, s)
		total += n
	}
	before := m.free()
	if !fits {
		for _, err := range []error{m.cache.Fits(batch), m.step.Begin(batch), second(m.cache.StepPages(0, batch))} {
			if !errors.Is(err, qkv.ErrTooManyTokens) {
				t.Fatalf("more tokens than a ring takes: %v", err)
			}
		}
		return
	}
	claims, short := make([]*claim, len(m.shapes)), -1
	for layer := range m.shapes {
		claims[layer] = m.claim(t, layer, batch, some)
		if short < 0 && claims[layer].needed > before[layer] {
			short = layer
		}
		n, err := m.cache.StepPages(layer, batch)
		if must(err); n != claims[layer].needed {
			t.Fatalf("%d pages of layer %d are needed, want %d", n, layer, claims[layer].needed)
		}
	}
	for _, s := range m.live {
		m.checkRoom(t, s)
	}
	asked := m.cache.Fits(batch)
	err := m.step.Begin(batch)
	if fmt.Sprint(asked) != fmt.Sprint(err) {
		t.Fatalf("asked: %v, begun: %v", asked, err)
	}
	if short >= 0 {
		var full *qkv.PagesError
		if !errors.As(err, &full) || full.Needed != claims[full.Layer].needed || full.Free != before[full.Layer] || full.Needed <= full.Free || full.Window != m.cfg.Layers[full.Layer].Window {
			t.Fatalf("%d pages needed of layer %d, %d are free: %v", claims[short].needed, short, before[short], err)
		}
		if after := m.free(); !slices.Equal(after, before) {
			t.Fatalf("pages free: %v, then %v", before, after)
		}
		return
	}
	must(err)
	for layer, n := range m.free() {
		if n != before[layer]-claims[layer].needed {
			t.Fatalf("%d of %d pages are free in a step that needs %d", n, before[layer], claims[layer].needed)
		}
	}
	grown := make([]*stepSequence, len(some))
	for i, s := range some {
		grown[i] = s.clone(s.Sequence)
		grown[i].len += batch[i].Tokens
	}
	for layer, s := range m.shapes {
		k, v := s.tokens(r, total)
		must(m.step.Write(layer, k.view(), v.view()))
		first := 0
		for i := range some {
			n := batch[i].Tokens
			grown[i].layers[layer].append(s, k, v, first, n)
			if has := grown[i].has[layer]; has != nil {
				for token := some[i].len; token < grown[i].len; token++ {
					has[m.place(grown[i], layer, token)] = token
				}
			}
			first += n
		}
		m.attend(t, layer, batch, grown)
		if r.IntN(4) == 0 {
			queries := make([]int, len(batch))
			for i := range batch {
				queries[i] = r.IntN(12)
				batch[i].Queries = queries[i]
				if queries[i] == 0 {
					batch[i].Queries = qkv.NoQueries
				}
			}
			must(m.step.SetQueries(queries))
			m.attend(t, layer, batch, grown)
		}
	}
	accepted := make([]int, len(batch))
	switch end := r.IntN(3); end {
	case 0:
		for i := range batch {
			accepted[i] = batch[i].Tokens
		}
		must(m.step.Commit())
	case 1:
		for i := range batch {
			accepted[i] = r.IntN(batch[i].Tokens + 1)
		}
		must(m.step.CommitFirst(accepted))
	case 2:
		must(m.step.Rollback())
		if after := m.free(); !slices.Equal(after, before) {
			t.Fatalf("pages free: %v, after a rollback %v", before, after)
		}
	}
	for i, s := range some {
		n := s.len + accepted[i]
		for layer, c := range claims {
			m.settle(t, c, layer, i, n, some, grown)
		}
		*s = *grown[i]
		m.truncate(s, n)
	}
}

// A claim is what a step does to the pages of a layer, found by going through all tokens.
type claim struct {
	needed  int
	writes  []map[int]int // of each sequence of the step: its first token in each page that is shared, by its index
	tables  [][]int32     // before the step
	inPlace map[int32]int // the sequence that writes a page in place that others write copies of
}

// table returns the pages of a sequence.
func (m *stepModel) table(s *stepSequence, layer int) []int32 {
	table, err := s.Table(layer)
	must(err)
	return table
}

// claim returns what a step is to do to the pages of a layer.
func (m *stepModel) claim(t *testing.T, layer int, batch []qkv.StepSequence, some []*stepSequence) *claim {
	t.Helper()
	c := &claim{inPlace: map[int32]int{}}
	holders, writers := map[int32]int{}, map[int32][]int{}
	for _, s := range m.live {
		for _, page := range m.table(s, layer) {
			holders[page]++
		}
	}
	for i, s := range some {
		table, writes := m.table(s, layer), map[int]int{}
		last := -1
		for token := s.len; token < s.len+batch[i].Tokens; token++ {
			at := token
			if s.has[layer] != nil {
				at = m.place(s, layer, token)
			}
			index := at / m.cfg.PageTokens
			if last = max(last, index); index >= len(table) || holders[table[index]] == 1 {
				continue
			}
			if _, ok := writes[index]; !ok {
				writes[index] = token
				writers[table[index]] = append(writers[table[index]], i)
			}
		}
		c.needed += len(writes) + max(0, last+1-len(table))
		c.writes, c.tables = append(c.writes, writes), append(c.tables, table)
	}
	for page, of := range writers {
		if len(of) < holders[page] {
			continue
		}
		longest := slices.MaxFunc(of, func(a, b int) int {
			return cmp.Or(cmp.Compare(some[a].len, some[b].len), cmp.Compare(batch[b].Tokens, batch[a].Tokens))
		})
		end := some[longest].len + batch[longest].Tokens
		if !slices.ContainsFunc(of, func(i int) bool { return !m.outlives(some[i], layer, end) }) {
			c.inPlace[page] = longest
			c.needed--
		}
	}
	return c
}

// outlives reports whether a sequence has what its next query attends after a ring has had so many
// tokens.
func (m *stepModel) outlives(s *stepSequence, layer, end int) bool {
	if s.has[layer] == nil {
		return true
	}
	has := slices.Clone(s.has[layer])
	for token := s.len; token < end; token++ {
		has[m.place(s, layer, token)] = token
	}
	l := &m.cfg.Layers[layer]
	for token := range s.len {
		if (token < l.First || token > s.len-l.Window) && has[m.place(s, layer, token)] != token {
			return false
		}
	}
	return true
}

// settle checks the pages of the i-th sequence of a step that has ended, of n tokens then: what it has
// copied without need is not there any more, and of a ring it has lost what another has written in
// place meanwhile.
func (m *stepModel) settle(t *testing.T, c *claim, layer, i, n int, some, grown []*stepSequence) {
	t.Helper()
	table := m.table(some[i], layer)
	for index, token := range c.writes[i] {
		page := c.tables[i][index]
		longest, ok := c.inPlace[page]
		back := token >= n
		if stays := back || ok && longest == i; index < len(table) && (table[index] == page) != stays {
			t.Fatalf("sequence %d has page %d of layer %d, had %d, of token %d of %d", i, table[index], layer, page, token, n)
		}
		if has := grown[i].has[layer]; ok && back && has != nil {
			for token := some[i].len; token < grown[longest].len; token++ {
				if at := m.place(some[i], layer, token); has[at] < token {
					has[at] = token
				}
			}
		}
	}
}

// checkRoom checks that a step takes as many tokens as there is said to be room for, and not one more.
func (m *stepModel) checkRoom(t *testing.T, s *stepSequence) {
	t.Helper()
	n := s.Room()
	if err := m.cache.Fits([]qkv.StepSequence{{Sequence: s.Sequence, Tokens: n}}); err != nil {
		t.Fatalf("room for %d tokens: %v", n, err)
	}
	if err := m.cache.Fits([]qkv.StepSequence{{Sequence: s.Sequence, Tokens: n + 1}}); err == nil {
		t.Fatalf("room for %d tokens, %d fit", n, n+1)
	}
}

// truncate goes back to n tokens.
func (m *stepModel) truncate(s *stepSequence, n int) {
	s.len = n
	for layer, shape := range m.shapes {
		s.layers[layer].truncate(shape, n)
	}
}

// attend compares a layer's attention with that of a call on all tokens, in tensors, under a mask that
// takes the lost ones away.
func (m *stepModel) attend(t *testing.T, layer int, batch []qkv.StepSequence, grown []*stepSequence) {
	t.Helper()
	r, l := m.r, &m.cfg.Layers[layer]
	var histories []*history
	var queries []int
	most, all := 0, 0
	for i, s := range grown {
		n := batch[i].Queries
		switch n {
		case 0:
			n = batch[i].Tokens
		case qkv.NoQueries:
			n = 0
		}
		histories, queries = append(histories, &s.layers[layer]), append(queries, n)
		most, all = max(most, s.len), all+n
	}
	if all == 0 || most == 0 {
		return
	}
	p := m.shapes[layer].attend(r, 1+r.IntN(2), histories, queries)
	p.mask.Causal = r.IntN(4) > 0
	own := r.IntN(3) == 0
	if own {
		left := 20
		if l.Window > 0 {
			left = l.Window
		}
		p.mask.Window = qkv.Sliding(r.IntN(left), r.IntN(20))
	} else if l.Window > 0 {
		p.mask.Window = qkv.Sliding(l.Window-1, qkv.Unbounded)
	}
	if l.Window > 0 {
		p.mask.First = l.First
	}
	p.keep = &strided[bool]{data: make([]bool, len(grown)*most), shape: [4]int{len(grown), 1, 1, most}, stride: [4]int{most, 0, 0, 1}}
	for i, s := range grown {
		for j := range s.len {
			p.keep.data[i*most+j] = !m.lost(s, layer, j)
		}
	}
	what := fmt.Sprintf("layer %d of %+v: queries %v under %v", layer, *l, queries, p.mask)
	p.checkAttend(t, what, m.engine, func(c *qkv.Call) error {
		c.Mask.Keep = qkv.View{}
		if !own {
			c.Mask.Window = qkv.Window{}
		}
		return m.step.Attend(layer, c)
	})
}

// saved has a sequence written and read again, as a new one of this cache or of another with other
// pages.
func (m *stepModel) saved(t *testing.T, s *stepSequence) {
	t.Helper()
	var file bytes.Buffer
	if n, err := s.WriteTo(&file); err != nil || n != int64(file.Len()) {
		t.Fatalf("%d bytes of %d: %v", n, file.Len(), err)
	}
	whole := file.Len()
	file.WriteString("and more")
	q, err := m.cache.ReadSequence(&file)
	if errors.As(err, new(*qkv.PagesError)) {
		return
	}
	must(err)
	if file.String() != "and more" || q.Len() != s.len {
		t.Fatalf("%d bytes of %d are left, %d tokens of %d", file.Len(), whole, q.Len(), s.len)
	}
	c := s.clone(q)
	for layer, has := range c.has {
		for place, token := range has {
			if token >= c.len || token >= 0 && m.place(c, layer, token) != place {
				has[place] = -1
			}
		}
	}
	m.live = append(m.live, c)
}

// checkSteps does what the bytes say.
func checkSteps(t *testing.T, seed uint64, ops []byte) {
	m := newStepModel(t, rand.New(rand.NewPCG(seed, 72)))
	pages := m.free()
	for _, op := range ops {
		i, n := int(op>>5)%max(1, len(m.live)), int(op>>2&7)
		switch {
		case len(m.live) == 0:
			m.add(m.cache.NewSequence())
		case op&3 > 1:
			m.run(t)
		case n < 2 && len(m.live) < 6:
			q, err := m.live[i].Fork()
			must(err)
			m.live = append(m.live, m.live[i].clone(q))
		case n == 2 && len(m.live) < 6:
			m.add(m.cache.NewSequence())
		case n == 3 && len(m.live) < 6:
			m.saved(t, m.live[i])
		case n == 4 && len(m.live) > 1:
			must(m.live[i].Free())
			m.live = append(m.live[:i], m.live[i+1:]...)
		default:
			s := m.live[i]
			to := max(0, s.len-int(op>>1&31))
			if err := s.Truncate(to); (err == nil) != m.serves(s, to) {
				t.Fatalf("%d of %d tokens of %+v: %v", to, s.len, m.cfg, err)
			} else if err == nil {
				m.truncate(s, to)
			}
		}
		for i, s := range m.live {
			if s.Len() != s.len {
				t.Fatalf("sequence %d has %d tokens, want %d", i, s.Len(), s.len)
			}
		}
	}
	for _, s := range m.live {
		must(s.Free())
	}
	if free := m.free(); !slices.Equal(free, pages) {
		t.Fatalf("%v pages are free when all sequences are, want %v", free, pages)
	}
}

// TestSteps: whatever was done to a cache, each query of each layer attends what is left of the tokens
// that it is to attend, and no other.
func TestSteps(t *testing.T) {
	t.Parallel()
	n := 300
	if brief() {
		n = 60
	}
	for seed := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, 73))
		checkSteps(t, seed, draw(40, func() byte { return byte(r.Uint32()) }))
	}
}

// FuzzSteps is TestSteps on what a fuzzer makes.
func FuzzSteps(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(seed, []byte("\x2c\x0e\x09\x02\x0c\x02\x80\x82\x15\x03\x43\x8f\x0d\x23"))
	}
	f.Fuzz(func(t *testing.T, seed uint64, ops []byte) {
		if len(ops) > 100 {
			return
		}
		checkSteps(t, seed, ops)
	})
}
