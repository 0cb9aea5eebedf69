package tile

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// A ScoreBlock is a block of scores or probabilities: of some queries, which may be of several
// heads that share a KV head, and some keys of one sequence.
type ScoreBlock struct {
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
func (t *ScoreBlock) Query(row int) int { return (t.row + row) / t.headsPerKV }

// Head returns the query head of a row.
func (t *ScoreBlock) Head(row int) int { return t.head + (t.row+row)%t.headsPerKV }

// Each replaces every score by what f makes of it.
func (t *ScoreBlock) Each(f func(head, query, key int, s float32) float32) {
	for r := range t.Rows {
		head, query := t.Head(r), t.Query(r)
		for k := range t.Keys {
			s := &t.S[k*t.Stride+r]
			*s = f(head, query, t.Key+k, *s)
		}
	}
}

// A scoreBlock is what a worker has of the scores of a lane group and a key block: the scores, which
// become weights, what the mask leaves of them, and what changes them.
type scoreBlock struct {
	s     *float32 // [KeyBlock][lanes]
	mask  maskWords
	shown ScoreBlock // to a callback

	biases *float32             // [lanes][KeyBlock], if there is a bias
	off    [kernel.MaxLanes]int // of rows in a bias; positions
	pos    [kernel.MaxLanes]float32
	recip  [kernel.MaxLanes]float32 // of sums
	spare  [kernel.MaxLanes]float32 // sums that nobody wants

	softcapArgs kernel.SoftcapArgs
	alibiArgs   kernel.ALiBiArgs
	biasArgs    kernel.BiasArgs
	softmaxArgs kernel.SoftmaxArgs
}

// call hands the keys [from, to) of the block to a callback.
func (t *scoreBlock) call(f func(*ScoreBlock), at *cursor, g *laneGroup, from, to int) {
	first := lane(t.s, from, g.lanes, 0)
	t.shown = ScoreBlock{
		Batch: at.seq.index, Rows: g.rows, Key: at.key0 + from, Keys: to - from,
		S: unsafe.Slice(first, (to-from-1)*g.lanes+g.rows), Stride: g.lanes,
		row: g.row, headsPerKV: g.headsPerKV, head: g.firstHead(),
	}
	f(&t.shown)
	t.shown = ScoreBlock{}
}

// softmax makes weights of scores.
func (t *scoreBlock) softmax(at *cursor, g *laneGroup, c *cover, sums *float32) {
	at.engine.phase(phaseSoftmax)
	a := &t.softmaxArgs
	a.S = lane(t.s, c.from, g.lanes, 0)
	a.Keys, a.MaskFrom = c.to-c.from, c.full-c.from
	a.Mask = nil
	if c.full < c.to {
		a.Mask = &t.mask.words[c.full]
	}
	a.Max, a.Sum = g.max, sums
	a.Lanes, a.Stride = g.lanes, g.lanes
	at.engine.set.Softmax(a)
}

// reweigh makes probabilities of the weights of what c covers, and weights of what ProbMod makes of
// them.
func (t *scoreBlock) reweigh(at *cursor, g *laneGroup, c *cover) {
	at.engine.phase(phaseModify)
	t.weigh(g, c.from, c.to)
	t.call(at.problem.ProbMod, at, g, c.from, c.to)
	t.setSigns(g, c)
	g.attended |= t.mask.attended(g, c)
}

const signBit = 1 << 31 // of the bits of a float32

// weigh turns the weights of the keys [from, to) into probabilities, those taken away
// by the mask into +0.
func (t *scoreBlock) weigh(g *laneGroup, from, to int) {
	sums := unsafe.Slice(g.sum, g.lanes)
	for l := range sums {
		t.recip[l] = 0
		if sums[l] != 0 {
			t.recip[l] = 1 / sums[l]
		}
	}
	for k := from; k < to; k++ {
		row := unsafe.Slice(lane(t.s, k, g.lanes, 0), g.lanes)
		for l, x := range row {
			if math.Float32bits(x) == signBit { // taken away, also where the sum is NaN
				row[l] = 0
			} else {
				row[l] = float32(x * t.recip[l])
			}
		}
	}
}

// setSigns marks what the mask takes away with the sign bit, as Accumulate wants it, and
// takes it off everything else.
func (t *scoreBlock) setSigns(g *laneGroup, c *cover) {
	for k := c.from; k < c.to; k++ {
		word := ^uint64(0)
		if k >= c.full {
			word = t.mask.words[k]
		}
		row := unsafe.Slice(lane(t.s, k, g.lanes, 0), g.lanes)
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
