package qkv

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/qkv-go/qkv/internal/memory"
	"github.com/qkv-go/qkv/kernel"
)

// A rowBench is a kernel of one row of 4,096 numbers by packed weights.
type rowBench struct {
	name  string
	bytes int           // of weights that a call reads
	call  func(w *byte) // by weights that begin there
}

// rowBenches returns the kernels of a set for one worker.
func rowBenches(set *kernel.Set) []rowBench {
	const depth = 4096
	r := rand.New(rand.NewPCG(1, 2))
	floats := make([]float32, depth)
	for i := range floats {
		floats[i] = r.Float32() - 0.5
	}
	x, c := &floats[0], &make([]float32, 16*set.Lanes)[0]
	var all []rowBench
	for _, near := range []bool{false, true} {
		few := kernel.MultiplyArgs{
			A: x, RowStride: depth, ColStride: 1, Rows: 1, Depth: depth, C: c, Stride: set.Lanes, Lanes: set.Lanes, Near: near,
		}
		name := "class=Float32/type=F32"
		if near {
			name += "/near"
		}
		all = append(all, rowBench{name, 4 * depth * set.Lanes, func(w *byte) {
			few.B = (*float32)(unsafe.Pointer(w))
			set.MultiplyFew(&few)
		}})
	}
	for _, t := range []kernel.Weight{kernel.WeightFloat16, kernel.WeightBFloat16, kernel.WeightQ8_0, kernel.WeightQ4_0, kernel.WeightQ4_K} {
		for _, of := range []struct {
			name string
			vec  int
			near bool
		}{{"1", set.Vec, false}, {"2", set.StripLanes, false}, {"2-near", set.StripLanes, true}} {
			if of.name != "1" && of.vec == set.Vec {
				continue
			}
			strip := t.StripBytes(depth) * of.vec
			a := kernel.MultiplyStripsArgs{
				Type: t, StripBytes: strip, Vec: of.vec, Depth: depth, Lanes: set.Lanes,
				A: x, RowStride: depth, Rows: 1, C: c, Stride: set.Lanes, Near: of.near,
			}
			all = append(all, rowBench{fmt.Sprintf("class=Float32/type=%v/strips=%s", t, of.name), strip * set.Lanes / of.vec, func(w *byte) {
				a.Src = w
				set.MultiplyStrips(&a)
			}})
		}
	}
	if !set.WholePanels {
		return all
	}
	size := kernel.Int8BlockBytes(set.Int8Halves)
	quantized := make([]byte, depth/kernel.Int8Block*size)
	set.Quantize(&kernel.QuantizeArgs{
		X: x, RowStride: depth, ColStride: 1, Rows: 1, Depth: depth, Halves: set.Int8Halves, Dst: &quantized[0], RowBytes: len(quantized),
	})
	panels := 128 / set.Lanes
	for _, t := range []kernel.Weight{kernel.WeightQ8_0, kernel.WeightQ4_0, kernel.WeightQ4_K, kernel.WeightQ6_K} {
		for _, ask := range []struct {
			name  string
			ahead int
			near  bool
		}{{"L2-16K", 16 << 10, false}, {"L1-4K", 4 << 10, true}, {"L1-6K", 6 << 10, true}, {"L1-8K", 8 << 10, true}} {
			a := kernel.MultiplyRowInt8Args{
				X: &quantized[0], Depth: depth, Halves: set.Int8Halves, Type: t, C: c, Lanes: set.Lanes, Panels: panels,
				Ahead: ask.ahead, Near: ask.near,
			}
			all = append(all, rowBench{fmt.Sprintf("class=Int8/type=%v/ask=%s", t, ask.name), t.Int8().Bytes(depth) * set.Lanes * panels, func(w *byte) {
				a.W = w
				set.MultiplyRowInt8(&a)
			}})
		}
	}
	return all
}

// BenchmarkRow times kernels of one row by packed weights, in turns with Read of as many bytes of the same memory:
// %reading is the median of what Read takes, in parts of what the kernel takes. cache-GB/s is the rate by the same
// weights again and again. -cpu says how many workers do so at once, each by memory of its own.
func BenchmarkRow(b *testing.B) {
	const room, turn = 256 << 20, 8 << 20 // of a worker
	workers := runtime.GOMAXPROCS(0)
	data := make([][]byte, workers)
	for w := range data {
		data[w] = unsafe.Slice((*byte)(unsafe.Pointer(&memory.Floats(room / 4)[0])), room)
		r := rand.New(rand.NewPCG(1, uint64(w)))
		for i := 0; i < room; i += 8 {
			*(*uint64)(unsafe.Pointer(&data[w][i])) = r.Uint64()&0xbfbfbfbfbfbfbfbf | 0x2020202020202020 // any of it as a scale is a normal number
		}
	}
	// together returns how long it takes until each worker is done.
	together := func(do func(w int)) time.Duration {
		var begun, done sync.WaitGroup
		begun.Add(workers)
		start := make([]time.Time, workers)
		end := make([]time.Time, workers)
		for w := range workers {
			done.Go(func() {
				begun.Done()
				begun.Wait()
				start[w] = time.Now()
				do(w)
				end[w] = time.Now()
			})
		}
		done.Wait()
		return slices.MaxFunc(end, time.Time.Compare).Sub(slices.MinFunc(start, time.Time.Compare))
	}
	for _, k := range Kernels() {
		if k.Missing != 0 || k.Set.Name == genericSet.Name {
			continue
		}
		set := k.Set
		benches := make([][]rowBench, workers)
		for w := range benches {
			benches[w] = rowBenches(set)
		}
		for i, of := range benches[0] {
			b.Run(fmt.Sprintf("set=%s/%s", set.Name, of.name), func(b *testing.B) {
				calls := turn / of.bytes
				bytes := calls * of.bytes
				n := bytes / 4 / 256 * 256
				at := 0
				next := func() int {
					if at += bytes; at+bytes > room {
						at = 0
					}
					return at
				}
				var ratios, reads []float64
				cache := time.Hour
				for b.Loop() {
					from := next()
					read := together(func(w int) { set.Read((*float32)(unsafe.Pointer(&data[w][from])), n) })
					from = next()
					took := together(func(w int) {
						for c := range calls {
							benches[w][i].call(&data[w][from+c*of.bytes])
						}
					})
					ratios = append(ratios, float64(read)/float64(took))
					reads = append(reads, float64(bytes*workers)/float64(read))
					cache = min(cache, together(func(w int) {
						for range calls {
							benches[w][i].call(&data[w][0])
						}
					}))
				}
				median := func(x []float64) float64 {
					slices.Sort(x)
					return x[len(x)/2]
				}
				ratio := median(ratios)
				b.ReportMetric(100*ratio, "%reading")
				b.ReportMetric(median(reads), "read-GB/s")
				b.ReportMetric(float64(bytes*workers)/float64(cache), "cache-GB/s")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
