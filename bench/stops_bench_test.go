package bench

import (
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qkv-go/qkv"
)

// BenchmarkStops collects garbage again and again beside one goroutine that runs an operation
// in a loop, on one worker, and reports how long collections waited for it to stop: the
// largest wait and how many were a millisecond or more. Those beside a plain Go loop of the
// same length, which can be stopped anywhere, are taken in turns with them: what they show is
// the doing of the operating system, and of whoever else uses the machine.
func BenchmarkStops(b *testing.B) {
	e := newEngine(b, 1)
	for _, op := range stoppedOperations(b, e) {
		b.Run("op="+op.name, func(b *testing.B) { benchmarkStops(b, op.make(b)) })
	}
}

// A stoppedOperation makes its operands, and returns a call.
type stoppedOperation struct {
	name string
	make func(b *testing.B) func() error
}

func stoppedOperations(b *testing.B, e *qkv.Engine) []stoppedOperation {
	var list []stoppedOperation
	add := func(name string, make func(b *testing.B) func() error) {
		list = append(list, stoppedOperation{name, make})
	}
	shape := func(name, shape string) {
		add(name, func(b *testing.B) func() error {
			c := NewOperands(parse(b, shape), 1).Call()
			return func() error { return e.Run(c) }
		})
	}
	shape("attention-BHSD", "h=8,sq=512,d=128")
	for _, layout := range []string{"BSHD", "packed"} {
		add("attention-"+layout, func(b *testing.B) func() error {
			const heads, n, dim = 8, 512, 128
			view := func() qkv.View { return qkv.BSHD(randomFloats(heads*n*dim), 1, n, heads, dim) }
			c := &qkv.Call{Q: view(), K: view(), V: view(), Out: view()}
			if layout == "packed" {
				c.Q, c.K, c.V = qkv.PackedQKV(randomFloats(3*heads*n*dim), 1, n, heads, heads, dim)
			}
			return func() error { return e.Run(c) }
		})
	}
	shape("attention-float16", "h=8,sq=512,d=128,kv=float16")
	shape("attention-bfloat16", "h=8,sq=512,d=128,kv=bfloat16")
	shape("attention-int8", "h=8,sq=512,d=128,kv=int8")
	shape("attention-q8_0", "h=8,sq=512,d=128,kv=q8_0")
	shape("attention-pages", "h=8,sq=512,d=128,kv=float16,page=16")
	shape("attention-decode-float32", "h=32,hkv=8,sq=1,skv=8192,d=128")
	shape("attention-decode-float16", "h=32,hkv=8,sq=1,skv=8192,d=128,kv=float16")
	shape("attention-decode-int8", "h=32,hkv=8,sq=1,skv=8192,d=128,kv=int8")
	shape("attention-decode-pages", "h=32,hkv=8,sq=1,skv=8192,d=128,kv=float16,page=16")
	shape("attention-d=16384", "h=1,sq=64,skv=1200,d=16384")
	shape("attention-decode-d=16384", "h=1,sq=1,skv=2048,d=16384")

	const wide = 4096
	strided := func(rows, dim int) qkv.View { // dims are the outer axis
		return qkv.Strided(randomFloats(rows*dim), 0, [4]int{1, 1, rows, dim}, [4]int{0, 0, 1, rows})
	}
	add("attention-strided-d=4096", func(b *testing.B) func() error {
		c := &qkv.Call{Q: strided(512, wide), K: strided(512, wide), V: strided(512, wide), Out: strided(512, wide)}
		return func() error { return e.Run(c) }
	})
	add("attention-strided-float16-d=16384", func(b *testing.B) func() error {
		const dim, rows = 16384, 128
		halves := qkv.Strided(make([]qkv.Float16, 2*rows*dim), 0, [4]int{1, 1, rows, dim}, [4]int{0, 0, 2 * dim, 2})
		c := &qkv.Call{Q: strided(64, dim), K: halves, V: halves, Out: strided(64, dim)}
		return func() error { return e.Run(c) }
	})
	add("attention-without-keys-d=16384", func(b *testing.B) func() error {
		const dim, rows = 16384, 256
		q := qkv.BHSD(randomFloats(rows*dim), 1, 1, rows, dim)
		c := &qkv.Call{Q: q, K: q, V: q, Out: qkv.BHSD(make([]float32, rows*dim), 1, 1, rows, dim), LensKV: []int{0}}
		return func() error { return e.Run(c) }
	})
	add("attention-bias-softcap-alibi", func(b *testing.B) func() error {
		const heads, n, dim = 8, 512, 128
		view := func() qkv.View { return qkv.BHSD(randomFloats(heads*n*dim), 1, heads, n, dim) }
		slopes := make([]float32, heads)
		c := &qkv.Call{
			Q: view(), K: view(), V: view(), Out: view(), Softcap: 30, ALiBi: slopes,
			Bias: qkv.Pairs(make([]qkv.Float16, heads*n*n), 1, heads, n, n),
		}
		return func() error { return e.Run(c) }
	})
	add("attention-scores", func(b *testing.B) func() error {
		const heads, n, dim = 8, 512, 128
		view := func() qkv.View { return qkv.BHSD(randomFloats(heads*n*dim), 1, heads, n, dim) }
		c := &qkv.Call{
			Q: view(), K: view(), V: view(), Out: view(),
			Scores: qkv.Pairs(make([]float32, heads*n*n), 1, heads, n, n), ScoresAt: qkv.StageProbs,
		}
		return func() error { return e.Run(c) }
	})

	product := func(name, form string, m, k, n int) {
		add(name, func(b *testing.B) func() error {
			p := &qkv.Product{X: qkv.RowMajor(randomFloats(m*k), m, k), Y: qkv.RowMajor(make([]float32, m*n), m, n)}
			w := randomFloats(k * n)
			switch p.W = qkv.RowMajor(w, n, k).T(); form {
			case "packed":
				var err error
				if p.Packed, err = e.Pack(p.W); err != nil {
					b.Fatal(err)
				}
				p.W = qkv.Matrix{}
			case "in-out":
				p.W = qkv.RowMajor(w, k, n)
			}
			return func() error { return e.MatMul(p) }
		})
	}
	product("matmul-packed-1x4096x4096", "packed", 1, 4096, 4096)
	product("matmul-packed-8x4096x14336", "packed", 8, 4096, 14336)
	product("matmul-packed-512x1024x1024", "packed", 512, 1024, 1024)
	product("matmul-out-in-8x4096x14336", "out-in", 8, 4096, 14336)
	product("matmul-out-in-64x4096x4096", "out-in", 64, 4096, 4096)
	product("matmul-out-in-8x65536x256", "out-in", 8, 65536, 256)
	product("matmul-in-out-8x4096x14336", "in-out", 8, 4096, 14336)
	for _, form := range []string{"out-in", "in-out"} {
		add("pack-"+form, func(b *testing.B) func() error {
			w := qkv.RowMajor(randomFloats(4096*4096), 4096, 4096)
			if form == "out-in" {
				w = w.T()
			}
			return func() error { _, err := e.Pack(w); return err }
		})
	}
	add("layer-512x1024", func(b *testing.B) func() error {
		const tokens, width, heads = 512, 1024, 8
		linear := func() qkv.Linear { return qkv.Linear{W: qkv.RowMajor(randomFloats(width*width), width, width).T()} }
		l, err := e.NewLayer(qkv.LayerConfig{
			ProjectionConfig: qkv.ProjectionConfig{Q: linear(), K: linear(), V: linear(), Heads: heads, Rotary: rotaryOf(b, 128, tokens)},
			Out:              linear(), Attention: qkv.Call{Mask: qkv.Mask{Causal: true}},
		})
		if err != nil {
			b.Fatal(err)
		}
		x, y := qkv.RowMajor(randomFloats(tokens*width), tokens, width), qkv.RowMajor(make([]float32, tokens*width), tokens, width)
		return func() error { return l.Forward(y, x) }
	})

	for _, r := range []struct {
		name         string
		tokens, step int
	}{{"rotate-131072x128", 131072, 1}, {"rotate-16384x128", 16384, 1}, {"rotate-strided-16384x128", 16384, 3}} {
		add(r.name, func(b *testing.B) func() error {
			rotary := rotaryOf(b, 128, r.tokens)
			x := qkv.Strided(make([]float32, r.tokens*128*r.step), 0, [4]int{1, 1, r.tokens, 128}, [4]int{0, 0, 128 * r.step, r.step})
			return func() error { return e.Rotate(rotary, x, nil) }
		})
	}

	const tokens, kvHeads, dim = 16384, 1, 128
	for _, typ := range []qkv.ElemType{qkv.TypeFloat32, qkv.TypeFloat16, qkv.TypeInt8, qkv.TypeQ8_0} {
		add("cache-append-"+typ.String(), func(b *testing.B) func() error {
			return appends(b, e, qkv.CacheConfig{Pages: 1, PageTokens: tokens, Layers: []qkv.CacheLayer{
				{KVHeads: kvHeads, DimQK: dim, DimV: dim, KeyType: typ, ValueType: typ},
			}})
		})
	}
	add("cache-append-pages", func(b *testing.B) func() error {
		return appends(b, e, qkv.CacheConfig{Pages: tokens / 16, PageTokens: 16, Layers: []qkv.CacheLayer{{KVHeads: kvHeads, DimQK: dim, DimV: dim}}})
	})

	const many = 4 << 20
	add("quantize-int8", func(b *testing.B) func() error {
		src, dst := randomFloats(many), make([]int8, many)
		return func() error { _, err := qkv.QuantizeInt8(dst, src); return err }
	})
	add("quantize-q8_0", func(b *testing.B) func() error {
		src, dst := randomFloats(many), make([]qkv.BlockQ8_0, many/32)
		return func() error { return qkv.QuantizeQ8_0(dst, src) }
	})
	add("merge", func(b *testing.B) func() error {
		const heads, n, dim = 32, 512, 128
		part := func() qkv.Partial {
			return qkv.Partial{Out: qkv.BHSD(randomFloats(heads*n*dim), 1, heads, n, dim), LSE: make([]float32, heads*n)}
		}
		parts, out := []qkv.Partial{part(), part()}, qkv.BHSD(make([]float32, heads*n*dim), 1, heads, n, dim)
		return func() error { return e.Merge(out, nil, parts) }
	})
	return list
}

func rotaryOf(b *testing.B, dim, positions int) *qkv.Rotary {
	r, err := qkv.NewRotary(qkv.RotaryConfig{Dim: dim, MaxPositions: positions})
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// benchmarkStops stops a goroutine that repeats work, and in turns one in a plain loop.
func benchmarkStops(b *testing.B, work func() error) {
	const round = 10
	if err := work(); err != nil {
		b.Fatal(err)
	}
	begin := time.Now()
	if err := work(); err != nil {
		b.Fatal(err)
	}
	length := time.Since(begin)
	plain := func() {
		for begin := time.Now(); time.Since(begin) < length; {
			for range 10_000 {
			}
		}
	}

	var phase, running atomic.Int32 // 0 for work, 1 for the plain loop, 2 to end
	running.Store(-1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			p := phase.Load()
			running.Store(p)
			switch p {
			case 0:
				if err := work(); err != nil {
					b.Error(err)
				}
			case 1:
				plain()
			default:
				return
			}
		}
	}()
	var stops [2]stopTimes
	for n := b.N; n > 0; n -= round {
		for p := range stops {
			phase.Store(int32(p))
			for running.Load() != int32(p) {
				runtime.Gosched()
			}
			before := readStops()
			for range min(round, n) {
				runtime.GC()
			}
			stops[p].add(before, readStops())
		}
	}
	phase.Store(2)
	<-done
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(1e3*length.Seconds(), "length-ms")
	for p, name := range []string{"", "go-"} {
		b.ReportMetric(1e6*stops[p].median(), name+"p50-µs")
		b.ReportMetric(1e6*stops[p].most(), name+"max-µs")
		b.ReportMetric(float64(stops[p].long()), name+"over-1ms")
	}
}

// stopTimes is a distribution of the time that collections waited for goroutines to stop.
type stopTimes struct {
	counts  []uint64
	buckets []float64 // bounds, in seconds
}

func readStops() stopTimes {
	sample := []metrics.Sample{{Name: "/sched/pauses/stopping/gc:seconds"}}
	metrics.Read(sample)
	h := sample[0].Value.Float64Histogram()
	return stopTimes{h.Counts, h.Buckets}
}

// add adds what came between two readings.
func (s *stopTimes) add(before, after stopTimes) {
	if s.counts == nil {
		*s = stopTimes{make([]uint64, len(after.counts)), after.buckets}
	}
	for i := range s.counts {
		s.counts[i] += after.counts[i] - before.counts[i]
	}
}

// most returns the lower bound of the longest ones.
func (s *stopTimes) most() float64 {
	for i := len(s.counts) - 1; i > 0; i-- {
		if s.counts[i] > 0 {
			return s.buckets[i]
		}
	}
	return 0
}

// median returns the lower bound of those in the middle.
func (s *stopTimes) median() float64 {
	total, seen := uint64(0), uint64(0)
	for _, n := range s.counts {
		total += n
	}
	for i, n := range s.counts[1:] {
		if seen += n; 2*seen >= total {
			return s.buckets[i+1]
		}
	}
	return 0
}

// long returns how many took a millisecond or more.
func (s *stopTimes) long() (n uint64) {
	for i, c := range s.counts {
		if s.buckets[i] >= 1e-3 {
			n += c
		}
	}
	return n
}

// appends returns what fills a cache of one layer with the tokens of one sequence.
func appends(b *testing.B, e *qkv.Engine, cfg qkv.CacheConfig) func() error {
	c, err := qkv.NewCache(cfg)
	if err != nil {
		b.Fatal(err)
	}
	step, err := e.NewStep(c)
	if err != nil {
		b.Fatal(err)
	}
	l := &cfg.Layers[0]
	tokens := cfg.Pages * cfg.PageTokens
	k := qkv.BSHD(randomFloats(tokens*l.KVHeads*l.DimQK), 1, tokens, l.KVHeads, l.DimQK)
	batch := []qkv.StepSequence{{Sequence: c.NewSequence(), Tokens: tokens}}
	return func() error { return refill(step, batch, k, k) }
}
