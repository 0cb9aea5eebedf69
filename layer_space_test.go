package qkv_test

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/qkv-go/qkv"
)

// TestLayersShareWorkspace: a layer that runs after another takes its workspace.
func TestLayersShareWorkspace(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has pools lose what they are given")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which empties pools
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))  // each processor has a pool of its own
	const tokens, width, heads, dim = 256, 64, 8, 64
	next := normal(73)
	e := newAttention(t, qkv.Config{Workers: 1})
	linear := func(out, in int) qkv.Linear { return qkv.Linear{W: qkv.RowMajor(draw(out*in, next), out, in).T()} }
	var layers [2]*qkv.Layer
	for i := range layers {
		var err error
		layers[i], err = e.NewLayer(qkv.LayerConfig{
			ProjectionConfig: qkv.ProjectionConfig{Q: linear(heads*dim, width), K: linear(heads*dim, width), V: linear(heads*dim, width), Heads: heads},
			Out:              linear(width, heads*dim),
			Attention:        qkv.Call{Mask: qkv.Mask{Causal: true}},
		})
		must(err)
	}
	x, y := qkv.RowMajor(draw(tokens*width, next), tokens, width), qkv.RowMajor(make([]float32, tokens*width), tokens, width)
	allocated := func(l *qkv.Layer) int {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		must(l.Forward(y, x))
		runtime.ReadMemStats(&after)
		return int(after.TotalAlloc - before.TotalAlloc)
	}
	space := layers[0].Workspace(tokens)
	allocated(layers[0])
	if n := allocated(layers[1]); n >= space/2 {
		t.Errorf("the second layer allocates %d bytes, its workspace has %d", n, space)
	}
}
