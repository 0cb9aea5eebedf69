package tile

// A Loop is a loop of the caller's: N iterations, in chunks of Chunk.
type Loop struct {
	N, Chunk int
	Do       func(lo, hi int) // the iterations [lo, hi) of a chunk

	Done Done
}

// A loopJob is a Loop being run.
type loopJob struct {
	task
	Loop
	items    workItems
	failures failures
}

// Parallel runs a loop with at most workers goroutines, the caller's among them, and reports whether all
// of it is done. If it is not, since l.Done was closed, no chunk is done in part. It panics with what Do
// panics with.
//
// Do may call Parallel: the caller of a task works on it until nothing is left, and takes back its call
// to goroutines that have not come.
func (e *Engine) Parallel(l *Loop, workers int) bool {
	j := e.loops.Get().(*loopJob)
	j.Loop = *l
	e.crew.run(&j.task, j.items.open(l.N, 1, l.Chunk, l.Chunk, workers), e.labels)
	whole, f := j.items.whole(), j.failures.take()
	j.Loop = Loop{}
	e.loops.Put(j)
	if f != nil {
		panic(f.value)
	}
	return whole
}

// drain does chunks until none is left.
func (j *loopJob) drain() {
	j.failures.guard(j.chunks, j.items.stop)
}

func (j *loopJob) chunks() { j.items.each(j.Done, j.Do) }
