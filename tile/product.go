package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// A Matrix is a strided float32 matrix.
type Matrix struct {
	Base     unsafe.Pointer // element (0, 0)
	Row, Col int            // elements from one row, or column, to the next; any sign, 0 included
}

func (m *Matrix) at(row, col int) unsafe.Pointer {
	return unsafe.Add(m.Base, 4*(row*m.Row+col*m.Col))
}

// A Product is a matrix product Y = X W + bias. Its columns are cut into parts, each of
// which has weights, a bias and a place in memory of its own, and parts into heads of
// equal width.
type Product struct {
	X     Matrix // [Rows, Depth]
	Rows  int    // at least 1: a multiple of Seq
	Depth int    // at least 1
	Seq   int    // rows of a sequence
	Parts []Part
	Add   bool // Y += X W + bias

	// Panels, if not nil, are the weights as Pack leaves them.
	Panels unsafe.Pointer

	// Finish, if not nil, is called with each head of each block of rows when it is
	// complete, and must be safe for use by several goroutines at once.
	Finish Finisher
}

// A Finisher changes what a product has written.
type Finisher interface {
	// FinishHead does so for the rows [row, row+rows) of a head of a part.
	FinishHead(part, head, row, rows int)
}

// A Part is columns of a product.
type Part struct {
	Heads, Width int            // of columns; the width at least 1
	W            Matrix         // [Depth, Heads*Width]; not read if the weights are packed
	Bias         unsafe.Pointer // [Heads*Width], or nil
	Y            Operand        // [Rows/Seq, Heads, Seq, Width]; no two elements share memory
}

// A layout is how the columns of a head are cut into panels: blocks of columns in the
// lanes of a micro-tile. A panel has a multiple of Vec lanes; those without a column
// hold zeros. Lanes are spread evenly over the panels.
type layout struct {
	vec    int
	vecs   int // vectors of a head
	panels int // panels of a head
}

func newLayout(set *kernel.Set, width int) layout {
	vecs := (width + set.Vec - 1) / set.Vec
	return layout{vec: set.Vec, vecs: vecs, panels: (vecs*set.Vec + set.Lanes - 1) / set.Lanes}
}

// panel returns the first lane of a panel of a head, and its lanes.
func (l *layout) panel(i int) (first, lanes int) {
	each, more := l.vecs/l.panels, l.vecs%l.panels
	first = i*each + min(i, more)
	if i < more {
		each++
	}
	return first * l.vec, each * l.vec
}

// lanes is the lanes of all panels of a head.
func (l *layout) lanes() int { return l.vecs * l.vec }

// A panel is a panel of a part.
type panel struct {
	*Part
	head, dim   int // the first column, in its head
	cols, lanes int
	before      int // lanes of the panels of the part before it
}

// panel returns panel i of all heads.
func (p *Part) panel(l *layout, i int) panel {
	head := i / l.panels
	dim, lanes := l.panel(i % l.panels)
	return panel{Part: p, head: head, dim: dim, cols: min(lanes, p.Width-dim), lanes: lanes, before: head*l.lanes() + dim}
}

// col is the first column, counted over the heads of the part.
func (p *panel) col() int { return p.head*p.Width + p.dim }

// bias returns the address of the bias of the first column, nil if there is none.
func (p *panel) bias() unsafe.Pointer {
	if p.Bias == nil {
		return nil
	}
	return unsafe.Add(p.Bias, 4*p.col())
}

// direct reports whether a micro-tile can be written where it belongs.
func (p *panel) direct() bool { return p.cols == p.lanes && p.Y.Stride[3] == 1 }

// PackedLanes returns the lanes of all panels of the heads: packed weights have Depth
// float32 for each.
func (e *Engine) PackedLanes(heads, width int) int {
	l := newLayout(e.set, width)
	return heads * l.lanes()
}

// Pack packs the weights of the parts into dst, which begins on a cache line: panel after
// panel, each [Depth][lanes].
func (e *Engine) Pack(dst unsafe.Pointer, p *Product) {
	b := e.benches.Get().(*bench)
	for i := range p.Parts {
		part := &p.Parts[i]
		l := newLayout(e.set, part.Width)
		for n := range part.Heads * l.panels {
			panel := part.panel(&l, n)
			for k := 0; k < p.Depth; k += kernel.KC {
				depth := min(kernel.KC, p.Depth-k)
				b.pack(e.set, (*float32)(dst), &panel, k, depth)
				dst = unsafe.Add(dst, 4*depth*panel.lanes)
			}
		}
	}
	b.release()
	e.benches.Put(b)
}

// A productPlan is the division of a Product into items: a block of rows by a run of
// units. A unit is a head, or a panel of a part with one head that nothing is done to
// afterwards.
type productPlan struct {
	mc, rowBlocks int // rows of a block
	nc, runs      int // units of a run
	units         int
	workers       int
}

func (p *productPlan) items() int { return p.rowBlocks * p.runs }

// units returns the units of a part, and the panels of each.
func (p *Product) units(part *Part, l *layout) (units, panels int) {
	if part.Heads > 1 || p.Finish != nil {
		return part.Heads, l.panels
	}
	return l.panels, 1
}

// productItems is the least number of items a worker to aim for.
const productItems = 8

// plan divides p for at most workers goroutines.
func (e *Engine) planProduct(p *Product, workers int) productPlan {
	var plan productPlan
	columns := 0
	for i := range p.Parts {
		part := &p.Parts[i]
		l := newLayout(e.set, part.Width)
		units, _ := p.units(part, &l)
		plan.units += units
		columns += part.Heads * part.Width
	}
	if plan.units == 0 {
		return plan
	}
	work := 2 * float64(p.Rows) * float64(p.Depth) * float64(columns)
	plan.workers = clamp(int(1+work/minWork), 1, workers)

	// A step over the depth of a block of X takes an eighth of the second-level cache,
	// beside the weights and the results of a panel. Weights that are packed on the way are
	// packed once for each block of rows.
	mc := max(e.set.Rows, e.caches.L2/8/(4*kernel.KC))
	if p.Panels == nil {
		mc *= 8
	}
	nc := 2
	for {
		plan.rowBlocks = (p.Rows + mc - 1) / mc
		plan.mc = (p.Rows + plan.rowBlocks - 1) / plan.rowBlocks
		plan.mc = (plan.mc + e.set.Rows - 1) / e.set.Rows * e.set.Rows
		plan.rowBlocks = (p.Rows + plan.mc - 1) / plan.mc
		plan.runs = (plan.units + nc - 1) / nc
		plan.nc = (plan.units + plan.runs - 1) / plan.runs
		plan.runs = (plan.units + plan.nc - 1) / plan.nc
		if plan.workers == 1 || plan.items() >= productItems*plan.workers {
			break
		}
		if nc = plan.nc; nc > 1 {
			nc = (nc + 1) / 2
		} else if mc = plan.mc; mc > 4*e.set.Rows {
			mc = (mc + 1) / 2
		} else {
			break
		}
	}
	plan.workers = min(plan.workers, plan.items())
	return plan
}

// Multiply computes p with at most workers goroutines.
func (e *Engine) Multiply(p *Product, workers int) {
	plan := e.planProduct(p, workers)
	if plan.units == 0 {
		return
	}
	j := e.products.Get().(*productJob)
	j.parts = append(j.parts[:0], p.Parts...)
	j.product, j.plan = *p, plan
	j.product.Parts = j.parts
	j.next.Store(0)
	e.crew.run(&j.task, plan.workers, e.labels)
	clear(j.parts)
	j.product = Product{}
	e.products.Put(j)
}
