package qkv

import (
	"testing"

	"github.com/qkv-go/qkv/kernel"
)

// TestAllocsDequantize: no type of weights has Dequantize or DotWeights allocate, also where they are Go code.
func TestAllocsDequantize(t *testing.T) {
	src := make([]byte, 1<<16)
	dst := make([]float32, kernel.KC*kernel.MaxLanes)
	for _, k := range Kernels() {
		if k.Missing != 0 {
			continue
		}
		for _, w := range kernel.Weights() {
			a := &kernel.DequantizeArgs{
				Type: w, Src: &src[0], RowBytes: kernel.KC / w.Values() * w.Bytes(), Depth: kernel.KC,
				Lanes: k.Set.Vec, Dst: &dst[0], Stride: k.Set.Vec,
			}
			if n := testing.AllocsPerRun(10, func() { k.Set.Dequantize(a) }); n != 0 {
				t.Errorf("%s of %v: %v allocations", k.Set.Name, w, n)
			}
			dots := &kernel.DotWeightsArgs{
				Type: w, Src: a.Src, RowBytes: a.RowBytes, Depth: kernel.KC, Lanes: a.Lanes, X: &dst[0], C: &dst[kernel.KC], Stride: a.Stride,
			}
			if n := testing.AllocsPerRun(10, func() { k.Set.DotWeights(dots) }); n != 0 {
				t.Errorf("DotWeights of %s of %v: %v allocations", k.Set.Name, w, n)
			}
		}
	}
}
