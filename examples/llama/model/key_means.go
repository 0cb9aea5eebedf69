package model

import (
	"fmt"

	"github.com/qkv-go/qkv"
)

// KeyMeans returns the means of the keys [KVHeads*dim] of each layer, over the first tokens of a text: as many as a
// window has, or the model reads, and 512 at most. The error is that of the library.
func (m *Model) KeyMeans(tokens []int32) ([][]float32, error) {
	n := min(len(tokens), 512, m.Context)
	if m.Period != 0 {
		n = min(n, m.Window)
	}
	if n == 0 {
		return nil, fmt.Errorf("model: a text of 0 tokens has no keys")
	}
	// A page for all, in memory that is there afterwards.
	layers, all := make([]qkv.CacheLayer, m.Layers), make([][]float32, m.Layers)
	for i := range layers {
		all[i] = make([]float32, m.KVHeads*n*m.Dim())
		values := make([]float32, len(all[i]))
		layers[i] = qkv.CacheLayer{
			KVHeads: m.KVHeads, DimQK: m.Dim(), DimV: m.Dim(),
			K: qkv.BHSD(all[i], 1, m.KVHeads, n, m.Dim()), V: qkv.BHSD(values, 1, m.KVHeads, n, m.Dim()),
		}
	}
	e, err := &Engine{Model: m, prompt: n}, error(nil)
	if e.Cache, err = qkv.NewCache(qkv.CacheConfig{Layers: layers, PageTokens: n, Pages: 1}); err == nil {
		e.Step, err = m.engine.NewStep(e.Cache)
	}
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if _, err := e.Forward([]Input{{Sequence: e.Cache.NewSequence(), Tokens: tokens[:n]}}); err != nil {
		return nil, err
	}
	means := make([][]float32, m.Layers)
	for i, keys := range all {
		for head := range m.KVHeads {
			for d := range m.Dim() {
				sum := 0.0
				for token := range n {
					sum += float64(keys[(head*n+token)*m.Dim()+d])
				}
				means[i] = append(means[i], float32(sum/float64(n)))
			}
		}
	}
	return means, e.Step.Rollback()
}
