package bert

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/qkv-go/qkv"
)

// An Encoder runs a model. It is used by one goroutine at a time; what it computes on is up to the engine of the
// library. It allocates nothing once it has had its largest batch.
type Encoder struct {
	*Model

	// x [tokens, Width] is the residual stream, h what a part of a layer returns, and hidden [tokens, FFN] the
	// values inside the MLP. The tokens of texts lie one behind the other: none is padding.
	x, h, hidden []float32
	ids, places  []int32
	begins       []int // of the texts, and the end
	attention    qkv.Call
	call         qkv.LayerCall
	norm         qkv.Norm
	product      qkv.Product
	y            []float32 // of Embed
	pool         func(lo, hi int)
}

// NewEncoder returns an Encoder of a model.
func NewEncoder(m *Model) *Encoder {
	e := &Encoder{Model: m}
	e.pool = func(lo, hi int) {
		for i := lo; i < hi; i++ {
			pool(e.y[i*e.Width:][:e.Width], e.x[e.begins[i]*e.Width:e.begins[i+1]*e.Width])
		}
	}
	return e
}

// Embed writes the embedding of each text into y [texts, Width]: the mean of its last hidden values, of length 1. A
// text is 1 to Context tokens, see [Tokenizer.Encode]. The error names a text or a token that the model does not
// read, or is that of the library; y is as it was then. Texts have the same bits beside any others.
func (e *Encoder) Embed(y []float32, texts [][]int32) error {
	if len(y) != len(texts)*e.Width {
		return fmt.Errorf("bert: y has %d values, %d texts have %d each", len(y), len(texts), e.Width)
	}
	if len(texts) == 0 {
		return nil
	}
	e.ids, e.places, e.begins = e.ids[:0], e.places[:0], append(e.begins[:0], 0)
	for i, text := range texts {
		if len(text) < 1 || len(text) > e.Context {
			return fmt.Errorf("bert: text %d has %d tokens, 1 to %d are supported", i, len(text), e.Context)
		}
		e.ids = append(e.ids, text...)
		for at := range text {
			e.places = append(e.places, int32(at))
		}
		e.begins = append(e.begins, len(e.ids))
	}
	if err := e.forward(); err != nil {
		return fmt.Errorf("bert: %w", err)
	}
	e.y = y
	err := e.engine.Parallel(len(texts), 1, e.pool)
	e.y = nil
	return err
}

// forward leaves the last hidden values in x.
func (e *Encoder) forward() error {
	matrix := func(buf *[]float32, rows, cols int) qkv.Matrix {
		*buf = slices.Grow((*buf)[:0], rows*cols)[:rows*cols]
		return qkv.RowMajor(*buf, rows, cols)
	}
	n := len(e.ids)
	x, h, hidden := matrix(&e.x, n, e.Width), matrix(&e.h, n, e.Width), matrix(&e.hidden, n, e.FFN)
	e.attention = qkv.Call{CuLensQ: e.begins, CuLensKV: e.begins} // each text attends all of itself
	err := cmp.Or(
		e.engine.Lookup(x, e.words, e.ids),
		e.engine.Lookup(h, e.positions, e.places),
		e.addNorm(x, h, &e.Model.norm),
	)
	for i := 0; i < len(e.blocks) && err == nil; i++ {
		b := &e.blocks[i]
		e.call = qkv.LayerCall{X: x, Y: h, Attention: &e.attention}
		err = cmp.Or(
			b.attn.Run(&e.call),
			e.addNorm(x, h, &b.attnNorm),
			e.linear(hidden, x, b.up, b.upBias, qkv.GELU),
			e.linear(h, hidden, b.down, b.downBias, qkv.NoActivation),
			e.addNorm(x, h, &b.ffnNorm),
		)
	}
	return err
}

// addNorm is x = norm(x + h).
func (e *Encoder) addNorm(x, h qkv.Matrix, n *layerNorm) error {
	e.norm = qkv.Norm{X: x, Add: h, Weight: n.weight, Bias: n.bias, Eps: float32(e.NormEps), Y: x}
	return e.engine.LayerNorm(&e.norm)
}

// linear is y = act(x w + bias).
func (e *Encoder) linear(y, x qkv.Matrix, w qkv.Linear, bias []float32, act qkv.Activation) error {
	e.product = qkv.Product{X: x, Packed: w.Packed, Precision: e.class, Bias: bias, Activation: act, Y: y}
	return e.engine.MatMul(&e.product)
}

// pool writes the mean of rows, divided by its length.
func pool(y, rows []float32) {
	clear(y)
	for len(rows) > 0 {
		for i, v := range rows[:len(y)] {
			y[i] += v
		}
		rows = rows[len(y):]
	}
	// The number of rows cancels out.
	squares := 0.0
	for _, v := range y {
		squares += float64(float64(v) * float64(v)) // rounded, on all architectures
	}
	length := math.Max(math.Sqrt(squares), 1e-12)
	for i, v := range y {
		y[i] = float32(float64(v) / length)
	}
}
