package tile

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// A pass is what a run through the key blocks is for.
type pass int

const (
	attend  pass = iota
	sum          // of the weights only: the maxima and the sums of the rows
	reweigh      // accumulate what ProbMod makes of the probabilities
)

// item computes the i-th item of the cursor's job. It reports false if the work is to end and the item is not
// done: its rows are not written then.
func (w *workspace) item(i int) bool {
	switch j := w.at.job; {
	case j.problem.Done.Over():
		return false
	case i >= j.sched.Items:
		return w.decode(&w.at, &j.decoding.items[i-j.sched.Items])
	default:
		return w.prefill(&w.at, i)
	}
}

// toItem goes to the KV head of an item of prefill, and returns the rows of that which it is of: none
// if they are of padding.
func (at *cursor) toItem(i int) (row, rows int) {
	head, block := at.sched.item(i)
	at.moveTo(head/at.problem.KVHeads, head%at.problem.KVHeads)
	row = block * at.sched.Rows()
	return row, max(0, min(at.sched.Rows(), at.headsPerKV*at.seq.lenQ-row))
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
		w.pad(at, first, first+sched.Rows())
	}
	if rows == 0 {
		return true
	}
	groups := w.groups[:(rows+sched.Lanes-1)/sched.Lanes]
	for gi := range groups {
		g, row := &groups[gi], gi*sched.Lanes
		g.queryRows.open(at, at.head, first+row, min(sched.Lanes, rows-row))
		w.open(at, g)
	}
	if p.ProbMod == nil {
		w.allKeys(at, groups, attend)
	} else {
		w.allKeys(at, groups, sum)
		w.allKeys(at, groups, reweigh)
	}
	if p.Record.Base != nil {
		for gi := range groups {
			w.record(at, &groups[gi])
		}
	}
	if p.Done.Over() { // some of that may be missing
		return false
	}
	w.close(at, groups)
	return true
}

// allKeys takes lane groups of a KV head through all keys.
func (w *workspace) allKeys(at *cursor, groups []laneGroup, pass pass) {
	if pass == reweigh {
		for gi := range groups {
			groups[gi].values.o = groups[gi].o
			groups[gi].openValues()
		}
	}
	first, last := &groups[0], &groups[len(groups)-1]
	at.walk.open(&at.problem, &at.seq, first.row, last.row+last.rows)
	w.keyBlocks(at, groups, pass)
	for gi := range groups {
		w.settle(at, &groups[gi], pass)
	}
}

// keyBlocks takes lane groups of a KV head on the cursor's walk together, or stops on the way if the
// work is to end.
func (w *workspace) keyBlocks(at *cursor, groups []laneGroup, pass pass) {
	w.openCopies(at, groups)
	for at.next() {
		if at.sched.Prefetch && pass == attend {
			w.ahead.plan(at, groups)
		}
		w.openKeys(at)
		w.k.find(at, at.head)
		w.v.find(at, at.head)
		for gi := range groups {
			w.block(at, &groups[gi], pass)
		}
		if at.problem.Done.Over() {
			break
		}
		if next, ok := at.leaves(); ok {
			for gi := range groups {
				w.fold(at, &groups[gi], next, pass)
			}
		}
	}
	w.ahead.n = 0
}

var initMax = func() (m [kernel.MaxLanes]float32) {
	for l := range m {
		m[l] = kernel.InitMax
	}
	return m
}()

var (
	negZero = float32(math.Copysign(0, -1))
	negInf  = float32(math.Inf(-1))
	nan     = float32(math.NaN())
)

// open begins the softmax of a lane group.
func (w *workspace) open(at *cursor, g *laneGroup) {
	p := &at.problem
	g.packed, g.tree.n = false, 0
	g.openPartial()
	if p.ALiBi != nil {
		for l := range g.rows {
			head, _ := g.of(l)
			*lane(g.slope, 0, 0, l) = -float32(float64(p.ALiBi[head]) * p.unit())
		}
	}
}

// openPartial begins a chunk of keys.
func (g *laneGroup) openPartial() {
	g.started, g.weighed = false, false
	clear(unsafe.Slice(g.sum, g.lanes))
	copy(unsafe.Slice(g.max, g.lanes), initMax[:])
}

// softmaxUnit is what the softmax wants scores multiplied by, see Exp2 of package fp.
const softmaxUnit = math.Log2E / 2

// unit is what scores are multiplied by until the softmax: a callback gets them as they
// are.
func (p *Problem) unit() float64 {
	if p.ScoreMod != nil {
		return 1
	}
	return softmaxUnit
}

// pack packs the queries of a lane group.
func (w *workspace) pack(at *cursor, g *laneGroup) {
	p := &at.problem
	at.engine.phase(phasePack)
	g.offsets(g.off, p.Q.Stride[1], p.Q.Stride[2])
	a := &w.packArgs
	a.Src = (*float32)(p.Q.at(at.seq.batch, g.firstHead(), at.seq.q0))
	a.Off = g.off
	a.DimStride = p.Q.Stride[3]
	if w.goes(at.engine, g, &p.Q) {
		w.fetch(at, g)
		a.Src, a.Off, a.DimStride = w.stage.rows, &w.stage.off, 1
	}
	a.Rows = g.rows
	a.Dim = p.DimQK
	a.Dst = g.q
	a.Lanes, a.Stride = g.lanes, g.lanes
	a.Scale = float32(float64(p.Scale) * p.unit())
	at.engine.set.PackQ(a)
	g.packed = true
}

// block takes a lane group through a key block, unless the work is to end.
func (w *workspace) block(at *cursor, g *laneGroup, pass pass) {
	p := &at.problem
	if p.Done.Over() {
		return
	}
	if p.Mask.dense() {
		at.engine.phase(phaseMask)
	}
	c := w.cover(at, &g.queryRows)
	if c.from == c.to {
		return
	}
	w.split(at, g, &c)
	sums := g.sum
	if pass == reweigh {
		sums = &w.spare[0]
	}
	w.weights(at, g, &c, sums)
	if c.from == c.to || p.Done.Over() {
		return
	}
	g.weighed = true
	mode := g.mode(w.softmaxArgs.Moved)
	switch pass {
	case sum:
		return
	case reweigh:
		w.reweigh(at, g, &c)
		mode = g.mode(false)
	}
	at.engine.phase(phaseAccumulate)
	if c.half > 0 {
		w.accumulate(at, g, c.low, 0, c.half, mode)
		w.accumulate(at, g, c.high, c.half, g.lanes, mode)
	} else {
		w.accumulate(at, g, c.span, 0, g.lanes, mode)
	}
	g.started = true
}

// mode returns how values are added to a lane group's output, after a softmax that may have moved
// its maxima.
func (g *laneGroup) mode(moved bool) kernel.UpdateMode {
	switch {
	case !g.started:
		return kernel.First
	case moved:
		return kernel.Rescale
	}
	return kernel.Add
}

// weights computes the weights of what c covers of a key block: the scores, what changes them, and
// the softmax, which goes on from the group's maxima and from sums. c may come out smaller.
func (w *workspace) weights(at *cursor, g *laneGroup, c *cover, sums *float32) {
	w.covered(at, g, c)
	if c.from < c.to {
		w.softmax(at, g, c, sums)
	}
}

// softmax makes weights of scores.
func (w *workspace) softmax(at *cursor, g *laneGroup, c *cover, sums *float32) {
	at.engine.phase(phaseSoftmax)
	a := &w.softmaxArgs
	a.S = lane(w.p, c.from, g.lanes, 0)
	a.Keys, a.MaskFrom = c.to-c.from, c.full-c.from
	a.Mask = nil
	if c.full < c.to {
		a.Mask = &w.mask[c.full]
	}
	a.Max, a.Sum = g.max, sums
	a.Lanes, a.Stride = g.lanes, g.lanes
	at.engine.set.Softmax(a)
}

// covered computes the scores of what c covers of a key block, as the softmax wants them.
func (w *workspace) covered(at *cursor, g *laneGroup, c *cover) {
	if !g.packed {
		w.pack(at, g)
	}
	at.engine.phase(phaseScores)
	if c.half > 0 {
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
		w.modify(at, g, c)
	}
}

// lane returns the address of a lane of a row.
func lane(base *float32, row, stride, lane int) *float32 {
	return (*float32)(unsafe.Add(unsafe.Pointer(base), 4*(row*stride+lane)))
}

// scores computes the scores of the keys [lo, hi) of the block for the lanes
// [first, end).
func (w *workspace) scores(at *cursor, g *laneGroup, lo, hi, first, end int) {
	p, set := &at.problem, at.engine.set
	if lo >= hi {
		return
	}
	a := &w.scoresArgs
	var k unsafe.Pointer
	k, a.KeyStride, a.DimStride = w.k.operand(w, set, at.n, p.DimQK)
	a.Dim = p.DimQK
	a.Q = lane(g.q, 0, 0, first)
	a.Lanes, a.Stride = end-first, g.lanes
	a.K = (*float32)(unsafe.Add(k, 4*lo*a.KeyStride))
	a.S = lane(w.p, lo, g.lanes, first)
	a.Keys = hi - lo
	w.ahead.deal(&a.Ahead, (a.Keys+set.Rows-1)/set.Rows, a.Dim)
	set.Scores(a)
	w.ahead.back(&a.Ahead)
}

// accumulate adds the weighted values of the keys of a span of the block for the
// lanes [first, end).
func (w *workspace) accumulate(at *cursor, g *laneGroup, keys span, first, end int, mode kernel.UpdateMode) {
	p, set := &at.problem, at.engine.set
	a := &w.accumulateArgs
	a.Keys, a.MaskFrom = keys.to-keys.from, keys.full-keys.from
	if a.Keys == 0 {
		return
	}
	var v unsafe.Pointer
	v, a.KeyStride, a.DimStride = w.v.operand(w, set, at.n, p.DimV)
	a.V = (*float32)(unsafe.Add(v, 4*keys.from*a.KeyStride))
	a.O, a.Dim = lane(g.o, 0, 0, first), p.DimV
	a.P = lane(w.p, keys.from, g.lanes, first)
	a.Alpha = lane(w.softmaxArgs.Alpha, 0, 0, first)
	a.Lanes, a.Stride = end-first, g.lanes
	a.Mode = mode
	w.ahead.deal(&a.Ahead, (a.Dim+set.Rows-1)/set.Rows, a.Keys)
	set.Accumulate(a)
	w.ahead.back(&a.Ahead)
}

// close writes the rows of lane groups, and their log-sum-exp where asked for.
func (w *workspace) close(at *cursor, groups []laneGroup) {
	at.engine.phase(phaseFinish)
	for i := range groups {
		g := &groups[i]
		w.writeOut(at, g)
		if at.problem.LSE != nil {
			g.writeLSE(at)
		}
	}
}

// writeOut writes the output of a lane group.
func (w *workspace) writeOut(at *cursor, g *laneGroup) {
	p := &at.problem
	if !g.started {
		kernel.Clear(unsafe.Slice(g.o, p.DimV*g.lanes))
	}
	if p.Out.Stride != p.Q.Stride || !g.packed {
		g.offsets(g.off, p.Out.Stride[1], p.Out.Stride[2])
	}
	a := &w.finishArgs
	a.O, a.Sum = g.o, g.sum
	if p.ProbMod != nil {
		a.Sum = w.probSums(g)
	}
	a.Dst = (*float32)(p.Out.at(at.seq.batch, g.firstHead(), at.seq.q0))
	a.Off = g.off
	a.DimStride = p.Out.Stride[3]
	a.Rows, a.Dim = g.rows, p.DimV
	a.Lanes, a.Stride = g.lanes, g.lanes
	goes := w.goes(at.engine, g, &p.Out)
	if goes {
		a.Dst, a.Off, a.DimStride = w.stage.rows, &w.stage.off, 1
	}
	at.engine.set.Finish(a)
	if goes {
		w.deliver(at, g)
	}
}

// pad writes what those of the rows [from, to) of the cursor's KV head have that are of padding.
func (w *workspace) pad(at *cursor, from, to int) {
	p, s, per := &at.problem, &at.seq, at.headsPerKV
	fill := negInf
	if p.RecordAt == Probs {
		fill = 0
	}
	for row := max(from, per*s.lenQ); row < min(to, per*(s.lenQ+s.padQ)); row++ {
		pos, h := row/per, at.head*per+row%per
		out := p.Out.at(s.batch, h, s.q0+pos)
		for d := range p.DimV {
			*(*float32)(unsafe.Add(out, 4*d*p.Out.Stride[3])) = 0
		}
		if p.LSE != nil {
			*p.lse(s, h, pos) = negInf
		}
		if p.Record.Base != nil {
			record := p.Record.at(s.index, h, pos)
			for k := range p.SeqKV {
				*(*float32)(unsafe.Add(record, 4*k*p.Record.Stride[3])) = fill
			}
		}
	}
}
