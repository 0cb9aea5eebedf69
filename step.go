package qkv

import (
	"context"
	"math"
	"slices"
	"sync/atomic"

	"github.com/qkv-go/qkv/tile"
)

// A Step is one pass of a model over new tokens of some sequences of a [Cache]. Each sequence has any
// number of them: the prompt of one stands beside the next token of another and the draft of a third.
//
//	step, err := e.NewStep(cache)
//	...
//	err = step.Begin([]qkv.StepSequence{{Sequence: a, Tokens: 1}, {Sequence: b, Tokens: 512}})
//	for layer := range layers {
//		// q, k, v: those of all tokens, one sequence behind the other
//		err = step.Write(layer, k, v) // or Projection.Step, which computes them into the cache
//		err = step.Attend(layer, &qkv.Call{Q: q, Out: out, Mask: qkv.Mask{Causal: true}})
//	}
//	err = step.Commit()
//
// Begin does once what all layers need: it checks the sequences, takes pages for the new tokens, copies
// pages that they share with others, and keeps the tables. The sequences are what they were until
// Commit, and Rollback gives back what was taken. So an error in the middle leaves no layer ahead of
// another.
//
// A Step is reused, and allocates nothing once it has had its largest batch. One goroutine uses it at a
// time; another, or a callback of one of its calls, gets [ErrBusy]. Different Steps may be used at the
// same time. A sequence with new tokens is in one of them, and others may be attended in several.
type Step struct {
	engine *Engine
	cache  *Cache
	open   bool
	busy   atomic.Bool // a method runs, which a callback of a call may not know

	sequences  []StepSequence
	lens       []int // of the sequences with their new tokens
	cu         []int // of their queries, and the end of the last
	positions  []int // of the new tokens
	ofTokens   bool  // each new token is a query, and no other is
	ofQueries  []int // positions of the queries, once they were asked for
	accepted   []int // of the sequences, at the end
	longest    int   // most queries of a sequence
	longestKV  int
	pageGroups []stepPageGroup
	written    []bool // of each layer

	// unfinished: a call is under way, or one has ended before it was complete, by its context or a
	// panic.
	unfinished bool

	call    Call
	problem tile.Problem
	turning turning
	writes  [2]tile.KVWrite
}

// A stepPageGroup is what a Step knows of the layers that have the same window.
type stepPageGroup struct {
	tables   [][]int32
	lost     []int
	runs     []tile.WriteRun // new tokens, by their place among those of all sequences
	runsOf   []int           // the sequence of each
	changes  []pageChange
	division tile.Plan
	more     int // pages that are taken besides
}

// A StepSequence says what a [Step] does with a sequence.
type StepSequence struct {
	Sequence *Sequence

	// Tokens is how many new tokens it has, 0 of one that is only attended.
	Tokens int

	// Queries is how many queries attend it, 0 for as many as there are new tokens, [NoQueries] for
	// none. The last query stands at the last token. For example, of a sequence of 10 tokens:
	//
	//	Tokens 3              3 queries, at 10, 11 and 12
	//	Tokens 3, Queries 1   a query at 12: a prompt of which only the next token is wanted
	//	Tokens 3, NoQueries   tokens that are written and not attended
	//	Queries 2             2 queries, at 8 and 9, of tokens that are there
	//
	// [Step.SetQueries] changes it between layers. A decoder's queries that attend an encoder's
	// tokens have Tokens 0 and a Mask that is not causal.
	Queries int
}

// NoQueries is the Queries of a sequence that gets new tokens and is not attended.
const NoQueries = -1

// NewStep returns a Step for sequences of c, which computes on e. The error is an [*ArgError].
func (e *Engine) NewStep(c *Cache) (*Step, error) {
	if err := e.ready(); err != nil {
		return nil, err
	}
	if err := c.ready(); err != nil {
		return nil, err
	}
	return &Step{engine: e, cache: c, pageGroups: make([]stepPageGroup, len(c.pageGroups)), written: make([]bool, len(c.layers))}, nil
}

// enter begins a method, which leave ends. It reports a Step that NewStep has not made, that another
// method uses, or that is not as open as it has to be.
func (s *Step) enter(open bool) error {
	if s == nil || s.cache == nil {
		return argError("step", 0, 1, "step is nil or zero: NewStep makes one")
	}
	if !s.busy.CompareAndSwap(false, true) {
		return because(ErrBusy, argError("step", 1, 0, "step is used by another call at the same time"))
	}
	err := s.ready(open)
	if err != nil {
		s.leave()
	}
	return err
}

// leave ends a method.
func (s *Step) leave() { s.busy.Store(false) }

// ready reports a Step that is not as open as it has to be.
func (s *Step) ready(open bool) error {
	switch {
	case s.open && !open:
		return because(ErrBegun, argError("step", 1, 0, "step has begun already: Commit or Rollback ends it"))
	case open && !s.open:
		return because(ErrNotBegun, argError("step", 0, 1, "step has not begun: Begin does that"))
	}
	return nil
}

// Begin begins a step and takes the pages of the new tokens. A sequence with new tokens comes once, and
// is in no other step. The slice is copied. [Cache.Fits] tells beforehand whether Begin will succeed.
//
// The error is a [*PagesError] where there are not enough pages, or an [*ArgError], such as
// [ErrTooManyTokens] for more than a layer with a Window takes at once, and [ErrBusy] for a sequence of
// another step. Nothing has changed then, and the Step has not begun.
func (s *Step) Begin(sequences []StepSequence) error {
	if err := s.enter(false); err != nil {
		return err
	}
	defer s.leave()
	if err := s.reserve(sequences); err != nil {
		clear(s.sequences)
		s.sequences = s.sequences[:0]
		return err
	}
	s.copyShared()
	clear(s.written)
	s.open, s.unfinished = true, false
	return nil
}

// reserve checks the sequences, notes what they are to be, and takes pages for that; or it leaves
// them as they are.
func (s *Step) reserve(sequences []StepSequence) error {
	c := s.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	marked, err := s.count(sequences)
	if err == nil {
		err = s.enough()
	}
	if err != nil {
		s.unmark(marked)
		return err
	}
	s.note()
	s.take()
	return nil
}

// count checks the sequences, marks them as being in a Step, and counts the pages that they take. It
// returns how many it has marked. Nothing is noted of each token as yet: there may not be enough pages
// for so many. The lock of the cache is held.
func (s *Step) count(sequences []StepSequence) (marked int, err error) {
	s.sequences = append(s.sequences[:0], sequences...)
	for i := range s.pageGroups {
		s.pageGroups[i].more, s.pageGroups[i].changes = 0, s.pageGroups[i].changes[:0]
	}
	tokens, queries := int64(0), int64(0)
	for i := range s.sequences {
		x := &s.sequences[i]
		if n := x.Tokens; n < 0 || n > MaxSeq {
			return i, argError("sequences", n, MaxSeq, "sequences[%d] has %d tokens, 0 to %d is supported", i, n, MaxSeq)
		}
		if n := x.Queries; n < NoQueries || n > MaxSeq {
			return i, argError("sequences", n, MaxSeq, "sequences[%d] has %d queries, NoQueries or 0 to %d is supported", i, n, MaxSeq)
		}
		if err := x.Sequence.check(s.cache, x.Tokens > 0, "sequences", i); err != nil {
			return i, err
		}
		if most := MaxSeq - x.Sequence.len; x.Tokens > most {
			return i, because(ErrTooManyTokens, argError("sequences", x.Tokens, most, "sequences[%d] has %d new tokens, one of %d tokens takes at most %d more", i, x.Tokens, x.Sequence.len, most))
		}
		for j := range s.cache.pageGroups {
			g := &s.cache.pageGroups[j]
			if most := g.room(x.Sequence.len, s.cache.pageTokens); x.Tokens > most {
				return i, because(ErrTooManyTokens, argError("sequences", x.Tokens, most, "sequences[%d] has %d new tokens, layers with window %d take at most %d at once", i, x.Tokens, g.window, most))
			}
			if x.Tokens > 0 {
				s.pageGroups[j].more += max(0, g.pagesOf(x.Sequence.len+x.Tokens, s.cache.pageTokens)-len(x.Sequence.tables[j].pages))
				s.noteShared(j, i)
			}
		}
		tokens, queries = tokens+int64(x.Tokens), queries+int64(x.queries())
		if n := max(tokens, queries); n > MaxSeq {
			return i, argError("sequences", int(min(n, math.MaxInt32)), MaxSeq, "the first %d sequences have %d new tokens or queries, at most %d are supported", i+1, n, MaxSeq)
		}
		x.Sequence.mark(x.Tokens > 0)
	}
	for i := range s.pageGroups {
		s.settle(i)
	}
	return len(s.sequences), nil
}

// mark notes that a Step has the sequence.
func (s *Sequence) mark(write bool) {
	if write {
		s.use = -1
	} else {
		s.use++
	}
}

// unmark takes the first n sequences out of the Step. The lock of the cache is held.
func (s *Step) unmark(n int) {
	for i := range n {
		if x := &s.sequences[i]; x.Tokens > 0 {
			x.Sequence.use = 0
		} else {
			x.Sequence.use--
		}
	}
}

// queries returns how many queries attend the sequence.
func (x *StepSequence) queries() int {
	switch x.Queries {
	case 0:
		return x.Tokens
	case NoQueries:
		return 0
	}
	return x.Queries
}

// note notes lengths and positions, and where the new tokens go.
func (s *Step) note() {
	s.lens, s.positions, s.longestKV = s.lens[:0], s.positions[:0], 0
	for i := range s.pageGroups {
		g := &s.pageGroups[i]
		g.runs, g.runsOf = g.runs[:0], g.runsOf[:0]
	}
	for i := range s.sequences {
		x := &s.sequences[i]
		n := x.Sequence.len + x.Tokens
		s.lens, s.longestKV = append(s.lens, n), max(s.longestKV, n)
		for j := range s.pageGroups {
			s.noteRuns(j, i)
		}
		for p := x.Sequence.len; p < n; p++ {
			s.positions = append(s.positions, p)
		}
	}
	s.noteQueries()
}

// noteQueries notes how many queries the sequences have.
func (s *Step) noteQueries() {
	s.cu, s.longest = append(s.cu[:0], 0), 0
	s.ofTokens = true
	for i := range s.sequences {
		x := &s.sequences[i]
		n := x.queries()
		s.cu, s.longest = append(s.cu, s.cu[i]+n), max(s.longest, n)
		s.ofTokens = s.ofTokens && n == x.Tokens
	}
	for i := range s.pageGroups {
		s.pageGroups[i].division.Forget()
	}
	s.ofQueries = s.ofQueries[:0]
}

// noteRuns notes where the new tokens of a sequence go in the pages of a page group. The page of a run
// is an index of the table as yet.
func (s *Step) noteRuns(pageGroup, sequence int) {
	x, g, sg := &s.sequences[sequence], &s.cache.pageGroups[pageGroup], &s.pageGroups[pageGroup]
	end := x.Sequence.len + x.Tokens
	for token := x.Sequence.len; token < end; {
		page, at, run := g.place(token, s.cache.pageTokens)
		run = min(run, end-token)
		from := len(s.positions) + token - x.Sequence.len
		sg.runs = append(sg.runs, tile.WriteRun{From: from, Page: int32(page), Token: at, N: run})
		sg.runsOf = append(sg.runsOf, sequence)
		token += run
	}
}

// Tokens returns how many new tokens the step has, over all sequences; 0 of one that has not begun.
func (s *Step) Tokens() int { return len(s.Positions()) }

// Positions returns the positions of the new tokens in their sequences, [tokens], for a rotary embedding
// of their keys. They are not to be changed, and hold until the step ends. There are none of a Step that
// has not begun.
func (s *Step) Positions() []int {
	if s == nil || s.cache == nil || !s.open {
		return nil
	}
	return s.positions
}

// Queries returns how many queries the step has, over all sequences; 0 of one that has not begun.
func (s *Step) Queries() int {
	if s == nil || s.cache == nil || !s.open {
		return 0
	}
	return s.cu[len(s.cu)-1]
}

// QueryPositions returns the positions of the queries in their sequences, [queries], for a rotary embedding
// of the queries: the last is that of the last token. They are those of Positions where each new token
// is a query. A sequence with more queries than tokens has negative ones. They are not to be changed, and
// hold until the step ends or SetQueries is called. There are none of a Step that has not begun.
func (s *Step) QueryPositions() []int {
	if s.Queries() == 0 {
		return nil
	}
	if s.ofTokens {
		return s.positions
	}
	if len(s.ofQueries) == 0 {
		for i, n := range s.lens {
			for p := n - (s.cu[i+1] - s.cu[i]); p < n; p++ {
				s.ofQueries = append(s.ofQueries, p)
			}
		}
	}
	return s.ofQueries
}

// SetQueries sets how many queries attend each sequence of the step from then on, in the order of Begin:
// 0 is none. The last layer of a model needs those of the tokens whose successors are wanted, and no
// other:
//
//	err = step.SetQueries(last) // 1 of each sequence that is to go on, 0 of the others
//	err = step.Attend(layers-1, &qkv.Call{Q: q, Out: out, Mask: qkv.Mask{Causal: true}})
//
// The error is an [*ArgError]; nothing has changed then.
func (s *Step) SetQueries(queries []int) error {
	if err := s.enter(true); err != nil {
		return err
	}
	defer s.leave()
	if len(queries) != len(s.sequences) {
		return argError("queries", len(queries), len(s.sequences), "queries has length %d, the step has %d sequences", len(queries), len(s.sequences))
	}
	all := int64(0)
	for i, n := range queries {
		if n < 0 || n > MaxSeq {
			return argError("queries", n, MaxSeq, "queries[%d] is %d, 0 to %d is supported", i, n, MaxSeq)
		}
		if all += int64(n); all > MaxSeq {
			return argError("queries", int(min(all, math.MaxInt32)), MaxSeq, "the first %d of queries are %d, at most %d are supported", i+1, all, MaxSeq)
		}
	}
	for i, n := range queries {
		if n == 0 {
			n = NoQueries
		}
		s.sequences[i].Queries = n
	}
	s.noteQueries()
	return nil
}

// Write writes the keys and values of the new tokens of a layer, converted to its types. k is
// [1, kvHeads, tokens, dimQK] and v [1, kvHeads, tokens, dimV], both float32, such as views by [THD].
// The sequences lie one behind the other in the order of Begin. k is rotated already where there are
// rotary embeddings. k and v share no element with the layer's memory. The error is an [*ArgError];
// nothing has been written then.
func (s *Step) Write(layer int, k, v View) error {
	if err := s.enter(true); err != nil {
		return err
	}
	defer s.leave()
	l, err := s.cache.layer(layer)
	if err != nil {
		return err
	}
	if err := l.checkTokens(&k, &v, len(s.positions)); err != nil {
		return err
	}
	s.store(layer, &k, &v)
	return nil
}

// store writes keys and values that were checked.
func (s *Step) store(layer int, k, v *View) {
	l := &s.cache.layers[layer]
	for i, x := range [...]*View{k, v} {
		w := &s.writes[i]
		w.Src, w.Heads, w.Dim, w.Pages = x.operand(), x.shape[axisHeads], x.shape[axisDim], s.pages(l, i)
	}
	s.finish(func() bool {
		s.engine.engine.Write(&s.writes[0], &s.writes[1], s.engine.Workers())
		return true
	})
	s.writes = [2]tile.KVWrite{} // the caller's memory
	s.written[layer] = true
}

// pages returns where the new tokens' keys go in a layer, or their values.
func (s *Step) pages(l *cacheLayer, which int) tile.Pages {
	return tile.Pages{Pool: l.pools[which], Runs: s.pageGroups[l.pageGroup].runs, Turned: l.turned[which]}
}

// Attend computes the attention of the queries of a layer to its keys and values, those written in this
// step among them. The caller sets of c:
//
//   - Q [1, heads, queries, dimQK] and Out [1, heads, queries, dimV], such as views by [THD]. The
//     sequences lie one behind the other in the order of Begin.
//   - Mask.Causal, as a rule. The last query of a sequence stands at its last token, so Mask.Align is
//     not set. The Window of a layer is in force, unless the mask has a shorter one.
//   - Any of Scale, Softcap, ALiBi, Sinks, Bias, the rest of the mask, LSE [heads, queries], Scores and
//     the callbacks. Tensors of pairs have an index of the batch axis for each sequence, as with
//     [Call].Tables.
//
// K, V, their scales, tables and lengths are the step's and are not set. A layer that shares the keys
// and values of another attends the index of that one. The error is an [*ArgError], such as
// [ErrUnwritten], or a [*MemoryError] for a copy of the queries, which a layer with HadamardK needs, larger
// than there is memory; nothing has been written then.
func (s *Step) Attend(layer int, c *Call) error {
	_, err := s.attend(layer, c, nil)
	return err
}

// AttendContext is Attend that ends early, within some milliseconds, when ctx is done: see
// [Engine.RunContext]. Out and LSE of a layer with HadamardV or KeyMean are unspecified then. The step is to be
// rolled back: Commit returns [ErrUnfinished], wrapped. A context that is done before the call has nothing
// written, and the step goes on.
func (s *Step) AttendContext(ctx context.Context, layer int, c *Call) error {
	done, err := begin(ctx)
	if err != nil {
		return err
	}
	whole, err := s.attend(layer, c, done)
	return outcome(ctx, whole, err)
}

// attend computes until done is closed, and reports whether all of it is computed.
func (s *Step) attend(layer int, c *Call, done tile.Done) (whole bool, err error) {
	if err := s.enter(true); err != nil {
		return false, err
	}
	defer s.leave()
	defer s.forget()
	if err = s.prepare(layer, c, true, false); err == nil {
		s.problem.Done = done
		whole = s.finish(s.attention)
	}
	return whole, err
}

// finish computes a part of the step. Unless that is complete, the step is unfinished from then on.
func (s *Step) finish(compute func() (whole bool)) (whole bool) {
	before := s.unfinished
	s.unfinished = true
	whole = compute()
	s.unfinished = before || !whole
	return whole
}

// Explain returns what Attend would do, without doing it. The error is an [*ArgError], as of Attend.
func (s *Step) Explain(layer int, c *Call) (Plan, error) {
	if err := s.enter(true); err != nil {
		return Plan{}, err
	}
	defer s.leave()
	defer s.forget()
	if err := s.prepare(layer, c, true, false); err != nil {
		return Plan{}, err
	}
	return s.engine.explained(&s.problem), nil
}

// forget drops the references to the caller's memory.
func (s *Step) forget() {
	s.call, s.problem = Call{}, tile.Problem{}
	s.turning.forget()
}

// prepare checks the call and translates it. The layer has been written, if that is needed. The call may write
// its queries if they are ownQ, nobody else's.
func (s *Step) prepare(layer int, c *Call, written, ownQ bool) error {
	l, err := s.cache.layer(layer)
	if err != nil {
		return err
	}
	if c == nil {
		return argError("call", 0, 1, "call is nil")
	}
	if written && !s.written[layer] && len(s.positions) > 0 {
		return s.unwritten(layer)
	}
	if err := c.checkStep(); err != nil {
		return err
	}
	g, sg := &s.cache.pageGroups[l.pageGroup], &s.pageGroups[l.pageGroup]
	d := &s.call
	if d != c { // a Layer has it there
		*d = *c
	}
	d.K, d.V, d.KScale, d.VScale = l.k, l.v, l.kScale, l.vScale
	d.Tables, d.LensKV, d.CuLensQ = sg.tables, s.lens, s.cu
	d.Mask.Align = BottomRight
	if g.ring > 0 {
		if m := &d.Mask; m.First != 0 || m.Prefix != 0 || m.Prefixes != nil {
			return argError("mask", m.First+m.Prefix+len(m.Prefixes), g.first, "mask has first %d, prefix %d and %d prefixes, layer %d has a window and first %d of its own", m.First, m.Prefix, len(m.Prefixes), layer, g.first)
		}
		w := &d.Mask.Window
		if w.given && w.left >= g.window {
			return argError("mask", w.left, g.window-1, "mask has a window with left bound %d, that of layer %d is %d", w.left, layer, g.window-1)
		}
		if !w.given {
			*w = Sliding(g.window-1, Unbounded)
		}
		d.Ring, d.Lost, d.Mask.First = true, sg.lost, g.first
	}
	p := &s.problem
	if err := d.operands(p); err != nil {
		return err
	}
	if n := s.cu[len(s.cu)-1]; d.Q.shape[axisBatch] != 1 || d.Q.shape[axisSeq] != n {
		return argError("q", d.Q.shape[axisSeq], n, "q has batch %d and %d tokens, the step has %d queries", d.Q.shape[axisBatch], d.Q.shape[axisSeq], n)
	}
	p.Batch, p.SeqQ, p.TokensQ = len(s.sequences), s.longest, d.Q.shape[axisSeq]
	p.SeqKV, p.TokensKV = s.longestKV, mul(len(s.sequences), s.longestKV)
	p.CuQ, p.LensKV, p.Tables, p.PageTokens = s.cu, s.lens, sg.tables, s.cache.pageTokens
	p.Ring, p.Lost, p.Plan = d.Ring, d.Lost, &sg.division
	if err := d.options(p); err != nil {
		return err
	}
	if err := l.checkMean(d, layer); err != nil {
		return err
	}
	if err := s.turning.prepare(l, d, p, ownQ); err != nil {
		return err
	}
	if len(s.cache.given) == 0 {
		return nil
	}
	outputs := [...]region{d.Out.region(), floatsRegion(d.LSE), d.Scores.region()}
	for i, name := range [...]string{"out", "lse", "scores"} {
		if err := s.checkOutside(name, &outputs[i]); err != nil {
			return err
		}
	}
	return nil
}

// checkOutside reports what shares memory with keys or values of any layer.
func (s *Step) checkOutside(name string, written *region) error {
	for i := range s.cache.given {
		if err := checkApart(name, written, "the cache", &s.cache.given[i]); err != nil {
			return err
		}
	}
	return nil
}

// checkStep reports what a call has that a Step sets.
func (c *Call) checkStep() error {
	for _, x := range [...]struct {
		name  string
		given bool
	}{
		{"k", c.K.given()}, {"v", c.V.given()}, {"kScale", c.KScale.given()}, {"vScale", c.VScale.given()},
		{"tables", c.Tables != nil}, {"lensQ", c.LensQ != nil}, {"lensKV", c.LensKV != nil},
		{"cuLensQ", c.CuLensQ != nil}, {"cuLensKV", c.CuLensKV != nil}, {"ring", c.Ring}, {"lost", c.Lost != nil},
		{"mask", c.Mask.Align != 0 || c.Mask.Offset != 0 || c.Mask.Offsets != nil},
	} {
		if x.given {
			what := x.name
			if what == "mask" {
				what = "an alignment of the mask"
			}
			return argError(x.name, 1, 0, "%s is given, a step has its own", what)
		}
	}
	return nil
}

// Commit ends the step: the new tokens become part of the sequences. The error is an [*ArgError], and
// the step has not ended then. It is [ErrUnwritten] if a layer was not written. It is [ErrUnfinished] if
// a call of the step ended early, such as [Step.AttendContext] or [Layer.StepContext]; Rollback is all
// that is left then.
func (s *Step) Commit() error {
	if err := s.enter(true); err != nil {
		return err
	}
	defer s.leave()
	s.accepted = s.accepted[:0]
	for i := range s.sequences {
		s.accepted = append(s.accepted, s.sequences[i].Tokens)
	}
	return s.commit(s.accepted)
}

// CommitFirst is Commit of the first accepted[i] new tokens of sequence i: those of a draft that the
// model agrees with. The pages of the others are given up. A sequence of which 0 are accepted has the
// tokens and pages that it had, as after Rollback.
func (s *Step) CommitFirst(accepted []int) error {
	if err := s.enter(true); err != nil {
		return err
	}
	defer s.leave()
	if len(accepted) != len(s.sequences) {
		return argError("accepted", len(accepted), len(s.sequences), "accepted has length %d, the step has %d sequences", len(accepted), len(s.sequences))
	}
	for i, n := range accepted {
		if most := s.sequences[i].Tokens; n < 0 || n > most {
			return argError("accepted", n, most, "accepted[%d] is %d, the sequence has %d new tokens", i, n, most)
		}
	}
	return s.commit(accepted)
}

// Rollback ends the step as if it had not been. The sequences have the tokens and the pages that they
// had, and pages that were taken are free. Tokens that were overwritten in layers with a Window are
// lost. The next query attends none of them, but [Sequence.Truncate] cannot go back as far as before.
// The error is an [*ArgError].
func (s *Step) Rollback() error {
	if err := s.enter(true); err != nil {
		return err
	}
	defer s.leave()
	s.accepted = append(s.accepted[:0], make([]int, len(s.sequences))...)
	s.end(s.accepted)
	return nil
}

// commit ends the step, of which each layer was written, with the first accepted[i] new tokens of
// each sequence.
func (s *Step) commit(accepted []int) error {
	if s.unfinished {
		return because(ErrUnfinished, argError("step", 0, 1, "step has a call that ended early: Rollback ends it"))
	}
	if layer := slices.Index(s.written, false); layer >= 0 && len(s.positions) > 0 {
		return s.unwritten(layer)
	}
	s.end(accepted)
	return nil
}

// unwritten is the error of a layer that has not been written.
func (s *Step) unwritten(layer int) error {
	n := len(s.positions)
	return because(ErrUnwritten, argError("layer", layer, n, "layer %d has not been written in this step, which has %d new tokens", layer, n))
}

// end ends the step. The first accepted[i] new tokens of each sequence become part of it.
func (s *Step) end(accepted []int) {
	wrote := s.unfinished || slices.Contains(s.written, true)
	c := s.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range s.pageGroups {
		g, sg := &c.pageGroups[i], &s.pageGroups[i]
		for j := range s.sequences {
			// Of a sequence that is only attended nothing is lost, and others may read this.
			if x := &s.sequences[j]; wrote && x.Tokens > 0 {
				t := &x.Sequence.tables[i]
				t.lost = max(t.lost, g.overwritten(s.lens[j], c.pageTokens))
			}
		}
		for j := range sg.changes {
			s.drop(i, &sg.changes[j], accepted[sg.changes[j].sequence], wrote)
		}
		clear(sg.tables)
	}
	for i := range s.sequences {
		if x := &s.sequences[i]; x.Tokens > 0 {
			x.Sequence.truncate(x.Sequence.len + accepted[i])
		}
	}
	s.unmark(len(s.sequences))
	clear(s.sequences)
	s.sequences, s.open = s.sequences[:0], false
}
