package tile

import (
	"math"
	"time"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// A Matrix is a strided float32 matrix, or weights of another type.
type Matrix struct {
	Base     unsafe.Pointer // element (0, 0)
	Row, Col int            // elements from one row, or column, to the next; any sign, 0 included

	// Weights, if not nil, has the elements, and there is no Base: element (0, 0) is value First of
	// them. One of Row and Col is 1, and all elements from the first to the last are values.
	Weights *kernel.WeightRows
	First   int
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

	// Precision is the numerical class, of which the weights of all parts are. Of class Int8 the depth is a
	// multiple of kernel.Int8Block.
	Precision kernel.Precision

	// Positions are those of the rows, for parts that are rotated: [Seq], the same in each sequence,
	// or [Rows]; nil means 0 to Seq-1.
	Positions []int

	// Project says that it makes queries, keys or values, for profiles to name.
	Project bool

	Done Done
}

// phase is what the work of multiplying is called.
func (p *Product) phase() phase {
	if p.Project {
		return phaseProject
	}
	return phaseMultiply
}

// packed reports whether the weights of all parts of p are packed, as they are multiplied by.
func (e *Engine) packed(p *Product) bool {
	for i := range p.Parts {
		if part := &p.Parts[i]; part.Panels == nil || part.inStrips() && !e.few(p, part) {
			return false
		}
	}
	return true
}

// streams reports whether the rows of p are so few that workers wait for packed weights to be read.
func (p *Product) streams() bool { return p.Rows <= kernel.MaxStripRows && !p.rounds() }

// A Part is columns of a product.
type Part struct {
	Heads, Width int              // of columns; the width at least 1
	W            Matrix           // [Depth, Heads*Width]; not read if the weights are packed
	Panels       unsafe.Pointer   // the weights as Pack leaves them, or nil
	Int8         *kernel.Int8Form // how the weights are packed for class Int8, or would be; nil of another class
	Strips       kernel.Weight    // the type of packed weights, which are in strips if it is not float32
	Pairs        bool             // packed weights are pairs, for class BFloat16
	Bias         unsafe.Pointer   // [Heads*Width], or nil
	Add          bool             // Y += X W + bias, of a part without an epilogue or an activation
	Activated
	Epilogue

	// Y [Rows/Seq, Heads, Seq, Width] is where it goes, unless that is Pages. No two elements share
	// memory.
	Y     Operand
	Pages Pages
}

// decodes reports whether the weights of the part are made float32 on the way.
func (p *Part) decodes() bool { return p.Panels == nil && p.W.Weights != nil && p.Int8 == nil }

// packedBytes returns the bytes of a lane of packed weights, of so many rows.
func (p *Part) packedBytes(rows int) int {
	switch {
	case p.Int8 != nil:
		return p.Int8.Bytes(rows)
	case p.Pairs:
		return 4 * ((rows + 1) / 2)
	case p.Strips != kernel.WeightFloat32:
		return p.Strips.StripBytes(rows)
	}
	return 4 * rows
}

// panelAt returns where a panel of packed weights is, of so many rows, nil if they are not packed.
func (p *Part) panelAt(at *panel, rows int) unsafe.Pointer {
	if p.Panels == nil {
		return nil
	}
	return unsafe.Add(p.Panels, p.packedBytes(rows)*at.before)
}

// makesPanels reports whether panels of float32 are made of weights of another type, of any number of lanes.
func (p *Part) makesPanels() bool { return p.decodes() || p.inStrips() }

// A layout is how the columns of a head are cut into panels: blocks of columns in the
// lanes of a micro-tile. A panel has a multiple of Vec lanes; those without a column
// hold zeros. Lanes are spread evenly over the panels.
type layout struct {
	vec    int
	most   int // lanes of a panel, at most
	vecs   int // vectors of a head
	panels int // panels of a head
}

// newLayout returns the layout of heads of so many columns in panels of at most so many lanes.
func newLayout(vec, lanes, width int) layout {
	vecs := (width + vec - 1) / vec
	return layout{vec: vec, most: lanes, vecs: vecs, panels: (vecs*vec + lanes - 1) / lanes}
}

// packedLayout returns the layout of packed weights.
func (e *Engine) packedLayout(width int) layout { return newLayout(e.set.Vec, e.set.Lanes, width) }

// layout returns the layout of the heads of a part, and of its Up.
func (e *Engine) layout(p *Product, part int) layout {
	lanes := e.set.Lanes
	decodes := p.Parts[part].makesPanels()
	if up := p.up(part); up != nil {
		decodes = decodes && up.makesPanels()
	}
	if decodes && p.Rows <= fewDecoded {
		if lanes = e.decodedLanes(); p.Parts[part].inStrips() || p.up(part) != nil && p.up(part).inStrips() {
			n := e.set.StripLanes
			lanes = max(lanes/n*n, n) // whole strips
		}
	}
	return newLayout(e.set.Vec, lanes, p.Parts[part].Width)
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

// panelOf returns the number of the panel that has a column of a head.
func (l *layout) panelOf(dim int) int {
	v, each, more := dim/l.vec, l.vecs/l.panels, l.vecs%l.panels
	if wide := more * (each + 1); v >= wide {
		return more + (v-wide)/each
	}
	return v / (each + 1)
}

// lanes is the lanes of all panels of a head.
func (l *layout) lanes() int { return l.vecs * l.vec }

// A panel is a panel of a part.
type panel struct {
	*Part
	head, dim   int // the first column, in its head
	cols, lanes int
	before      int // lanes of the panels of the part before it
	out         *output
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

// first returns the address of the first column in the first row of the output.
func (p *panel) first() unsafe.Pointer {
	return unsafe.Add(p.out.head(p.head), 4*(p.dim-p.out.dim)*p.out.Stride[3])
}

// at returns the address of the first column in a row.
func (p *panel) at(row int) unsafe.Pointer { return unsafe.Add(p.first(), 4*p.out.offset(row)) }

// direct reports whether a micro-tile can be written where it belongs.
func (p *panel) direct() bool { return p.out.padded || p.cols == p.lanes && p.out.Stride[3] == 1 }

// A ProductPlan is the division of a Product into items: a block of rows by a run of
// units. A unit is a head, or a panel of a part with one head and no epilogue, and what its Up has of both.
type ProductPlan struct {
	MC, RowBlocks int  // rows of a block, and blocks
	NC, Runs      int  // units of a run, and runs
	Across        bool // the runs of a block of rows follow each other, rather than the blocks of a run
	Units         int
	Lanes         int // of a panel, at most
	Workers       int

	// Shares says that each worker has a run of items of its own, and takes what others have left.
	Shares bool

	// CopyX says that a step over the depth of a block of X is copied, for all panels of a run.
	CopyX bool

	// FarX says that a farther cache than the second-level one has a block of X, as each panel reads it anew: the rows
	// of a step over the depth are asked for again with each panel.
	FarX bool

	// Rounded says that blocks of X are rounded, and Pairs that they are multiplied in pairs; then CopyX
	// only says that the steps over the depth come before the panels of a run.
	Rounded, Pairs bool

	WorkersWhy string // a clause

	work int64 // operations that it takes as long as
}

// Items is the number of items.
func (p *ProductPlan) Items() int { return p.RowBlocks * p.Runs }

// item returns the first row and the first unit of an item.
func (p *ProductPlan) item(i int) (row, unit int) {
	if p.Across {
		return i / p.Runs * p.MC, i % p.Runs * p.NC
	}
	return i % p.RowBlocks * p.MC, i / p.RowBlocks * p.NC
}

// units returns the units of the part, and the panels of each. Those of an Up are in the units of the
// part that it is for.
func (p *Part) units(l *layout) (units, panels int) {
	if p.Up {
		return 0, 1
	}
	if p.Heads > 1 || p.finishes() {
		return p.Heads, l.panels
	}
	return l.panels, 1
}

const (
	// productItems is the least number of items a worker to aim for. wideItems is that where panels are wide and packed,
	// as long as items have several: what an item begins with has been asked for there.
	productItems, wideItems = 8, 16

	// shareItems is the least number of items of a worker's run of its own where an item is of more than a unit, and
	// shareBytes about what an item reads then.
	shareItems, shareBytes = 16, 128 << 10

	// takenShare is the part of what is left of its own run that a worker takes at once: one item in so many.
	takenShare = 4

	// productRun is the units of a run, which go through a block of rows one after the
	// other, where they find the block in the second-level cache again.
	productRun = 8

	// wideLanes are the lanes of panels that take so long, for what is read of X, that it may come
	// from the third-level cache: blocks of X are not copied, and go through runs of wideColumns. They have about
	// wideRows rows, with which reading a step of a panel takes little of the time that it is multiplied by.
	wideLanes, wideColumns, wideRows = 64, 2048, 128

	// copyXRows is the least rows for which it pays to copy blocks of X, and copyXColumns the
	// columns of a run then: the block is copied again for each run.
	copyXRows, copyXColumns = 128, 1024

	// transposedColumns are the columns of a run of a transposed product: the rows are
	// packed again for each run.
	transposedColumns = 768
)

// PlanProduct says how Multiply divides p for at most workers goroutines.
func (e *Engine) PlanProduct(p *Product, workers int) ProductPlan {
	var plan ProductPlan
	var transposed, combine, fused, activated bool // parts
	columns, bytes := 0, 0                         // bytes of the weights as they are multiplied by
	for i := range p.Parts {
		part := &p.Parts[i]
		path := e.path(p, part)
		transposed = transposed || path == PathTransposed
		combine = combine || path == PathCombine
		fused = fused || path == PathFused
		activated = activated || part.Activate
		l := e.layout(p, i)
		plan.Lanes = max(plan.Lanes, l.most)
		units, _ := part.units(&l)
		plan.Units += units
		columns += part.Heads * part.Width
		bytes += part.packedBytes(p.Depth) * part.Heads * l.lanes()
	}
	if plan.Units == 0 {
		plan.WorkersWhy = "there is no work"
		return plan
	}
	var reads bool
	plan.work, reads = productWork(p.Rows, p.Depth, columns, bytes)
	plan.Workers, plan.WorkersWhy = productWorkers(plan.work, reads, workers)

	// A step over the depth of a block of X takes an eighth of the second-level cache,
	// beside the weights and the results of a panel.
	step, items := e.set.Rows, productItems
	mc, nc := max(step, e.caches.L2/8/(4*kernel.KC)), 1
	if int64(p.Depth)*int64(4*mc) <= int64(e.caches.L2) {
		nc = productRun
	}
	packed := e.packed(p)
	if part := &p.Parts[0]; part.inStrips() && packed {
		step = kernel.MaxStripRows
	}
	wide := e.set.Lanes >= wideLanes && packed
	switch {
	case p.rounds():
		mc, nc = e.roundedRows(p), max(1, roundedRun*plan.Units/columns)
		plan.Rounded, plan.Across, plan.Pairs = true, true, e.takesPairs(p, &p.Parts[0])
		plan.CopyX = e.set.Lanes < wideLanes && !e.few(p, &p.Parts[0]) &&
			int64(p.Depth)*int64(4*min(mc, p.Rows)) > int64(e.caches.L2/4*3)
	case wide:
		// Weights come in time for smaller blocks too, with which the cache keeps more of X
		// and of the results of a panel.
		mc, nc = max(step, min(mc, wideRows)), max(1, wideColumns*plan.Units/columns)
		plan.FarX = int64(p.Depth)*int64(4*min(mc, p.Rows)) > int64(e.caches.L2/2)
		items = wideItems
	case p.Precision == kernel.PrecisionInt8 && !packed:
		// Weights are packed again for each block of rows, which the second-level cache holds: X from a farther
		// one for each panel takes longer.
		row := p.Depth / kernel.Int8Block * kernel.Int8BlockBytes(e.set.Int8Halves)
		mc, nc = max(step, e.caches.L2/4*3/row), max(1, wideColumns*plan.Units/columns)
	case transposed:
		step = e.set.Lanes
		mc, nc = 8*step, max(1, transposedColumns*plan.Units/columns)
	case combine:
		n := max(combineLeast, min(combineColumns, columns/(2*plan.Workers)))
		nc = max(1, n*plan.Units/columns)
	case fused:
		nc = max(1, fusedRun*plan.Units/columns)
	case e.copiesX(p, mc):
		plan.CopyX, nc = true, max(1, copyXColumns*plan.Units/columns)
	case !packed:
		mc *= 8 // weights are packed again for each block of rows
	}
	if activated && !transposed {
		mc = min(mc, e.activatedRows(e.set.Lanes))
	}
	switch {
	case !packed || !p.streams():
	case plan.Workers > 1:
		plan.Shares = true
		nc = max(1, min(shareBytes/max(1, bytes/plan.Units), plan.Units/(shareItems*plan.Workers)))
	default:
		nc = max(nc, wideColumns*plan.Units/columns)
	}
	for {
		plan.MC, plan.RowBlocks = divide(p.Rows, mc, step)
		plan.NC, plan.Runs = divide(plan.Units, nc, 1)
		if plan.Workers == 1 || plan.Items() >= items*plan.Workers || combine || plan.Shares {
			break
		}
		if mc, nc = plan.MC, plan.NC; nc == 1 && plan.Items() >= productItems*plan.Workers {
			break
		}
		if tall := mc > 4*step; nc > 1 && !(transposed && tall) {
			nc = (nc + 1) / 2
		} else if tall {
			mc = (mc + 1) / 2
		} else {
			break
		}
	}
	if n := plan.Items(); n < plan.Workers {
		plan.Workers, plan.WorkersWhy = n, "there are no more items"
	}
	return plan
}

// copiesX reports whether blocks of so many rows of X are copied, a step over the depth at a time:
// those that the second-level cache does not hold for the panels of a run. Their rows mostly lie
// as far apart as makes them share few of its sets.
func (e *Engine) copiesX(p *Product, mc int) bool {
	return p.Precision == kernel.PrecisionFloat32 && p.Rows >= copyXRows && p.X.Col == 1 && e.packed(p) &&
		int64(p.Depth)*int64(4*min(mc, p.Rows)) > int64(e.caches.L2/4*3)
}

// readWork is the operations that take as long as reading a byte of weights: decodeWork rows by float32 weights take as
// long to compute as these take to read.
const readWork = 2 * decodeWork / 4

// productWork returns the operations that a product takes as long as, and whether it waits for its weights to be read:
// of few rows, the bytes of the weights count. Those that are made float32 on the way count as float32, as making
// one takes about as long as reading it.
func productWork(rows, depth, columns, bytes int) (work int64, reads bool) {
	operations, read := 2*float64(rows)*float64(depth)*float64(columns), readWork*float64(bytes)
	return int64(min(max(operations, read), 1<<62)), read > operations
}

// productWorkers returns how many of at most so many workers a product of so much work pays for, and why.
func productWorkers(work int64, reads bool, workers int) (n int, why string) {
	most := 1 + float64(work)/minWork
	// One worker starts the others, one after the other. The more there are, the less time
	// each saves: with the work w and what it costs to start one s, w/n + s*n is least at
	// the root of w/s.
	most = min(most, max(1, math.Sqrt(float64(work)/startWork)))
	switch {
	case workers == 1 || float64(workers) <= most:
		return workers, AskedFor
	case reads:
		return max(1, int(most)), "more would not pay for so few weights to read"
	}
	return max(1, int(most)), "more would not pay for so little work"
}

// divide cuts n into blocks of equal size, at most about most, a multiple of step.
func divide(n, most, step int) (size, blocks int) {
	blocks = (n + most - 1) / most
	size = (n + blocks - 1) / blocks
	size = roundUp(size, step)
	return size, (n + size - 1) / size
}

// Multiply computes p with at most workers goroutines, and reports whether all of it is done. If
// it is not, since p.Done was closed, Y is anything.
func (e *Engine) Multiply(p *Product, workers int) bool {
	plan := e.PlanProduct(p, workers)
	if plan.Units == 0 {
		return true
	}
	pace, alone := e.pace(plan.work), false
	var begin time.Time
	if pace != nil && plan.Workers > 1 {
		if alone = pace.next(); alone {
			plan = e.PlanProduct(p, 1)
		}
		begin = time.Now()
	}
	j := e.products.Get().(*productJob)
	j.product, j.plan = *p, plan
	j.prepare()
	j.next.Store(0)
	if plan.Shares {
		j.shares.begin(plan.Items(), plan.Workers)
	}
	j.finished.Store(0)
	e.crew.run(&j.task, plan.Workers, e.labels)
	whole := j.finished.Load() == int64(plan.Items())
	if whole && !begin.IsZero() {
		pace.note(alone, plan.work, time.Since(begin))
	}
	j.product = Product{}
	e.products.Put(j)
	return whole
}
