package kernel

// The loops that clear and copy memory are machine code of Go's, which cannot be stopped
// either. What may be long, or is done row by row, goes by these functions: each is a point
// to stop at, and divides what has more than maxMoved elements.

// Clear clears x.
//
//go:noinline
func Clear(x []float32) {
	for ; len(x) > maxMoved; x = x[maxMoved:] {
		Clear(x[:maxMoved])
	}
	clear(x)
}

// Copy copies src to dst, which is at least as long.
//
//go:noinline
func Copy[T any](dst, src []T) {
	for ; len(src) > maxMoved; dst, src = dst[maxMoved:], src[maxMoved:] {
		Copy(dst, src[:maxMoved])
	}
	copy(dst, src)
}

// Append returns to with all of x behind it. Growing to copies it in one piece: a caller whose
// slices are long has made room.
//
//go:noinline
func Append[T any](to, x []T) []T {
	for ; len(x) > maxMoved; x = x[maxMoved:] {
		to = Append(to, x[:maxMoved])
	}
	return append(to, x...)
}
