package qkv_test

import (
	"fmt"
	"testing"

	"github.com/qkv-go/qkv"
)

// rowBytes is the size of a row as docs/guide.md has it.
func rowBytes(typ qkv.ElemType, dim int) int {
	switch typ {
	case qkv.TypeFloat16, qkv.TypeBFloat16:
		return 2 * dim
	case qkv.TypeInt8:
		return dim + 4
	case qkv.TypeQ8_0:
		return 34 * dim / 32
	case qkv.TypeFloat8E4M3, qkv.TypeFloat8E5M2:
		return dim
	case qkv.TypeQ4_0:
		return 18 * dim / 32
	case qkv.TypeQ4_1:
		return 20 * dim / 32
	}
	return 4 * dim
}

// TestCacheBytes: what a cache says of its size is the formula of the documentation, in memory of
// its own and of the caller's.
func TestCacheBytes(t *testing.T) {
	const places, kvHeads, tokens, dimQK, dimV = 3, 2, 5, 64, 32
	for _, k := range elemTypes {
		for _, v := range elemTypes {
			name := fmt.Sprintf("%v and %v", k, v)
			want := places * kvHeads * tokens * (rowBytes(k, dimQK) + rowBytes(v, dimV))
			cfg := cacheShape{kvHeads, dimQK, dimV, k, v}.config(places, tokens)
			if got := newCache(t, cfg).Bytes(); got != want {
				t.Errorf("a cache of %s has %d bytes, want %d", name, got, want)
			}
			l := &cfg.Layers[0]
			l.K, l.KScale = newPool(k, [4]int{places, kvHeads, tokens, dimQK}).views()
			l.V, l.VScale = newPool(v, [4]int{places, kvHeads, tokens, dimV}).views()
			if got := newCache(t, cfg).Bytes(); got != want {
				t.Errorf("a cache of %s in memory of the caller's has %d bytes, want %d", name, got, want)
			}
			// Two layers more, whose rings have 2 pages a sequence.
			cfg = cacheShape{kvHeads, dimQK, dimV, k, v}.config(places, tokens)
			ring := cfg.Layers[0]
			ring.Window = tokens
			cfg.Layers = append(cfg.Layers, ring, ring)
			cfg.Sequences, cfg.StepTokens = 7, 3
			if got, pages := newCache(t, cfg).Bytes(), places+2*7*2; got*places != want*pages || cfg.LayerPages(1) != 14 {
				t.Errorf("pages of %s have %d bytes, want %d; %d pages", name, got, want/places*pages, cfg.LayerPages(1))
			}
		}
	}
}

// TestWeightBytes: likewise of packed weights.
func TestWeightBytes(t *testing.T) {
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		vec := e.Kernel().Vec
		up := func(n int) int { return (n + vec - 1) / vec * vec }
		for _, p := range []projection{{1, 4, 6, 4, 2, 8, 8}, {1, 4, 10, 3, 1, 20, 33}, {1, 4, 7, 2, 2, 64, 1}} {
			cfg := p.layerConfig(5, normal(1))
			layer, err := e.NewLayer(cfg)
			if err != nil {
				t.Fatal(err)
			}
			projected, err := e.NewProjection(cfg.ProjectionConfig)
			if err != nil {
				t.Fatal(err)
			}
			w, err := e.Pack(cfg.Out.W)
			if err != nil {
				t.Fatal(err)
			}
			wantOut := 4 * p.heads * p.dimV * up(5)
			wantIn := 4 * p.in * ((p.heads+p.kvHeads)*up(p.dimQK) + p.kvHeads*up(p.dimV))
			if w.Bytes() != wantOut || projected.Bytes() != wantIn || layer.Bytes() != wantIn+wantOut {
				t.Errorf("%+v: weights of %d, %d and %d bytes, want %d, %d and their sum", p, projected.Bytes(), w.Bytes(), layer.Bytes(), wantIn, wantOut)
			}
			cfg.InPlace = true
			if layer, err = e.NewLayer(cfg); err != nil || layer.Bytes() != 0 {
				t.Errorf("%+v in place: %d bytes, error %v", p, layer.Bytes(), err)
			}
		}
	})
}
