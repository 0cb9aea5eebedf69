package tile

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// addSinks adds the result of a lane group to the sinks of its rows.
func (m *merger) addSinks(at *cursor, g *laneGroup, pass pass) {
	p, sinks := &at.problem, &g.tree.nodes[0].partial
	dim := p.mergeDim(pass)
	if !g.started {
		kernel.Clear(unsafe.Slice(g.o, dim*g.lanes))
	}
	kernel.Clear(unsafe.Slice(sinks.o, dim*g.lanes))
	clear(unsafe.Slice(sinks.sum, g.lanes))
	copy(unsafe.Slice(sinks.max, g.lanes), initMax[:])
	for l := range g.rows {
		head, _ := g.of(l)
		openSink(p.Sinks[head], ptr.At(sinks.max, l), ptr.At(sinks.sum, l))
	}
	m.merge(at, sinks, &g.partial, g.lanes, dim)
	g.partial, *sinks = *sinks, g.partial
	g.started = true
}

// openSink begins a row with the weight of its sink.
func openSink(sink float32, top, sum *float32) {
	switch x := float64(sink); {
	case x <= math.MaxFloat32 && x >= -math.MaxFloat32:
		*top, *sum = float32(x*softmaxUnit), 1
	case x < 0: // -Inf
	default:
		*sum = nan
	}
}
