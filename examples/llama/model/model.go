package model

import (
	"fmt"

	"github.com/qkv-go/qkv"
)

// A Model is a network on an engine of the library. It does not change, and is safe for use by
// several goroutines at once, each with an [Engine] of its own.
type Model struct {
	Config
	engine    *qkv.Engine
	embedding qkv.Matrix // [Vocab, Width]
	blocks    []block
	norm      []float32
	out       *qkv.PackedMatrix // [Width, Vocab]
}

// A block is a layer.
type block struct {
	attnNorm []float32
	attn     *qkv.Layer
	ffnNorm  []float32
	gate, up *qkv.PackedMatrix // [Width, FFN]
	down     *qkv.PackedMatrix // [FFN, Width]
}

// New returns the model of weights, of whose matrices it makes packed copies: what it keeps of w is
// the embedding and the norms. The error is that of the library.
func New(e *qkv.Engine, w *Weights) (*Model, error) {
	if err := w.check(); err != nil {
		return nil, err
	}
	m := &Model{Config: w.Config, engine: e, embedding: qkv.RowMajor(w.Embedding, w.Vocab, w.Width), blocks: make([]block, w.Layers), norm: w.Norm}
	rotary, err := qkv.NewRotary(qkv.RotaryConfig{Dim: w.Dim(), Interleaved: true, MaxPositions: w.Context})
	if err != nil {
		return nil, err
	}
	linear := func(x []float32) qkv.Linear {
		return qkv.Linear{W: qkv.RowMajor(x, len(x)/w.Width, w.Width).T()}
	}
	pack := func(x []float32, in int) *qkv.PackedMatrix {
		p, e := e.Pack(qkv.RowMajor(x, len(x)/in, in).T())
		if err == nil {
			err = e
		}
		return p
	}
	m.out = pack(w.Out, w.Width)
	for i := range w.Blocks {
		b := &w.Blocks[i]
		attn, e := e.NewLayer(qkv.LayerConfig{
			ProjectionConfig: qkv.ProjectionConfig{
				Q: linear(b.Q), K: linear(b.K), V: linear(b.V),
				Heads: w.Heads, KVHeads: w.KVHeads, Rotary: rotary,
			},
			Out:       linear(b.O),
			Attention: qkv.Call{Mask: qkv.Mask{Causal: true}},
		})
		if err == nil {
			err = e
		}
		m.blocks[i] = block{b.AttnNorm, attn, b.FFNNorm, pack(b.Gate, w.Width), pack(b.Up, w.Width), pack(b.Down, w.FFN)}
	}
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	return m, nil
}

// Weights returns how many weights the model has.
func (m *Model) Weights() int {
	kv := m.KVHeads * m.Dim()
	n := m.Vocab*m.Width + m.Width + m.Layers*m.Width*(2+2*m.Width+2*kv+3*m.FFN)
	if !m.Tied {
		n += m.Vocab * m.Width
	}
	return n
}
