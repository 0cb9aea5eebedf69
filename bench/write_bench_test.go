package bench

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

// writeBurst is the writes of an iteration, and its copies.
const writeBurst = 5

// BenchmarkWrite writes keys and values of 512 tokens and of one, 8 heads of 128 dims with tokens
// first, as a projection leaves them, into pools with heads first, on the best kernel set or the one that
// QKV_KERNEL names.
//
//	go test ./bench -run '^$' -bench Write -benchtime 200x
//
// Each iteration is some writes and some copies of the numbers by as many goroutines, in turns. GB/s is the
// least time of a write for the bytes that it reads and writes, copyGB/s that of a copy, and %copy
// the share of it.
func BenchmarkWrite(b *testing.B) {
	const heads, dim = 8, 128
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		b.Fatal(err)
	}
	engine := tile.New(e.Kernel(), tile.Caches{}, false, tile.Tuning{})
	for _, size := range [][2]int{{512, 512}, {512, 64}, {1, 64}} {
		tokens, page := size[0], size[1]
		for _, elem := range kernel.Elems() {
			for _, workers := range []int{1, 2} {
				if workers > runtime.GOMAXPROCS(0) {
					continue
				}
				b.Run(fmt.Sprintf("tokens=%d/page=%d/type=%v/workers=%d", tokens, page, elem, workers), func(b *testing.B) {
					var writes [2]tile.KVWrite
					var numbers, copies [2][]float32
					row := dim / elem.UnitValues() * elem.Unit()
					moved := 0
					for i := range writes {
						numbers[i], copies[i] = make([]float32, tokens*heads*dim), make([]float32, tokens*heads*dim)
						fillNormal(numbers[i], 1, uint64(i))
						n := 2 * max(tokens, page) // every other page is written
						dst, scales := make([]float32, n*heads*row/4), make([]float32, n*heads)
						w := tile.KVWrite{Heads: heads, Dim: dim}
						w.Src = tile.Operand{Base: unsafe.Pointer(&numbers[i][0]), Stride: [4]int{0, dim, heads * dim, 1}}
						w.Pool = tile.KV{
							Elem: elem, Base: unsafe.Pointer(&dst[0]), Stride: [4]int{heads * page * row, page * row, row, elem.Unit()},
							Scale: tile.Operand{Base: unsafe.Pointer(&scales[0]), Stride: [4]int{heads * page, page, 1, 1}},
						}
						for t := 0; t < tokens; t += page {
							w.Runs = append(w.Runs, tile.WriteRun{From: t, Page: int32(t/page*2 + 1), N: min(page, tokens)})
						}
						writes[i] = w
						moved += tokens * heads * (4*dim + row)
						if elem == kernel.Int8 {
							moved += 4 * tokens * heads
						}
					}
					copied := 2 * 4 * 2 * len(numbers[0])
					best := [2]time.Duration{1 << 62, 1 << 62}
					timed := func(i int, f func()) {
						begin := time.Now()
						f()
						best[i] = min(best[i], time.Since(begin))
					}
					for b.Loop() {
						for range writeBurst {
							timed(0, func() { engine.Write(&writes[0], &writes[1], workers) })
						}
						if workers == 1 {
							for range writeBurst {
								timed(1, func() {
									copy(copies[0], numbers[0])
									copy(copies[1], numbers[1])
								})
							}
							continue
						}
						// The other goroutine looks out for its half, as those of an engine do.
						var given, done atomic.Int64
						go func() {
							for n := int64(1); n <= writeBurst; n++ {
								for given.Load() < n {
									runtime.Gosched()
								}
								copy(copies[1], numbers[1])
								done.Store(n)
							}
						}()
						for n := int64(1); n <= writeBurst; n++ {
							timed(1, func() {
								given.Store(n)
								copy(copies[0], numbers[0])
								for done.Load() < n {
									runtime.Gosched()
								}
							})
						}
					}
					rate, ceiling := float64(moved)/float64(best[0]), float64(copied)/float64(best[1])
					b.ReportMetric(float64(best[0]), "ns/op")
					b.ReportMetric(rate, "GB/s")
					b.ReportMetric(ceiling, "copyGB/s")
					b.ReportMetric(100*rate/ceiling, "%copy")
				})
			}
		}
	}
}
