package qkv

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/qkv-go/qkv/kernel"
)

// BenchmarkDequantize times Dequantize of each type, by every set that this machine can run, on rows in the
// first-level cache and on rows that come from memory. Metrics are those of the least time of 64 calls.
// cycles/vector takes the clock from Peak: two multiply-adds of vectors a cycle.
func BenchmarkDequantize(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	memory := make([]byte, 256<<20)
	for i := 0; i < len(memory); i += 8 {
		for j, x := 0, r.Uint64(); j < 8; j++ {
			memory[i+j] = byte(x>>(8*j))&0xbf | 0x20 // any of it as a scale is a normal number, of binary16 and of E8M0
		}
	}
	for _, k := range Kernels() {
		if k.Missing != 0 {
			continue
		}
		s := &kernelBench{set: k.Set}
		for _, w := range kernel.Weights() {
			for _, from := range []string{"cache", "memory"} {
				lanes, row := k.Set.Vec, kernel.KC/w.Values()*w.Bytes()
				a := kernel.DequantizeArgs{
					Type: w, Src: &memory[0], RowBytes: row, Depth: kernel.KC,
					Lanes: lanes, Dst: &make([]float32, lanes*kernel.KC)[0], Stride: lanes,
				}
				parts := 1
				if from == "memory" { // rows of several parts, one after the other
					parts = 4096 / kernel.KC
					a.RowBytes *= parts
				}
				rowsBytes := lanes * a.RowBytes
				b.Run(fmt.Sprintf("op=dequantize/set=%s/type=%v/from=%s", k.Set.Name, w, from), func(b *testing.B) {
					const calls = 64
					peak, best, at, part := s.peakRate(), time.Hour, 0, 0
					for b.Loop() {
						begin := time.Now()
						for range calls {
							if from == "memory" {
								a.Src = &memory[at+part*row]
								if part++; part == parts {
									if part, at = 0, at+rowsBytes; at+rowsBytes > len(memory) {
										at = 0
									}
								}
							}
							s.set.Dequantize(&a)
						}
						best = min(best, time.Since(begin))
					}
					peak = max(peak, s.peakRate())
					ns := float64(best.Nanoseconds()) / calls
					values := float64(kernel.KC * lanes)
					clock := peak / float64(4*k.Set.Vec)
					b.ReportMetric(values/ns, "values/ns")
					b.ReportMetric(float64(lanes*row)/ns, "B/ns")
					b.ReportMetric(ns*clock/kernel.KC, "cycles/vector")
					b.ReportMetric(0, "ns/op")
				})
			}
		}
	}
}

// BenchmarkDotWeights times DotWeights of each type that the machine code of a set takes, beside Dequantize
// and Multiply of the same rows in parts of KC, in turns: a vector of 4,096 numbers by rows in the
// second-level cache, and by rows that come from memory, and tells the least of the times of some calls.
// The metric cycles/vector takes the clock from Peak.
func BenchmarkDotWeights(b *testing.B) {
	const depth = 4096
	r := rand.New(rand.NewPCG(1, 2))
	memory := make([]byte, 256<<20)
	for i := range memory {
		memory[i] = byte(r.Uint32())&0xbf | 0x20 // any of it as a scale is a normal number
	}
	x := make([]float32, depth)
	for i := range x {
		x[i] = r.Float32() - 0.5
	}
	for _, k := range Kernels() {
		if k.Missing != 0 {
			continue
		}
		s := &kernelBench{set: k.Set}
		vec := k.Set.Vec
		step, c := make([]float32, kernel.KC*vec), make([]float32, depth/kernel.KC*vec)
		for _, w := range kernel.Weights() {
			if !k.Set.FusesWeight(w) {
				continue
			}
			row := depth / w.Values() * w.Bytes()
			rowsBytes := vec * row
			dots := kernel.DotWeightsArgs{Type: w, RowBytes: row, Depth: depth, Lanes: vec, X: &x[0], C: &c[0], Stride: vec}
			dequantize := kernel.DequantizeArgs{Type: w, RowBytes: row, Depth: kernel.KC, Lanes: vec, Dst: &step[0], Stride: vec}
			multiply := kernel.MultiplyArgs{RowStride: depth, ColStride: 1, Rows: 1, Depth: kernel.KC, B: &step[0], C: &c[0], Stride: vec, Lanes: vec}
			ways := []struct {
				name string
				call func(at int)
			}{
				{"dots", func(at int) { dots.Src = &memory[at]; k.Set.DotWeights(&dots) }},
				{"steps", func(at int) {
					for part := range depth / kernel.KC {
						dequantize.Src = &memory[at+part*(kernel.KC/w.Values()*w.Bytes())]
						k.Set.Dequantize(&dequantize)
						multiply.A, multiply.Add = &x[part*kernel.KC], part > 0
						k.Set.Multiply(&multiply)
					}
				}},
			}
			for _, from := range []string{"cache", "memory"} {
				b.Run(fmt.Sprintf("op=dots/set=%s/type=%v/from=%s", k.Set.Name, w, from), func(b *testing.B) {
					const calls = 32
					peak, at := s.peakRate(), 0
					best := make([]time.Duration, len(ways))
					for i := range best {
						best[i] = time.Hour
					}
					for b.Loop() {
						for i, way := range ways {
							begin := time.Now()
							for range calls {
								if from == "memory" {
									if at += rowsBytes; at+rowsBytes > len(memory) {
										at = 0
									}
								}
								way.call(at)
							}
							best[i] = min(best[i], time.Since(begin))
						}
					}
					peak = max(peak, s.peakRate())
					for i, way := range ways {
						ns := float64(best[i].Nanoseconds()) / calls
						b.ReportMetric(ns*peak/float64(4*vec)/depth, way.name+"-cycles/vector")
						b.ReportMetric(float64(rowsBytes)/ns, way.name+"-B/ns")
					}
					b.ReportMetric(0, "ns/op")
				})
			}
		}
	}
}
