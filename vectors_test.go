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
	cache, err := newVectorCache(e, a)
	if err != nil {
		return nil, nil, err
	}
	for token := 0; token < a.Keys; token += a.Cache.Step {
		n := min(a.Cache.Step, a.Keys-token)
		part := func(x []float32, dim int) qkv.View {
			return qkv.Strided(x, token*dim, [4]int{1, a.KVHeads, n, dim}, [4]int{a.KVHeads * a.Keys * dim, a.Keys * dim, dim, 1})
		}
		if err := cache.append(part(k, a.DimQK), part(v, a.DimV)); err != nil {
			return nil, nil, err
		}
	}
	if err := cache.attend(call); err != nil {
		return nil, nil, err
	}
	return out, lse, e.Run(call)
}

// A vectorCache is a cache of one sequence in memory of ours.
type vectorCache struct {
	step     *qkv.Step
	sequence *qkv.Sequence
	call     qkv.Call // over the memory
}

func newVectorCache(e *qkv.Engine, a *vectors.Attention) (*vectorCache, error) {
	l := qkv.CacheLayer{
		KVHeads: a.KVHeads, DimQK: a.DimQK, DimV: a.DimV, KeyType: vectorTypes[a.Cache.KeyType], ValueType: vectorTypes[a.Cache.ValueType],
	}
	cfg := qkv.CacheConfig{PageTokens: max(1, a.Cache.PageTokens), Layers: []qkv.CacheLayer{l}}
	if a.Cache.PageTokens == 0 {
		cfg.PageTokens = a.Keys
	}
	cfg.Pages = (a.Keys + cfg.PageTokens - 1) / cfg.PageTokens
	x := new(vectorCache)
	if n := a.Cache.Ring; n != 0 {
		cfg.Layers[0].First, cfg.Layers[0].Window = a.First, a.Window[0]+1
		cfg.Pages, cfg.PageTokens, cfg.Sequences, cfg.StepTokens = 0, n, 1, n-a.First-a.Window[0]
		x.call.Ring = true
	}
	pages := cfg.LayerPages(0)
	x.call.K, x.call.KScale = newPool(l.KeyType, [4]int{pages, l.KVHeads, cfg.PageTokens, l.DimQK}).views()
	x.call.V, x.call.VScale = newPool(l.ValueType, [4]int{pages, l.KVHeads, cfg.PageTokens, l.DimV}).views()
	m := &cfg.Layers[0]
	m.K, m.V, m.KScale, m.VScale = x.call.K, x.call.V, x.call.KScale, x.call.VScale
	c, err := qkv.NewCache(cfg)
	if err != nil {
		return nil, err
	}
	x.sequence = c.NewSequence()
	x.step, err = e.NewStep(c)
	return x, err
}

func (x *vectorCache) append(k, v qkv.View) error { return appendTokens(x.step, x.sequence, k, v) }

// attend has a call attend the memory.
func (x *vectorCache) attend(c *qkv.Call) error {
	table, err := x.sequence.Table(0)
	c.K, c.V, c.KScale, c.VScale, c.Ring = x.call.K, x.call.V, x.call.KScale, x.call.VScale, x.call.Ring
	c.Tables, c.LensKV = [][]int32{table}, []int{x.sequence.Len()}
	return err
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
