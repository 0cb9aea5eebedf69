package tile

// A Loop is a loop of the caller's: N iterations, in chunks of Chunk.
type Loop struct {
	N, Chunk int
	Do       func(lo, hi int) // the iterations [lo, hi) of a chunk

	Done Done
}

// Parallel runs a loop with at most workers goroutines, the caller's among them, and reports whether all
// of it is done. If it is not, since l.Done was closed, no chunk is done in part. It panics with what Do
// panics with.
//
// Do may call Parallel: the caller of a task works on it until nothing is left, and takes back its call
// to goroutines that have not come.
func (e *Engine) Parallel(l *Loop, workers int) bool {
	j := e.loops.job()
	j.operands = *l
	return j.run(rowCut{l.N, 1, l.Chunk, l.Chunk}, workers, l.Done)
}

// chunk does the iterations [lo, hi).
func (l *Loop) chunk(_ *Engine, _ *struct{}, lo, hi int) { l.Do(lo, hi) }
