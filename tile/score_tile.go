package tile

import (
	"math"
	"unsafe"
)

// A Tile is a block of scores or probabilities: of some queries, which may be of several
// heads that share a KV head, and some keys of one sequence.
type Tile struct {
	Batch int // sequence
	Rows  int // number of (query, head) rows
	Key   int // position of the first key in its sequence
	Keys  int // number of keys

	// S has the score of row r and key Key+k at S[k*Stride+r].
	S      []float32
	Stride int

	row, headsPerKV, head int
}

// Query returns the position of a row's query in its sequence.
func (t *Tile) Query(row int) int { return (t.row + row) / t.headsPerKV }

// Head returns the query head of a row.
func (t *Tile) Head(row int) int { return t.head + (t.row+row)%t.headsPerKV }

// Each replaces every score by what f makes of it.
func (t *Tile) Each(f func(head, query, key int, s float32) float32) {
	for r := range t.Rows {
		head, query := t.Head(r), t.Query(r)
		for k := range t.Keys {
			s := &t.S[k*t.Stride+r]
			*s = f(head, query, t.Key+k, *s)
		}
	}
}

// call hands the keys [from, to) of the block to a callback.
func (w *workspace) call(f func(*Tile), at *cursor, g *laneGroup, from, to int) {
	first := lane(w.p, from, g.lanes, 0)
	w.tile = Tile{
		Batch: at.seq.index, Rows: g.rows, Key: at.key0 + from, Keys: to - from,
		S: unsafe.Slice(first, (to-from-1)*g.lanes+g.rows), Stride: g.lanes,
		row: g.row, headsPerKV: g.headsPerKV, head: g.firstHead(),
	}
	f(&w.tile)
	w.tile = Tile{}
}

// reweigh makes probabilities of the weights of what c covers, and weights of what ProbMod makes of
// them.
func (w *workspace) reweigh(at *cursor, g *laneGroup, c *cover) {
	at.engine.phase(phaseModify)
	w.weigh(g, c.from, c.to)
	w.call(at.problem.ProbMod, at, g, c.from, c.to)
	w.setSigns(g, c)
	g.attended |= w.attended(g, c)
}

const signBit = 1 << 31 // of the bits of a float32

// weigh turns the weights of the keys [from, to) into probabilities, those taken away
// by the mask into +0.
func (w *workspace) weigh(g *laneGroup, from, to int) {
	sums := unsafe.Slice(g.sum, g.lanes)
	for l := range sums {
		w.recip[l] = 0
		if sums[l] != 0 {
			w.recip[l] = 1 / sums[l]
		}
	}
	for k := from; k < to; k++ {
		row := unsafe.Slice(lane(w.p, k, g.lanes, 0), g.lanes)
		for l, x := range row {
			if math.Float32bits(x) == signBit { // taken away, also where the sum is NaN
				row[l] = 0
			} else {
				row[l] = float32(x * w.recip[l])
			}
		}
	}
}

// setSigns marks what the mask takes away with the sign bit, as Accumulate wants it, and
// takes it off everything else.
func (w *workspace) setSigns(g *laneGroup, c *cover) {
	for k := c.from; k < c.to; k++ {
		word := ^uint64(0)
		if k >= c.full {
			word = w.mask[k]
		}
		row := unsafe.Slice(lane(w.p, k, g.lanes, 0), g.lanes)
		for l, x := range row {
			switch {
			case word>>l&1 == 0:
				row[l] = negZero
			case x > 0:
			case x == x:
				row[l] = 0
			default:
				row[l] = nan
			}
		}
	}
}

// attended returns the lanes that attend some of what c covers.
func (w *workspace) attended(g *laneGroup, c *cover) (lanes uint64) {
	if c.full > c.from {
		return g.all()
	}
	for _, word := range w.mask[c.full:c.to] {
		lanes |= word
	}
	return lanes & g.all()
}
