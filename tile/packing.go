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
	engine  *Engine
	product *Product
	dst     unsafe.Pointer
	panels  int          // of all parts
	next    atomic.Int64 // panel to take next
}

// drain packs panels until none is left.
func (j *packing) drain() {
	e := j.engine
	ws := e.productSpaces.Get().(*productWorkspace)
	e.phase(phasePack)
	for n := int(j.next.Add(1)) - 1; n < j.panels; n = int(j.next.Add(1)) - 1 {
		j.panel(ws, n)
	}
	ws.release()
	e.productSpaces.Put(ws)
	e.phase(phaseNone)
}

// panel packs panel n of all parts.
func (j *packing) panel(ws *productWorkspace, n int) {
	p, dst := j.product, j.dst
	for i := range p.parts() {
		part := &p.Parts[i]
		l := newLayout(j.engine.set, part.Width)
		if panels := part.Heads * l.panels; n >= panels {
			n -= panels
			dst = unsafe.Add(dst, 4*p.Depth*part.Heads*l.lanes())
			continue
		}
		at := part.panel(&l, n)
		for k := 0; k < p.Depth; k += kernel.KC {
			to := unsafe.Add(dst, 4*(p.Depth*at.before+k*at.lanes))
			ws.pack(j.engine.set, (*float32)(to), &at, k, min(kernel.KC, p.Depth-k))
		}
		return
	}
}
