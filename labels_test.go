package qkv

import (
	"bytes"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

// TestLabels asks for the label in the middle of each phase: what a profile would have found is
// what the goroutine carries there.
func TestLabels(t *testing.T) {
	seen := make(map[string]bool) // "function: phase"
	note := func(function string) {
		var text bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&text, 1); err != nil {
			t.Error(err)
		}
		_, label, _ := strings.Cut(text.String(), `# labels: {"phase":"`)
		phase, _, _ := strings.Cut(label, `"`)
		seen[function+": "+phase] = true
	}
	f := genericFuncs
	f.Pack = noting(note, "Pack", f.Pack)
	f.Scores = noting(note, "Scores", f.Scores)
	f.Softcap = noting(note, "Softcap", f.Softcap)
	f.ALiBi = noting(note, "ALiBi", f.ALiBi)
	f.Bias = noting(note, "Bias", f.Bias)
	f.Softmax = noting(note, "Softmax", f.Softmax)
	f.Accumulate = noting(note, "Accumulate", f.Accumulate)
	f.Merge = noting(note, "Merge", f.Merge)
	f.Unpack = noting(note, "Unpack", f.Unpack)
	f.DecodeScores = noting(note, "DecodeScores", f.DecodeScores)
	f.DecodeAccumulate = noting(note, "DecodeAccumulate", f.DecodeAccumulate)
	f.Multiply = noting(note, "Multiply", f.Multiply)
	f.Rotary = noting(note, "Rotary", f.Rotary)
	f.Activate = noting(note, "Activate", f.Activate)
	f.Sums = noting(note, "Sums", f.Sums)
	f.Store = noting(note, "Store", f.Store)
	set := genericSet.With(f)
	e := &Engine{set: set, workers: 1, engine: tile.New(set, tile.Caches{}, true, tile.Tuning{})}

	const heads, tokens, dim = 2, 40, 8
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	floats := func(n int) []float32 { return make([]float32, n) }
	rows := func(heads, n int) View { return BHSD(floats(heads*n*dim), 1, heads, n, dim) }
	for _, c := range []struct {
		name string
		run  func()
		want []string
	}{
		{"prefill", func() {
			ok(e.Run(&Call{Q: rows(heads, tokens), K: rows(heads, tokens), V: rows(heads, tokens), Out: rows(heads, tokens)}))
		}, []string{"Pack: pack", "Scores: scores", "Softmax: softmax", "Accumulate: accumulate", "Unpack: unpack"}},
		{"chunks", func() {
			const keys = 2 * kernel.KeyChunk
			ok(e.Run(&Call{Q: rows(heads, tokens), K: rows(heads, keys), V: rows(heads, keys), Out: rows(heads, tokens)}))
		}, []string{"Merge: merge", "Unpack: unpack"}},
		{"modified scores", func() {
			ok(e.Run(&Call{
				Q: rows(heads, tokens), K: rows(heads, tokens), V: rows(heads, tokens), Out: rows(heads, tokens),
				ALiBi: []float32{1, 2}, Softcap: 50, Bias: Pairs(floats(heads*tokens*tokens), 1, heads, tokens, tokens),
				Mask: Mask{Align: TopLeft},
			}))
		}, []string{"Softcap: modify", "ALiBi: modify", "Bias: modify"}},
		{"decoding", func() {
			k := BHSD(make([]Float16, heads*tokens*dim), 1, heads, tokens, dim)
			ok(e.Run(&Call{Q: rows(2*heads, 1), K: k, V: k, Out: rows(2*heads, 1)}))
		}, []string{"DecodeScores: scores", "Softmax: softmax", "DecodeAccumulate: accumulate"}},
		{"a product", func() {
			ok(e.MatMul(&Product{X: RowMajor(floats(40*16), 40, 16), W: RowMajor(floats(16*16), 16, 16), Y: RowMajor(floats(40*16), 40, 16)}))
		}, []string{"Multiply: multiply"}},
		{"a product with an activation", func() {
			w := RowMajor(floats(16*16), 16, 16)
			ok(e.MatMul(&Product{X: RowMajor(floats(40*16), 40, 16), W: w, Activation: SiLU, Up: Linear{W: w}, Y: RowMajor(floats(40*16), 40, 16)}))
		}, []string{"Multiply: multiply", "Activate: activate"}},
		{"a projection", func() {
			rotary, err := NewRotary(RotaryConfig{Dim: dim, MaxPositions: tokens})
			ok(err)
			w := Linear{W: RowMajor(floats(16*heads*dim), 16, heads*dim)}
			p, err := e.NewProjection(ProjectionConfig{Q: w, K: w, V: w, Heads: heads, Rotary: rotary})
			ok(err)
			ok(p.Run(&ProjectionCall{X: RowMajor(floats(tokens*16), tokens, 16), Q: rows(heads, tokens), K: rows(heads, tokens), V: rows(heads, tokens)}))
		}, []string{"Multiply: project", "Rotary: rotate"}},
		{"a layer with a gate", func() {
			w := Linear{W: RowMajor(floats(16*heads*dim), 16, heads*dim)}
			l, err := e.NewLayer(LayerConfig{
				ProjectionConfig: ProjectionConfig{Q: w, K: w, V: w, Heads: heads}, Gate: w,
				Out: Linear{W: RowMajor(floats(heads*dim*16), heads*dim, 16)},
			})
			ok(err)
			ok(l.Forward(RowMajor(floats(tokens*16), tokens, 16), RowMajor(floats(tokens*16), tokens, 16)))
		}, []string{"Multiply: project", "Softmax: softmax", "Softmax: gate"}},
		{"a norm", func() {
			ok(e.RMSNorm(&Norm{X: RowMajor(floats(3*dim), 3, dim), Y: RowMajor(floats(3*dim), 3, dim)}))
		}, []string{"Sums: norm"}},
		{"a write", func() {
			cache, err := NewCache(CacheConfig{
				Layers:     []CacheLayer{{KVHeads: heads, DimQK: dim, DimV: dim, KeyType: TypeInt8, ValueType: TypeInt8}},
				PageTokens: tokens, Pages: 1,
			})
			ok(err)
			step, err := e.NewStep(cache)
			ok(err)
			ok(step.Begin([]StepSequence{{Sequence: cache.NewSequence(), Tokens: tokens}}))
			ok(step.Write(0, rows(heads, tokens), rows(heads, tokens)))
		}, []string{"Store: store"}},
	} {
		clear(seen)
		c.run()
		for _, want := range c.want {
			if !seen[want] {
				t.Errorf("%s: no %s among %v", c.name, want, seen)
			}
		}
		clear(seen)
		if note("after"); !seen["after: "] {
			t.Errorf("%s: afterwards %v", c.name, seen)
		}
	}
}

// noting returns a function that calls note with its name before it does what f does.
func noting[A any](note func(string), name string, f func(*A)) func(*A) {
	return func(a *A) {
		note(name)
		f(a)
	}
}
