package qkv

import (
	"context"

	"github.com/qkv-go/qkv/tile"
)

// Parallel runs a loop of the caller's on the workers of e, those that its other calls compute on:
// do(lo, hi) is called once for each chunk of [0, n): [0, chunk), [chunk, 2*chunk) and so on. The last may be
// shorter. Chunks begin in order, and several run at once. Which they are depends on n and chunk alone. So
// partial results of chunks, put together in the order of the chunks, are the same for any number of
// workers. Waking a worker takes some microseconds: a chunk should take ten or more.
//
// do may call e, Parallel included: the caller works on its own loop, so that nothing waits for a worker
// to be free, and each such call brings up to [Config].Workers goroutines of its own. If do panics, no more
// chunks begin, and Parallel panics with the same value once those that run have ended.
//
// It allocates nothing in steady state. A function literal that uses variables around it is itself
// allocated where it is written; it can be written once and passed again.
//
// The error is an [*ArgError] for an n below 0, a chunk below 1, or no do. No chunk is run then.
func (e *Engine) Parallel(n, chunk int, do func(lo, hi int)) error {
	_, err := e.parallel(n, chunk, do, nil)
	return err
}

// ParallelContext is Parallel that ends early when ctx is done: no more chunks begin, and those that run
// are waited for. The error is then that of the context, wrapped, and its cause. It does not say which
// chunks were run. A context that is done before the call has none run.
func (e *Engine) ParallelContext(ctx context.Context, n, chunk int, do func(lo, hi int)) error {
	done, err := begin(ctx)
	if err != nil {
		return err
	}
	whole, err := e.parallel(n, chunk, do, done)
	return outcome(ctx, whole, err)
}

// parallel runs a loop until done is closed, and reports whether all of it has run.
func (e *Engine) parallel(n, chunk int, do func(lo, hi int), done tile.Done) (whole bool, err error) {
	if err := e.ready(); err != nil {
		return false, err
	}
	switch {
	case n < 0:
		return false, argError("n", n, 0, "n is %d, at least 0 is needed", n)
	case chunk < 1:
		return false, argError("chunk", chunk, 1, "chunk is %d, at least 1 is needed", chunk)
	case do == nil:
		return false, argError("do", 0, 1, "do is nil")
	}
	return e.engine.Parallel(&tile.Loop{N: n, Chunk: chunk, Do: do, Done: done}, e.Workers()), nil
}
