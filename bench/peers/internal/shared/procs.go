package shared

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Procs calls f with GOMAXPROCS at n, which is how many threads a Go library computes on at
// most, however many goroutines it starts.
func Procs(n int, f func()) {
	if before := runtime.GOMAXPROCS(n); before != n {
		defer runtime.GOMAXPROCS(before)
	}
	f()
}

// Parallel calls f with each of 0..n-1 on so many goroutines, which it numbers from 0.
func Parallel(workers, n int, f func(worker, i int)) {
	if workers == 1 {
		for i := range n {
			f(0, i)
		}
		return
	}
	var next atomic.Int64
	var done sync.WaitGroup
	for w := range min(workers, n) {
		done.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(w, i)
			}
		})
	}
	done.Wait()
}
