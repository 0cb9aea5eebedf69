package model

import (
	"math"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
)

// TestTurned: a model whose cache keeps keys and values turned has the logits of one that does not, but for rounding,
// and the same bits whatever the steps and the set.
func TestTurned(t *testing.T) {
	const n = 60
	c := Small
	c.Options = Options{HalfSplit: true, Window: 30, Period: 2}
	tokens := randomTokens(n, c.Vocab, 7)
	var first []float32
	forEachSet(t, qkv.PrecisionFloat32, func(t *testing.T, cfg qkv.Config) {
		m, _ := newModel(t, cfg, c)
		means, err := m.KeyMeans(tokens)
		must(err)
		for i, mean := range means {
			if len(mean) != c.KVHeads*c.Dim() || !slices.ContainsFunc(mean, func(x float32) bool { return math.Abs(float64(x)) > 0.01 }) {
				t.Errorf("layer %d has the mean %v", i, mean)
			}
		}
		plain := newEngine(t, m, EngineConfig{PageTokens: 16, Pages: 8})
		want := read(plain, plain.Cache.NewSequence(), tokens, n)
		for _, x := range []EngineConfig{{Hadamard: true}, {KeyMeans: means}, {Hadamard: true, KeyMeans: means}} {
			x.PageTokens, x.Pages = 16, 8
			e := newEngine(t, m, x)
			got := read(e, e.Cache.NewSequence(), tokens, n)
			for i, v := range want {
				if !(math.Abs(float64(got[i]-v)) <= 1e-4) {
					t.Fatalf("Hadamard %v, %d means: logit %d is %v, without %v", x.Hadamard, len(x.KeyMeans), i, got[i], v)
				}
			}
		}
		for _, chunk := range []int{1, 7, n} {
			e := newEngine(t, m, EngineConfig{Type: qkv.TypeQ8_0, Hadamard: true, KeyMeans: means, PageTokens: 16, Pages: 8})
			got := read(e, e.Cache.NewSequence(), tokens, chunk)
			if first == nil {
				first = got
			}
			for i, v := range first {
				if math.Float32bits(got[i]) != math.Float32bits(v) {
					t.Fatalf("chunks of %d: logit %d is %v, want %v", chunk, i, got[i], v)
				}
			}
		}
	})
	m, _ := newModel(t, qkv.Config{}, Small)
	if _, err := m.KeyMeans(nil); err == nil {
		t.Error("means of no keys")
	}
}

// TestKeyMeans: the mean of the keys of one token twice is what a rotation by half the angle and by its cosine makes
// of the key, in the first layer, whose keys know nothing of other tokens.
func TestKeyMeans(t *testing.T) {
	m, _ := newModel(t, qkv.Config{}, Small)
	one, err := m.KeyMeans([]int32{5})
	must(err)
	two, err := m.KeyMeans([]int32{5, 5})
	must(err)
	if len(one) != Small.Layers {
		t.Fatalf("%d layers", len(one))
	}
	dim := m.Dim()
	for i := 0; i < len(one[0]); i += 2 {
		half := math.Pow(10000, -float64(i%dim)/float64(dim)) / 2
		sin, cos := math.Sincos(half)
		x, y := float64(one[0][i]), float64(one[0][i+1])
		for j, want := range []float64{cos * (x*cos - y*sin), cos * (y*cos + x*sin)} {
			if got := float64(two[0][i+j]); !(math.Abs(got-want) <= 1e-5) {
				t.Errorf("dim %d of the mean is %v, want %v", i+j, got, want)
			}
		}
	}
}
