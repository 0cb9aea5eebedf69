package tile

import (
	"math/bits"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// A laneGroup is a block of query rows along the vector lanes, with the state of
// their online softmax.
type laneGroup struct {
	queryRows // lanes is also the row stride of q and o

	partial           // of the keys gone through, or of the chunk that it is in
	tree     tree     // of the chunks before
	q        *float32 // [DimQK][lanes]
	blocks   *float32 // of class Int8: the panel of the queries, or the blocks of each row where they are decoded
	slope    *float32 // [lanes], for ALiBi
	off      *[kernel.MaxLanes]int
	packed   bool     // q holds the queries, and off their offsets
	started  bool     // o holds the result of some key block
	weighed  bool     // sum holds some
	values   partial  // its o, of values that probabilities weight
	attended uint64   // rows that values has some of
	chunk    *float32 // [rows][DimV], the output of a chunk, where it is decoded
}

var initMax = func() (m [kernel.MaxLanes]float32) {
	for l := range m {
		m[l] = kernel.InitMax
	}
	return m
}()

// open begins the softmax of a lane group, whose rows are set.
func (g *laneGroup) open(at *cursor) {
	p := &at.problem
	g.packed, g.tree.n = false, 0
	g.openPartial()
	if p.ALiBi != nil {
		for l := range g.rows {
			head, _ := g.of(l)
			*ptr.At(g.slope, l) = -float32(float64(p.ALiBi[head]) * p.unit())
		}
	}
}

// openPartial begins a chunk of keys.
func (g *laneGroup) openPartial() {
	g.started, g.weighed = false, false
	clear(unsafe.Slice(g.sum, g.lanes))
	copy(unsafe.Slice(g.max, g.lanes), initMax[:])
}

// mode returns how values are added to a lane group's output, after a softmax that may have moved
// its maxima.
func (g *laneGroup) mode(moved bool) kernel.UpdateMode {
	switch {
	case !g.started:
		return kernel.First
	case moved:
		return kernel.Rescale
	}
	return kernel.Add
}

// A partial is the result of attention over some keys.
type partial struct {
	o        *float32 // [DimV][lanes]
	max, sum *float32 // [lanes]
}

// maskWords are the mask of a score block, a bit a lane.
type maskWords struct {
	words    [kernel.KeyBlock]uint64
	segments runSpan              // of the key block, if the mask has segments
	off      [kernel.MaxLanes]int // of rows in a boolean tensor
}

// A cover is what some row of a lane group attends of a key block.
type cover struct {
	span         // of all lanes
	thinned bool // the mask words of all of its keys are set, for parts of the mask other than bands
	// half, if not 0, divides the lanes: those below it attend keys of low only, the
	// others of high.
	half      int
	low, high span
}

// minSplit is the least number of keys that pays for treating half the lanes apart.
const minSplit = 8

// cover returns what rows of a KV head attend of a key block, and writes the mask words of the keys
// from full on.
func (w *maskWords) cover(at *cursor, r *queryRows) cover {
	m := &at.problem.Mask
	first, last := r.positions(0, r.lanes)
	c := cover{span: m.span(at, first, last)}
	if c.from == c.to {
		return c
	}
	if m.dense() {
		none, all := w.glance(at, r)
		if none {
			return cover{}
		}
		c.thinned = !all
	}
	m.fill(w.words[:], at, r, c.full, c.to)
	if c.thinned {
		w.allOnes(c.from, c.full)
		w.thin(at, r, c.from, c.to)
		c.span = trim(w.words[:], c.span, r.all())
	}
	return c
}

// split has the halves of a lane group's lanes treated apart, where each is a number of vectors, the
// block is one of some part of the pairs, and it pays.
func (w *maskWords) split(at *cursor, g *laneGroup, c *cover) {
	vec := at.engine.set.Vec
	if c.full == c.to || g.lanes < 4*vec {
		return
	}
	half := g.lanes / 2 / vec * vec
	if half >= g.rows {
		return
	}
	c.half = half
	if c.thinned {
		w.halve(g, c)
		return
	}
	m := &at.problem.Mask
	first, last := g.positions(0, half)
	c.low = m.span(at, first, last)
	first, last = g.positions(half, g.lanes)
	c.high = m.span(at, first, last)
	c.join(g)
}

// allOnes sets the mask words of the keys [from, to).
func (w *maskWords) allOnes(from, to int) {
	words := w.words[from:to]
	for k := range words {
		words[k] = ^uint64(0)
	}
}

// halve finds what the halves of the lanes attend by the mask words.
func (w *maskWords) halve(g *laneGroup, c *cover) {
	if c.half == 0 {
		return
	}
	lower := ^uint64(0) >> (kernel.MaxLanes - c.half)
	c.low = trim(w.words[:], c.span, lower)
	c.high = trim(w.words[:], c.span, g.all()&^lower)
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

// pairs returns how many pairs of rows and keys of the block c holds.
func (w *maskWords) pairs(c *cover, r *queryRows) int64 {
	n := int64(c.full-c.from) * int64(r.rows)
	for _, word := range w.words[c.full:c.to] {
		n += int64(bits.OnesCount64(word & r.all()))
	}
	return n
}

// attended returns the lanes that attend some of what c covers.
func (w *maskWords) attended(g *laneGroup, c *cover) (lanes uint64) {
	if c.full > c.from {
		return g.all()
	}
	for _, word := range w.words[c.full:c.to] {
		lanes |= word
	}
	return lanes & g.all()
}
