package bench

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/qkv-go/qkv"
)

// A linearCase is the sizes of a matrix product [m, k] x [k, n].
type linearCase struct{ m, n, k int }

// FLOPs counts a multiplication and an addition for each term.
func (c linearCase) FLOPs() float64 { return 2 * float64(c.m) * float64(c.n) * float64(c.k) }

// Bytes is the size of the weights, which few rows are bound by.
func (c linearCase) Bytes() float64 { return 4 * float64(c.n) * float64(c.k) }

var linearCases = []linearCase{
	{512, 4096, 4096}, {128, 768, 768}, {2048, 1024, 1024},
	{1, 4096, 4096}, {2, 4096, 4096}, {4, 4096, 4096}, {8, 4096, 4096}, {16, 4096, 4096},
}

// BenchmarkMatMul runs products on the best kernel set, or the one that QKV_KERNEL names,
// with packed weights and with weights in place, [out, in] and [in, out]. It reports their
// rate and its share of the peak, and for few rows the rate at which weights are read and
// its share of that of reading alone.
func BenchmarkMatMul(b *testing.B) {
	for _, c := range linearCases {
		for _, form := range []string{"packed", "out-in", "in-out"} {
			for _, workers := range []int{1, runtime.GOMAXPROCS(0)} {
				b.Run(fmt.Sprintf("m=%d/n=%d/k=%d/w=%s/workers=%d", c.m, c.n, c.k, form, workers), func(b *testing.B) {
					e := newEngine(b, workers)
					x, w, y := randomFloats(c.m*c.k), randomFloats(c.n*c.k), make([]float32, c.m*c.n)
					p := qkv.Product{X: qkv.RowMajor(x, c.m, c.k), Y: qkv.RowMajor(y, c.m, c.n)}
					weights := qkv.RowMajor(w, c.n, c.k).T()
					row, col := 1, c.k
					switch form {
					case "packed":
						var err error
						if p.Packed, err = e.Pack(weights); err != nil {
							b.Fatal(err)
						}
					case "out-in":
						p.W = weights
					case "in-out":
						p.W = qkv.RowMajor(w, c.k, c.n)
						row, col = c.n, 1
					}
					check := func() {
						for range 20 {
							i, j := rand.IntN(c.m), rand.IntN(c.n)
							sum, size := 0.0, 0.0
							for l := range c.k {
								t := float64(x[i*c.k+l]) * float64(w[l*row+j*col])
								sum, size = sum+t, size+math.Abs(t)
							}
							if diff := math.Abs(float64(y[i*c.n+j]) - sum); !(diff <= 1e-5*size) {
								b.Fatalf("y[%d,%d] is %g, want %g", i, j, y[i*c.n+j], sum)
							}
						}
					}
					bytes := c.Bytes()
					if c.m > 16 {
						bytes = 0
					}
					benchmarkLinear(b, e, workers, c.FLOPs(), bytes, func() error { return e.MatMul(&p) }, check)
				})
			}
		}
	}
}

// The layer of the benchmarks has 32 heads of 128 dims, 8 of keys and values, on rows of 4096.
const (
	layerSeq, layerIn             = 512, 4096
	layerHeads, layerKV, layerDim = 32, 8, 128
)

func layerConfig(b *testing.B, rotary bool, inPlace bool) qkv.ProjectionConfig {
	linear := func(heads int) qkv.Linear {
		return qkv.Linear{
			W:    qkv.RowMajor(randomFloats(heads*layerDim*layerIn), heads*layerDim, layerIn).T(),
			Bias: randomFloats(heads * layerDim),
		}
	}
	cfg := qkv.ProjectionConfig{
		Q: linear(layerHeads), K: linear(layerKV), V: linear(layerKV),
		Heads: layerHeads, KVHeads: layerKV, InPlace: inPlace,
	}
	if rotary {
		var err error
		if cfg.Rotary, err = qkv.NewRotary(qkv.RotaryConfig{Dim: layerDim, MaxPositions: layerSeq}); err != nil {
			b.Fatal(err)
		}
	}
	return cfg
}

// projectionFLOPs are those of queries, keys and values.
const projectionFLOPs = 2 * layerSeq * layerIn * (layerHeads + 2*layerKV) * layerDim

// BenchmarkProjection runs a fused projection of queries, keys and values, [512, 4096] x
// [4096, 6144], with biases and a rotary embedding.
func BenchmarkProjection(b *testing.B) {
	for _, form := range []string{"packed", "out-in"} {
		for _, finish := range []string{"rope", "none", "norm+rope"} {
			for _, workers := range []int{1, runtime.GOMAXPROCS(0)} {
				b.Run(fmt.Sprintf("m=%d/n=%d/k=%d/w=%s/finish=%s/workers=%d", layerSeq, (layerHeads+2*layerKV)*layerDim, layerIn, form, finish, workers), func(b *testing.B) {
					e := newEngine(b, workers)
					cfg := layerConfig(b, finish != "none", form != "packed")
					if finish == "norm+rope" {
						cfg.QNorm, cfg.KNorm = randomFloats(layerDim), randomFloats(layerDim)
					}
					p, err := e.NewProjection(cfg)
					if err != nil {
						b.Fatal(err)
					}
					room := func(heads int) qkv.View {
						return qkv.BHSD(make([]float32, heads*layerSeq*layerDim), 1, heads, layerSeq, layerDim)
					}
					call := qkv.ProjectionCall{X: qkv.RowMajor(randomFloats(layerSeq*layerIn), layerSeq, layerIn), Q: room(layerHeads), K: room(layerKV), V: room(layerKV)}
					benchmarkLinear(b, e, workers, projectionFLOPs, 0, func() error { return p.Run(&call) }, func() {})
				})
			}
		}
	}
}

// BenchmarkLayer runs a whole layer on [1, 512, 4096]: projections, rotary embedding, causal
// attention, of which the pairs that the mask keeps count, and output projection.
func BenchmarkLayer(b *testing.B) {
	for _, form := range []string{"packed", "out-in"} {
		for _, workers := range []int{1, runtime.GOMAXPROCS(0)} {
			b.Run(fmt.Sprintf("seq=%d/in=%d/h=%d/hkv=%d/d=%d/w=%s/workers=%d", layerSeq, layerIn, layerHeads, layerKV, layerDim, form, workers), func(b *testing.B) {
				e := newEngine(b, workers)
				l, err := e.NewLayer(qkv.LayerConfig{
					ProjectionConfig: layerConfig(b, true, form != "packed"),
					Out:              qkv.Linear{W: qkv.RowMajor(randomFloats(layerIn*layerHeads*layerDim), layerIn, layerHeads*layerDim).T()},
					Attention:        qkv.Call{Mask: qkv.Mask{Causal: true}},
				})
				if err != nil {
					b.Fatal(err)
				}
				x, y := qkv.RowMajor(randomFloats(layerSeq*layerIn), layerSeq, layerIn), qkv.RowMajor(make([]float32, layerSeq*layerIn), layerSeq, layerIn)
				const attention = 2 * layerHeads * (layerSeq * (layerSeq + 1) / 2) * 2 * layerDim
				const out = 2 * layerSeq * layerIn * layerHeads * layerDim
				benchmarkLinear(b, e, workers, projectionFLOPs+attention+out, 0, func() error { return l.Forward(y, x) }, func() {})
			})
		}
	}
}

func newEngine(b *testing.B, workers int) *qkv.Engine {
	e, err := qkv.New(qkv.Config{Workers: workers})
	if err != nil {
		b.Fatal(err)
	}
	return e
}

// randomFloats returns standard normal numbers.
func randomFloats(n int) []float32 {
	r := rand.New(rand.NewPCG(uint64(n), 1))
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

// benchmarkLinear times run in turns with bursts of the peak and, where bytes is not 0, of
// reading memory, and reports medians. check is called after the first run.
func benchmarkLinear(b *testing.B, e *qkv.Engine, workers int, flops, bytes float64, run func() error, check func()) {
	if err := run(); err != nil {
		b.Fatal(err)
	}
	check()
	peak := NewPeak(e.Kernel())
	var read *buffers
	const memory = 64 << 20
	if bytes > 0 {
		read = newBuffers(e.Kernel(), workers, memory)
	}
	var times, peaks, reads []float64
	calls := max(1, int(2e8/flops)) // some milliseconds
	if bytes > 0 {
		calls = max(1, int(5e7/bytes))
	}
	for b.Loop() {
		peaks = append(peaks, peak.Burst(workers, 5*time.Millisecond))
		if read != nil {
			reads = append(reads, read.rate(workers, memory/workers, 5*time.Millisecond))
		}
		start := time.Now()
		for range calls {
			if err := run(); err != nil {
				b.Fatal(err)
			}
		}
		times = append(times, time.Since(start).Seconds()/float64(calls))
	}
	seconds := median(times)
	b.ReportMetric(1e9*seconds, "ns/op")
	b.ReportMetric(1e-9*flops/seconds, "GFLOP/s")
	b.ReportMetric(100*flops/seconds/median(peaks), "%peak")
	if read != nil {
		b.ReportMetric(1e-9*bytes/seconds, "GB/s")
		b.ReportMetric(100*bytes/seconds/median(reads), "%read")
	}
}
