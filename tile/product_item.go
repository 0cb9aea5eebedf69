package tile

import (
	"sync/atomic"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// A productJob is a Product being computed.
type productJob struct {
	task
	engine  *Engine
	product Product
	plan    ProductPlan
	next    atomic.Int64 // item to take next, where there are no shares
	shares  shares       // if the plan has runs of items for workers

	finished atomic.Int64 // items

	// Of a class other than Float32: the rows of X as it has them, from row to row so many bytes. They are
	// made first, some rows an item.
	preparing             bool
	prepareRows, rowBytes int
	prepared              unsafe.Pointer
	preparedRoom          buffer
}

// A productWorkspace is what one worker on a product needs: arguments, which would escape
// to the heap at each call through a function value; a step of a panel, or rows of X, that
// are packed on the way; and results on the way to columns that no micro-tile can be
// written to.
type productWorkspace struct {
	args       kernel.MultiplyArgs
	packArgs   kernel.PackArgs
	unpackArgs kernel.UnpackArgs

	dotsArgs    kernel.DotsArgs
	combineArgs kernel.CombineArgs
	weightsArgs kernel.DotWeightsArgs

	weights dequantizer
	strips  stripper

	quantize kernel.QuantizeArgs
	int8     int8Space

	off       [kernel.MaxLanes]int
	bias      [kernel.MaxLanes]float32
	panel     buffer
	lanes     buffer
	rows      *float32 // of X [Depth][lanes], in lanes, of weights in place
	terms     int      // of a step that args is of
	packedRow int      // the first of rows, -1 if there are none of this item
	fewStride int      // of rows, where they are few
	results   buffer
	run       int       // of the shares, or -1
	heads     buffer    // of rows on their way to pages, or through an activation
	out       output    // of the heads that are computed
	outs      [2]output // of those of a part and of its Up, where both are computed together

	activateArgs kernel.ActivateArgs

	norm   normalizer
	rotary kernel.RotaryArgs
	store  kernel.StoreArgs

	hadamard hadamarder
	rounded  rounded

	copies  buffer
	copied  *float32 // a copy of rows of X from copyRow on, [rows][copyStride], or nil
	copyRow int
}

// A buffer is memory that grows.
type buffer []float32

// room returns n values that begin on a cache line.
func (ws *buffer) room(n int) *float32 {
	if len(*ws) < n+cacheLine {
		*ws = make(buffer, n+cacheLine)
	}
	first := &(*ws)[0]
	return &(*ws)[-int(uintptr(unsafe.Pointer(first))/4)&(cacheLine-1)]
}

// release drops the references to the caller's memory.
func (ws *productWorkspace) release() {
	ws.packArgs.Src, ws.packArgs.Dst = nil, nil
	ws.args.A, ws.args.B, ws.args.C, ws.args.Bias = nil, nil, nil, nil
	ws.args.Next, ws.args.NextEnd, ws.args.Then, ws.args.ThenRows = 0, 0, 0, 0
	ws.unpackArgs.Dst = nil
	ws.dotsArgs.Q, ws.dotsArgs.B, ws.dotsArgs.C = nil, nil, nil
	ws.combineArgs.A, ws.combineArgs.B, ws.combineArgs.C = nil, nil, nil
	ws.weightsArgs.Src, ws.weightsArgs.X, ws.weightsArgs.C = nil, nil, nil
	ws.weights.release()
	ws.quantize.X, ws.quantize.Dst = nil, nil
	ws.int8.release()
	ws.strips.release()
	ws.rounded.release()
	ws.rows, ws.copied = nil, nil
	ws.out, ws.outs = output{}, [2]output{}
	ws.activateArgs = kernel.ActivateArgs{}
	ws.norm.release()
	ws.rotary, ws.store = kernel.RotaryArgs{}, kernel.StoreArgs{}
	ws.hadamard.release()
}

// pack packs depth rows of the weights of a panel, from row k on, into to: [depth][lanes], or as the class
// has them.
func (ws *productWorkspace) pack(set *kernel.Set, to unsafe.Pointer, p *panel, k, depth int) {
	if p.Int8 != nil {
		p.packInt8(&ws.int8, set, to, k, depth)
		return
	}
	dst := (*float32)(to)
	w, col := &p.W, p.col()
	if w.Weights != nil {
		ws.weights.pack(set, dst, p, k, depth)
		return
	}
	if w.Col == 1 && w.Row != 1 { // rows of lanes already
		for i := range depth {
			to := unsafe.Slice(ptr.At(dst, i*p.lanes), p.lanes)
			copy(to, unsafe.Slice((*float32)(w.at(k+i, col)), p.cols))
			clear(to[p.cols:])
		}
		return
	}
	for i := range p.cols {
		ws.off[i] = i * w.Col
	}
	ws.packArgs = kernel.PackArgs{
		Src: (*float32)(w.at(k, col)), Off: &ws.off, DimStride: w.Row,
		Rows: p.cols, Dim: depth,
		Dst: dst, Lanes: p.lanes, Stride: p.lanes, Scale: 1,
	}
	set.Pack(&ws.packArgs)
}

// drain computes items until none is left.
func (j *productJob) drain() {
	if j.preparing {
		j.drainPrepare()
		return
	}
	run := -1
	if j.plan.Shares {
		run = j.shares.join()
	}
	i, n := j.take(run)
	if i < 0 {
		return
	}
	ws := j.engine.productSpaces.Get().(*productWorkspace)
	ws.run = run
	done := int64(0) // counted here: other workers read what lies beside j.finished all the time
	for ; i >= 0 && !j.product.Done.Over(); i, n = j.take(run) {
		row, unit := j.plan.item(i)
		j.items(ws, row, unit, n)
		if j.product.Done.Over() { // some of it may be missing
			break
		}
		done += int64(n)
	}
	j.finished.Add(done)
	ws.release()
	j.engine.productSpaces.Put(ws)
	j.engine.phase(phaseNone)
}

// take takes the next items of a worker, with a run of its own or -1. The first is -1 if none is left.
func (j *productJob) take(run int) (first, n int) {
	if run >= 0 {
		if j.plan.RowBlocks > 1 { // those that follow each other are of other rows
			return j.shares.take(run), 1
		}
		return j.shares.takeSome(run, takenShare)
	}
	if i := int(j.next.Add(1)) - 1; i < j.plan.Items() {
		return i, 1
	}
	return -1, 0
}

// likely returns the item that a worker most likely takes next, or one that does not exist.
func (j *productJob) likely(ws *productWorkspace) int {
	if ws.run >= 0 {
		return j.shares.next(ws.run)
	}
	return int(j.next.Load())
}

// items computes so many items of a block of rows that follow each other, the first of which begins with a unit, or stops on
// the way if the work is to end.
func (j *productJob) items(ws *productWorkspace, row, unit, n int) {
	p := &j.product
	rows := min(j.plan.MC, p.Rows-row)
	end := min(unit+n*j.plan.NC, j.plan.Units)
	ws.packedRow = -1
	before := 0
	for i := range p.Parts {
		part := &p.Parts[i]
		l := j.engine.layout(p, i)
		units, _ := part.units(&l)
		if lo, hi := max(0, unit-before), min(units, end-before); lo < hi {
			r := unitRun{part: part, path: j.engine.path(p, part), layout: l, before: before, lo: lo, hi: hi, row: row, rows: rows, begin: unit, end: end}
			if p.rounds() {
				j.round(ws, part, row, rows)
			}
			switch {
			case part.Pages.Pool.Base != nil:
				j.toPages(ws, &r)
			case part.Activate:
				j.activated(ws, &r, p.up(i))
			default:
				ws.out = output{Operand: part.Y, seq: p.Seq}
				j.units(ws, &r)
				j.finish(ws, part, lo, hi, row, rows)
			}
		}
		before += units
	}
}

// A unitRun is units of a part for a block of rows, and where they are in an item.
type unitRun struct {
	part       *Part
	path       ProductPath
	layout     layout
	before     int // units of the parts before it
	lo, hi     int // units of the part
	row, rows  int
	begin, end int // the units of the item, those of all parts counted
}

// units computes units into ws.out.
func (j *productJob) units(ws *productWorkspace, r *unitRun) {
	begins := r.before+r.lo == r.begin && (r.begin == 0 || j.plan.RowBlocks > 1)
	j.sums(ws, r, r.part, r.path, begins, j.after(ws, r))
}

// sums computes what units have of a part into ws.out: the first that reads a block of rows, or not.
// What is multiplied by after them is asked for on the way.
func (j *productJob) sums(ws *productWorkspace, r *unitRun, part *Part, path ProductPath, begins bool, after weightStep) {
	_, panels := r.part.units(&r.layout)
	lo, hi := r.lo*panels, r.hi*panels
	switch path {
	case PathTransposed:
		j.transposed(ws, part, &r.layout, lo, hi, r.row, r.rows)
	case PathDots, PathCombine, PathFused:
		j.inPlace(ws, part, &r.layout, path, lo, hi, r.row, r.rows)
	default:
		j.panels(ws, part, &r.layout, lo, hi, r.row, r.rows, begins, after)
	}
}

// after returns the first step of what a worker multiplies by after units.
func (j *productJob) after(ws *productWorkspace, r *unitRun) weightStep {
	if after := r.before + r.hi; after < r.end {
		return j.first(after)
	}
	other, unit := j.plan.item(j.likely(ws))
	then := j.first(unit)
	if other != r.row {
		then.row, then.rows = other, min(j.plan.MC, j.product.Rows-other)
	}
	return then
}

// A weightStep is a step over the depth of a panel of weights: the rows from row k on, none if there is
// nothing to come.
type weightStep struct {
	part      *Part
	weights   unsafe.Pointer // of the panel, if they are packed
	lanes, k  int
	row, rows int // of X, those that have not been read in that step of the depth lately

	stored storedStep // of a panel of weights that are dequantised, of which it is the first step
}

// first returns the first step of a unit.
func (j *productJob) first(unit int) weightStep {
	p := &j.product
	for i := range p.Parts {
		part := &p.Parts[i]
		l := j.engine.layout(p, i)
		units, panels := part.units(&l)
		if unit >= units {
			unit -= units
			continue
		}
		return part.firstStep(&l, j.engine.set, p.Depth, unit*panels)
	}
	return weightStep{}
}

// firstStep returns the first step of a panel.
func (p *Part) firstStep(l *layout, set *kernel.Set, depth, i int) weightStep {
	at := p.panel(l, i)
	switch {
	case p.Panels == nil:
		return weightStep{stored: at.stored(depth)}
	case p.inStrips():
		return weightStep{stored: at.strips(set, depth)}
	}
	return weightStep{part: p, weights: p.panelAt(&at, depth), lanes: at.lanes}
}

// panels computes the panels [lo, hi) of a part for a block of rows, which it is the first to read
// or not. What is multiplied by after them is asked for on the way.
func (j *productJob) panels(ws *productWorkspace, part *Part, l *layout, lo, hi, row, rows int, begins bool, after weightStep) {
	p := &j.product
	panel := func(i int) (at panel, weights unsafe.Pointer) {
		at = part.panel(l, i)
		at.out = &ws.out
		return at, part.panelAt(&at, p.Depth)
	}
	// next returns the first panel from i on that is direct, or that is not.
	next := func(i int, direct bool) int {
		for ; i < hi; i++ {
			if at, _ := panel(i); at.direct() == direct {
				break
			}
		}
		return i
	}
	step := func(i, k int) weightStep {
		if i == hi {
			return after
		}
		if part.Panels == nil || part.inStrips() {
			if k > 0 { // what makes float32 of them asks for it
				return weightStep{}
			}
			return part.firstStep(l, j.engine.set, p.Depth, i)
		}
		at, weights := panel(i)
		return weightStep{part: part, weights: weights, lanes: at.lanes, k: k}
	}
	if p.rounds() {
		j.round(ws, part, row, rows)
	}
	if j.plan.CopyX {
		first, rest := next(lo, true), next(lo, false)
		for k := 0; k < p.Depth && first < hi && !p.Done.Over(); k += kernel.KC {
			j.copyX(ws, row, rows, k)
			for i := first; i < hi && !p.Done.Over(); {
				at, weights := panel(i)
				then := step(rest, 0)
				if i = next(i+1, true); i < hi {
					then = step(i, k)
				} else if k+kernel.KC < p.Depth {
					then = step(first, k+kernel.KC)
				}
				j.direct(ws, &at, weights, row, rows, k, then)
			}
		}
		ws.copied = nil
		for i := rest; i < hi && !p.Done.Over(); {
			at, weights := panel(i)
			i = next(i+1, false)
			j.scattered(ws, &at, weights, row, rows, false, step(i, 0))
		}
		return
	}
	whole := rows == 1 && part.Int8 != nil && part.Panels != nil && j.engine.set.WholePanels
	strips := part.inStrips() && j.engine.few(p, part)
	few := !strips && p.Precision == kernel.PrecisionFloat32 && j.engine.few(p, part) && p.Depth <= fewDepth
	for i := lo; i < hi; i++ {
		at, weights := panel(i)
		if !at.direct() {
			j.scattered(ws, &at, weights, row, rows, begins && i == lo, step(i+1, 0))
			continue
		}
		if whole {
			if p.Done.Over() {
				return
			}
			i = j.rowPanels(ws, l, &at, weights, row, i, hi) - 1
			continue
		}
		if strips || few {
			switch {
			case p.Done.Over():
				return
			case strips:
				i = j.stripPanels(ws, l, &at, weights, row, rows, i, hi) - 1
			default:
				i = j.fewPanels(ws, l, &at, row, rows, i, hi) - 1
			}
			continue
		}
		if rows == 1 && part.Int8 != nil && weights != nil {
			j.rowInt8(ws, &at, weights, row, step(i+1, 0))
			continue
		}
		for k := 0; k < p.Depth && !p.Done.Over(); k += ws.terms {
			then := step(i+1, 0)
			if k+kernel.KC < p.Depth {
				then = step(i, k+kernel.KC)
				if begins && i == lo {
					then.row, then.rows = row, rows
				}
			}
			j.direct(ws, &at, weights, row, rows, k, then)
		}
	}
}

// copyStride is the float32 values from row to row of a copy of X: rows that lie a power of two
// of bytes apart share few sets of the caches.
const copyStride = kernel.KC + cacheLine

// copyX copies a step of rows of X, from column k on. Rounded rows are copies.
func (j *productJob) copyX(ws *productWorkspace, row, rows, k int) {
	if j.plan.Rounded {
		return
	}
	j.engine.phase(phasePack)
	x := &j.product.X
	ws.copied, ws.copyRow = ws.copies.room(rows*copyStride), row
	depth := min(kernel.KC, j.product.Depth-k)
	for i := range rows {
		copy(unsafe.Slice(lane(ws.copied, i, copyStride, 0), depth), unsafe.Slice((*float32)(x.at(row+i, k)), depth))
	}
}

// direct computes a step of a panel of Y where it is, from row k of the weights on. The next step
// is asked for.
func (j *productJob) direct(ws *productWorkspace, at *panel, weights unsafe.Pointer, row, rows, k int, next weightStep) {
	a := &ws.args
	y := at.out
	j.step(ws, at, weights, k)
	j.ask(ws, next, row, rows)
	if ws.int8.asks && at.Int8 != nil && weights == nil {
		ws.int8.args.Next, ws.int8.args.NextEnd = at.behind(k, ws.terms)
	}
	a.Add, a.Bias = true, nil
	if k == 0 {
		a.Add, a.Bias = at.Add, ws.laneBias(at)
	}
	for i := 0; i < rows; {
		n, stride := y.run(row+i, rows-i)
		a.C, a.Stride = (*float32)(at.at(row+i)), stride
		j.rows(ws, at, row+i, n, k)
		i += n
	}
}

// scattered computes a panel of Y, the first for a block of rows or not, in a buffer and copies
// its columns. What comes after it is asked for.
func (j *productJob) scattered(ws *productWorkspace, at *panel, weights unsafe.Pointer, row, rows int, begins bool, after weightStep) {
	p := &j.product
	a := &ws.args
	results := ws.results.room(rows * at.lanes)
	values := unsafe.Slice(results, rows*at.lanes)
	if at.Add {
		for i := range rows {
			at.load(values[i*at.lanes:], row+i)
		}
	}
	for k := 0; k < p.Depth && !p.Done.Over(); k += ws.terms {
		j.step(ws, at, weights, k)
		next := after
		if k+ws.terms < p.Depth {
			next = weightStep{part: at.Part, weights: weights, lanes: at.lanes, k: k + ws.terms}
			if at.inStrips() { // what makes float32 of them asks for it
				next.weights = nil
			}
			if begins {
				next.row, next.rows = row, rows
			}
		}
		j.ask(ws, next, row, rows)
		a.C, a.Stride = results, at.lanes
		a.Add, a.Bias = at.Add || k > 0, nil
		if k == 0 {
			a.Bias = ws.laneBias(at)
		}
		j.rows(ws, at, row, rows, k)
	}
	for i := range rows {
		at.store(values[i*at.lanes:], row+i)
	}
}

// laneBias returns the bias of all lanes of a panel, nil if there is none.
func (ws *productWorkspace) laneBias(at *panel) *float32 {
	bias := (*float32)(at.bias())
	if bias == nil || at.cols == at.lanes {
		return bias
	}
	clear(ws.bias[copy(ws.bias[:], unsafe.Slice(bias, at.cols)):])
	return &ws.bias[0]
}

// load copies a row of a panel of Y into values.
func (p *panel) load(values []float32, row int) {
	y, stride := (*float32)(p.at(row)), p.out.Stride[3]
	if stride == 1 {
		copy(values, unsafe.Slice(y, p.cols))
		return
	}
	for i := range p.cols {
		values[i] = *ptr.At(y, i*stride)
	}
}

// store copies values into a row of a panel of Y.
func (p *panel) store(values []float32, row int) {
	y, stride := (*float32)(p.at(row)), p.out.Stride[3]
	if stride == 1 {
		copy(unsafe.Slice(y, p.cols), values)
		return
	}
	for i := range p.cols {
		*ptr.At(y, i*stride) = values[i]
	}
}

// step has the kernel multiply by the rows of a panel from row k on, which it packs if
// they are not packed yet.
func (j *productJob) step(ws *productWorkspace, at *panel, weights unsafe.Pointer, k int) {
	p := &j.product
	a := &ws.args
	a.Lanes = at.lanes
	ws.terms = min(kernel.KC, p.Depth-k)
	if j.engine.few(p, at.Part) {
		ws.terms = min(fewDepth, p.Depth-k)
		if p.rounds() && p.Rows > j.engine.set.FewRows {
			ws.terms = min(fewRoundedDepth, p.Depth-k)
		}
	}
	a.Depth = ws.terms
	if p.rounds() {
		j.roundedStep(ws, at, weights, k, ws.terms)
		j.engine.phase(j.product.phase())
		return
	}
	step := weights
	switch strips := at.inStrips(); {
	case strips && j.engine.few(p, at.Part):
		ws.strips.step(j.engine.set, at, weights, k, a.Depth, p.Depth)
	case strips:
		j.engine.phase(phasePack)
		step = unsafe.Pointer(ws.panel.room(a.Depth * at.lanes))
		ws.strips.dequantize(j.engine.set, (*float32)(step), at, weights, k, a.Depth, p.Depth)
	case weights != nil:
		step = unsafe.Add(weights, at.packedBytes(k)*at.lanes)
	default:
		j.engine.phase(phasePack)
		step = unsafe.Pointer(ws.panel.room((at.packedBytes(a.Depth)*at.lanes + 3) / 4))
		ws.int8.asks = p.Rows >= int8AskRows
		ws.pack(j.engine.set, step, at, k, a.Depth)
	}
	j.engine.phase(j.product.phase())
	if at.Int8 != nil {
		j.stepInt8(ws, at.Int8, step, at.lanes, a.Depth, weights != nil)
		return
	}
	a.B = (*float32)(step)
}

// ask has the kernel ask for what the next step reads while it multiplies a block of rows by what step
// has set. Rows of X that are copied are read in that order, which the CPU sees by itself.
func (j *productJob) ask(ws *productWorkspace, next weightStep, row, rows int) {
	a, x := &ws.args, &j.product.X
	a.Next, a.NextEnd, a.ThenRows = 0, 0, 0
	ws.int8.args.Next, ws.int8.args.NextEnd = 0, 0
	if next.stored.rows > 0 {
		next.stored.ask(a, rows)
	}
	if next.weights == nil {
		return
	}
	depth := min(kernel.KC, j.product.Depth-next.k)
	bytes := next.lanes * next.part.packedBytes(depth)
	a.Next = uintptr(next.weights) + uintptr(next.lanes*next.part.packedBytes(next.k))
	a.NextEnd = a.Next + uintptr(bytes)
	if next.part.Int8 != nil {
		ws.int8.args.Next, ws.int8.args.NextEnd = a.Next, a.NextEnd
		return
	}
	if j.plan.FarX && next.rows == 0 { // the same block
		next.row, next.rows = row, rows
	}
	if next.rows > 0 && x.Col == 1 && !j.plan.CopyX && !j.plan.Rounded {
		a.Then, a.ThenRows = uintptr(x.at(next.row, next.k)), next.rows
		a.ThenStride, a.ThenBytes = 4*x.Row, 4*depth
		bytes += a.ThenRows * a.ThenBytes
	}
	a.NextRow = (bytes*kernel.KC + rows*a.Depth - 1) / (rows * a.Depth)
}

// rows multiplies n rows of X by what step has set of a panel, into a.C.
func (j *productJob) rows(ws *productWorkspace, at *panel, row, n, k int) {
	if at.Int8 != nil {
		j.rowsInt8(ws, row, n, k)
		return
	}
	if j.product.rounds() {
		j.multiplyRounded(ws, at, row, n, k)
		return
	}
	x := &j.product.X
	a := &ws.args
	a.RowStride, a.ColStride = x.Row, x.Col
	a.A, a.Rows = (*float32)(x.at(row, k)), n
	if ws.copied != nil {
		a.RowStride, a.ColStride = copyStride, 1
		a.A = lane(ws.copied, row-ws.copyRow, copyStride, 0)
	}
	switch few := j.engine.few(&j.product, at.Part); {
	case few && at.inStrips():
		ws.strips.multiply(j.engine.set, a, j.engine.tuning.Near)
	case few:
		a.Near = j.engine.nearFew(at, j.product.Depth)
		j.engine.set.MultiplyFew(a)
	default:
		j.engine.set.Multiply(a)
	}
}
