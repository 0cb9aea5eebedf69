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
				group := lanes * a.RowBytes
				b.Run(fmt.Sprintf("op=dequantize/set=%s/type=%v/from=%s", k.Set.Name, w, from), func(b *testing.B) {
					const calls = 64
					peak, best, at, part := s.peakRate(), time.Hour, 0, 0
					for b.Loop() {
						begin := time.Now()
						for range calls {
							if from == "memory" {
								a.Src = &memory[at+part*row]
								if part++; part == parts {
									if part, at = 0, at+group; at+group > len(memory) {
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
