package qkv

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/qkv-go/qkv/kernel"
)

// BenchmarkMultiplyStrips times few rows of 4,096 numbers by panels of strips of each type, in the
// second-level cache and from memory, and tells the least of the times of some calls. The metric cycles/vector
// takes the clock from Peak, B/ns counts the bytes of strips.
func BenchmarkMultiplyStrips(b *testing.B) {
	const depth = 4096
	r := rand.New(rand.NewPCG(1, 2))
	memory := make([]byte, 256<<20)
	for i := range memory {
		memory[i] = byte(r.Uint32())&0xbf | 0x20 // any of it as a scale is a normal number
	}
	x := make([]float32, kernel.MaxStripRows*depth)
	for i := range x {
		x[i] = r.Float32() - 0.5
	}
	for _, k := range Kernels() {
		if k.Missing != 0 {
			continue
		}
		s := &kernelBench{set: k.Set}
		vec := k.Set.StripLanes
		for _, w := range kernel.StripTypes() {
			for rows := 1; rows <= kernel.MaxStripRows; rows++ {
				for _, from := range []string{"cache", "memory"} {
					lanes, strip := vec, w.StripBytes(depth)*vec
					if from == "memory" {
						lanes = k.Set.Lanes / vec * vec
					}
					panel := lanes / vec * strip
					c := make([]float32, rows*lanes)
					a := kernel.MultiplyStripsArgs{
						Type: w, Src: &memory[0], StripBytes: strip, Vec: vec, Depth: depth, Lanes: lanes,
						A: &x[0], RowStride: depth, Rows: rows, C: &c[0], Stride: lanes,
					}
					b.Run(fmt.Sprintf("op=strips/set=%s/type=%v/rows=%d/from=%s", k.Set.Name, w, rows, from), func(b *testing.B) {
						const calls = 32
						peak, at, best := s.peakRate(), 0, time.Hour
						for b.Loop() {
							begin := time.Now()
							for range calls {
								if from == "memory" {
									if at += panel; at+panel > len(memory) {
										at = 0
									}
								}
								a.Src = &memory[at]
								k.Set.MultiplyStrips(&a)
							}
							best = min(best, time.Since(begin))
						}
						peak = max(peak, s.peakRate())
						ns := float64(best.Nanoseconds()) / calls
						b.ReportMetric(ns*peak/float64(4*k.Set.Vec)/float64(depth*lanes/k.Set.Vec), "cycles/vector")
						b.ReportMetric(float64(panel)/ns, "B/ns")
						b.ReportMetric(0, "ns/op")
					})
				}
			}
		}
	}
}
