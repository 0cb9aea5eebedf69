package qkv_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/qkv-go/qkv"
)

// BenchmarkNorm times norms on one worker, of a row in the first-level cache and of rows from memory,
// beside reading X and Y in the same run.
func BenchmarkNorm(b *testing.B) {
	const cols = 4096
	next := normal(1)
	for _, rows := range []int{1, 8192} {
		for _, add := range []bool{false, true} {
			for _, centred := range []bool{false, true} {
				b.Run(fmt.Sprintf("rows=%d/cols=%d/add=%v/centred=%v", rows, cols, add, centred), func(b *testing.B) {
					e := newAttention(b, qkv.Config{Workers: 1})
					c := normCase{
						centred: centred, weight: draw(cols, next),
						x: newMatrix("rows", rows, cols, next), y: newMatrix("rows", rows, cols, next),
					}
					moved := 2 // rows that are read or written: X once, and Y
					if add {
						c.add, moved = newMatrix("rows", rows, cols, next), 4 // X is written, too
					}
					if centred {
						c.bias = draw(cols, next)
					}
					read := func() float64 {
						begin := time.Now()
						n := 1 + 100/rows
						for range n {
							e.Kernel().Read(&c.x.data[0], rows*cols)
							e.Kernel().Read(&c.y.data[0], rows*cols)
						}
						return float64(2*4*rows*cols*n) / float64(time.Since(begin).Nanoseconds())
					}
					best := read()
					for b.Loop() {
						must(c.run(e))
					}
					best = max(best, read())
					b.ReportMetric(float64(4*moved*rows*cols)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GB/s")
					b.ReportMetric(best, "GB/s-read")
				})
			}
		}
	}
}
