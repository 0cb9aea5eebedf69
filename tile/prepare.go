package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

const (
	// prepareItem is about how many elements of X a worker prepares at a time, and prepareAlone how many
	// do not pay for starting others.
	prepareItem, prepareAlone = 1 << 14, 1 << 16
)

// prepare makes what a class multiplies of the rows of X, once for all columns, before the items of the product.
func (j *productJob) prepare() {
	p := &j.product
	if p.Precision != kernel.PrecisionInt8 {
		return
	}
	j.rowBytes = p.Depth / kernel.Int8Block * kernel.Int8BlockBytes(j.engine.set.Int8Halves)
	j.prepared = unsafe.Pointer(j.preparedRoom.room((p.Rows*j.rowBytes + 3) / 4))
	j.prepareRows = max(1, prepareItem/p.Depth)
	items := (p.Rows + j.prepareRows - 1) / j.prepareRows
	workers := min(j.plan.Workers, items)
	if p.Rows*p.Depth < prepareAlone {
		workers = 1
	}
	j.preparing = true
	j.next.Store(0)
	j.engine.crew.run(&j.task, workers, j.engine.labels)
	j.preparing = false
	j.next.Store(0)
}

// drainPrepare prepares rows until none is left.
func (j *productJob) drainPrepare() {
	p, set := &j.product, j.engine.set
	ws := j.engine.productSpaces.Get().(*productWorkspace)
	j.engine.phase(phasePack)
	a := &ws.quantize
	for !p.Done.Over() {
		row := (int(j.next.Add(1)) - 1) * j.prepareRows
		if row >= p.Rows {
			break
		}
		*a = kernel.QuantizeArgs{
			X: (*float32)(p.X.at(row, 0)), RowStride: p.X.Row, ColStride: p.X.Col,
			Rows: min(j.prepareRows, p.Rows-row), Depth: p.Depth, Halves: set.Int8Halves,
			Dst: (*byte)(unsafe.Add(j.prepared, row*j.rowBytes)), RowBytes: j.rowBytes,
		}
		set.Quantize(a)
	}
	ws.release()
	j.engine.productSpaces.Put(ws)
	j.engine.phase(phaseNone)
}

// An int8Space is what a worker on a product of class Int8 needs: arguments, and scales and codes of a step.
type int8Space struct {
	args          kernel.MultiplyInt8Args
	row           kernel.MultiplyRowInt8Args
	unpack        kernel.UnpackInt8Args
	pack          kernel.PackWeightsArgs
	scales, codes buffer
	asks          bool // MultiplyInt8 asks for weights in place
}

// release drops the references to the caller's memory.
func (s *int8Space) release() {
	s.asks = false
	s.args, s.unpack, s.pack = kernel.MultiplyInt8Args{}, kernel.UnpackInt8Args{}, kernel.PackWeightsArgs{}
	s.row = kernel.MultiplyRowInt8Args{}
}

// aheadRows is the most rows that the first of them ask for all of the next step with: more take so long that the CPU is asked for it a little
// with each micro-tile, and need not wait.
const aheadRows = 24

// stepInt8 is step of class Int8, without packing. Of weights that were packed before, the next step follows in memory, and is asked for as
// this one is read.
func (j *productJob) stepInt8(ws *productWorkspace, form *kernel.Int8Form, src unsafe.Pointer, lanes, depth int, packed bool) {
	s, set := &ws.int8, j.engine.set
	m, u := &s.args, &s.unpack
	blocks, groups := depth/kernel.Int8Block, form.Scales.Groups()
	m.Depth, m.Lanes, m.Halves, m.Groups = depth, lanes, set.Int8Halves, groups
	m.W, m.Table, m.Mins = (*byte)(src), form.Table, nil
	scales := unsafe.Add(src, form.ScalesAt(depth, lanes))
	m.Scales = (*float32)(scales)
	room := s.scales.room((groups + 1) * blocks * lanes)
	*u = kernel.UnpackInt8Args{Kind: form.Scales, Src: (*byte)(scales), Depth: depth, Lanes: lanes, Scales: room}
	m.Ahead = 0
	if packed {
		u.Ahead, u.AheadBytes = form.Bytes(depth)*lanes, form.Scales.Bytes(depth)*lanes
	}
	if packed && j.product.Rows <= aheadRows {
		m.Ahead = u.Ahead
	}
	if form.Scales.HasMins() {
		u.Mins = ptr.At(room, groups*blocks*lanes)
		m.Mins = u.Mins
	}
	if form.Table != nil && j.product.Rows > 1 { // many rows by bytes
		u.Codes, u.Table, u.Dst = m.W, form.Table, (*byte)(unsafe.Pointer(s.codes.room(depth*lanes/4)))
		m.W, m.Table, m.Ahead = u.Dst, nil, 0
	}
	if form.Scales != kernel.Int8Float || u.Codes != nil {
		m.Scales = u.Scales
		set.UnpackInt8(u)
	}
}

// rowsInt8 is rows of class Int8.
func (j *productJob) rowsInt8(ws *productWorkspace, row, n, k int) {
	a, m := &ws.args, &ws.int8.args
	size := j.rowBytes / (j.product.Depth / kernel.Int8Block)
	m.X, m.RowBytes, m.Rows = (*byte)(unsafe.Add(j.prepared, row*j.rowBytes+k/kernel.Int8Block*size)), j.rowBytes, n
	m.C, m.Stride, m.Add, m.Bias = a.C, a.Stride, a.Add, a.Bias
	j.engine.set.MultiplyInt8(m)
}

// rowInt8 computes a panel of Y where it is, for one row by packed weights. What comes after it is asked for.
func (j *productJob) rowInt8(ws *productWorkspace, at *panel, weights unsafe.Pointer, row int, after weightStep) {
	p, a, m := &j.product, &ws.args, &ws.int8.args
	a.Lanes = at.lanes
	j.engine.phase(p.phase())
	for k := 0; k < p.Depth && !p.Done.Over(); k += kernel.KC {
		depth := min(kernel.KC, p.Depth-k)
		src := unsafe.Add(weights, at.packedBytes(k)*at.lanes)
		j.stepInt8(ws, at.Int8, src, at.lanes, depth, true)
		a.Depth = depth
		if k == 0 {
			_, a.Stride = at.out.run(row, 1)
			a.C, a.Add, a.Bias = (*float32)(at.at(row)), at.Add, ws.laneBias(at)
		} else {
			a.Add, a.Bias = true, nil
		}
		m.Next = uintptr(src) + uintptr(at.packedBytes(depth)*at.lanes)
		m.NextEnd = m.Next + uintptr(at.packedBytes(min(kernel.KC, p.Depth-k-depth))*at.lanes)
		if k+depth == p.Depth {
			j.ask(ws, after, row, 1)
		}
		j.rowsInt8(ws, row, 1, k)
	}
}

// rowAhead returns how far behind what it reads MultiplyRowInt8 asks for weights, in bytes.
func (e *Engine) rowAhead(form *kernel.Int8Form) int {
	switch {
	case !e.tuning.Near:
		return 16 << 10
	case e.set.Vec < 16:
		return 8 << 10
	case form.Table != nil:
		return 6 << 10
	}
	// The CPU looks ahead itself, as far as it has instructions under way: a line of these is one instruction or two.
	return 4 << 10
}

// rowPanels computes panels of a head of Y where they are, for one row by packed weights of class Int8: from panel i up
// to panel end, of which no more than a few. It returns the one behind the last. In memory panels follow each other, so
// what comes next is asked for on the way.
func (j *productJob) rowPanels(ws *productWorkspace, l *layout, at *panel, weights unsafe.Pointer, row, i, end int) int {
	const most = 8 // panels of a call, after which a product may end
	a := &ws.int8.row
	a.X, a.Depth, a.Halves = (*byte)(unsafe.Add(j.prepared, row*j.rowBytes)), j.product.Depth, j.engine.set.Int8Halves
	a.Type, a.W, a.Ahead, a.Near = at.Int8.Type, (*byte)(weights), j.engine.rowAhead(at.Int8), j.engine.tuning.Near
	a.C, a.Bias, a.Add, a.Lanes, a.Panels = (*float32)(at.at(row)), ws.laneBias(at), at.Add, at.lanes, 1
	for i++; at.cols == at.lanes && i < end && a.Panels < most; i++ {
		if next := at.Part.panel(l, i); next.head != at.head || next.cols != at.lanes || next.lanes != at.lanes {
			break
		}
		a.Panels++
	}
	j.engine.phase(j.product.phase())
	j.engine.set.MultiplyRowInt8(a)
	return i
}

// int8AskRows are the rows of X from which on MultiplyInt8 asks for weights in place, a panel ahead. With fewer rows
// PackWeights asks for its next step.
const int8AskRows = 32

// behind returns the memory of the next panel of weights in place, as much of it as depth terms from row k on are of
// this one. It is none where the columns do not follow each other.
func (p *panel) behind(k, depth int) (from, to uintptr) {
	w, r := &p.W, p.W.Weights
	if w.Col != r.Cols {
		return 0, 0
	}
	size, values := r.Type.Bytes(), r.Type.Values()
	first := uintptr(unsafe.Pointer(unsafe.SliceData(r.Data))) + uintptr((w.First+(p.col()+p.cols)*w.Col)/values*size)
	return first + uintptr(p.cols*(k/values*size)), first + uintptr(p.cols*((k+depth)/values*size))
}

// packInt8 packs depth terms of a panel, from row k on.
func (p *panel) packInt8(s *int8Space, set *kernel.Set, dst unsafe.Pointer, k, depth int) {
	a, w, form := &s.pack, &p.W, p.Int8
	r := w.Weights
	if p.cols < p.lanes {
		form.EmptyInt8((*byte)(dst), depth, p.lanes)
	}
	first := w.First + k*w.Row + p.col()*w.Col
	size, values := r.Type.Bytes(), r.Type.Values()
	a.Type, a.RowBytes, a.Depth, a.Stride = r.Type, w.Col/values*size, depth, p.lanes
	// What comes next is the next step of the rows, or the first one of those of the next panel.
	at := k / values * size
	a.Ahead = depth / values * size
	if s.asks {
		a.Ahead = 0
	} else if first%r.Cols+depth >= r.Cols {
		a.Ahead = p.cols*a.RowBytes - at
	}
	lanes := func(from, n int) {
		a.Src = &r.Data[(first+from*w.Col)/values*size]
		a.Lanes = n
		a.PackedAt(dst, from)
	}
	if whole := p.cols / set.Vec * set.Vec; whole > 0 {
		lanes(0, whole)
		set.PackWeights(a)
		if whole < p.cols { // some lanes a second time
			lanes(p.cols-set.Vec, set.Vec)
			set.PackWeights(a)
		}
	} else {
		lanes(0, p.cols)
		kernel.PackWeights(a)
	}
	if r.Type == kernel.WeightInt8 {
		r.Int8Scales((*float32)(unsafe.Add(dst, form.ScalesAt(depth, p.lanes))), first, w.Col, p.cols, p.lanes, depth)
	}
}
