package main

import (
	"fmt"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/cmd/qkv/heatmap"
	"github.com/qkv-go/qkv/examples/nanogpt/gpt"
)

// maxModel is the most bytes of a model that is drawn.
const maxModel = 1 << 30

// modelAttention computes the maps of all layers of a model on letters, and says what they
// are of.
func (v *viewFlags) modelAttention() (*heatmap.Attention, string, error) {
	engine, err := qkv.New(qkv.Config{Kernel: v.kernel, Workers: v.workers})
	if err != nil {
		return nil, "", err
	}
	data, err := readAll(v.model, maxModel)
	if err != nil {
		return nil, "", err
	}
	m, err := gpt.Parse(data, engine)
	if err != nil {
		return nil, "", inputError{v.model, err}
	}
	tokens, err := m.Tokens(v.letters)
	if err != nil {
		return nil, "", err
	}
	layers, err := m.Attention(tokens)
	if err != nil {
		return nil, "", err
	}
	n := len(tokens)
	a, err := heatmap.New(n, n)
	if err != nil {
		return nil, "", err
	}
	for _, token := range tokens {
		a.KeyLabels = append(a.KeyLabels, gpt.Label(token))
	}
	a.QueryLabels = a.KeyLabels
	if v.oneHead && v.head >= m.Heads {
		return nil, "", fmt.Errorf("-head is %d, the model has %d heads", v.head, m.Heads)
	}
	if !v.oneHead {
		a.Columns = m.Heads
	}
	for i, probs := range layers {
		for h := range m.Heads {
			if v.oneHead && h != v.head {
				continue
			}
			head := probs.Data[h*n*n:][:n*n]
			for at := range head {
				if at%n > at/n { // the model is causal
					head[at] = heatmap.Masked
				}
			}
			if err := a.Add(fmt.Sprintf("layer %d, head %d", i, h), head); err != nil {
				return nil, "", err
			}
		}
	}
	return a, v.letters + ", causal", nil
}
