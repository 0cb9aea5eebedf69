package tile

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// item computes one query block: pack, then for each key block and each lane group
// scores, softmax and accumulate, then finish.
func (w *workspace) item(j *job, i int) {
	p, s, set := &j.problem, &j.sched, j.engine.set
	head, block := s.item(i)
	batch, head := head/p.KVHeads, head%p.KVHeads
	w.share = p.group()

	first := block * s.Rows()
	rows := min(s.Rows(), w.share*p.SeqQ-first)
	n := (rows + s.Lanes - 1) / s.Lanes
	groups := w.groups[:n]
	end := 0
	for gi := range groups {
		g := &groups[gi]
		g.row = first + gi*s.Lanes
		g.rows = min(s.Lanes, first+rows-g.row)
		w.open(j, g)
		end = max(end, g.end)
	}

	k, v := p.K.at(batch, head), p.V.at(batch, head)
	for key0 := 0; key0 < end; key0 += kernel.KeyBlock {
		if s.Prefetch {
			w.ahead.plan(j, w.share, batch, head, first, rows, n, key0, end)
		}
		for gi := range groups {
			g := &groups[gi]
			keys, maskFrom := g.block(key0)
			if keys == 0 {
				continue
			}
			if key0 == 0 {
				w.pack(j, g, batch, head)
			}
			w.block(j, g,
				unsafe.Add(k, 4*key0*p.K.Stride[2]),
				unsafe.Add(v, 4*key0*p.V.Stride[2]),
				key0, keys, maskFrom)
		}
	}

	j.phase(phaseFinish)
	for gi := range groups {
		w.close(p, set, &groups[gi], batch, head)
	}
}

var initMax = func() (m [kernel.MaxLanes]float32) {
	for l := range m {
		m[l] = kernel.InitMax
	}
	return m
}()

// open begins the softmax of a lane group.
func (w *workspace) open(j *job, g *laneGroup) {
	p, set := &j.problem, j.engine.set
	g.lanes = (g.rows + set.Vec - 1) / set.Vec * set.Vec
	g.full = p.Mask.keys(g.row/w.share, p.SeqKV)
	g.end = p.Mask.keys((g.row+g.rows-1)/w.share, p.SeqKV)
	g.started = false
	clear(unsafe.Slice(g.sum, g.lanes))
	copy(unsafe.Slice(g.max, g.lanes), initMax[:])
	if g.end == 0 {
		clear(unsafe.Slice(g.o, p.DimV*g.lanes))
	}
}

// pack packs the queries of a lane group.
func (w *workspace) pack(j *job, g *laneGroup, batch, head int) {
	p := &j.problem
	j.phase(phasePack)
	w.rowOffsets(g, &p.Q)
	a := &w.packArgs
	a.Src = (*float32)(p.Q.at(batch, head*w.share))
	a.Off = g.off
	a.DimStride = p.Q.Stride[3]
	a.Rows = g.rows
	a.Dim = p.DimQK
	a.Dst = g.q
	a.Lanes, a.Stride = g.lanes, g.lanes
	// The factor of Exp2: scores in units of log2(e)/2.
	a.Scale = float32(float64(p.Scale) * (math.Log2E / 2))
	j.engine.set.PackQ(a)
}

// rowOffsets sets the offsets of the group's rows in o from its first row's head.
func (w *workspace) rowOffsets(g *laneGroup, o *Operand) {
	group := w.share
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

// block takes a lane group through one key block, whose first key is key0.
func (w *workspace) block(j *job, g *laneGroup, k, v unsafe.Pointer, key0, keys, maskFrom int) {
	p, set := &j.problem, j.engine.set

	// Under a mask, the lower half of the lanes may need fewer keys: low.
	half, low := 0, 0
	if maskFrom < keys && g.lanes >= 4*set.Vec {
		half = g.lanes / 2 / set.Vec * set.Vec
		low = clamp(p.Mask.keys((g.row+half-1)/w.share, p.SeqKV)-key0, 0, keys)
		if low == 0 || keys-low < minSplit {
			half = 0
		}
	}

	j.phase(phaseScores)
	if half > 0 {
		w.scores(j, g, k, 0, low, 0)
		w.scores(j, g, k, low, keys, half)
	} else {
		w.scores(j, g, k, 0, keys, 0)
	}

	j.phase(phaseSoftmax)
	sm := &w.softmaxArgs
	sm.S = w.p
	sm.Keys, sm.MaskFrom = keys, maskFrom
	sm.Mask = nil
	if maskFrom < keys {
		p.Mask.fill(w.mask[:keys-maskFrom], key0+maskFrom, g.row, w.share)
		sm.Mask = &w.mask[0]
	}
	sm.Max, sm.Sum = g.max, g.sum
	sm.Lanes, sm.Stride = g.lanes, g.lanes
	set.Softmax(sm)

	j.phase(phaseAccumulate)
	mode := kernel.Add
	switch {
	case !g.started:
		mode = kernel.First
	case sm.Moved:
		mode = kernel.Rescale
	}
	if half > 0 {
		w.accumulate(j, g, v, low, min(maskFrom, low), 0, half, mode)
		w.accumulate(j, g, v, keys, maskFrom, half, g.lanes, mode)
	} else {
		w.accumulate(j, g, v, keys, maskFrom, 0, g.lanes, mode)
	}
	g.started = true
}

// minSplit is the least number of keys that pays for treating half the lanes apart.
const minSplit = 8

// lane returns the address of a lane of a row.
func lane(base *float32, row, stride, lane int) *float32 {
	return (*float32)(unsafe.Add(unsafe.Pointer(base), 4*(row*stride+lane)))
}

// scores computes the scores of the keys [lo, hi) of the block at k for the lanes
// from first on.
func (w *workspace) scores(j *job, g *laneGroup, k unsafe.Pointer, lo, hi, first int) {
	p, set := &j.problem, j.engine.set
	a := &w.scoresArgs
	a.KeyStride, a.DimStride = p.K.Stride[2], p.K.Stride[3]
	a.Dim = p.DimQK
	a.Q = lane(g.q, 0, 0, first)
	a.Lanes, a.Stride = g.lanes-first, g.lanes
	for step := max(1, callWork/p.DimQK); lo < hi; lo += step {
		a.K = (*float32)(unsafe.Add(k, 4*lo*a.KeyStride))
		a.S = lane(w.p, lo, g.lanes, first)
		a.Keys = min(step, hi-lo)
		w.ahead.deal(&a.Ahead, (a.Keys+set.Rows-1)/set.Rows)
		set.Scores(a)
		w.ahead.back(&a.Ahead)
	}
}

// accumulate adds the weighted values of the first keys of the block at v for the
// lanes [first, end).
func (w *workspace) accumulate(j *job, g *laneGroup, v unsafe.Pointer, keys, maskFrom, first, end int, mode kernel.UpdateMode) {
	p, set := &j.problem, j.engine.set
	a := &w.accumulateArgs
	a.KeyStride, a.DimStride = p.V.Stride[2], p.V.Stride[3]
	a.Keys, a.MaskFrom = keys, maskFrom
	a.P = lane(w.p, 0, 0, first)
	a.Alpha = lane(w.softmaxArgs.Alpha, 0, 0, first)
	a.Lanes, a.Stride = end-first, g.lanes
	a.Mode = mode
	for at, step := 0, max(1, callWork/keys); at < p.DimV; at += step {
		a.V = (*float32)(unsafe.Add(v, 4*at*a.DimStride))
		a.O = lane(g.o, at, g.lanes, first)
		a.Dim = min(step, p.DimV-at)
		w.ahead.deal(&a.Ahead, (a.Dim+set.Rows-1)/set.Rows)
		set.Accumulate(a)
		w.ahead.back(&a.Ahead)
	}
}

// close writes the rows of a lane group, and their log-sum-exp where asked for.
func (w *workspace) close(p *Problem, set *kernel.Set, g *laneGroup, batch, head int) {
	group := w.share
	if p.Out.Stride != p.Q.Stride || g.end == 0 {
		w.rowOffsets(g, &p.Out)
	}
	a := &w.finishArgs
	a.O, a.Sum = g.o, g.sum
	a.Dst = (*float32)(p.Out.at(batch, head*group))
	a.Off = g.off
	a.DimStride = p.Out.Stride[3]
	a.Rows, a.Dim = g.rows, p.DimV
	a.Lanes, a.Stride = g.lanes, g.lanes
	set.Finish(a)

	if p.LSE == nil {
		return
	}
	lse := unsafe.Add(p.LSE, 4*(batch*p.Heads+head*group)*p.SeqQ)
	maxs, sums := unsafe.Slice(g.max, g.lanes), unsafe.Slice(g.sum, g.lanes)
	for l := range g.rows {
		pos, h := (g.row+l)/group, (g.row+l)%group
		*(*float32)(unsafe.Add(lse, 4*(h*p.SeqQ+pos))) = logSumExp(maxs[l], sums[l])
	}
}
