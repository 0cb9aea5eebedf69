package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// A recorder writes scores.
type recorder struct {
	off  [kernel.MaxLanes]int     // of rows
	unit [kernel.MaxLanes]float32 // to divide by
	args kernel.UnpackArgs
}

// record writes the scores of a lane group with all keys, masked or not, at the stage
// that is asked for. The lane group's maxima and sums are complete.
func (w *workspace) record(at *cursor, g *laneGroup) {
	p := &at.problem
	keys := at.seq.lenKV
	if p.CuKV == nil && p.Tables == nil {
		keys = p.SeqKV // padding too
	}
	if keys == 0 {
		return
	}
	w.pack(at, g)
	g.offsets(&w.recorder.off, p.Record.Stride[1], p.Record.Stride[2]) // g.off is that of the queries
	for at.walk.openAll(keys); !p.Done.Over() && at.next(); {
		w.kv.k.find(at, g.head)
		switch p.RecordAt {
		case Scaled, Capped:
			w.scores(at, g, 0, at.n, 0, g.lanes)
			if p.RecordAt == Capped {
				w.block.softcap(at, g, 0, at.n)
			}
		case Masked:
			w.recordMasked(at, g)
		case Probs:
			w.recordProbs(at, g)
		}
		w.writeRecord(at, g)
	}
}

// recordMasked leaves the scores of a key block as the softmax is taken of them.
func (w *workspace) recordMasked(at *cursor, g *laneGroup) {
	c := w.recordCover(at, g)
	if c.from < c.to {
		w.covered(at, g, &c)
	}
	for k := range at.n {
		word := ^uint64(0)
		switch {
		case k < c.from || k >= c.to:
			word = 0
		case k >= c.full:
			word = w.block.mask.words[k]
		}
		for l := range g.rows {
			if word>>l&1 == 0 {
				*lane(w.block.s, k, g.lanes, l) = negInf
			}
		}
	}
}

// recordCover returns what g attends of a key block, which may have keys of padding.
func (w *workspace) recordCover(at *cursor, g *laneGroup) cover {
	keys := *at
	if keys.n = min(at.n, at.seq.lenKV-at.key0); keys.n <= 0 {
		return cover{}
	}
	w.block.mask.openKeys(&keys)
	return w.block.mask.cover(&keys, &g.queryRows)
}

// recordProbs leaves the probabilities of a key block.
func (w *workspace) recordProbs(at *cursor, g *laneGroup) {
	c := w.recordCover(at, g)
	if c.from < c.to {
		w.weights(at, g, &c, &w.block.spare[0])
	}
	if c.from < c.to {
		w.block.weigh(g, c.from, c.to)
	}
	for _, rest := range [2][2]int{{0, c.from}, {c.to, at.n}} {
		for k := rest[0]; k < rest[1]; k++ {
			clear(unsafe.Slice(lane(w.block.s, k, g.lanes, 0), g.lanes))
		}
	}
}

// writeRecord writes the scores or probabilities of a key block.
func (w *workspace) writeRecord(at *cursor, g *laneGroup) {
	p := &at.problem
	unit := float32(1)
	if p.RecordAt == Scaled || p.RecordAt == Capped {
		unit = float32(p.unit())
	} else if p.RecordAt == Masked {
		unit = softmaxUnit
	}
	for l := range g.lanes {
		w.recorder.unit[l] = unit
	}
	a := &w.recorder.args
	a.O, a.Sum = w.block.s, &w.recorder.unit[0]
	a.Dst = (*float32)(unsafe.Add(p.Record.at(at.seq.index, g.firstHead(), 0), 4*at.key0*p.Record.Stride[3]))
	a.Off = &w.recorder.off
	a.DimStride = p.Record.Stride[3]
	a.Rows, a.Dim = g.rows, at.n
	a.Lanes, a.Stride = g.lanes, g.lanes
	at.engine.set.Unpack(a)
}
