package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// A pass is what a run through the key blocks is for.
type pass int

const (
	attend  pass = iota
	sum          // of the weights only: the maxima and the sums of the rows
	reweigh      // accumulate what ProbMod makes of the probabilities
)

// A prefiller is what a worker needs to prefill.
type prefiller struct {
	scoresArgs     kernel.ScoresArgs
	accumulateArgs kernel.AccumulateArgs
	prefetch       prefetcher
	firstPair      int // the first key of pairs of weights
}

// release drops the references to the caller's memory.
func (f *prefiller) release() {
	f.scoresArgs.K, f.accumulateArgs.V = nil, nil
	f.prefetch.n = 0
}

// prefill computes an item of many queries, a query block: for each key block and each lane group
// scores, softmax and accumulate.
func (w *workspace) prefill(at *cursor, i int) bool {
	p, sched := &at.problem, &at.sched
	first, rows := at.toItem(i)
	if sched.Decode > 0 && at.engine.divides(p, &at.seq, sched.divided) {
		return true
	}
	if at.seq.padQ > 0 {
		at.pad(first, first+sched.Rows())
	}
	if rows == 0 {
		return true
	}
	laneGroups := w.laneGroups[:(rows+sched.Lanes-1)/sched.Lanes]
	for gi := range laneGroups {
		g, row := &laneGroups[gi], gi*sched.Lanes
		g.queryRows.open(at, at.head, first+row, min(sched.Lanes, rows-row))
		g.open(at)
	}
	if p.ProbMod == nil {
		w.allKeys(at, laneGroups, attend)
	} else {
		w.allKeys(at, laneGroups, sum)
		w.allKeys(at, laneGroups, reweigh)
	}
	if p.Record.Base != nil {
		for gi := range laneGroups {
			w.record(at, &laneGroups[gi])
		}
	}
	if p.Done.Over() { // some of that may be missing
		return false
	}
	w.epilogue(at, laneGroups)
	return true
}

// allKeys takes lane groups of a KV head through all keys.
func (w *workspace) allKeys(at *cursor, laneGroups []laneGroup, pass pass) {
	if pass == reweigh {
		for gi := range laneGroups {
			laneGroups[gi].values.o = laneGroups[gi].o
			laneGroups[gi].openValues()
		}
	}
	first, last := &laneGroups[0], &laneGroups[len(laneGroups)-1]
	at.walk.open(&at.problem, &at.seq, first.row, last.row+last.rows)
	w.prefillKeys(at, laneGroups, pass)
	for gi := range laneGroups {
		w.merger.endKeys(at, &laneGroups[gi], pass)
	}
}

// prefillKeys takes lane groups of a KV head on the cursor's walk together, or stops on the way if the
// work is to end.
func (w *workspace) prefillKeys(at *cursor, laneGroups []laneGroup, pass pass) {
	w.kv.openCopies(at, laneGroups)
	for at.next() {
		w.kv.find(at, at.head)
		if at.sched.Prefetch && pass == attend {
			w.prefiller.prefetch.plan(at, laneGroups, &w.kv)
		}
		w.block.mask.openKeys(at)
		for gi := range laneGroups {
			w.prefillBlock(at, &laneGroups[gi], pass)
		}
		if at.problem.Done.Over() {
			break
		}
		if next, ok := at.leaves(); ok {
			for gi := range laneGroups {
				w.merger.endChunk(at, &laneGroups[gi], next, pass)
			}
		}
	}
	w.prefiller.prefetch.n = 0
}

// prefillBlock takes a lane group through a key block, unless the work is to end.
func (w *workspace) prefillBlock(at *cursor, g *laneGroup, pass pass) {
	p := &at.problem
	if p.Done.Over() {
		return
	}
	if p.Mask.dense() {
		at.engine.phase(phaseMask)
	}
	c := w.block.mask.cover(at, &g.queryRows)
	if c.from == c.to {
		return
	}
	w.block.mask.split(at, g, &c)
	sums := g.sum
	if pass == reweigh {
		sums = &w.block.spare[0]
	}
	w.weights(at, g, &c, sums)
	if c.from == c.to || p.Done.Over() {
		return
	}
	g.weighed = true
	mode := g.mode(w.block.softmaxArgs.Moved)
	switch pass {
	case sum:
		return
	case reweigh:
		w.block.reweigh(at, g, &c)
		mode = g.mode(false)
	}
	at.engine.phase(phaseAccumulate)
	if at.sched.copying.vPairs {
		w.prefiller.firstPair = w.kv.rounder.pairWeights(at.engine.set, &w.block, g, &c)
	} else if p.roundsValues() {
		w.kv.rounder.weights(at.engine.set, &w.block, g, &c)
	}
	if p.integerValues() {
		w.weigher.accumulate(at, &w.kv, g, &w.block, c.span, mode)
	} else if c.half > 0 {
		w.accumulate(at, g, c.low, 0, c.half, mode)
		w.accumulate(at, g, c.high, c.half, g.lanes, mode)
	} else {
		w.accumulate(at, g, c.span, 0, g.lanes, mode)
	}
	g.started = true
}

// weights computes the weights of what c covers of a key block: the scores, what changes them, and
// the softmax, which goes on from the lane group's maxima and from sums. c may come out smaller.
func (w *workspace) weights(at *cursor, g *laneGroup, c *cover, sums *float32) {
	w.covered(at, g, c)
	if c.from < c.to {
		w.block.softmax(at, g, c, sums)
	}
}

// covered computes the scores of what c covers of a key block, as the softmax wants them.
func (w *workspace) covered(at *cursor, g *laneGroup, c *cover) {
	w.pack(at, g)
	at.engine.phase(phaseScores)
	if c.half > 0 && !at.problem.integers() { // a panel has all lanes
		// The keys that both halves attend, and on either side those of one.
		lo, hi := c.high.from, c.low.to
		if lo >= hi {
			lo, hi = c.low.to, c.low.to
		}
		w.scores(at, g, c.low.from, lo, 0, c.half)
		w.scores(at, g, lo, hi, 0, g.lanes)
		w.scores(at, g, max(hi, c.high.from), c.high.to, c.half, g.lanes)
	} else {
		w.scores(at, g, c.from, c.to, 0, g.lanes)
	}
	if at.modifies {
		w.block.modify(at, g, c)
	}
}

// pack packs the queries of a lane group, once.
func (w *workspace) pack(at *cursor, g *laneGroup) {
	if g.packed {
		return
	}
	w.stage.pack(at, g)
	switch {
	case at.problem.integers():
		w.int8.pack(at, g)
	case at.sched.copying.kPairs:
		w.kv.rounder.pair(at.engine.set, kernel.PairDown, g.q, at.problem.DimQK, g.lanes, g.lanes)
	case at.problem.rounds():
		w.kv.rounder.round(at.engine.set, g.q, at.problem.DimQK*g.lanes)
	}
}

// scores computes the scores of the keys [lo, hi) of the block for the lanes
// [first, end).
func (w *workspace) scores(at *cursor, g *laneGroup, lo, hi, first, end int) {
	p, set := &at.problem, at.engine.set
	if lo >= hi {
		return
	}
	if p.integers() {
		w.int8.scores(at, &w.kv, g, w.block.s, lo, hi)
		return
	}
	a := &w.prefiller.scoresArgs
	var k unsafe.Pointer
	k, a.KeyStride, a.DimStride = w.kv.keys(at)
	if a.Dim = p.DimQK; at.sched.copying.kPairs {
		a.Dim = (p.DimQK + 1) / 2
	}
	a.Q = ptr.At(g.q, first)
	a.Lanes, a.Stride = end-first, g.lanes
	a.K = (*float32)(unsafe.Add(k, 4*lo*a.KeyStride))
	a.S = lane(w.block.s, lo, g.lanes, first)
	a.Keys = hi - lo
	w.prefiller.prefetch.deal(&a.Ahead, (a.Keys+set.Rows-1)/set.Rows, a.Dim)
	if at.sched.copying.kPairs {
		set.ScoresPairs(a)
	} else {
		set.Scores(a)
	}
	w.prefiller.prefetch.back(&a.Ahead)
}

// accumulate adds the weighted values of the keys of a span of the block for the
// lanes [first, end).
func (w *workspace) accumulate(at *cursor, g *laneGroup, keys span, first, end int, mode kernel.UpdateMode) {
	p, set := &at.problem, at.engine.set
	if keys.from == keys.to {
		return
	}
	a := &w.prefiller.accumulateArgs
	from, row := keys.from, keys.from // of values and of weights
	a.Keys, a.MaskFrom = keys.to-keys.from, keys.full-keys.from
	if at.sched.copying.vPairs {
		// Pairs with a key that is none of these are not taken whole.
		base := w.prefiller.firstPair
		from, row = from/2, base+(from-base)/2
		a.Keys, a.MaskFrom = (keys.to+1)/2-from, keys.full/2-from
		if keys.from%2 == 1 {
			a.MaskFrom = 0
		}
	}
	var v unsafe.Pointer
	v, a.KeyStride, a.DimStride = w.kv.values(at)
	a.V = (*float32)(unsafe.Add(v, 4*from*a.KeyStride))
	a.O, a.Dim = ptr.At(g.o, first), p.DimV
	a.P = lane(w.block.s, row, g.lanes, first)
	a.Alpha = ptr.At(w.block.softmaxArgs.Alpha, first)
	a.Lanes, a.Stride = end-first, g.lanes
	a.Mode = mode
	w.prefiller.prefetch.deal(&a.Ahead, (a.Dim+set.Rows-1)/set.Rows, a.Keys)
	if at.sched.copying.vPairs {
		set.AccumulatePairs(a)
	} else {
		set.Accumulate(a)
	}
	w.prefiller.prefetch.back(&a.Ahead)
}
