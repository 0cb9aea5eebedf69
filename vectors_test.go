package qkv_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/internal/vectors"
)

// TestVectors holds every set against the vectors of package vectors: results in float64 that
// come of no code of this library.
func TestVectors(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "vectors", "*.json"))
	if err != nil || len(files) != len(vectors.Files()) {
		t.Fatalf("%d files of vectors, want %d: %v", len(files), len(vectors.Files()), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var cases []vectors.Case
		if err := json.Unmarshal(data, &cases); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, set := range sets() {
			e := newAttention(t, qkv.Config{Kernel: set})
			for i := range cases {
				t.Run(filepath.Base(file)+"/"+cases[i].Name+"/"+set, func(t *testing.T) { testVector(t, e, &cases[i]) })
			}
		}
	}
}

func testVector(t *testing.T, e *qkv.Engine, c *vectors.Case) {
	draw := vectors.Draw(c.Seed)
	var out, lse []float32
	var err error
	largest := 1.0 // a result is compared with it
	for _, x := range c.Out {
		largest = max(largest, math.Abs(x))
	}
	switch {
	case c.Attention != nil:
		out, lse, err = attentionVector(e, c.Attention, draw)
		largest *= max(1, c.Attention.Scale/4) // whatever the scores' last places are worth
	case c.Product != nil:
		out, err = productVector(e, c.Product, draw)
	case c.Rotary != nil:
		out, err = rotaryVector(e, c.Rotary, draw)
	case c.Layer != nil:
		out, err = layerVector(e, c.Layer, draw)
	default:
		t.Fatal("a case of no kind")
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != len(c.Out) || len(lse) != len(c.LSE) {
		t.Fatalf("%d results and %d log-sum-exps, want %d and %d", len(out), len(lse), len(c.Out), len(c.LSE))
	}
	const tolerance = 1e-6
	for i, want := range c.Out {
		if !(math.Abs(float64(out[i])-want) <= tolerance*largest) {
			t.Fatalf("result %d is %v, want %v", i, out[i], want)
		}
	}
	for i, want := range c.LSE {
		if want == nil {
			if !math.IsInf(float64(lse[i]), -1) {
				t.Fatalf("log-sum-exp %d is %v, want -Inf", i, lse[i])
			}
		} else if !(math.Abs(float64(lse[i])-*want) <= tolerance*max(1, math.Abs(*want))) {
			t.Fatalf("log-sum-exp %d is %v, want %v", i, lse[i], *want)
		}
	}
}

// takes returns the next n numbers as float32, which hold them exactly.
func takes(draw func() float64, n int) []float32 { return narrow(vectors.Numbers(draw, n)) }

func narrow(x []float64) []float32 {
	y := make([]float32, len(x))
	for i := range x {
		y[i] = float32(x[i])
	}
	return y
}

var vectorTypes = map[string]qkv.ElemType{
	"float32": qkv.TypeFloat32, "Float16": qkv.TypeFloat16, "BFloat16": qkv.TypeBFloat16, "int8": qkv.TypeInt8, "BlockQ8_0": qkv.TypeQ8_0,
}

func attentionVector(e *qkv.Engine, a *vectors.Attention, draw func() float64) (out, lse []float32, err error) {
	q := takes(draw, a.Batch*a.Heads*a.Queries*a.DimQK)
	k := takes(draw, a.Batch*a.KVHeads*a.Keys*a.DimQK)
	v := takes(draw, a.Batch*a.KVHeads*a.Keys*a.DimV)
	o := a.Options(draw)
	out, lse = make([]float32, a.Batch*a.Heads*a.Queries*a.DimV), make([]float32, a.Batch*a.Heads*a.Queries)
	for i := range lse {
		lse[i] = float32(math.Inf(-1)) // what no sequence of a ragged batch has
	}
	call := &qkv.Call{
		Q: qkv.BHSD(q, a.Batch, a.Heads, a.Queries, a.DimQK), Out: qkv.BHSD(out, a.Batch, a.Heads, a.Queries, a.DimV),
		LSE: lse, LensQ: a.LensQ, LensKV: a.LensKV, CuLensQ: a.CuLensQ, CuLensKV: a.CuLensKV,
		Scale: float32(a.Scale), Softcap: float32(a.Softcap),
		Mask: qkv.Mask{Causal: a.Causal, Offset: a.Offset, Prefix: a.Prefix, First: a.First},
	}
	switch a.Align {
	case "":
		call.Mask.Align = qkv.TopLeft
	case "bottom-right":
		call.Mask.Align = qkv.BottomRight
	case "offset":
		call.Mask.Align = qkv.AlignOffset
	}
	if a.Window != nil {
		side := func(n int) int {
			if n < 0 {
				return qkv.Unbounded
			}
			return n
		}
		call.Mask.Window = qkv.Sliding(side(a.Window[0]), side(a.Window[1]))
	}
	if a.Segments != 0 {
		segments := func(n int) (all []int32) {
			for range a.Batch {
				for i := range n {
					all = append(all, int32(a.Segment(i, n)))
				}
			}
			return all
		}
		call.Mask.SegmentsQ, call.Mask.SegmentsKV = segments(a.Queries), segments(a.Keys)
	}
	if a.Bias {
		call.Bias = qkv.Pairs(narrow(o.Bias), 1, a.Heads, a.Queries, a.Keys)
	}
	if a.Keep {
		call.Mask.Keep = qkv.Pairs(o.Keep, 1, 1, a.Queries, a.Keys)
	}
	if a.Block != 0 {
		rows, columns := a.Blocks()
		if call.Mask.Blocks, err = qkv.NewBlockMask(a.Block, a.Block, 1, 1, rows, columns); err != nil {
			return nil, nil, err
		}
		for i, kept := range o.Blocks {
			if kept {
				call.Mask.Blocks.Set(0, 0, i/columns, i%columns, true)
			}
		}
	}
	if a.ALiBi {
		call.ALiBi = narrow(o.ALiBi)
	}
	if a.Sinks {
		call.Sinks = narrow(o.Sinks)
	}
	if a.Cache == nil {
		call.K, call.V = qkv.BHSD(k, a.Batch, a.KVHeads, a.Keys, a.DimQK), qkv.BHSD(v, a.Batch, a.KVHeads, a.Keys, a.DimV)
		return out, lse, e.Run(call)
	}
	appendTo, use, err := vectorCache(a)
	if err != nil {
		return nil, nil, err
	}
	for token := 0; token < a.Keys; token += a.Cache.Step {
		n := min(a.Cache.Step, a.Keys-token)
		part := func(x []float32, dim int) qkv.View {
			return qkv.Strided(x, token*dim, [4]int{1, a.KVHeads, n, dim}, [4]int{a.KVHeads * a.Keys * dim, a.Keys * dim, dim, 1})
		}
		if err := appendTo(part(k, a.DimQK), part(v, a.DimV)); err != nil {
			return nil, nil, err
		}
	}
	if err := use(call); err != nil {
		return nil, nil, err
	}
	return out, lse, e.Run(call)
}

// vectorCache returns a cache of a.Cache, by what is appended to it and what attends it.
func vectorCache(a *vectors.Attention) (appendTo func(k, v qkv.View) error, use func(*qkv.Call) error, err error) {
	kt, vt := vectorTypes[a.Cache.KeyType], vectorTypes[a.Cache.ValueType]
	if n := a.Cache.PageTokens; n != 0 {
		cache, err := qkv.NewPagedCache(qkv.PagedConfig{
			Pages: (a.Keys + n - 1) / n, PageTokens: n, KVHeads: a.KVHeads, DimQK: a.DimQK, DimV: a.DimV, KeyType: kt, ValueType: vt,
		})
		if err != nil {
			return nil, nil, err
		}
		s := cache.NewSequence()
		return s.Append, func(c *qkv.Call) error { return cache.Use(c, new(qkv.Batch), []*qkv.Sequence{s}) }, nil
	}
	cfg := qkv.CacheConfig{
		Sequences: 1, KVHeads: a.KVHeads, Capacity: a.Keys, DimQK: a.DimQK, DimV: a.DimV, KeyType: kt, ValueType: vt,
	}
	if a.Cache.Ring != 0 {
		cfg.Capacity, cfg.Ring, cfg.Keep, cfg.Window = a.Cache.Ring, true, a.First, a.Window[0]+1
	}
	cache, err := qkv.NewCache(cfg)
	if err != nil {
		return nil, nil, err
	}
	use = func(c *qkv.Call) error {
		if cfg.Ring { // the cache says both
			c.Mask.Window, c.Mask.First = qkv.Window{}, 0
		}
		return cache.Use(c, new(qkv.Batch), []int{0})
	}
	return func(k, v qkv.View) error { return cache.Append(0, k, v) }, use, nil
}

func productVector(e *qkv.Engine, p *vectors.Product, draw func() float64) ([]float32, error) {
	x, w, y := takes(draw, p.M*p.K), takes(draw, p.K*p.N), make([]float32, p.M*p.N)
	product := qkv.Product{X: qkv.RowMajor(x, p.M, p.K), W: qkv.RowMajor(w, p.K, p.N), Accumulate: p.Accumulate}
	if p.Bias {
		product.Bias = takes(draw, p.N)
	}
	if p.Accumulate {
		y = takes(draw, p.M*p.N)
	}
	product.Y = qkv.RowMajor(y, p.M, p.N)
	return y, e.MatMul(&product)
}

func rotaryVector(e *qkv.Engine, r *vectors.Rotary, draw func() float64) ([]float32, error) {
	cfg := qkv.RotaryConfig{Dim: r.Dim, Interleaved: r.Interleaved, MaxPositions: r.MaxPositions, Base: r.Base}
	if r.Scaling != nil {
		if err := json.Unmarshal(r.Scaling, &cfg.Scaling); err != nil {
			return nil, err
		}
	}
	rotary, err := qkv.NewRotary(cfg)
	if err != nil {
		return nil, err
	}
	x := takes(draw, r.Seq*r.Heads*r.HeadDim)
	return x, e.Rotate(rotary, qkv.BSHD(x, 1, r.Seq, r.Heads, r.HeadDim), r.Positions)
}

func layerVector(e *qkv.Engine, l *vectors.Layer, draw func() float64) ([]float32, error) {
	x := takes(draw, l.Seq*l.In)
	linear := func(in, out int) qkv.Linear {
		w := takes(draw, in*out)
		for i := range w {
			w[i] /= 2
		}
		return qkv.Linear{W: qkv.RowMajor(w, in, out), Bias: takes(draw, out)}
	}
	cfg := qkv.LayerConfig{Attention: qkv.Call{Mask: qkv.Mask{Causal: true}}}
	cfg.Q, cfg.K, cfg.V = linear(l.In, l.Heads*l.Dim), linear(l.In, l.KVHeads*l.Dim), linear(l.In, l.KVHeads*l.Dim)
	cfg.Out = linear(l.Heads*l.Dim, l.Out)
	cfg.Heads, cfg.KVHeads = l.Heads, l.KVHeads
	if l.Norm {
		cfg.QNorm, cfg.KNorm = takes(draw, l.Dim), takes(draw, l.Dim)
	}
	if l.Rotary {
		var err error
		if cfg.Rotary, err = qkv.NewRotary(qkv.RotaryConfig{Dim: l.Dim, MaxPositions: l.Seq}); err != nil {
			return nil, err
		}
	}
	layer, err := e.NewLayer(cfg)
	if err != nil {
		return nil, err
	}
	y := make([]float32, l.Seq*l.Out)
	return y, layer.Forward(qkv.RowMajor(y, l.Seq, l.Out), qkv.RowMajor(x, l.Seq, l.In))
}
