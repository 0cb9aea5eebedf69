package tile

import "sync/atomic"

// workItems are the items of a job that workers share: equal parts of its rows.
type workItems struct {
	rows, step      int // of the job, and of an item
	taken, finished atomic.Int64
}

// open cuts rows of so many elements, which may be none, into items of about most elements, and returns
// how many of the workers pay: one, and another for each worth elements.
func (w *workItems) open(rows, elements, most, worth, workers int) int {
	elements = max(1, elements)
	w.rows, w.step = rows, max(1, most/elements)
	w.taken.Store(0)
	w.finished.Store(0)
	return int(max(1, min(int64(workers), w.items(), 1+int64(rows)*int64(elements)/int64(worth))))
}

// items returns the number of items.
func (w *workItems) items() int64 { return int64((w.rows + w.step - 1) / w.step) }

// share calls do with the rows of an item, [from, to), until none is left or the work is to end.
func (w *workItems) share(done Done, do func(from, to int)) {
	for i := w.taken.Add(1) - 1; i < w.items() && !done.Over(); i = w.taken.Add(1) - 1 {
		from := int(i) * w.step
		do(from, min(from+w.step, w.rows))
		w.finished.Add(1)
	}
}

// whole reports whether all items are finished.
func (w *workItems) whole() bool { return w.finished.Load() == w.items() }
