package qkv_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/qkv-go/qkv"
)

// TestParallel: each iteration runs once, in the chunks that n and chunk say.
func TestParallel(t *testing.T) {
	for _, cfg := range []qkv.Config{{Workers: 1}, {Workers: 2}, {Workers: 7}, {Workers: 3, Labels: true}} {
		e := newAttention(t, cfg)
		for _, c := range []struct{ n, chunk int }{{0, 1}, {1, 1}, {1, math.MaxInt}, {100, 1}, {100, 7}, {100, 100}, {99, 33}, {1000, math.MaxInt}} {
			counts := make([]atomic.Int32, c.n)
			must(e.Parallel(c.n, c.chunk, func(lo, hi int) {
				if want := lo + min(c.chunk, c.n-lo); lo%c.chunk != 0 || hi != want {
					t.Errorf("%+v: chunk [%d, %d), want the end %d", c, lo, hi, want)
				}
				for i := lo; i < hi; i++ {
					counts[i].Add(1)
				}
			}))
			for i := range counts {
				if n := counts[i].Load(); n != 1 {
					t.Fatalf("%+v, %d workers: iteration %d ran %d times", c, e.Workers(), i, n)
				}
			}
		}
	}
}

// TestParallelShares: chunks run at once where there are workers, and one after the other with one.
func TestParallelShares(t *testing.T) {
	for workers := 1; workers <= 4; workers++ {
		e := newAttention(t, qkv.Config{Workers: workers})
		var here, most atomic.Int32
		must(e.Parallel(workers, 1, func(int, int) {
			n := here.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			for here.Load() < int32(workers) { // for ever, if they do not run at once
				runtime.Gosched()
			}
		}))
		if int(most.Load()) != workers {
			t.Errorf("%d chunks at once, want %d", most.Load(), workers)
		}
	}
}

// TestParallelNested: loops within loops, and products within them, end, from several callers at once.
func TestParallelNested(t *testing.T) {
	for _, cfg := range []qkv.Config{{Workers: 1}, {Workers: 3}, {Workers: 2, Labels: true}} {
		e := newAttention(t, cfg)
		x := draw(16, normal(1))
		var count atomic.Int32
		errs := make(chan error)
		const callers = 3
		for range callers {
			go func() {
				errs <- e.Parallel(5, 1, func(int, int) {
					must(e.Parallel(6, 2, func(lo, hi int) {
						must(e.Parallel(3, 1, func(int, int) { count.Add(1) }))
						y := make([]float32, 16)
						must(e.MatMul(&qkv.Product{X: qkv.RowMajor(x, 4, 4), W: qkv.RowMajor(x, 4, 4), Y: qkv.RowMajor(y, 4, 4)}))
					}))
				})
			}()
		}
		for range callers {
			must(<-errs)
		}
		if n := count.Load(); n != callers*5*3*3 {
			t.Errorf("%+v: %d iterations, want %d", cfg, n, callers*5*3*3)
		}
	}
}

// TestParallelPanics: what a loop panics with reaches the caller, on whichever goroutine it was, once all
// others have ended, and the engine is as good as before.
func TestParallelPanics(t *testing.T) {
	for _, cfg := range []qkv.Config{{Workers: 1}, {Workers: 2}, {Workers: 5}, {Workers: 2, Labels: true}} {
		e := newAttention(t, cfg)
		for _, n := range []int{1, 8, 1000, math.MaxInt} {
			var here atomic.Int32
			result := make(chan any)
			go func() {
				defer func() { result <- recover() }()
				err := e.Parallel(n, 1, func(lo, _ int) {
					here.Add(1)
					defer here.Add(-1)
					runtime.Gosched()
					if lo == min(n-1, 5) {
						panic("a value")
					}
				})
				t.Errorf("%d iterations: %v and no panic", n, err)
			}()
			if r := <-result; r != "a value" || here.Load() != 0 {
				t.Errorf("%+v: panics with %v, %d chunks run", cfg, r, here.Load())
			}
		}
		ended := make(chan any)
		go func() {
			var r any = "the goroutine has ended"
			defer func() {
				if p := recover(); p != nil {
					r = p
				}
				ended <- r
			}()
			must(e.Parallel(8, 1, func(int, int) { runtime.Goexit() }))
			r = nil
		}()
		if r := <-ended; r != "the goroutine has ended" && r != "qkv: a callback ended its goroutine" {
			t.Errorf("%+v: %v", cfg, r)
		}
		n := atomic.Int32{}
		must(e.Parallel(64, 1, func(int, int) { n.Add(1) }))
		if n.Load() != 64 {
			t.Errorf("%+v: after panics %d iterations, want 64", cfg, n.Load())
		}
	}
}

// TestParallelContext: no chunk begins after the context is done, and none is done in part.
func TestParallelContext(t *testing.T) {
	for _, workers := range []int{1, 3} {
		e := newAttention(t, qkv.Config{Workers: workers})
		ctx, cancel := context.WithCancel(context.Background())
		var n atomic.Int32
		err := e.ParallelContext(ctx, 1000, 1, func(lo, _ int) {
			if lo == 4 {
				cancel()
			}
			n.Add(1)
		})
		least := int32(5 - (workers - 1)) // each other worker may have taken a chunk that it does not begin
		if !errors.Is(err, context.Canceled) || n.Load() < least || n.Load() > 1000-1 {
			t.Errorf("%d workers: error %v after %d chunks, of which %d are certain", workers, err, n.Load(), least)
		}
		n.Store(0)
		err = e.ParallelContext(ctx, 1, 1, func(int, int) { n.Add(1) })
		if !errors.Is(err, context.Canceled) || n.Load() != 0 {
			t.Errorf("%d workers: error %v of a context that is done, %d chunks", workers, err, n.Load())
		}
		must(e.ParallelContext(context.Background(), 10, 3, func(int, int) { n.Add(1) }))
		if n.Load() != 4 {
			t.Errorf("%d workers: %d chunks, want 4", workers, n.Load())
		}
	}
}

func TestParallelErrors(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	never := func(int, int) { t.Error("a chunk is run") }
	isArgError(t, "n", e.Parallel(-1, 1, never), "n is -1")
	isArgError(t, "chunk", e.Parallel(1, 0, never), "chunk is 0")
	isArgError(t, "do", e.Parallel(1, 1, nil), "do is nil")
}

// Sums of the squares of parts of a slice, each by a worker. They are put together in their order, so the
// sum has the same bits for any number of workers.
func ExampleEngine_Parallel() {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	x := make([]float32, 10_000)
	for i := range x {
		x[i] = 0.5
	}
	const chunk = 1024
	sums := make([]float32, (len(x)+chunk-1)/chunk)
	err = e.Parallel(len(x), chunk, func(lo, hi int) {
		for _, v := range x[lo:hi] {
			sums[lo/chunk] += v * v
		}
	})
	total := float32(0)
	for _, s := range sums {
		total += s
	}
	fmt.Println(total, err)
	// Output: 2500 <nil>
}
