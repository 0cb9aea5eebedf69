package tile

import "sync/atomic"

// workItems are the items of a job that workers share: equal parts of its rows.
type workItems struct {
	rows, step      int // of the job, and of an item
	taken, finished atomic.Uint64
}

// open cuts rows of so many elements, which may be none, into items of about most elements, and returns
// how many of the workers pay: one, and another for each worth elements.
func (w *workItems) open(rows, elements, most, worth, workers int) int {
	elements = max(1, elements)
	w.rows, w.step = rows, max(1, most/elements)
	w.taken.Store(0)
	w.finished.Store(0)
	pay := 1 + uint64(rows)*uint64(elements)/uint64(worth)
	return int(max(1, min(uint64(workers), w.items(), pay)))
}

// items returns the number of items.
func (w *workItems) items() uint64 { return (uint64(w.rows) + uint64(w.step) - 1) / uint64(w.step) }

// each calls do with the rows of an item, [from, to), until none is left or the work is to end.
func (w *workItems) each(done Done, do func(from, to int)) {
	for i := w.taken.Add(1) - 1; i < w.items() && !done.Over(); i = w.taken.Add(1) - 1 {
		from := int(i) * w.step
		do(from, from+min(w.step, w.rows-from))
		w.finished.Add(1)
	}
}

// stop leaves no item for anyone.
func (w *workItems) stop() { w.taken.Store(w.items()) }

// whole reports whether all items are finished.
func (w *workItems) whole() bool { return w.finished.Load() == w.items() }
