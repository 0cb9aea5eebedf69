package tile

import (
	"sort"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
)

// An Epilogue is what is done to each head of each row of a part of a product once its sums are
// complete, in the order of the fields: by the worker that has summed them, while a cache near it has
// them.
type Epilogue struct {
	Norm   []float32 // [Width], the weights of a normalisation, see norm.go; nil for none
	Eps    float32   // of Norm
	Rotary *Rotary   // by the positions of the product; nil for none
	Scales []float32 // [Rows], what each row is multiplied by; nil for none
}

// changes reports whether complete heads are other numbers then.
func (p *Epilogue) changes() bool { return p.Norm != nil || p.Rotary != nil || p.Scales != nil }

// finishes reports whether there is anything to do to complete heads, if only to store them.
func (p *Part) finishes() bool {
	return p.changes() || p.Pages.Pool.Base != nil
}

// An output is where heads of a block of rows go: Y of a part, or memory of the worker.
type output struct {
	Operand
	seq    int // rows of a sequence
	from   int // the row, the head and the dim that it begins with
	first  int
	dim    int
	padded bool // each head has room for all lanes of its panels
}

// offset is the elements from the first row to another.
func (y *output) offset(row int) int {
	row -= y.from
	return row/y.seq*y.Stride[0] + row%y.seq*y.Stride[2]
}

// head returns the address of a head of the first row.
func (y *output) head(head int) unsafe.Pointer {
	return unsafe.Add(y.Base, 4*(head-y.first)*y.Stride[1])
}

// at returns the address of a head of a row.
func (y *output) at(row, head int) unsafe.Pointer {
	return unsafe.Add(y.head(head), 4*y.offset(row))
}

// run returns how many of the n rows from one on are equally far apart, and how far.
func (y *output) run(row, n int) (rows, stride int) {
	switch {
	case y.seq == 1:
		return n, y.Stride[0]
	case y.Stride[0] == y.seq*y.Stride[2]:
		return n, y.Stride[2]
	}
	return min(n, y.seq-(row-y.from)%y.seq), y.Stride[2]
}

const (
	// pageRoom is the bytes of float32 rows that a worker has on their way to pages, about, if one
	// head of a block of rows needs no more: few rows go there with several heads.
	pageRoom = 32 << 10

	// Such rows take one pageFraction-th of the second-level cache at most.
	pageFraction = 4
)

// toPages computes heads of a block of rows that go to pages, some of them at a time.
func (j *productJob) toPages(ws *productWorkspace, r *unitRun) {
	set, lanes := j.engine.set, r.layout.lanes()
	rows, heads := r.rows, r.hi-r.lo
	most := max(pageRoom, j.engine.caches.L2/pageFraction)
	switch {
	case r.path == PathTransposed: // rows are packed so many at a time
		rows, heads = min(rows, set.Lanes), 1
	case r.path != PathPanels: // few rows, of which the sums of all heads are kept as they are
	case j.plan.CopyX: // for all heads at once
		heads = max(1, min(heads, most/(4*lanes*rows)))
	default:
		rows = min(rows, max(1, most/(4*lanes)/set.Rows)*set.Rows)
		heads = max(1, min(heads, pageRoom/(4*lanes*rows)))
	}
	one := *r
	for one.row = r.row; one.row < r.row+r.rows; one.row += one.rows {
		one.rows = min(rows, r.row+r.rows-one.row)
		for one.lo = r.lo; one.lo < r.hi && !j.product.Done.Over(); one.lo = one.hi {
			one.hi = min(one.lo+heads, r.hi)
			stride := heads * lanes
			ws.out = output{
				Operand: Operand{
					Base:   unsafe.Pointer(ws.heads.room(one.rows * stride)),
					Stride: [4]int{one.rows * stride, lanes, stride, 1},
				},
				seq: one.rows, from: one.row, first: one.lo, padded: true,
			}
			j.units(ws, &one)
			j.finish(ws, one.part, one.lo, one.hi, one.row, one.rows)
			j.store(ws, one.part, one.lo, one.hi, one.row, one.rows)
		}
	}
}

// finish does to the heads [lo, hi) of complete rows in ws.out what the epilogue says, where they are.
func (j *productJob) finish(ws *productWorkspace, part *Part, lo, hi, row, rows int) {
	if !part.changes() {
		return
	}
	j.engine.phase(phaseRotate)
	p, y := &j.product, &ws.out
	for end := row + rows; row < end && !p.Done.Over(); {
		n, stride := y.run(row, min(end-row, p.Seq-row%p.Seq))
		o := Operand{Base: y.at(row, lo), Stride: [4]int{0, y.Stride[1], stride, y.Stride[3]}}
		if part.Norm != nil {
			norm := NormWeights{Weight: part.Norm, Eps: part.Eps}
			for head := range hi - lo {
				for i := range n {
					ws.norm.head(j.engine.set, &norm, (*float32)(o.at(0, head, i)), part.Width, y.Stride[3])
				}
			}
		}
		if part.Rotary != nil {
			at := row // of the positions
			if len(p.Positions) <= p.Seq {
				at %= p.Seq
			}
			part.Rotary.sequence(j.engine.set, &ws.rotary, &o, hi-lo, p.Positions, at, n)
		}
		if part.Scales != nil {
			for head := range hi - lo {
				for i, scale := range part.Scales[row:][:n] {
					scaleHead((*float32)(o.at(0, head, i)), part.Width, y.Stride[3], scale)
				}
			}
		}
		row += n
	}
}

// scaleHead multiplies the dim elements from p on, stride apart.
func scaleHead(p *float32, dim, stride int, scale float32) {
	for i := range dim {
		*ptr.At(p, i*stride) *= scale
	}
}

// store puts heads of complete rows in ws.out into the pages of a part.
func (j *productJob) store(ws *productWorkspace, part *Part, lo, hi, row, rows int) {
	if j.product.Done.Over() {
		return
	}
	j.engine.phase(phaseStore)
	y, runs := ws.out.Operand, part.Pages.Runs
	i := sort.Search(len(runs), func(i int) bool { return runs[i].From+runs[i].N > row })
	for end := row + rows; row < end; i++ {
		r := &runs[i]
		skip := row - r.From
		n := min(r.N-skip, end-row)
		y.Base = ws.out.at(row, lo)
		if part.Pages.turns() {
			ws.hadamard.turn(j.engine.set, &part.Pages.Turned, &y, &y, lo, hi-lo, n, part.Width)
		}
		part.Pages.Pool.store(j.engine.set, &ws.store, &y, pagePlace{page: int(r.Page), head: lo, token: r.Token + skip}, hi-lo, n, part.Width)
		row += n
	}
}
