package qkv_test

import (
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/qkv-go/qkv"
)

// TestPackMemory: packing allocates the copy, room to begin it on a page of 2 MiB, and little else, whatever
// the type and the layout of the weights, alone and for projections and layers.
func TestPackMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	const in, out, heads = 1024, 1536, 12
	const page, more = 2 << 20, 2 << 18 // for each worker a step of a panel
	e := newAttention(t, qkv.Config{Workers: 2})
	// allocated returns how many bytes f allocates, those that are freed too.
	allocated := func(f func()) int {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return int(after.TotalAlloc - before.TotalAlloc)
	}
	check := func(what string, typ qkv.WeightType, matrices int, pack func() int) {
		t.Helper()
		var packed int
		n := allocated(func() { packed = pack() })
		values, size := typ.Block()
		least := in * out / values * size * matrices
		if most := packed + matrices*page + more; n > most || packed < least {
			t.Errorf("%s: %d bytes are allocated for %d packed, at most %d are allowed, and packed are %d at least", what, n, packed, most, least)
		}
	}
	floats := draw(in*out, normal(1))
	type weight struct {
		qkv.Matrix
		typ qkv.WeightType // of the copy
	}
	weights := map[string]weight{
		"float32":             {Matrix: qkv.RowMajor(floats, in, out)},
		"float32, transposed": {Matrix: qkv.RowMajor(floats, out, in).T()},
		"every other":         {Matrix: qkv.StridedMatrix(make([]float32, 2*in*out), 1, in, out, 2*out, 2)},
	}
	for _, typ := range []qkv.WeightType{qkv.WeightBFloat16, qkv.WeightQ4_0, qkv.WeightQ6_K, qkv.WeightQ2_K} {
		w := weight{newWeights(rand.New(rand.NewPCG(1, 2)), typ, out, in, math.Inf(1)).T(), typ}
		if typ == qkv.WeightQ2_K { // of which there are no strips
			w.typ = qkv.WeightFloat32
		}
		weights[typ.String()+", transposed"] = w
	}
	for name, w := range weights {
		check(name, w.typ, 1, func() int {
			p, err := e.Pack(w.Matrix)
			must(err)
			return p.Bytes()
		})
		check(name+", heads", w.typ, 1, func() int {
			p, err := e.PackHeads(w.Matrix, heads)
			must(err)
			return p.Bytes()
		})
		linear := qkv.Linear{W: w.Matrix}
		check(name+", projection", w.typ, 3, func() int {
			p, err := e.NewProjection(qkv.ProjectionConfig{Q: linear, K: linear, V: linear, Heads: heads})
			must(err)
			return p.Bytes()
		})
		check(name+", layer", w.typ, 4, func() int {
			l, err := e.NewLayer(qkv.LayerConfig{
				ProjectionConfig: qkv.ProjectionConfig{Q: linear, K: linear, V: linear, Heads: heads}, Out: qkv.Linear{W: w.Matrix.T()},
			})
			must(err)
			return l.Bytes()
		})
	}
}
