package qkv_test

import (
	"math"
	"slices"
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
	"github.com/qkv-go/qkv/tile"
)

// sigmoid is that of a Gating.
func sigmoid(v float32) float32 {
	e := fp.Exp2(float32(float32(-math.Abs(float64(v))) * float32(math.Log2E/2))) // rounded: fused, it would differ
	if v >= 0 {
		return 1 / (1 + e)
	}
	return e / (1 + e)
}

// TestGate holds every set to the sequence of operations of a Gating, and that to float64.
func TestGate(t *testing.T) {
	const rows, cols = 9, 1100
	next := normal(63)
	inf := float32(math.Inf(1))
	x, g := draw(2*rows*cols, next), draw(rows*cols, next)
	special := []float32{0, float32(math.Copysign(0, -1)), inf, -inf, nan, 88, -88, -87.2, 87.2, 1e-40, -1e-40, 3e38, -3e38, 17, -17}
	copy(g, special)
	for i := len(special); i < len(g); i++ {
		g[i] *= float32(1 + i%40)
	}
	want := make([]float32, len(g))
	for i, v := range g {
		s := sigmoid(v)
		want[i] = x[2*i] * s
		if exact := 1 / (1 + math.Exp(-float64(v))); !(math.Abs(float64(s)-exact) <= 5e-6*exact+0x1p-126) && v == v {
			t.Errorf("the sigmoid of %v is %v, want %v", v, s, exact)
		}
	}
	for _, set := range kernelSets() {
		e := tile.New(kernel.Checked(set), tile.Caches{}, false, tile.Tuning{})
		for _, workers := range []int{1, 3} {
			got := append([]float32(nil), g...)
			whole := e.Gate(&tile.Gating{
				X:    tile.Matrix{Base: unsafe.Pointer(&x[0]), Row: 2 * cols, Col: 2},
				Gate: tile.Matrix{Base: unsafe.Pointer(&got[0]), Row: cols, Col: 1}, Rows: rows, Cols: cols,
			}, workers)
			if !whole {
				t.Error("not done")
			}
			for i, v := range got {
				if math.Float32bits(v) != math.Float32bits(want[i]) && (v == v || want[i] == want[i]) {
					t.Fatalf("%s: the gate %v of %v gives %v, want %v", set.Name, g[i], x[2*i], v, want[i])
				}
			}
		}
	}
	done := make(chan struct{})
	close(done)
	if tile.New(bestSet(t), tile.Caches{}, false, tile.Tuning{}).Gate(&tile.Gating{Rows: 1, Cols: 1, Done: done}, 1) {
		t.Error("done, although it was to end")
	}
}

// TestLayerGateErrors: weights of a gate that do not fit, or that share memory with an output.
func TestLayerGateErrors(t *testing.T) {
	p := projection{1, 3, 6, 4, 2, 8, 8}
	next := normal(64)
	e := newAttention(t, qkv.Config{})
	cfg := p.layerConfig(6, next)
	linear := func(in, out int) qkv.Linear { return qkv.Linear{W: qkv.RowMajor(draw(in*out, next), in, out)} }
	for want, gate := range map[string]qkv.Linear{
		"gate weights has 5 rows, 6 are needed":                 linear(5, 32),
		"gate weights has 31 columns, the heads have 32 values": linear(6, 31),
		"gate bias has length 3, gate weights has 32 columns":   {W: linear(6, 32).W, Bias: make([]float32, 3)},
	} {
		cfg.Gate = gate
		isArgError(t, want, second(e.NewLayer(cfg)), want)
	}
	mem := draw(6*32, next)
	cfg.Gate, cfg.InPlace = qkv.Linear{W: qkv.RowMajor(mem, 6, 32), Bias: draw(32, next)}, true
	layer, err := e.NewLayer(cfg)
	must(err)
	x := newMatrix("rows", 3, 6, next).matrix()
	isArgError(t, "y", layer.Forward(qkv.RowMajor(mem[10:], 3, 6), x), "y and gate weights share elements")
	isArgError(t, "out", layer.Run(&qkv.LayerCall{
		X: x, Y: qkv.RowMajor(make([]float32, 18), 3, 6), Attention: &qkv.Call{Out: qkv.BSHD(mem[:96], 1, 3, 4, 8), Mask: qkv.Mask{Causal: true}},
	}), "out and gate weights share elements")
	// What Out receives is not gated, and y may be x.
	out, y := make([]float32, 96), qkv.RowMajor(make([]float32, 18), 3, 6)
	must(layer.Run(&qkv.LayerCall{X: x, Y: y, Attention: &qkv.Call{Out: qkv.BSHD(out, 1, 3, 4, 8), Mask: qkv.Mask{Causal: true}}}))
	cfg.Gate = qkv.Linear{}
	plain, err := e.NewLayer(cfg)
	must(err)
	other := make([]float32, 96)
	must(plain.Run(&qkv.LayerCall{X: x, Y: y, Attention: &qkv.Call{Out: qkv.BSHD(other, 1, 3, 4, 8), Mask: qkv.Mask{Causal: true}}}))
	sameBits(t, "out", out, other)
	if n := layer.Workspace(3) - plain.Workspace(3); n != 4*3*32 {
		t.Errorf("the gate takes %d bytes of the workspace, want %d", n, 4*3*32)
	}
}

// TestLayerGatePadding: NaN in rows of X that are padding makes those rows of Y NaN, since a gate is
// computed from them, and changes no bit of the others.
func TestLayerGatePadding(t *testing.T) {
	const batch, seq, in = 2, 40, 6
	p := projection{batch, seq, in, 4, 2, 8, 8}
	next := normal(65)
	cfg := p.layerConfig(in, next)
	cfg.Gate = qkv.Linear{W: qkv.RowMajor(draw(in*4*8, next), in, 4*8)}
	lens := []int{31, 7}
	clean := draw(batch*seq*in, next)
	spoilt := slices.Clone(clean)
	padding := func(row int) bool { return row%seq >= lens[row/seq] }
	for i := range spoilt {
		if padding(i / in) {
			spoilt[i] = float32(math.NaN())
		}
	}
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		layer, err := e.NewLayer(cfg)
		must(err)
		run := func(x []float32) []float32 {
			y := make([]float32, batch*seq*in)
			must(layer.Run(&qkv.LayerCall{
				X: qkv.RowMajor(x, batch*seq, in), Y: qkv.RowMajor(y, batch*seq, in), Batch: batch,
				Attention: &qkv.Call{LensQ: lens, LensKV: lens},
			}))
			return y
		}
		want := run(clean)
		for i, got := range run(spoilt) {
			if padding(i/in) != (got != got) {
				t.Fatalf("row %d of sequences of %v of %d: %v", i/in, lens, seq, got)
			}
			if !padding(i/in) && math.Float32bits(got) != math.Float32bits(want[i]) {
				t.Fatalf("row %d: %v, without NaN in the padding %v", i/in, got, want[i])
			}
		}
	})
}
