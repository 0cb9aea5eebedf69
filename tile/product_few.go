package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// A ProductPath is a way to multiply. All give the same bits.
type ProductPath int

const (
	// PathPanels multiplies by panels of weights, which are packed before or on the way.
	PathPanels ProductPath = iota
	// PathTransposed reads weights whose columns are contiguous, with rows of X in lanes.
	PathTransposed
	// PathDots reads weights whose columns are contiguous, with columns in lanes.
	PathDots
	// PathCombine reads weights whose rows are contiguous.
	PathCombine
)

const (
	// fewDepth is how deep a panel goes through MultiplyFew at once.
	fewDepth = 16 * kernel.KC

	// dotsColumns are the columns of Y that PathDots goes through the whole depth with: more
	// rows of memory than these are too many streams.
	dotsColumns = 16

	// combineColumns are about the columns of Y that an item of PathCombine has at most, and
	// combineLeast at least: longer rows of weights are read faster.
	combineColumns, combineLeast = 4096, 256

	// combineDepth is how many rows of weights PathCombine reads for one row of X after the
	// other: a cache holds them.
	combineDepth = 16
)

// ProductPath returns how Multiply computes a part of p.
func (e *Engine) ProductPath(p *Product, part int) ProductPath { return e.path(p, &p.Parts[part]) }

// path returns how to compute a part of p. Few rows of X wait for memory to deliver the weights.
func (e *Engine) path(p *Product, part *Part) ProductPath {
	switch {
	case part.Panels != nil || part.W.Weights != nil:
		return PathPanels
	case e.transposes(p, part):
		return PathTransposed
	case p.Rows >= e.set.Vec:
		return PathPanels
	}
	last := p.Depth % kernel.KC
	deep := p.Depth >= e.set.Vec && (last == 0 || last >= e.set.Vec)
	deep = deep && (p.Depth <= transposedDepth || p.Rows == 1 && p.X.Col == 1) // packFew copies nothing then
	switch wide := part.Heads*part.Width >= e.set.Vec; {
	case wide && deep && part.W.Row == 1:
		return PathDots
	case wide && part.W.Col == 1:
		return PathCombine
	}
	return PathPanels
}

// few reports whether the weights of a part are packed, and the rows of p few enough for MultiplyFew.
func (p *Product) few(set *kernel.Set, part *Part) bool {
	return part.Panels != nil && p.Rows <= set.FewRows && p.X.Col == 1
}

// A columnRun is columns of a part, of one head or several, for a block of rows.
type columnRun struct {
	*Part
	path        ProductPath
	out         *output
	first, cols int
	row, rows   int
	sums        []float32 // [rows][cols], of Y
	parts       *float32  // [rows][lanes], of one part of the depth
}

// A columnSpan is columns of a run that a kernel computes, and among them those that count.
type columnSpan struct {
	first, lanes int // columns of the weights
	skip, cols   int // that were computed before, and that count
	to           int // of the run
}

// inPlace computes the panels [lo, hi) of a part for a block of rows, by weights where they are.
func (j *productJob) inPlace(ws *productWorkspace, part *Part, l *layout, path ProductPath, lo, hi, row, rows int) {
	p, vec := &j.product, j.engine.set.Vec
	first, last := part.panel(l, lo), part.panel(l, hi-1)
	c := columnRun{Part: part, path: path, out: &ws.out, first: first.col(), row: row, rows: rows}
	c.cols = last.col() + last.cols - c.first
	wide := roundUp(c.cols, vec)
	room := ws.results.room(rows * (c.cols + wide))
	c.sums = unsafe.Slice(room, rows*c.cols)
	c.parts = ptr.At(room, rows*c.cols)
	c.begin()

	j.engine.phase(j.product.phase())
	whole := c.cols / vec * vec
	step := whole
	if c.path == PathDots {
		step = dotsColumns
		j.packFew(ws, row, rows)
	}
	for at := 0; at < whole; at += step {
		n := min(step, whole-at)
		j.columnsInPlace(ws, &c, columnSpan{first: c.first + at, lanes: n, cols: n, to: at})
	}
	if whole < c.cols { // a vector with others before, or behind
		from := max(0, c.first+c.cols-vec)
		j.columnsInPlace(ws, &c, columnSpan{first: from, lanes: vec, skip: c.first + whole - from, cols: c.cols - whole, to: whole})
	}
	if !p.Done.Over() {
		c.each(func(at panel, i, from int) {
			at.store(c.sums[i*c.cols+from:], row+i)
		})
	}
}

// each calls do with the columns of each head and for each row.
func (c *columnRun) each(do func(at panel, i, from int)) {
	for from := 0; from < c.cols; {
		col := c.first + from
		at := panel{Part: c.Part, out: c.out, head: col / c.Width, dim: col % c.Width}
		at.cols = min(c.Width-at.dim, c.cols-from)
		for i := range c.rows {
			do(at, i, from)
		}
		from += at.cols
	}
}

// begin puts what the product is added to into the sums: Y and the bias, where one that is missing
// is +0.
func (c *columnRun) begin() {
	if c.Add {
		c.each(func(at panel, i, from int) {
			at.load(c.sums[i*c.cols+from:], c.row+i)
		})
	} else {
		kernel.Clear(c.sums)
	}
	for i := range c.rows {
		sums := c.sums[i*c.cols:][:c.cols]
		if c.Bias == nil {
			addZero(sums)
			continue
		}
		for col, b := range unsafe.Slice((*float32)(unsafe.Add(c.Bias, 4*c.first)), c.cols) {
			sums[col] += b
		}
	}
}

// addZero makes +0 of -0.
func addZero(sums []float32) {
	for i := range sums {
		sums[i] += 0
	}
}

// columnsInPlace computes a block of columns.
func (j *productJob) columnsInPlace(ws *productWorkspace, c *columnRun, b columnSpan) {
	p := &j.product
	for k := 0; k < p.Depth && !p.Done.Over(); k += kernel.KC {
		depth := min(kernel.KC, p.Depth-k)
		if c.path == PathDots {
			j.dots(ws, c, &b, k, depth)
		} else {
			j.combine(ws, c, &b, k, depth)
		}
		for i := range c.rows {
			sums := c.sums[i*c.cols+b.to:][:b.cols]
			add := unsafe.Slice(ptr.At(c.parts, i*b.lanes+b.skip), b.cols)
			if k == 0 {
				for n, x := range add {
					sums[n] += x
				}
				continue
			}
			for n, x := range add {
				sums[n] = (sums[n] + 0) + x
			}
		}
	}
}

// packFew has ws.rows be rows of X, [Depth][ws.fewStride], where they are if there is one.
func (j *productJob) packFew(ws *productWorkspace, row, rows int) {
	x := &j.product.X
	if rows == 1 && x.Col == 1 {
		ws.rows, ws.fewStride = (*float32)(x.at(row, 0)), 1
		return
	}
	ws.fewStride = j.engine.set.Vec
	if ws.packedRow != row {
		j.packRows(ws, row, rows, ws.fewStride)
	}
	j.engine.phase(j.product.phase())
}

// dots computes a part of the depth, with columns in lanes.
func (j *productJob) dots(ws *productWorkspace, c *columnRun, b *columnSpan, k, depth int) {
	a := &ws.dotsArgs
	a.B, a.BStride = (*float32)(c.W.at(k, b.first)), c.W.Col
	a.Depth, a.Lanes, a.QStride, a.Stride = depth, b.lanes, ws.fewStride, b.lanes
	for i := 0; i < c.rows; i += kernel.DotsRows {
		a.Rows = min(kernel.DotsRows, c.rows-i)
		a.Q = ptr.At(ws.rows, k*ws.fewStride+i)
		a.C = ptr.At(c.parts, i*b.lanes)
		j.engine.set.Dots(a)
	}
}

// combine computes a part of the depth by rows of weights.
func (j *productJob) combine(ws *productWorkspace, c *columnRun, b *columnSpan, k, depth int) {
	a := &ws.combineArgs
	a.BStride, a.ColStride, a.Lanes = c.W.Row, j.product.X.Col, b.lanes
	step := depth
	if c.rows > 1 {
		step = combineDepth
	}
	for d := 0; d < depth; d += step {
		a.First, a.Depth = d == 0, min(step, depth-d)
		a.B = (*float32)(c.W.at(k+d, b.first))
		for i := range c.rows {
			a.A = (*float32)(j.product.X.at(c.row+i, k+d))
			a.C = ptr.At(c.parts, i*b.lanes)
			j.engine.set.Combine(a)
		}
	}
}
