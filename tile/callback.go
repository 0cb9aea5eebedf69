package tile

import "sync/atomic"

// A failure is what a callback panicked with.
type failure struct{ value any }

// failures has the first failure of the callbacks of a job, which panics with it once all its workers
// have left.
type failures struct{ first atomic.Pointer[failure] }

// guard calls do, which calls callbacks. If one of them panics or ends the goroutine, that is a failure,
// and stop is called, which leaves no work for anyone.
func (f *failures) guard(do, stop func()) {
	whole := false
	defer func() {
		if whole {
			return
		}
		x := &failure{recover()}
		if x.value == nil {
			x.value = "qkv: a callback ended its goroutine"
		}
		f.first.CompareAndSwap(nil, x)
		stop()
	}()
	do()
	whole = true
}

// take returns the failure, or nil, and forgets it.
func (f *failures) take() *failure { return f.first.Swap(nil) }
