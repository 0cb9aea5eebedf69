package tile

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
)

// item computes the i-th item of the cursor's job. It reports false if the work is to end and the item
// is not done: its rows are not written then.
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

var (
	negZero = float32(math.Copysign(0, -1))
	negInf  = float32(math.Inf(-1))
	nan     = float32(math.NaN())
)

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

// lane returns the address of a lane of a row.
func lane(base *float32, row, stride, lane int) *float32 {
	return ptr.At(base, row*stride+lane)
}

// epilogue writes the rows of lane groups, and their log-sum-exp where asked for.
func (w *workspace) epilogue(at *cursor, laneGroups []laneGroup) {
	at.engine.phase(phaseUnpack)
	for i := range laneGroups {
		g := &laneGroups[i]
		w.stage.writeOut(at, g)
		if at.problem.LSE != nil {
			g.writeLSE(at)
		}
	}
}

// pad writes what those of the rows [from, to) of the cursor's KV head have that are of padding.
func (at *cursor) pad(from, to int) {
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
