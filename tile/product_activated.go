package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// Activated says what the complete sums of a part go through. The worker that has summed them, while a
// cache near it has them, makes
//
//	Y = Activation(sums), or Y = Activation(sums) * sums of the next part, if that is an Up
//
// of them. An Up has the heads and the width of the part before it, no Y, and no epilogue.
type Activated struct {
	Activate   bool
	Activation kernel.Activation
	Up         bool
}

// up returns the Up of part i, or nil.
func (p *Product) up(i int) *Part {
	if i++; i < len(p.Parts) && p.Parts[i].Up {
		return &p.Parts[i]
	}
	return nil
}

const (
	// sumsRoom is the bytes of sums that a worker has before they are activated, about, if a unit
	// of a block of rows needs no more.
	sumsRoom = 32 << 10

	// They take one sumsFraction-th of the second-level cache at most, and one copiedFraction-th
	// where X is copied: again for each such block.
	sumsFraction, copiedFraction = 4, 2
)

// activatedRows returns the rows of a block whose sums of so many lanes, those of Up too, are kept at a
// time: at least those of a micro-tile.
func (e *Engine) activatedRows(lanes int) int {
	return max(1, e.caches.L2/sumsFraction/(8*lanes)/e.set.Rows) * e.set.Rows
}

// activated computes units of a part that goes through an activation, some of them at a time.
func (j *productJob) activated(ws *productWorkspace, r *unitRun, up *Part) {
	set, path := j.engine.set, r.path
	if up != nil {
		path = j.engine.path(&j.product, up)
	}
	_, panels := r.part.units(&r.layout)
	lanes := min(r.layout.lanes(), panels*r.layout.most) // of a unit, at most
	rows, units := r.rows, r.hi-r.lo
	switch {
	case r.path == PathTransposed || path == PathTransposed: // rows are packed so many at a time
		rows, units = min(rows, set.Lanes), max(1, min(units, columnBlock/lanes))
	case r.path != PathPanels || path != PathPanels: // few rows, of which the sums of all units are kept as they are
	case j.plan.CopyX: // for all units at once
		units = max(1, min(units, j.engine.caches.L2/copiedFraction/(8*lanes*rows)))
	default:
		rows = min(rows, j.engine.activatedRows(lanes))
		units = max(1, min(units, sumsRoom/(8*lanes*rows)))
	}
	one := *r
	for one.row = r.row; one.row < r.row+r.rows; one.row += one.rows {
		one.rows = min(rows, r.row+r.rows-one.row)
		for one.lo = r.lo; one.lo < r.hi && !j.product.Done.Over(); one.lo = one.hi {
			one.hi = min(one.lo+units, r.hi)
			stride := units*lanes + cacheLine // rows a power of two apart share few sets of the caches
			size := one.rows * stride
			room := ws.heads.room(2 * size)
			first := r.part.panel(&r.layout, one.lo*panels)
			ws.out = output{
				Operand: Operand{Base: unsafe.Pointer(room), Stride: [4]int{size, lanes, stride, 1}},
				seq:     one.rows, from: one.row, first: first.head, dim: first.dim, padded: true,
			}
			switch {
			case up == nil:
				j.units(ws, &one)
			case j.plan.CopyX:
				ws.outs = [2]output{ws.out, ws.out}
				ws.outs[1].Base = unsafe.Pointer(ptr.At(room, size))
				j.copied(ws, &one, up)
			default:
				begins := one.before+one.lo == one.begin && (one.begin == 0 || j.plan.RowBlocks > 1)
				j.sums(ws, &one, r.part, r.path, begins, up.firstStep(&r.layout, set, j.product.Depth, one.lo*panels))
				ws.out.Base = unsafe.Pointer(ptr.At(room, size))
				j.sums(ws, &one, up, path, false, j.after(ws, &one))
			}
			if !j.product.Done.Over() {
				j.activate(ws, &one, up, room, ptr.At(room, size))
			}
		}
	}
}

// copied computes units of a part and of its Up into ws.outs, by packed weights and rows of X that are
// copied for both.
func (j *productJob) copied(ws *productWorkspace, r *unitRun, up *Part) {
	p := &j.product
	_, panels := r.part.units(&r.layout)
	first, n := r.lo*panels, (r.hi-r.lo)*panels
	at := func(i int) (at panel, weights unsafe.Pointer) {
		part := r.part
		if i >= n {
			part = up
		}
		at = part.panel(&r.layout, first+i%n)
		at.out = &ws.outs[i/n]
		return at, part.panelAt(&at, p.Depth)
	}
	step := func(i, k int) weightStep {
		then, weights := at(i)
		return weightStep{part: then.Part, weights: weights, lanes: then.lanes, k: k}
	}
	if p.rounds() {
		j.round(ws, r.part, r.row, r.rows)
	}
	for k := 0; k < p.Depth && !p.Done.Over(); k += kernel.KC {
		j.copyX(ws, r.row, r.rows, k)
		for i := 0; i < 2*n && !p.Done.Over(); i++ {
			var next weightStep
			switch {
			case i+1 < 2*n:
				next = step(i+1, k)
			case k+kernel.KC < p.Depth:
				next = step(0, k+kernel.KC)
			default:
				next = j.after(ws, r)
			}
			this, weights := at(i)
			j.direct(ws, &this, weights, r.row, r.rows, k, next)
		}
	}
	ws.copied = nil
}

// activate makes Y of the sums of units, where ws.out was for each.
func (j *productJob) activate(ws *productWorkspace, r *unitRun, up *Part, sums, others *float32) {
	j.engine.phase(phaseActivate)
	part, scratch := r.part, ws.out.Stride
	_, panels := part.units(&r.layout)
	y := output{Operand: part.Y, seq: j.product.Seq}
	first, last := part.panel(&r.layout, r.lo*panels), part.panel(&r.layout, r.hi*panels-1)
	for head := first.head; head <= last.head; head++ {
		at := panel{Part: part, head: head, out: &y, cols: part.Width}
		if part.Heads == 1 { // units are panels of it
			at.dim, at.cols = first.dim, last.dim+last.cols-first.dim
		}
		skip := (head - first.head) * scratch[1]
		for i := 0; i < r.rows; {
			n, stride := y.run(r.row+i, r.rows-i)
			a := &ws.activateArgs
			*a = kernel.ActivateArgs{
				Kind: part.Activation, Rows: n, Cols: at.cols,
				Gate: ptr.At(sums, skip+i*scratch[2]), GateStride: scratch[2],
				Dst: (*float32)(at.at(r.row + i)), DstStride: stride,
			}
			if up != nil {
				a.Up, a.UpStride = ptr.At(others, skip+i*scratch[2]), scratch[2]
			}
			if y.Stride[3] != 1 { // in place, and then to where they belong
				a.Dst, a.DstStride = a.Gate, a.GateStride
			}
			j.engine.set.Activate(a)
			if y.Stride[3] != 1 {
				for row := range n {
					at.store(unsafe.Slice(ptr.At(a.Dst, row*a.DstStride), at.cols), r.row+i+row)
				}
			}
			i += n
		}
	}
}
