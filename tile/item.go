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

// item computes one query block: pack, then for each key block and each lane group
// scores, softmax and accumulate, then finish. It reports false if the work is to end and the
// item is not done: its rows are not written then.
func (w *workspace) item(j *job, i int) bool {
	p, sched := &j.problem, &j.sched
	if p.Done.Over() {
		return false
	}
	if i >= sched.Items {
		it := &j.decoding.items[i-sched.Items]
		s := p.seq(int(it.seq))
		w.openCopies(j, p.group()*s.lenQ)
		return w.decode(j, it)
	}
	head, block := sched.item(i)
	at := j.cursor(head/p.KVHeads, head%p.KVHeads)
	s := &at.seq
	if sched.Decode > 0 && j.engine.divides(p, s, sched.divided) {
		return true
	}
	w.share = p.group()

	first := block * sched.Rows()
	rows := min(sched.Rows(), w.share*s.lenQ-first)
	if from, to := max(first, w.share*s.lenQ), min(first+sched.Rows(), w.share*(s.lenQ+s.padQ)); from < to {
		w.pad(&at, from, to)
	}
	if rows <= 0 {
		return true
	}
	w.openCopies(j, rows)
	groups := w.groups[:(rows+sched.Lanes-1)/sched.Lanes]
	for gi := range groups {
		g := &groups[gi]
		g.row = first + gi*sched.Lanes
		g.rows = min(sched.Lanes, first+rows-g.row)
		w.open(&at, g)
	}
	if p.ProbMod == nil {
		w.keyBlocks(&at, groups, attend)
	} else {
		w.keyBlocks(&at, groups, sum)
		for gi := range groups {
			groups[gi].values.o = groups[gi].o
			groups[gi].openValues()
		}
		w.keyBlocks(&at, groups, reweigh)
	}
	if p.Record.Base != nil {
		for gi := range groups {
			w.record(&at, &groups[gi])
		}
	}
	if p.Done.Over() { // some of that may be missing
		return false
	}
	j.engine.phase(phaseFinish)
	for gi := range groups {
		w.close(&at, &groups[gi])
	}
	return true
}

// keyBlocks takes the lane groups of an item through the keys together, or stops on the way if
// the work is to end.
func (w *workspace) keyBlocks(at *cursor, groups []laneGroup, pass pass) {
	p := &at.problem
	first, last := &groups[0], &groups[len(groups)-1]
	at.walk = p.walk(&at.seq, first.row, last.row+last.rows)
	for at.next() {
		if at.sched.Prefetch && pass == attend {
			w.ahead.plan(w, at, groups)
		}
		w.openKeys(at)
		w.k.find(at, 0)
		w.v.find(at, 0)
		for gi := range groups {
			w.block(at, &groups[gi], pass)
		}
		if p.Done.Over() {
			break
		}
		if next, ok := at.leaves(); ok {
			for gi := range groups {
				w.fold(at, &groups[gi], next, pass)
			}
		}
	}
	w.ahead.n = 0
	for gi := range groups {
		w.settle(at, &groups[gi], pass)
	}
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
	p, set := &at.problem, at.engine.set
	g.lanes = (g.rows + set.Vec - 1) / set.Vec * set.Vec
	g.packed, g.tree.n = false, 0
	w.openRows(at, g)
	g.openPartial()
	if p.ALiBi != nil {
		for l := range g.rows {
			*lane(g.slope, 0, 0, l) = -float32(float64(p.ALiBi[w.head(at, g, l)]) * p.unit())
		}
	}
}

// head returns the query head of a lane under a KV head.
func (w *workspace) head(at *cursor, g *laneGroup, lane int) int {
	head := at.head
	if g.decoding {
		head += lane / w.decoder.perHead
	}
	return head*w.share + (g.row+lane)%w.share // perHead is a multiple of share
}

// openPartial begins a chunk of keys.
func (g *laneGroup) openPartial() {
	g.started, g.weighed = false, false
	clear(unsafe.Slice(g.sum, g.lanes))
	copy(unsafe.Slice(g.max, g.lanes), initMax[:])
}

// softmaxUnit is what the softmax wants scores multiplied by, see [kernel.Exp2].
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
	w.rowOffsets(g, &p.Q)
	a := &w.packArgs
	a.Src = (*float32)(p.Q.at(at.seq.batch, at.head*w.share, at.seq.q0))
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

// rowOffsets sets the offsets of the group's rows in o from its first row's head.
func (w *workspace) rowOffsets(g *laneGroup, o *Operand) {
	group := w.share
	if g.decoding {
		for l := range g.off[:g.rows] {
			head, row := l/w.decoder.perHead*group, l%w.decoder.perHead
			g.off[l] = (head+row%group)*o.Stride[1] + row/group*o.Stride[2]
		}
		return
	}
	pos, h := g.row/group, g.row%group
	off := pos*o.Stride[2] + h*o.Stride[1]
	// From the last head of a position to the first of the next.
	wrap := o.Stride[2] - group*o.Stride[1]
	for l := range g.off[:g.rows] {
		g.off[l] = off
		off += o.Stride[1]
		if h++; h == group {
			h = 0
			off += wrap
		}
	}
}

// block takes a lane group through a key block, unless the work is to end.
func (w *workspace) block(at *cursor, g *laneGroup, pass pass) {
	p, set := &at.problem, at.engine.set
	if p.Done.Over() {
		return
	}
	if p.Mask.dense() {
		at.engine.phase(phaseMask)
	}
	var c cover
	if g.decoding {
		c = w.decodeCover(at, g)
	} else {
		c = w.cover(at, g, set.Vec)
	}
	if c.from == c.to {
		return
	}
	sums := g.sum
	if pass == reweigh {
		sums = &w.spare[0]
	}
	w.weights(at, g, &c, sums)
	if c.from == c.to || p.Done.Over() {
		return
	}
	g.weighed = true
	if pass == sum {
		return
	}
	moved := w.softmaxArgs.Moved
	if pass == reweigh {
		at.engine.phase(phaseModify)
		w.weigh(g, c.from, c.to)
		w.call(p.ProbMod, at, g, c.from, c.to)
		w.setSigns(g, &c)
		g.attended |= w.attended(g, &c)
		moved = false
	}

	at.engine.phase(phaseAccumulate)
	mode := kernel.Add
	switch {
	case !g.started:
		mode = kernel.First
	case moved:
		mode = kernel.Rescale
	}
	switch {
	case g.decoding:
		w.decodeValues(at, g, c.span, mode)
	case c.half > 0:
		w.accumulate(at, g, c.low, 0, c.half, mode)
		w.accumulate(at, g, c.high, c.half, g.lanes, mode)
	default:
		w.accumulate(at, g, c.span, 0, g.lanes, mode)
	}
	g.started = true
}

// weights computes the weights of what c covers of a key block: the scores, what changes them, and
// the softmax, which goes on from the group's maxima and from sums. c may come out smaller.
func (w *workspace) weights(at *cursor, g *laneGroup, c *cover, sums *float32) {
	w.covered(at, g, c)
	if c.from == c.to {
		return
	}
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
	switch {
	case g.decoding:
		w.decodeKeys(at, g, c.span)
	case c.half > 0:
		// The keys that both halves attend, and on either side those of one.
		lo, hi := c.high.from, c.low.to
		if lo >= hi {
			lo, hi = c.low.to, c.low.to
		}
		w.scores(at, g, c.low.from, lo, 0, c.half)
		w.scores(at, g, lo, hi, 0, g.lanes)
		w.scores(at, g, max(hi, c.high.from), c.high.to, c.half, g.lanes)
	default:
		w.scores(at, g, c.from, c.to, 0, g.lanes)
	}
	if at.modifies {
		at.engine.phase(phaseModify)
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

// close writes the rows of a lane group, and their log-sum-exp where asked for.
func (w *workspace) close(at *cursor, g *laneGroup) {
	p := &at.problem
	group := w.share
	if !g.started {
		kernel.Clear(unsafe.Slice(g.o, p.DimV*g.lanes))
	}
	if p.Out.Stride != p.Q.Stride || !g.packed {
		w.rowOffsets(g, &p.Out)
	}
	a := &w.finishArgs
	a.O, a.Sum = g.o, g.sum
	if p.ProbMod != nil {
		a.Sum = w.probSums(g)
	}
	a.Dst = (*float32)(p.Out.at(at.seq.batch, at.head*group, at.seq.q0))
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

	if p.LSE == nil {
		return
	}
	maxs, sums := unsafe.Slice(g.max, g.lanes), unsafe.Slice(g.sum, g.lanes)
	for l := range g.rows {
		head, row := at.head, g.row+l
		if g.decoding {
			head, row = at.head+l/w.decoder.perHead, l%w.decoder.perHead
		}
		*p.lse(&at.seq, head*group, row) = logSumExp(maxs[l], sums[l])
	}
}

// lse returns the address of the log-sum-exp of a row of the heads from head on.
func (p *Problem) lse(s *seq, head, row int) *float32 {
	tokens := p.TokensQ // of a sequence on the operands' seq axis
	if p.CuQ == nil {
		tokens = p.SeqQ
	}
	pos, h := row/p.group(), row%p.group()
	return (*float32)(unsafe.Add(p.LSE, 4*((s.batch*p.Heads+head+h)*tokens+s.q0+pos)))
}

// pad writes what rows [from, to) of padding have.
func (w *workspace) pad(at *cursor, from, to int) {
	p, s, head := &at.problem, &at.seq, at.head
	fill := negInf
	if p.RecordAt == Probs {
		fill = 0
	}
	for row := from; row < to; row++ {
		pos, h := row/w.share, head*w.share+row%w.share
		out := p.Out.at(s.batch, h, s.q0+pos)
		for d := range p.DimV {
			*(*float32)(unsafe.Add(out, 4*d*p.Out.Stride[3])) = 0
		}
		if p.LSE != nil {
			*p.lse(s, head*w.share, row) = negInf
		}
		if p.Record.Base != nil {
			record := p.Record.at(s.index, h, pos)
			for k := range p.SeqKV {
				*(*float32)(unsafe.Add(record, 4*k*p.Record.Stride[3])) = fill
			}
		}
	}
}
