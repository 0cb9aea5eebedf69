package tile

import (
	"sync"
	"sync/atomic"
)

// A rowWork is a kind of work on rows, of which each is done by itself, such as normalising them. R is the
// operands of one call, and S what a worker needs besides. It keeps the jobs and the spaces of past calls
// for the next ones: what rows is given would escape to the heap at each call otherwise.
type rowWork[R, S any] struct {
	engine *Engine
	phase  phase
	rows   func(r *R, e *Engine, s *S, from, to int) // does the rows [from, to)
	calls  bool                                      // whether that calls back

	// forget and leave drop the references to the caller's memory. forget may be nil where R has nothing
	// to keep, and leave where a worker needs nothing: rows is given a nil s then.
	forget func(r *R)
	leave  func(s *S)

	jobs   sync.Pool // of *rowJob[R, S]
	spaces sync.Pool // of *S
}

// A rowJob is a rowWork being done.
type rowJob[R, S any] struct {
	task
	work     *rowWork[R, S]
	operands R
	done     Done
	items    workItems
	failures failures
}

// init makes the work ready.
func (w *rowWork[R, S]) init(e *Engine, phase phase, rows func(r *R, e *Engine, s *S, from, to int), leave func(s *S)) {
	w.engine, w.phase, w.rows, w.leave = e, phase, rows, leave
	w.jobs.New = func() any {
		j := &rowJob[R, S]{work: w}
		j.init(j.drain)
		return j
	}
	w.spaces.New = func() any { return new(S) }
}

// job returns a job whose operands are to be set, and then run.
func (w *rowWork[R, S]) job() *rowJob[R, S] { return w.jobs.Get().(*rowJob[R, S]) }

// A rowCut says how rows are cut into items.
type rowCut struct {
	rows, elements int // how many, which may be none, and of how many elements
	item           int // about the elements of an item, or a row, if it has more
	worth          int // the elements that pay for another goroutine
}

// run does the job with at most workers goroutines, the caller's among them, and reports whether all of it
// is done. If it is not, since done was closed, each item is either done or as it was. It panics with what
// a callback panics with. The job goes back to where it came from.
func (j *rowJob[R, S]) run(cut rowCut, workers int, done Done) (whole bool) {
	w := j.work
	j.done = done
	w.engine.crew.run(&j.task, j.items.open(&cut, workers), w.engine.labels)
	whole = j.items.whole()
	var f *failure
	if w.calls {
		f = j.failures.take()
	}
	j.done = nil
	if w.forget == nil {
		j.operands = *new(R)
	} else {
		w.forget(&j.operands)
	}
	w.jobs.Put(j)
	if f != nil {
		panic(f.value)
	}
	return whole
}

// drain does items until none is left. If a callback fails, none is left for anyone.
func (j *rowJob[R, S]) drain() {
	if j.work.calls {
		j.failures.guard(j.each, j.items.stop)
		return
	}
	j.each()
}

// each does items until none is left or the work is to end.
func (j *rowJob[R, S]) each() {
	from, to := j.items.next()
	if from == to {
		return
	}
	w := j.work
	w.engine.phase(w.phase)
	var s *S
	if w.leave != nil {
		s = w.spaces.Get().(*S)
	}
	finished := uint64(0)
	for ; from < to && !j.done.Over(); from, to = j.items.next() {
		w.rows(&j.operands, w.engine, s, from, to)
		finished++
	}
	j.items.finished.Add(finished)
	if w.leave != nil {
		w.leave(s)
		w.spaces.Put(s)
	}
	w.engine.phase(phaseNone)
}

// workItems are the items of a job that workers share: equal parts of its rows.
type workItems struct {
	rows, step      int    // of the job, and of an item
	n               uint64 // items
	taken, finished atomic.Uint64
}

// open cuts rows into items, and returns how many of the workers pay: one, and another for each that
// the elements are worth.
func (w *workItems) open(cut *rowCut, workers int) int {
	elements := max(1, cut.elements)
	w.rows, w.step = cut.rows, max(1, cut.item/elements)
	w.n = (uint64(w.rows) + uint64(w.step) - 1) / uint64(w.step)
	w.taken.Store(0)
	w.finished.Store(0)
	pay := 1 + uint64(cut.rows)*uint64(elements)/uint64(cut.worth)
	return int(max(1, min(uint64(workers), w.n, pay)))
}

// next takes an item and returns its rows [from, to): none if no item is left.
func (w *workItems) next() (from, to int) {
	i := w.taken.Add(1) - 1
	if i >= w.n {
		return 0, 0
	}
	from = int(i) * w.step
	return from, from + min(w.step, w.rows-from)
}

// stop leaves no item for anyone.
func (w *workItems) stop() { w.taken.Store(w.n) }

// whole reports whether all items are finished.
func (w *workItems) whole() bool { return w.finished.Load() == w.n }
