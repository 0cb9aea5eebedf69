package qkv

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/qkv-go/qkv/kernel"
)

// BenchmarkKernel times every function of every set that this machine can run, on
// one key block. The metric %peak is the share of Peak measured just before and
// just after.
func BenchmarkKernel(b *testing.B) {
	for _, k := range Kernels() {
		if k.Missing != 0 {
			continue
		}
		for lanes := k.Set.Lanes; lanes >= k.Set.Vec; lanes -= k.Set.Vec {
			for _, dim := range []int{128, 64} {
				s := newKernelBench(k.Set, lanes, dim)
				name := func(op string) string {
					return fmt.Sprintf("op=%s/set=%s/lanes=%d/dim=%d", op, k.Set.Name, lanes, dim)
				}
				product := 2 * float64(kernel.KeyBlock*dim*lanes)
				b.Run(name("scores"), func(b *testing.B) {
					s.flops(b, product, func() { s.set.Scores(&s.scores) })
				})
				b.Run(name("accumulate"), func(b *testing.B) {
					s.flops(b, product, func() { s.set.Accumulate(&s.accumulate) })
				})
				masked := s.accumulate
				masked.MaskFrom = 0
				b.Run(name("accumulateMasked"), func(b *testing.B) {
					s.flops(b, product, func() { s.set.Accumulate(&masked) })
				})
				if dim == 128 {
					softmaxMasked := s.softmax
					softmaxMasked.MaskFrom = 0
					softmaxMasked.Mask = &s.mask[0]
					b.Run(name("softmax"), func(b *testing.B) { s.weights(b, &s.softmax) })
					b.Run(name("softmaxMasked"), func(b *testing.B) { s.weights(b, &softmaxMasked) })
				}
				b.Run(name("pack"), func(b *testing.B) {
					s.bytes(b, func() { s.set.PackQ(&s.pack) })
				})
				b.Run(name("finish"), func(b *testing.B) {
					s.bytes(b, func() { s.set.Finish(&s.finish) })
				})
			}
		}
	}
}

// A kernelBench holds the operands of a set's functions.
type kernelBench struct {
	set        *kernel.Set
	lanes, dim int
	mask       []uint64
	s          []float32
	pack       kernel.PackArgs
	scores     kernel.ScoresArgs
	softmax    kernel.SoftmaxArgs
	accumulate kernel.AccumulateArgs
	finish     kernel.FinishArgs
}

func newKernelBench(set *kernel.Set, lanes, dim int) *kernelBench {
	r := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = r.Float32() + 0.5
		}
		return x
	}
	const keys = kernel.KeyBlock
	s := &kernelBench{set: set, lanes: lanes, dim: dim}
	s.s = random(keys * lanes)
	for range keys {
		s.mask = append(s.mask, r.Uint64())
	}
	rows := random(lanes * dim)
	off := new([kernel.MaxLanes]int)
	for l := range lanes {
		off[l] = l * dim
	}
	packed, weights, out := random(dim*lanes), random(keys*lanes), random(dim*lanes)
	state := [3][]float32{random(lanes), random(lanes), random(lanes)}
	kv := random(keys * dim)
	s.pack = kernel.PackArgs{
		Src: &rows[0], Off: off, DimStride: 1, Rows: lanes, Dim: dim,
		Dst: &random(dim * lanes)[0], Lanes: lanes, Stride: lanes, Scale: 0.5,
	}
	s.scores = kernel.ScoresArgs{
		K: &kv[0], KeyStride: dim, DimStride: 1, Keys: keys, Dim: dim,
		Q: &packed[0], S: &random(keys * lanes)[0], Lanes: lanes, Stride: lanes,
	}
	s.softmax = kernel.SoftmaxArgs{
		S: &s.s[0], Keys: keys, MaskFrom: keys,
		Max: &state[0][0], Sum: &state[1][0], Alpha: &state[2][0], Lanes: lanes, Stride: lanes,
	}
	s.accumulate = kernel.AccumulateArgs{
		V: &kv[0], KeyStride: dim, DimStride: 1, Keys: keys, MaskFrom: keys, Dim: dim,
		P: &weights[0], O: &out[0], Alpha: &state[2][0], Lanes: lanes, Stride: lanes,
		Mode: kernel.First,
	}
	s.finish = kernel.FinishArgs{
		O: &out[0], Sum: &random(lanes)[0], Dst: &rows[0], Off: off, DimStride: 1,
		Rows: lanes, Dim: dim, Lanes: lanes, Stride: lanes,
	}
	return s
}

// peakRate measures Peak, in floating-point operations a nanosecond.
func (s *kernelBench) peakRate() float64 {
	best := 0.0
	for range 5 {
		const n = 50_000
		begin := time.Now()
		s.set.Peak(n)
		best = max(best, n*float64(s.set.PeakFLOPs)/float64(time.Since(begin).Nanoseconds()))
	}
	return best
}

func (s *kernelBench) flops(b *testing.B, work float64, f func()) {
	peak := s.peakRate()
	for b.Loop() {
		f()
	}
	rate := work * float64(b.N) / float64(b.Elapsed().Nanoseconds())
	peak = max(peak, s.peakRate())
	b.ReportMetric(rate, "GFLOP/s")
	b.ReportMetric(100*rate/peak, "%peak")
}

// weights times Softmax. Its time does not depend on values: the weights of a call
// serve as the scores of the next.
func (s *kernelBench) weights(b *testing.B, a *kernel.SoftmaxArgs) {
	for b.Loop() {
		s.set.Softmax(a)
	}
	n := float64(b.N) * float64(len(s.s))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n*16, "ns/16scores")
}

func (s *kernelBench) bytes(b *testing.B, f func()) {
	b.SetBytes(int64(2 * 4 * s.lanes * s.dim))
	for b.Loop() {
		f()
	}
}
