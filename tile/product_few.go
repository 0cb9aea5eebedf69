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
	// PathFused multiplies by weights of another type as it decodes them, with columns in lanes.
	PathFused
)

const (
	// fewDepth is how deep a panel goes through MultiplyFew at once.
	fewDepth = 16 * kernel.KC

	// dotsColumns are the columns of Y that PathDots goes through the whole depth with: more
	// rows of memory than these are too many streams.
	dotsColumns = 16

	// fusedRows are the most rows that PathFused multiplies: it decodes the weights again for each.
	fusedRows = 1

	// fusedColumns are the columns of Y that a call of PathFused computes, and fusedDepth the most terms.
	fusedColumns, fusedDepth = 64, 16 * kernel.KC

	// fusedRun is about the columns of Y that an item of PathFused has at most.
	fusedRun = 256

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
	case p.Precision != kernel.PrecisionFloat32:
		return PathPanels
	case e.fuses(p, part):
		return PathFused
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

// fuses reports whether a part of p takes PathFused: weights of a type that the set has machine code for,
// whole blocks of each of at least a vector of columns.
func (e *Engine) fuses(p *Product, part *Part) bool {
	if p.Rows > fusedRows || !part.decodes() {
		return false
	}
	w, typ := &part.W, part.W.Weights.Type
	return e.set.FusesWeight(typ) && w.Row == 1 && w.Col != 1 && p.X.Col == 1 && part.Heads*part.Width >= e.set.Vec &&
		w.First%typ.Values() == 0 && p.Depth%typ.Values() == 0
}

// few reports whether the weights of a part of p are packed, and the rows of p few enough for MultiplyFew, or
// MultiplyStrips.
func (e *Engine) few(p *Product, part *Part) bool {
	switch {
	case part.inStrips():
		return p.Rows <= e.stripRows(part.Strips) && p.X.Col == 1
	case p.rounds():
		return part.Panels != nil && p.Rows <= fewRounded*e.set.FewRows
	}
	return part.Panels != nil && p.Precision == kernel.PrecisionFloat32 && p.Rows <= e.set.FewRows && p.X.Col == 1
}

// stripRows returns the most rows that go by MultiplyStrips, in turns of MaxStripRows rows, each of which makes the weights of a panel
// float32 in registers. More rows go by panels that are made float32 in memory, once for all rows, which takes longer for few.
func (e *Engine) stripRows(w kernel.Weight) int {
	turns := 1
	switch form, wide := w.Strip(), e.set.Lanes >= wideLanes; {
	case form.SubBlock == 1 && e.tuning.Turns && wide:
		turns = 16
	case form.SubBlock == 1 && e.tuning.Turns, form.Wide && e.tuning.Turns && wide:
		turns = 3
	case form.SubBlock == 1:
		turns = 2
	}
	return turns * kernel.MaxStripRows
}

// nearFew reports whether one row by a panel of packed float32 reads one stream. Of panels whose rows are a line of the cache it takes a
// line in the latency of a multiply-add, more than memory gives and less than a cache: so only where no cache holds the part.
func (e *Engine) nearFew(at *panel, depth int) bool {
	return e.tuning.Near && (at.lanes > cacheLine || 4*depth*at.Heads*at.Width > e.caches.L3)
}

// fewPanels computes panels of Y where they are, for few rows by packed float32, no deeper than MultiplyFew goes at once: from
// panel i up to panel end, of which no more than a few. It returns the one behind the last.
func (j *productJob) fewPanels(ws *productWorkspace, l *layout, at *panel, row, rows, i, end int) int {
	const most = 16 // panels, after which a product may end
	set, x, depth, a := j.engine.set, &j.product.X, j.product.Depth, &ws.args
	j.engine.phase(j.product.phase())
	a.Depth, a.RowStride, a.ColStride = depth, x.Row, 1
	for end = min(end, i+most); ; {
		a.B, a.Lanes, a.Add, a.Bias = (*float32)(at.panelAt(at, depth)), at.lanes, at.Add, ws.laneBias(at)
		a.Near = j.engine.nearFew(at, depth)
		for r := 0; r < rows; {
			n, stride := at.out.run(row+r, rows-r)
			a.A, a.Rows, a.C, a.Stride = (*float32)(x.at(row+r, 0)), n, (*float32)(at.at(row+r)), stride
			set.MultiplyFew(a)
			r += n
		}
		if i++; i == end {
			return i
		}
		next := at.Part.panel(l, i)
		if next.out = at.out; !next.direct() {
			return i
		}
		*at = next
	}
}

// A columnRun is columns of a part, of one head or several, for a block of rows.
type columnRun struct {
	*Part
	path        ProductPath
	out         *output
	first, cols int
	row, rows   int
	step        int       // terms that a kernel goes through at once, a multiple of KC
	sums        []float32 // [rows][cols], of Y
	parts       *float32  // [step/KC][rows][lanes], of parts of the depth
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
	c := columnRun{Part: part, path: path, out: &ws.out, first: first.col(), row: row, rows: rows, step: kernel.KC}
	c.cols = last.col() + last.cols - c.first
	whole := c.cols / vec * vec
	step := whole // columns
	switch path {
	case PathDots:
		step = dotsColumns
		j.packFew(ws, row, rows)
	case PathFused:
		step, c.step = fusedColumns, fusedDepth
	}
	lanes := max(vec, min(step, whole))
	room := ws.results.room(rows * (c.cols + lanes*c.step/kernel.KC))
	c.sums = unsafe.Slice(room, rows*c.cols)
	c.parts = ptr.At(room, rows*c.cols)
	c.begin()

	j.engine.phase(j.product.phase())
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
	for k := 0; k < p.Depth && !p.Done.Over(); k += c.step {
		depth := min(c.step, p.Depth-k)
		switch c.path {
		case PathDots:
			j.dots(ws, c, &b, k, depth)
		case PathFused:
			j.fused(ws, c, &b, k, depth)
		default:
			j.combine(ws, c, &b, k, depth)
		}
		c.addParts(&b, k, depth)
	}
}

// addParts adds the parts of a step of the depth to the sums, one after the other.
func (c *columnRun) addParts(b *columnSpan, k, depth int) {
	parts := c.parts
	for end := k + depth; k < end; k += kernel.KC {
		for i := range c.rows {
			add := unsafe.Slice(ptr.At(parts, b.skip), b.cols)
			sums := c.sums[i*c.cols+b.to:][:len(add)]
			parts = ptr.At(parts, b.lanes)
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

// fused computes parts of the depth by weights of another type.
func (j *productJob) fused(ws *productWorkspace, c *columnRun, b *columnSpan, k, depth int) {
	w, r := &c.W, c.W.Weights
	values, size := r.Type.Values(), r.Type.Bytes()
	at := w.First + k + b.first*w.Col
	a := &ws.weightsArgs
	a.Type, a.RowBytes, a.Depth = r.Type, r.Cols/values*size, depth
	a.Src, a.Lanes, a.Stride = &r.Data[at/values*size], b.lanes, c.rows*b.lanes
	for i := range c.rows {
		a.X = (*float32)(j.product.X.at(c.row+i, k))
		a.C = ptr.At(c.parts, i*b.lanes)
		j.engine.set.DotWeights(a)
	}
}
