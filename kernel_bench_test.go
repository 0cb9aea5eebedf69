package qkv

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"

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
				// Half of the keys of each lane, one in fifty, and those after a diagonal.
				for _, m := range []struct {
					op      string
					dropped func(k, l int) bool
				}{
					{"accumulateMasked", func(k, l int) bool { return s.mask[k]>>l&1 == 0 }},
					{"accumulateFewMasked", func(k, l int) bool { return (k*lanes+l)*7919%50 == 0 }},
					{"accumulateEdge", func(k, l int) bool { return k*lanes > kernel.KeyBlock*l }},
				} {
					masked := s.masked(m.dropped)
					b.Run(name(m.op), func(b *testing.B) {
						s.flops(b, product, func() { s.set.Accumulate(&masked) })
					})
				}
				if dim == 128 {
					softmaxMasked := s.softmax
					softmaxMasked.MaskFrom = 0
					softmaxMasked.Mask = &s.mask[0]
					b.Run(name("softmax"), func(b *testing.B) {
						s.elements(b, func() { s.set.Softmax(&s.softmax) })
					})
					b.Run(name("softmaxMasked"), func(b *testing.B) {
						s.elements(b, func() { s.set.Softmax(&softmaxMasked) })
					})
					b.Run(name("softcap"), func(b *testing.B) {
						s.elements(b, func() { s.set.Softcap(&s.softcap) })
					})
					b.Run(name("alibi"), func(b *testing.B) {
						s.elements(b, func() { s.set.ALiBi(&s.alibi) })
					})
					b.Run(name("bias"), func(b *testing.B) {
						s.elements(b, func() { s.set.Bias(&s.bias) })
					})
					biasMasked := s.bias
					biasMasked.Src = &s.infs[0]
					b.Run(name("biasMasked"), func(b *testing.B) {
						s.elements(b, func() { s.set.Bias(&biasMasked) })
					})
					b.Run(name("float16"), func(b *testing.B) {
						s.elements(b, func() { s.set.Float16(&s.s[0], &s.halves[0], len(s.halves)) })
					})
				}
				b.Run(name("pack"), func(b *testing.B) {
					s.bytes(b, func() { s.set.Pack(&s.pack) })
				})
				b.Run(name("unpack"), func(b *testing.B) {
					s.bytes(b, func() { s.set.Unpack(&s.unpack) })
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
	halves     []uint16
	infs       []float32 // biases, half of them -Inf
	pack       kernel.PackArgs
	scores     kernel.ScoresArgs
	softcap    kernel.SoftcapArgs
	alibi      kernel.ALiBiArgs
	bias       kernel.BiasArgs
	softmax    kernel.SoftmaxArgs
	accumulate kernel.AccumulateArgs
	unpack     kernel.UnpackArgs
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
	s.softcap = kernel.SoftcapArgs{S: &s.s[0], Keys: keys, Lanes: lanes, Stride: lanes, In: 0.2, Out: 10}
	s.alibi = kernel.ALiBiArgs{
		S: &s.s[0], Keys: keys, Pos: &state[0][0], Slope: &state[1][0], Lanes: lanes, Stride: lanes,
	}
	biases, biasOff := random(lanes*keys), new([kernel.MaxLanes]int)
	for l := range lanes {
		biasOff[l] = l * keys
	}
	s.infs = slices.Clone(biases)
	for i := range s.infs {
		if r.IntN(2) == 0 {
			s.infs[i] = float32(math.Inf(-1))
		}
	}
	s.halves = make([]uint16, keys*lanes)
	s.bias = kernel.BiasArgs{
		Src: &biases[0], Off: biasOff, Rows: lanes, Keys: keys, S: &random(keys * lanes)[0],
		Mask: &slices.Clone(s.mask)[0], Scale: 1, Lanes: lanes, Stride: lanes,
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
	s.unpack = kernel.UnpackArgs{
		O: &out[0], Sum: &random(lanes)[0], Dst: &rows[0], Off: off, DimStride: 1,
		Rows: lanes, Dim: dim, Lanes: lanes, Stride: lanes,
	}
	return s
}

// masked returns the operands of Accumulate with weights of -0.
func (s *kernelBench) masked(dropped func(k, l int) bool) kernel.AccumulateArgs {
	a := s.accumulate
	weights := slices.Clone(unsafe.Slice(a.P, kernel.KeyBlock*s.lanes))
	for i := range weights {
		if dropped(i/s.lanes, i%s.lanes) {
			weights[i] = float32(math.Copysign(0, -1))
		}
	}
	a.P, a.MaskFrom = &weights[0], 0
	return a
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

// elements times a function of each score. Its time does not depend on values: what
// a call leaves serves the next.
func (s *kernelBench) elements(b *testing.B, f func()) {
	for b.Loop() {
		f()
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
