package tile

import (
	"math/bits"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// A tree adds up the results of chunks of keys. Its leaves are all chunks by their index,
// those that are skipped among them, and a node is the result of its left half and its
// right half merged: so neither the order nor the depth of the sums depends on which
// chunks are there, and the error grows with the logarithm of their number.
//
// The nodes are a stack: what is complete of the path to the chunk that comes next, the
// largest first.
type tree struct {
	nodes [maxNodes]node // beyond n, memory for those to come
	n     int
}

// A node is the result of chunks, one of which is that of the index.
type node struct {
	partial
	chunk int
}

const (
	// maxNodes is more than a path has of a tree of as many chunks as keys can have.
	maxNodes = 24

	// noChunk is the chunk that comes after the last: every node is complete.
	noChunk = -1
)

// nodesOf returns the most nodes that are on the stack while one of so many keys' chunks is
// computed: the bits set in its index.
func nodesOf(keys int) int {
	return bits.Len(uint(max(keys, 1)+kernel.KeyChunk-1)/kernel.KeyChunk) - 1
}

// push takes the result of a chunk onto the stack, and gives its memory another in exchange.
func (t *tree) push(p *partial, chunk int) {
	n := &t.nodes[t.n]
	n.partial, *p = *p, n.partial
	n.chunk = chunk
	t.n++
}

// A merger merges results.
type merger struct {
	args kernel.MergeArgs
	tree tree // of chunks that are computed apart
}

// carry merges the nodes that are complete if next is the chunk that comes next.
func (m *merger) carry(at *cursor, t *tree, lanes, next, dim int) {
	for t.n > 1 {
		left, right := &t.nodes[t.n-2], &t.nodes[t.n-1]
		if bits.Len(uint(left.chunk^right.chunk)) > bits.Len(uint(right.chunk^next)) {
			return // next is in the right half, too
		}
		m.merge(at, &left.partial, &right.partial, lanes, dim)
		t.n--
	}
}

// merge adds a result to another.
func (m *merger) merge(at *cursor, to, from *partial, lanes, dim int) {
	at.engine.phase(phaseMerge)
	a := &m.args
	a.O, a.Max, a.Sum = to.o, to.max, to.sum
	a.Chunk, a.ChunkMax, a.ChunkSum = from.o, from.max, from.sum
	a.Lanes, a.Stride = lanes, lanes
	a.Dim = dim
	at.engine.set.Merge(a)
}

// mergeDim is the dims that a pass merges.
func (p *Problem) mergeDim(pass pass) int {
	if pass == sum {
		return 1 // there are no outputs, and nobody looks at this one
	}
	return p.DimV
}

// endChunk ends the chunk of keys that the cursor is in, before the next.
func (m *merger) endChunk(at *cursor, g *laneGroup, next int, pass pass) {
	t, p := &g.tree, &g.partial
	if pass == reweigh {
		p = &g.values
	}
	before := t.n
	if g.weighed {
		if pass == reweigh {
			g.closeValues()
		}
		t.push(p, at.chunk())
	}
	m.carry(at, t, g.lanes, next, at.problem.mergeDim(pass))
	if !g.weighed {
		return
	}
	if t.n <= before { // merged: its memory is free, and near
		t.nodes[before].partial, *p = *p, t.nodes[before].partial
	}
	if pass == reweigh {
		g.openValues()
	} else {
		g.openPartial()
	}
}

// endKeys leaves the result over all keys in the lane group's partial. The cursor is at the last of
// them.
func (m *merger) endKeys(at *cursor, g *laneGroup, pass pass) {
	if t := &g.tree; t.n > 0 {
		m.endChunk(at, g, noChunk, pass)
		t.n = 0
		if pass == reweigh {
			g.values, t.nodes[0].partial = t.nodes[0].partial, g.values
			g.o = g.values.o
		} else {
			g.partial, t.nodes[0].partial = t.nodes[0].partial, g.partial
		}
		g.started = true
	}
	if pass != reweigh && at.problem.Sinks != nil {
		m.addSinks(at, g, pass)
	}
}

// openValues begins a chunk of values that probabilities weight.
func (g *laneGroup) openValues() {
	g.o = g.values.o
	g.started, g.weighed, g.attended = false, false, 0
}

// closeValues has the result of such a chunk count as it is: under one maximum and sum for
// all rows that attend some of it.
func (g *laneGroup) closeValues() {
	clear(unsafe.Slice(g.values.max, g.lanes))
	for l, sums := 0, unsafe.Slice(g.values.sum, g.lanes); l < g.lanes; l++ {
		sums[l] = float32(g.attended >> l & 1)
	}
}
