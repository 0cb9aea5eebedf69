package qkv

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// BenchmarkDecode times the operations on few queries, four rows of 128 dims, on key blocks that follow each other:
// one again and again, in the first-level cache, and 64 MiB of them. Metrics are bytes of keys or values a nanosecond
// and, of memory, the share of the rate of Read measured just before.
func BenchmarkDecode(b *testing.B) {
	const dim, rows, total = 128, 4, 64 << 20
	r := rand.New(rand.NewPCG(1, 2))
	memory := make([]float32, total/4+1<<10)
	for i := range memory {
		memory[i] = float32(r.NormFloat64())
	}
	data := unsafe.Pointer(&memory[0])
	floats := func(n int) *float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = r.Float32()
		}
		return &x[0]
	}
	q, p, o, scale := floats(dim*rows), floats(kernel.KeyBlock*rows), floats(dim*rows), floats(kernel.KeyBlock)
	const blocksOfKeys = kernel.KeyBlock / kernel.Int8Block
	codes := make([]int8, dim/kernel.Int8Block*kernel.KeyBlock*rows)
	for i := range codes {
		codes[i] = int8(r.IntN(128))
	}
	const few = 16 // rows that are made float32 at a time
	converted := make([]float32, few*dim)
	var convertedOff [2 * kernel.KeyBlock]int
	for i := range convertedOff {
		convertedOff[i] = 4 * dim * min(i, few-1)
	}
	for _, k := range Kernels() {
		if k.Missing != 0 {
			continue
		}
		set := k.Set
		row := dim / kernel.Int8Block * kernel.Int8BlockBytes(set.Int8Halves)
		blocks := make([]byte, rows*row)
		set.Quantize(&kernel.QuantizeArgs{X: q, RowStride: dim, ColStride: 1, Rows: rows, Depth: dim, Halves: set.Int8Halves, Dst: &blocks[0], RowBytes: row})
		for _, e := range kernel.Elems() {
			size := e.RowBytes(dim)
			off := new([2 * kernel.KeyBlock]int)
			for i := range off {
				off[i] = i * size
				if i >= kernel.KeyBlock {
					off[i] = (i-kernel.KeyBlock)*size + 16<<10
				}
			}
			ahead := (*[kernel.KeyBlock]int)(off[kernel.KeyBlock:])
			scores := kernel.DecodeScoresArgs{
				Off: off, Elem: e, Scale: scale, Keys: kernel.KeyBlock, Dim: dim, Q: q, QStride: rows, Rows: rows, S: floats(kernel.KeyBlock * rows), Stride: rows,
			}
			int8 := kernel.DecodeScoresInt8Args{
				Off: off, Elem: e, Scale: scale, Keys: kernel.KeyBlock, Dim: dim,
				Q: &blocks[0], QBytes: row, Halves: set.Int8Halves, Rows: rows, S: scores.S, Stride: rows,
			}
			accumulate := kernel.DecodeAccumulateArgs{
				Off: off, Elem: e, Scale: scale, Keys: kernel.KeyBlock, MaskFrom: kernel.KeyBlock, Dim: dim, P: p, Stride: rows, Rows: rows,
				O: o, OStride: dim, Mode: kernel.Add,
			}
			groups := e.Int8Groups(dim)
			accumulateInt8 := kernel.DecodeAccumulateInt8Args{
				Off: off, Elem: e, Keys: kernel.KeyBlock, Dim: dim, Codes: &codes[0], Scales: floats(groups * blocksOfKeys * rows), Mins: floats(groups * blocksOfKeys * rows),
				GroupCodes: kernel.KeyBlock * rows, GroupScales: blocksOfKeys * rows, Lanes: rows, Rows: rows, O: o, OStride: dim, Mode: kernel.Add,
			}
			convert := kernel.ConvertArgs{
				Off: (*[kernel.KeyBlock]int)(off[:]), Elem: e, UnitStride: e.Unit(), Scale: scale, Rows: few, Dim: dim,
				Dst: &converted[0], Stride: dim, Ahead: ahead,
			}
			ofConverted := accumulate
			ofConverted.V, ofConverted.Off, ofConverted.Elem, ofConverted.Keys, ofConverted.MaskFrom = unsafe.Pointer(&converted[0]), &convertedOff, kernel.Float32, few, few
			for _, op := range []struct {
				name string
				of   bool
				run  func(block unsafe.Pointer)
			}{
				{"scores", e.Direct(), func(k unsafe.Pointer) { scores.K = k; set.DecodeScores(&scores) }},
				{"scoresInt8", e.Integers(), func(k unsafe.Pointer) { int8.K = k; set.DecodeScoresInt8(&int8) }},
				{"accumulate", e.Direct() || set.AnyValues, func(v unsafe.Pointer) { accumulate.V = v; set.DecodeAccumulate(&accumulate) }},
				{"accumulateInt8", e.Integers(), func(v unsafe.Pointer) { accumulateInt8.V = v; set.DecodeAccumulateInt8(&accumulateInt8) }},
				{"convertAccumulate", !e.Direct(), func(v unsafe.Pointer) {
					for k := 0; k < kernel.KeyBlock; k += few {
						convert.Src, ofConverted.P = unsafe.Add(v, k*size), ptr.At(p, k*rows)
						set.Convert(&convert)
						set.DecodeAccumulate(&ofConverted)
					}
				}},
			} {
				if !op.of {
					continue
				}
				name := fmt.Sprintf("set=%s/op=%s/elem=%s", set.Name, op.name, e.Name())
				block := size * kernel.KeyBlock
				b.Run(name+"/cache", func(b *testing.B) {
					for range b.N {
						op.run(data)
					}
					b.ReportMetric(float64(block)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "B/ns")
				})
				b.Run(name+"/memory", func(b *testing.B) {
					n := total/block - 2
					read := func() { set.Read(&memory[0], total/4) }
					read()
					reading := float64(total) / seconds(read) / 1e9
					b.ResetTimer()
					for i := range b.N {
						op.run(unsafe.Add(data, i%n*block))
					}
					rate := float64(block) * float64(b.N) / float64(b.Elapsed().Nanoseconds())
					b.ReportMetric(rate, "B/ns")
					b.ReportMetric(rate/reading, "of-read")
				})
			}
		}
	}
}

// seconds returns how long f takes.
func seconds(f func()) float64 {
	start := time.Now()
	f()
	return time.Since(start).Seconds()
}
