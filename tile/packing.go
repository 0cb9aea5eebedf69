package tile

import (
	"sync/atomic"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// packItem is how many elements pay for another goroutine.
const packItem = 1 << 18

// A packing is weights being packed.
type packing struct {
	task
	engine *Engine
	part   *Part
	layout layout
	depth  int
	dst    unsafe.Pointer
	next   atomic.Int64 // panel to take next
}

// PackedLanes returns the lanes of all panels of p. Their number may be more than an int of 32 bits holds.
func (e *Engine) PackedLanes(p *Part) int64 {
	l := e.packedLayout(p.Width)
	return int64(p.Heads) * int64(l.lanes())
}

// PackedFloats returns the float32 that packed weights of so many lanes and rows take: one for each, or as
// many as hold the bytes of the class or the type.
func (p *Part) PackedFloats(lanes, rows int) int { return (p.packedBytes(rows)*lanes + 3) / 4 }

// Pack packs the depth rows of weights of p into dst, which begins on a cache line: panel after
// panel, each [depth][lanes], as the class of p has it, or in strips of type p.Strips, of weights for which KeepsType
// says so. It does so with at most workers goroutines.
func (e *Engine) Pack(dst unsafe.Pointer, p *Part, depth, workers int) {
	j := &packing{engine: e, part: p, layout: e.packedLayout(p.Width), depth: depth, dst: dst}
	if p.Heads == 0 {
		return
	}
	j.init(j.drain)
	most := 1 + int(min(e.PackedLanes(p)*int64(depth)/packItem, int64(j.panels()-1)))
	e.crew.run(&j.task, min(workers, most), e.labels)
}

// panels is the number of panels.
func (j *packing) panels() int { return j.part.Heads * j.layout.panels }

// drain packs panels until none is left.
func (j *packing) drain() {
	e := j.engine
	ws := e.productSpaces.Get().(*productWorkspace)
	e.phase(phasePack)
	for n := int(j.next.Add(1)) - 1; n < j.panels(); n = int(j.next.Add(1)) - 1 {
		at := j.part.panel(&j.layout, n)
		if at.Strips != kernel.WeightFloat32 {
			at.packStrips(j.dst, e.set, j.depth)
			continue
		}
		for k := 0; k < j.depth; k += kernel.KC {
			to := unsafe.Add(j.dst, at.packedBytes(j.depth)*at.before+at.packedBytes(k)*at.lanes)
			if depth := min(kernel.KC, j.depth-k); at.Pairs {
				ws.packPairs(e.set, (*float32)(to), &at, k, depth)
			} else {
				ws.pack(e.set, to, &at, k, depth)
			}
		}
	}
	ws.release()
	e.productSpaces.Put(ws)
	e.phase(phaseNone)
}
