package tile

import (
	"math/bits"

	"github.com/qkv-go/qkv/kernel"
)

// A laneGroup is a block of query rows along the vector lanes, with the state of
// its online softmax.
type laneGroup struct {
	row, rows int // first row and number of rows
	lanes     int // rows rounded up to the Set's granularity; also the row stride of q and o

	partial           // of the keys gone through, or of the chunk that it is in
	tree     tree     // of the chunks before
	q        *float32 // [DimQK][lanes]
	slope    *float32 // [lanes], for ALiBi
	off      *[kernel.MaxLanes]int
	segments runSpan // of the rows, if the mask has segments
	packed   bool    // q holds the queries, and off their offsets
	started  bool    // o holds the result of some key block
	weighed  bool    // sum holds some
	values   partial // its o, of values that probabilities weight
	attended uint64  // rows that values has some of

	decoding bool     // see decoder
	heads    int      // KV heads, if so
	chunk    *float32 // [rows][DimV], the output of a chunk, if so
}

// A partial is the result of attention over some keys.
type partial struct {
	o        *float32 // [DimV][lanes]
	max, sum *float32 // [lanes]
}

// all is a mask word of the group's rows.
func (g *laneGroup) all() uint64 { return ^uint64(0) >> (kernel.MaxLanes - g.rows) }

// positions returns the first and the last position of the lanes [from, to), share of
// which share one.
func (g *laneGroup) positions(from, to, share int) (first, last int) {
	return (g.row + from) / share, (g.row + min(to, g.rows) - 1) / share
}

// A cover is what some row of a lane group attends of a key block.
type cover struct {
	span // of all lanes
	// half, if not 0, divides the lanes: those below it attend keys of low only, the
	// others of high.
	half      int
	low, high span
}

// minSplit is the least number of keys that pays for treating half the lanes apart.
const minSplit = 8

// cover returns what g attends of a key block, and writes the mask words of the keys from full on.
func (w *workspace) cover(at *cursor, g *laneGroup, vec int) cover {
	m := &at.problem.Mask
	first, last := g.positions(0, g.lanes, w.share)
	c := cover{span: m.span(at, first, last)}
	if c.from == c.to {
		return c
	}
	dense := m.dense()
	if dense {
		none, all := w.glance(at, g)
		if none {
			return cover{}
		}
		dense = !all
	}
	m.fill(w.mask[:], at, c.full, c.to, g.row, w.share)
	if dense {
		w.allOnes(c.from, c.full)
		w.thin(at, g, c.from, c.to)
		c.span = trim(w.mask[:], c.span, g.all())
	}
	if c.full == c.to || g.lanes < 4*vec {
		return c
	}
	half := g.lanes / 2 / vec * vec
	if half >= g.rows {
		return c
	}
	c.half = half
	if dense {
		w.halve(g, &c)
		return c
	}
	first, last = g.positions(0, half, w.share)
	c.low = m.span(at, first, last)
	first, last = g.positions(half, g.lanes, w.share)
	c.high = m.span(at, first, last)
	c.join(g)
	return c
}

// allOnes sets the mask words of the keys [from, to).
func (w *workspace) allOnes(from, to int) {
	words := w.mask[from:to]
	for k := range words {
		words[k] = ^uint64(0)
	}
}

// halve finds what the halves of the lanes attend by the mask words.
func (w *workspace) halve(g *laneGroup, c *cover) {
	if c.half == 0 {
		return
	}
	lower := ^uint64(0) >> (kernel.MaxLanes - c.half)
	c.low = trim(w.mask[:], c.span, lower)
	c.high = trim(w.mask[:], c.span, g.all()&^lower)
	c.join(g)
}

// join gives up the halves if they do not pay apart, or if one has nothing to begin its
// output with.
func (c *cover) join(g *laneGroup) {
	low, high := c.low.to-c.low.from, c.high.to-c.high.from
	if 2*(c.to-c.from)-low-high < minSplit || !g.started && (low == 0 || high == 0) {
		c.half = 0
	}
}

// trim narrows a span to the keys that one of the lanes attends by the words, and finds
// those that all attend.
func trim(words []uint64, s span, lanes uint64) span {
	for s.from < s.to && words[s.from]&lanes == 0 {
		s.from++
	}
	for s.to > s.from && words[s.to-1]&lanes == 0 {
		s.to--
	}
	s.full = s.from
	for s.full < s.to && words[s.full]&lanes == lanes {
		s.full++
	}
	return s
}

// pairs returns how many pairs of the group's rows and the block's keys c holds.
func (w *workspace) pairs(c *cover, g *laneGroup) int64 {
	n := int64(c.full-c.from) * int64(g.rows)
	for _, word := range w.mask[c.full:c.to] {
		n += int64(bits.OnesCount64(word & g.all()))
	}
	return n
}
