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
	forEachSet(t, func(t *testing.T, cfg qkv.Config) {
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

// TestKeyMeans: the means of one token are its keys, which all queries attend with a weight of 1.
func TestKeyMeans(t *testing.T) {
	m, _ := newModel(t, qkv.Config{}, Small)
	one, err := m.KeyMeans([]int32{5})
	must(err)
	two, err := m.KeyMeans([]int32{5, 6})
	must(err)
	if slices.Equal(one[0], two[0]) || len(one) != Small.Layers {
		t.Errorf("%d layers, the means of one token are those of two", len(one))
	}
}
