package model

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/qkv-go/qkv"
)

// A Model is a network on an engine of the library. It does not change, and is safe for use by
// several goroutines at once, each with an [Engine] of its own.
type Model struct {
	Config
	engine    *qkv.Engine
	class     qkv.Precision // of the products by matrices
	embedding qkv.Matrix    // [Vocab, Width]
	blocks    []block
	norm      []float32
	out       qkv.Linear // [Width, Vocab]
}

// A block is a layer. Its linear layers are packed or not.
type block struct {
	attnNorm, attnPost []float32
	attn               *qkv.Layer
	attention          qkv.Call // the options that attn has
	ffnNorm, ffnPost   []float32
	mlp                mlp   // of a layer without experts
	experts            []mlp // the shared one, if there is one, is the last
	router             qkv.Linear
	sharedGate         qkv.Linear // [Width, 1]
}

// An mlp is what is between two norms, or an expert of it.
type mlp struct {
	gate, up qkv.Linear // [Width, FFN]
	down     qkv.Linear // [FFN, Width]
}

// New returns the model of weights, of whose matrices it makes packed copies: what it keeps of w is
// the embedding and the norms. The error is that of the library.
func New(e *qkv.Engine, w *Weights) (*Model, error) {
	return NewOf(e, tensorsOf(w), qkv.PrecisionFloat32, true)
}

// NewOf returns the model of weights in the types of a file, whose products and attention are of a class. Packed, the
// model keeps a copy of the matrices beside the embedding and the norms, see [qkv.Engine.PackFor], and of a tied
// embedding the copy that it multiplies by. Otherwise it reads them where they are. The file stays open. The error is
// that of the library, for a matrix that the class does not multiply too.
func NewOf(e *qkv.Engine, w *Tensors, class qkv.Precision, packed bool) (*Model, error) {
	m := &Model{Config: w.Config, engine: e, class: class, embedding: w.Embedding, blocks: make([]block, w.Layers), norm: w.Norm}
	err := m.check()
	if err != nil {
		return nil, err
	}
	keep := func(x error) {
		if err == nil {
			err = x
		}
	}
	rotary := func(cfg qkv.RotaryConfig) *qkv.Rotary {
		cfg.Dim, cfg.Interleaved, cfg.MaxPositions = cmp.Or(cfg.Dim, w.Dim()), !w.HalfSplit, w.Context
		r, e := qkv.NewRotary(cfg)
		keep(e)
		return r
	}
	linearOf := func(class qkv.Precision, x qkv.Matrix, bias []float32) qkv.Linear {
		if !packed {
			return qkv.Linear{W: x.T(), Bias: bias}
		}
		p, e := e.PackFor(class, x.T(), 1)
		keep(e)
		return qkv.Linear{Packed: p, Bias: bias}
	}
	linear := func(x qkv.Matrix) qkv.Linear { return linearOf(class, x, nil) }
	scaled := func(bias []float32) []float32 { // as what comes in is, see clampGated
		if bias == nil || w.Clamp == 0 {
			return bias
		}
		bias = slices.Clone(bias)
		for i := range bias {
			bias[i] *= clampSlope
		}
		return bias
	}
	mlpOf := func(x *MLPOf[qkv.Matrix]) mlp {
		return mlp{linearOf(class, x.Gate, scaled(x.GateBias)), linearOf(class, x.Up, scaled(x.UpBias)), linearOf(class, x.Down, x.DownBias)}
	}
	global, local := rotary(w.Rotary), (*qkv.Rotary)(nil)
	if w.Period != 0 {
		local = rotary(w.LocalRotary)
	}
	m.out = linear(w.Out)
	values := qkv.PrecisionFloat32
	if class == qkv.PrecisionInt8 {
		values = w.ValuePrecision
	}
	for i := range w.Blocks {
		b := &w.Blocks[i]
		cfg := qkv.LayerConfig{
			ProjectionConfig: qkv.ProjectionConfig{
				Q: qkv.Linear{W: b.Q.T(), Bias: b.QBias}, K: qkv.Linear{W: b.K.T(), Bias: b.KBias}, V: qkv.Linear{W: b.V.T(), Bias: b.VBias},
				Heads: w.Heads, KVHeads: w.KVHeads, QNorm: b.QNorm, KNorm: b.KNorm, NormEps: m.eps(), Rotary: global, Precision: class, InPlace: !packed,
			},
			Out: qkv.Linear{W: b.O.T(), Bias: b.OBias},
			Attention: qkv.Call{
				Mask: qkv.Mask{Causal: true}, Scale: w.QueryScale, Softcap: w.Softcap, Sinks: b.Sinks, Precision: class,
				ValuePrecision: values,
			},
		}
		if w.local(i) { // the window is the cache's
			cfg.Rotary = local
		}
		attn, e := e.NewLayer(cfg)
		keep(e)
		m.blocks[i] = block{attnNorm: b.AttnNorm, attnPost: b.AttnPost, attn: attn, attention: cfg.Attention, ffnNorm: b.FFNNorm, ffnPost: b.FFNPost}
		to := &m.blocks[i]
		if !w.mixed(i) {
			to.mlp = mlpOf(&b.MLPOf)
			continue
		}
		// Which experts are chosen is not a matter of the class: routers are small, and files have them in float32.
		to.router = linearOf(qkv.PrecisionFloat32, b.Router, b.RouterBias)
		for j := range b.Experts {
			to.experts = append(to.experts, mlpOf(&b.Experts[j]))
		}
		if w.SharedFFN != 0 {
			to.experts = append(to.experts, mlpOf(&b.Shared))
			to.sharedGate = linearOf(qkv.PrecisionFloat32, b.SharedGate, nil)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	return m, nil
}

// Weights returns how many weights the matrices, biases and norms of the model have.
func (m *Model) Weights() int {
	q, kv := m.Heads*m.Dim(), m.KVHeads*m.Dim()
	layer := m.Width * (2 + 2*q + 2*kv)
	mixture := m.Experts * (m.Width + 3*m.Width*m.FFN)
	if m.ExpertBias {
		mixture += m.Experts * (1 + 2*m.FFN + m.Width)
	}
	if m.SharedFFN != 0 {
		mixture += m.Width * (1 + 3*m.SharedFFN)
	}
	if m.OutBias {
		layer += m.Width
	}
	if m.Sinks {
		layer += m.Heads
	}
	if m.Bias {
		layer += q + 2*kv
	}
	if m.QKNorm {
		layer += 2 * m.Dim()
	}
	if m.PostNorm {
		layer += 2 * m.Width
	}
	n := m.Vocab*m.Width + m.Width + m.Layers*layer
	for i := range m.Layers {
		if m.mixed(i) {
			n += mixture
		} else {
			n += 3 * m.Width * m.mlpWidth()
		}
	}
	if !m.Tied {
		n += m.Vocab * m.Width
	}
	return n
}
