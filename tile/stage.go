package tile

import "github.com/qkv-go/qkv/kernel"

// A stage holds the rows of a lane group, [row][dim], on the way from queries and to an output whose
// dims lie apart and tokens side by side: PackQ, which can transpose squares, then takes tokens for
// dims, many times as fast as element by element.
type stage struct {
	rows   *float32 // nil if there is none
	stride int      // elements from row to row
	off    [kernel.MaxLanes]int
}

// staged reports whether rows of o may go by the stage.
func (e *Engine) staged(o *Operand) bool {
	return o.Stride[2] == 1 && o.Stride[3] != 1 && e.set.TurnFar > 0
}

// stages reports whether a Problem needs a stage.
func (e *Engine) stages(p *Problem) bool { return e.staged(&p.Q) || e.staged(&p.Out) }

// stageStride returns the elements from row to row of a stage: PackQ fills whole vectors of them.
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

// goes reports whether rows of o go by the stage: each head of a lane group has a vector of them.
func (w *workspace) goes(e *Engine, g *laneGroup, o *Operand) bool {
	return e.staged(o) && g.within() && g.rows >= g.headsPerKV*e.set.Vec
}

// headRows returns the first row of a lane group that is of head h of those that share the KV head, and
// how many are. They are headsPerKV apart.
func (r *queryRows) headRows(h int) (first, n int) {
	first = (h + r.headsPerKV - r.row%r.headsPerKV) % r.headsPerKV
	return first, (r.rows - first + r.headsPerKV - 1) / r.headsPerKV
}

// fetch brings queries of a lane group to the stage.
func (w *workspace) fetch(at *cursor, g *laneGroup) {
	p, s, set, per := &at.problem, &at.seq, at.engine.set, g.headsPerKV
	t := &w.stage
	for h := range per {
		row, n := g.headRows(h)
		src := (*float32)(p.Q.at(s.batch, g.firstHead()+h, s.q0+(g.row+row)/per))
		for d := 0; d < p.DimQK; d += set.Lanes {
			m := min(set.Lanes, p.DimQK-d)
			for i := range m {
				w.turnOff[i] = (d + i) * p.Q.Stride[3]
			}
			w.turn(set, src, m, n, lane(t.rows, row, t.stride, d), per*t.stride)
		}
	}
}

// deliver takes the output of a lane group from the stage to where it belongs.
func (w *workspace) deliver(at *cursor, g *laneGroup) {
	p, s, set, per := &at.problem, &at.seq, at.engine.set, g.headsPerKV
	// dims is how many are written of all tokens before the next ones: each has a page of its own.
	const dims = cacheLine
	t := &w.stage
	for h := range per {
		row, n := g.headRows(h)
		dst, stride := (*float32)(p.Out.at(s.batch, g.firstHead()+h, s.q0+(g.row+row)/per)), p.Out.Stride[3]
		whole := n / set.Vec * set.Vec // PackQ writes no part of a vector
		for i := range whole {
			w.turnOff[i] = (row + i*per) * t.stride
		}
		for d := 0; d < p.DimV; d += dims {
			w.turn(set, lane(t.rows, 0, 0, d), whole, min(dims, p.DimV-d), lane(dst, d, stride, 0), stride)
		}
		for i := whole; i < n; i++ {
			for d := range p.DimV {
				*lane(dst, d, stride, i) = *lane(t.rows, row+i*per, t.stride, d)
			}
		}
	}
}
