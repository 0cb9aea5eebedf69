package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// A stage takes queries into the lanes of a lane group, and outputs out of them.
//
// Where dims lie apart and tokens side by side, it holds the rows on the way, [row][dim]: Pack, which
// can transpose squares, then takes tokens for dims, many times as fast as element by element.
type stage struct {
	rows       *float32 // nil if there is none
	stride     int      // elements from row to row
	off        [kernel.MaxLanes]int
	transposer transposer

	packArgs   kernel.PackArgs
	unpackArgs kernel.UnpackArgs
	ones       [kernel.MaxLanes]float32 // sums of probabilities
}

// staged reports whether rows of o may go by the stage.
func (e *Engine) staged(o *Operand) bool {
	return o.Stride[2] == 1 && o.Stride[3] != 1 && e.set.TurnFar > 0
}

// stages reports whether a Problem needs a stage.
func (e *Engine) stages(p *Problem) bool { return e.staged(&p.Q) || e.staged(&p.Out) }

// stageStride returns the elements from row to row of a stage: Pack fills whole vectors of them.
func stageStride(p *Problem) int {
	return (max(p.DimQK, p.DimV)+cacheLine-1)/cacheLine*cacheLine + rowPad
}

// reserve makes the stage for rows that begin at first.
func (t *stage) reserve(first *float32, stride int) {
	t.rows, t.stride = first, stride
	for l := range t.off {
		t.off[l] = l * stride
	}
}

// release drops the references to the caller's memory.
func (t *stage) release() {
	t.packArgs.Src, t.transposer.args.Src, t.transposer.args.Dst, t.unpackArgs.Dst = nil, nil, nil, nil
}

// goes reports whether rows of o go by the stage: each head of a lane group has a vector of them.
func (t *stage) goes(e *Engine, g *laneGroup, o *Operand) bool {
	return e.staged(o) && g.within() && g.rows >= g.headsPerKV*e.set.Vec
}

// headRows returns the first row of a lane group that is of head h of those that share the KV head, and
// how many are. They are headsPerKV apart.
func (r *queryRows) headRows(h int) (first, n int) {
	first = (h + r.headsPerKV - r.row%r.headsPerKV) % r.headsPerKV
	return first, (r.rows - first + r.headsPerKV - 1) / r.headsPerKV
}

// fetch brings queries of a lane group to the stage.
func (t *stage) fetch(at *cursor, g *laneGroup) {
	p, s, set, per := &at.problem, &at.seq, at.engine.set, g.headsPerKV
	for h := range per {
		row, n := g.headRows(h)
		src := (*float32)(p.Q.at(s.batch, g.firstHead()+h, s.q0+(g.row+row)/per))
		for d := 0; d < p.DimQK; d += set.Lanes {
			m := min(set.Lanes, p.DimQK-d)
			for i := range m {
				t.transposer.off[i] = (d + i) * p.Q.Stride[3]
			}
			t.transposer.transpose(set, src, m, n, lane(t.rows, row, t.stride, d), per*t.stride)
		}
	}
}

// deliver takes the output of a lane group from the stage to where it belongs.
func (t *stage) deliver(at *cursor, g *laneGroup) {
	p, s, set, per := &at.problem, &at.seq, at.engine.set, g.headsPerKV
	// dims is how many are written of all tokens before the next ones: each has a page of its own.
	const dims = cacheLine
	for h := range per {
		row, n := g.headRows(h)
		dst, stride := (*float32)(p.Out.at(s.batch, g.firstHead()+h, s.q0+(g.row+row)/per)), p.Out.Stride[3]
		whole := n / set.Vec * set.Vec // Pack writes no part of a vector
		for i := range whole {
			t.transposer.off[i] = (row + i*per) * t.stride
		}
		for d := 0; d < p.DimV; d += dims {
			t.transposer.transpose(set, ptr.At(t.rows, d), whole, min(dims, p.DimV-d), lane(dst, d, stride, 0), stride)
		}
		for i := whole; i < n; i++ {
			for d := range p.DimV {
				*lane(dst, d, stride, i) = *lane(t.rows, row+i*per, t.stride, d)
			}
		}
	}
}

// pack packs the queries of a lane group.
func (t *stage) pack(at *cursor, g *laneGroup) {
	p := &at.problem
	at.engine.phase(phasePack)
	g.offsets(g.off, p.Q.Stride[1], p.Q.Stride[2])
	a := &t.packArgs
	a.Src = (*float32)(p.Q.at(at.seq.batch, g.firstHead(), at.seq.q0))
	a.Off = g.off
	a.DimStride = p.Q.Stride[3]
	if t.goes(at.engine, g, &p.Q) {
		t.fetch(at, g)
		a.Src, a.Off, a.DimStride = t.rows, &t.off, 1
	}
	a.Rows = g.rows
	a.Dim = p.DimQK
	a.Dst = g.q
	a.Lanes, a.Stride = g.lanes, g.lanes
	a.Scale = float32(float64(p.Scale) * p.unit())
	at.engine.set.Pack(a)
	g.packed = true
}

// writeOut writes the output of a lane group.
func (t *stage) writeOut(at *cursor, g *laneGroup) {
	p := &at.problem
	if !g.started {
		kernel.Clear(unsafe.Slice(g.o, p.DimV*g.lanes))
	}
	if p.Out.Stride != p.Q.Stride || !g.packed {
		g.offsets(g.off, p.Out.Stride[1], p.Out.Stride[2])
	}
	a := &t.unpackArgs
	a.O, a.Sum = g.o, g.sum
	if p.ProbMod != nil {
		a.Sum = t.probSums(g)
	}
	a.Dst = (*float32)(p.Out.at(at.seq.batch, g.firstHead(), at.seq.q0))
	a.Off = g.off
	a.DimStride = p.Out.Stride[3]
	a.Rows, a.Dim = g.rows, p.DimV
	a.Lanes, a.Stride = g.lanes, g.lanes
	goes := t.goes(at.engine, g, &p.Out)
	if goes {
		a.Dst, a.Off, a.DimStride = t.rows, &t.off, 1
	}
	at.engine.set.Unpack(a)
	if goes {
		t.deliver(at, g)
	}
}

// probSums returns what closes a lane group whose weights were probabilities: 1, or NaN where
// their sum is.
func (t *stage) probSums(g *laneGroup) *float32 {
	for l, sum := range unsafe.Slice(g.sum, g.lanes) {
		t.ones[l] = 1
		if sum != sum {
			t.ones[l] = sum
		}
	}
	return &t.ones[0]
}
