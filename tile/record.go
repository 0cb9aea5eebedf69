package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// record writes the scores of a lane group with all keys, masked or not, at the stage
// that is asked for. The group's maxima and sums are complete.
func (w *workspace) record(j *job, s *seq, g *laneGroup, head int) {
	p := &j.problem
	keys := s.lenKV
	if p.CuKV == nil && p.Tables == nil {
		keys = p.SeqKV // padding too
	}
	if keys == 0 {
		return
	}
	if !g.packed {
		w.pack(j, s, g, head)
	}
	for l := range g.rows { // g.off is that of the queries
		pos, h := (g.row+l)/w.share, (g.row+l)%w.share
		w.recordOff[l] = h*p.Record.Stride[1] + pos*p.Record.Stride[2]
	}
	for k := walkAll(keys); !p.Done.Over() && k.next(); {
		key0, n := k.key0, k.n
		w.k.find(p, s, head, key0, n)
		switch p.RecordAt {
		case Scaled, Capped:
			w.scores(j, g, n, 0, n, 0, g.lanes)
			if p.RecordAt == Capped {
				w.softcap(j, g, 0, n)
			}
		case Masked:
			w.recordMasked(j, s, g, head, key0, n)
		case Probs:
			w.recordProbs(j, s, g, head, key0, n)
		}
		w.writeRecord(j, s, g, head, key0, n)
	}
}

// recordMasked leaves the scores of the n keys of the block at key0 as the softmax is
// taken of them.
func (w *workspace) recordMasked(j *job, s *seq, g *laneGroup, head, key0, n int) {
	p := &j.problem
	c := w.recordCover(p, s, g, head, key0, n)
	if c.from < c.to {
		w.covered(j, s, g, head, key0, n, &c)
	}
	for k := range n {
		word := ^uint64(0)
		switch {
		case k < c.from || k >= c.to:
			word = 0
		case k >= c.full:
			word = w.mask[k]
		}
		for l := range g.rows {
			if word>>l&1 == 0 {
				*lane(w.p, k, g.lanes, l) = negInf
			}
		}
	}
}

// recordCover returns what g attends of the n keys of the block at key0.
func (w *workspace) recordCover(p *Problem, s *seq, g *laneGroup, head, key0, n int) cover {
	if n = min(n, s.lenKV-key0); n <= 0 {
		return cover{}
	}
	w.openKeys(p, s, key0, n)
	return w.cover(p, s, g, head, key0, n, kernel.MaxLanes)
}

// recordProbs leaves the probabilities of the n keys of the block at key0.
func (w *workspace) recordProbs(j *job, s *seq, g *laneGroup, head, key0, n int) {
	p := &j.problem
	c := w.recordCover(p, s, g, head, key0, n)
	if c.from < c.to {
		w.weights(j, s, g, head, key0, n, &c, &w.spare[0])
	}
	if c.from < c.to {
		w.weigh(g, c.from, c.to)
	}
	for _, rest := range [2][2]int{{0, c.from}, {c.to, n}} {
		for k := rest[0]; k < rest[1]; k++ {
			clear(unsafe.Slice(lane(w.p, k, g.lanes, 0), g.lanes))
		}
	}
}

// writeRecord writes the n rows of scores or probabilities of the block at key0.
func (w *workspace) writeRecord(j *job, s *seq, g *laneGroup, head, key0, n int) {
	p := &j.problem
	unit := float32(1)
	if p.RecordAt == Scaled || p.RecordAt == Capped {
		unit = float32(p.unit())
	} else if p.RecordAt == Masked {
		unit = softmaxUnit
	}
	for l := range g.lanes {
		w.recip[l] = unit
	}
	a := &w.finishArgs
	a.O, a.Sum = w.p, &w.recip[0]
	a.Dst = (*float32)(unsafe.Add(p.Record.at(s.index, head*w.share, 0), 4*key0*p.Record.Stride[3]))
	a.Off = &w.recordOff
	a.DimStride = p.Record.Stride[3]
	a.Rows, a.Dim = g.rows, n
	a.Lanes, a.Stride = g.lanes, g.lanes
	j.engine.set.Finish(a)
}

// probSums returns what closes a group whose weights were probabilities: 1, or NaN where
// their sum is.
func (w *workspace) probSums(g *laneGroup) *float32 {
	for l, sum := range unsafe.Slice(g.sum, g.lanes) {
		w.recip[l] = 1
		if sum != sum {
			w.recip[l] = sum
		}
	}
	return &w.recip[0]
}
