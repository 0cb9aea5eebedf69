package tile

import "unsafe"

// maxMove is the most elements to clear or copy at once. Nothing stops a goroutine within,
// so what may be more goes by functions of this file, which are points to stop at.
const maxMove = 1 << 14

// zero clears n values at p.
//
//go:noinline
func zero(p *float32, n int) {
	for ; n > maxMove; n -= maxMove {
		zero(p, maxMove)
		p = lane(p, 0, 0, maxMove)
	}
	clear(unsafe.Slice(p, n))
}

// appendAll appends all of x.
//
//go:noinline
func appendAll[T int | int32](to, x []T) []T {
	for ; len(x) > maxMove; x = x[maxMove:] {
		to = appendAll(to, x[:maxMove])
	}
	return append(to, x...)
}
