package qkv

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// BenchmarkMultiplyInt8 times MultiplyInt8 of 64 lanes by every set that this machine can run: a step of a panel, in the
// first-level cache, by rows whose steps lie apart as those of 4,096 terms do. Metrics are those of the least time of
// 16 calls. cycles/block, of 32 terms of a vector, takes the clock from Peak: two multiply-adds of vectors a cycle.
func BenchmarkMultiplyInt8(b *testing.B) {
	const lanes, most, rowBlocks, blocks = 64, 336, 4096 / kernel.Int8Block, kernel.KC / kernel.Int8Block
	r := rand.New(rand.NewPCG(1, 2))
	w := make([]byte, kernel.KC*lanes)
	for i := range w {
		w[i] = byte(r.Uint32())
	}
	floats := func(n int) *float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = r.Float32()
		}
		return &x[0]
	}
	for _, k := range Kernels() {
		if k.Missing != 0 || k.Set.Name == genericSet.Name {
			continue
		}
		s, size := &kernelBench{set: k.Set}, kernel.Int8BlockBytes(k.Set.Int8Halves)
		x := make([]byte, most*rowBlocks*size)
		k.Set.Quantize(&kernel.QuantizeArgs{
			X: floats(most * 32 * rowBlocks), RowStride: 32 * rowBlocks, ColStride: 1, Rows: most, Depth: 32 * rowBlocks,
			Halves: k.Set.Int8Halves, Dst: &x[0], RowBytes: rowBlocks * size,
		})
		for _, kind := range []struct {
			name   string
			groups int
			mins   bool
		}{{"bytes", 1, false}, {"mins", 1, true}, {"groups", 2, false}} {
			for _, rows := range []int{1, 8, 12, 24, 48, 128, most} {
				a := kernel.MultiplyInt8Args{
					X: &x[0], RowBytes: rowBlocks * size, Rows: rows, Depth: kernel.KC, Halves: k.Set.Int8Halves,
					W: &w[0], Groups: kind.groups, Scales: floats(blocks * kind.groups * lanes),
					C: floats(rows * lanes), Stride: lanes, Lanes: lanes, Add: true,
				}
				if kind.mins {
					a.Mins = floats(blocks * lanes)
				}
				b.Run(fmt.Sprintf("op=multiplyInt8/set=%s/kind=%s/rows=%d", k.Set.Name, kind.name, rows), func(b *testing.B) {
					const calls = 16
					peak, best := s.peakRate(), time.Hour
					for b.Loop() {
						begin := time.Now()
						for range calls {
							s.set.MultiplyInt8(&a)
						}
						best = min(best, time.Since(begin))
					}
					peak = max(peak, s.peakRate())
					ns := float64(best.Nanoseconds()) / calls
					clock := peak / float64(4*k.Set.Vec)
					b.ReportMetric(2*float64(rows*lanes*kernel.KC)/ns, "GOP/s")
					b.ReportMetric(ns*clock/float64(rows*blocks*lanes/k.Set.Vec), "cycles/block")
					b.ReportMetric(ns*clock, "cycles")
					b.ReportMetric(0, "ns/op")
				})
			}
		}
		b.Run("op=peakInt8/set="+k.Set.Name, func(b *testing.B) {
			const rounds = 4096
			peak, best := s.peakRate(), time.Hour
			for b.Loop() {
				begin := time.Now()
				s.set.PeakInt8(rounds)
				best = min(best, time.Since(begin))
			}
			peak = max(peak, s.peakRate())
			ns := float64(best.Nanoseconds()) / rounds
			b.ReportMetric(float64(s.set.PeakInt8Ops)/ns, "GOP/s")
			b.ReportMetric(ns*peak/float64(4*k.Set.Vec), "cycles/round")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkTransposeInt8 times 128 values of 128 dims, again and again.
func BenchmarkTransposeInt8(b *testing.B) {
	const dim = 128
	memory := make([]float32, kernel.KeyBlock*dim/4)
	for _, k := range Kernels() {
		if k.Missing != 0 {
			continue
		}
		size := kernel.KeyBlock / kernel.Int8Block * kernel.Int8BlockBytes(k.Set.Int8Halves)
		dst := make([]byte, dim*size)
		for _, e := range kernel.Elems() {
			if !e.Integers() {
				continue
			}
			var off [kernel.KeyBlock]int
			for i := range off {
				off[i] = i * e.RowBytes(dim)
			}
			a := kernel.TransposeInt8Args{
				Src: unsafe.Pointer(&memory[0]), Off: &off, Elem: e, UnitStride: e.Unit(), Keys: kernel.KeyBlock, Dim: dim,
				Halves: k.Set.Int8Halves, Dst: &dst[0], RowBytes: size,
			}
			b.Run(fmt.Sprintf("set=%s/elem=%s", k.Set.Name, e.Name()), func(b *testing.B) {
				for b.Loop() {
					k.Set.TransposeInt8(&a)
				}
			})
		}
	}
}
