package tile

import (
	"sync/atomic"
	"unsafe"
)

// parts is memory for the partials of chunks that are computed apart.
type parts struct {
	mem     []float32
	stride  int // values of a partial
	dim     int
	started []bool // whether a partial holds anything
	done    []atomic.Int32
}

// reserve makes room for the partials of d.
func (ps *parts) reserve(d *decoding, vec, dim int) {
	lanes := roundUp(d.lanes, vec)
	ps.dim = dim
	ps.stride = (lanes*(dim+2) + cacheLine - 1) / cacheLine * cacheLine
	if n := d.parts*ps.stride + cacheLine; len(ps.mem) < n {
		ps.mem = make([]float32, n)
	}
	if len(ps.started) < d.parts {
		ps.started = make([]bool, d.parts)
	}
	if len(ps.done) < d.counters {
		ps.done = make([]atomic.Int32, d.counters)
	}
	for i := range d.counters {
		ps.done[i].Store(0)
	}
}

// part returns the memory of a partial of so many lanes.
func (j *job) part(i, lanes int) partial {
	ps := &j.parts
	skip := -int(uintptr(unsafe.Pointer(&ps.mem[0]))/4) & (cacheLine - 1)
	first := &ps.mem[skip+i*ps.stride]
	return partial{first, lane(first, ps.dim, lanes, 0), lane(first, ps.dim+1, lanes, 0)}
}

// partDone notes that a chunk is done, and reports whether it was the last of those that its counter counts.
func (j *job) partDone(it *decodeItem, laneGroups []laneGroup) bool {
	for i := range laneGroups {
		j.parts.started[it.partOf(i)] = laneGroups[i].started
	}
	return j.parts.done[it.counter].Add(1) == it.chunks
}

// join merges the partials of all chunks of one of the item's lane groups.
func (m *merger) join(at *cursor, it *decodeItem, which int, g *laneGroup) {
	t, dim := &m.tree, at.problem.DimV
	first := int(it.first) + which*int(it.chunks)
	for i := first; i < first+int(it.chunks); i++ {
		if at.parts.started[i] {
			m.carry(at, t, g.lanes, int(at.decoding.chunks[i]), dim)
			t.nodes[t.n] = node{at.part(i, g.lanes), int(at.decoding.chunks[i])}
			t.n++
		}
	}
	m.carry(at, t, g.lanes, noChunk, dim)
	if g.started = t.n > 0; g.started {
		g.partial = t.nodes[0].partial
	}
	t.n = 0
	if at.problem.Sinks != nil {
		m.addSinks(at, g, attend)
	}
}
