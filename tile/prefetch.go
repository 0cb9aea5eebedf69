package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

const (
	// line is the size of the cache lines that kernels ask for.
	line = 64

	// maxBatch is the most lines to ask for with one micro-tile: those beyond what a
	// core can have under way are dropped.
	maxBatch = 48
)

// A prefetcher lists the memory that is used after the present key block, and
// deals it out over the calls of that block.
type prefetcher struct {
	list  [32]kernel.Ahead
	n     int
	rows  int // left, in all of the list
	calls int // left in the block
}

// plan lists what comes after the key block at key0 of an item of groups lane groups
// whose last key is before end: the next block of keys and values, before the last
// one the rows of the output, and after it what the next item begins with.
func (f *prefetcher) plan(j *job, share, batch, head, row, rows, groups, key0, end int) {
	p := &j.problem
	f.n, f.rows, f.calls = 0, 0, 2*groups
	next := key0 + kernel.KeyBlock
	if left := end - next; left > 0 && left <= kernel.KeyBlock || left <= 0 && key0 == 0 {
		f.addRows(&p.Out, batch, head, row, rows, share, p.DimV)
	}
	if next >= end {
		// Most likely the item that this worker takes next.
		i := int(j.next.Load())
		if i >= j.sched.Items {
			return
		}
		h, block := j.sched.item(i)
		batch, head = h/p.KVHeads, h%p.KVHeads
		next, end = 0, p.SeqKV
		row := block * j.sched.Rows()
		f.addRows(&p.Q, batch, head, row, min(j.sched.Rows(), share*p.SeqQ-row), share, p.DimQK)
	}
	hi := min(end, next+kernel.KeyBlock)
	f.add(&p.V, batch, head, next, hi, p.DimV)
	f.add(&p.K, batch, head, next, hi, p.DimQK)
}

// addRows lists query rows, each in its head.
func (f *prefetcher) addRows(o *Operand, batch, head, row, rows, share, dim int) {
	for h := range share {
		f.add(o, batch, head*share+h, row/share, (row+rows-1)/share+1, dim)
	}
}

// add lists the positions [lo, hi) of a head. Rows with gaps are not worth it, and
// what the list has no place for is left to the hardware.
func (f *prefetcher) add(o *Operand, batch, head, lo, hi, dim int) {
	if lo >= hi || o.Stride[3] != 1 || f.n == len(f.list) {
		return
	}
	base := uintptr(unsafe.Pointer(o.row(batch, head, lo)))
	f.list[f.n] = kernel.Ahead{
		Base:   base,
		Rows:   hi - lo,
		Stride: 4 * o.Stride[2],
		Lines:  (int(base%line) + 4*dim + line - 1) / line,
	}
	f.n++
	f.rows += hi - lo
}

// deal hands the last range of the list to a call of so many micro-tiles.
func (f *prefetcher) deal(a *kernel.Ahead, tiles int) {
	if f.n == 0 {
		a.Rows = 0
		return
	}
	*a = f.list[f.n-1]
	rows := (f.rows + f.calls - 1) / f.calls
	if f.n >= f.calls {
		rows = max(rows, a.Rows) // one range a call
	}
	a.Batch = clamp((rows+tiles-1)/tiles, 1, max(1, maxBatch/a.Lines))
}

// back takes back what the call left.
func (f *prefetcher) back(a *kernel.Ahead) {
	f.calls = max(1, f.calls-1)
	if f.n == 0 {
		return
	}
	last := &f.list[f.n-1]
	f.rows -= last.Rows - a.Rows
	*last = *a
	if a.Rows == 0 {
		f.n--
	}
}
