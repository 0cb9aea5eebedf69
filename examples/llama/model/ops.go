package model

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/qkv-go/qkv"
)

// rmsNorm writes rows of x, to which it adds those of add, if given, each divided by its root mean square
// and multiplied by weight.
func (m *Model) rmsNorm(y, x, add qkv.Matrix, weight []float32) error {
	return m.engine.RMSNorm(&qkv.Norm{X: x, Add: add, Weight: weight, Eps: m.eps(), Y: y})
}

// eps is what norms add to the mean square.
func (m *Model) eps() float32 { return cmp.Or(m.NormEps, 1e-5) }

// postNorm normalises what a part of a layer returns, where the model does so.
func (m *Model) postNorm(h qkv.Matrix, weight []float32) error {
	if weight == nil {
		return nil
	}
	return m.rmsNorm(h, h, qkv.Matrix{}, weight)
}

// product is y = x w.
func (m *Model) product(y, x qkv.Matrix, w qkv.Linear) error {
	p := m.productOf(y, x, w)
	return m.engine.MatMul(&p)
}

func (m *Model) productOf(y, x qkv.Matrix, w qkv.Linear) qkv.Product {
	return qkv.Product{X: x, W: w.W, Packed: w.Packed, Bias: w.Bias, Precision: m.class, Y: y}
}

// hidden is what the MLP multiplies by its last matrix.
func (m *Model) hidden(y, x qkv.Matrix, w *mlp) error {
	p := m.hiddenProduct(y, x, w)
	return m.engine.MatMul(&p)
}

func (m *Model) hiddenProduct(y, x qkv.Matrix, w *mlp) qkv.Product {
	return qkv.Product{
		X: x, W: w.gate.W, Packed: w.gate.Packed, Bias: w.gate.Bias, Precision: m.class, Activation: cmp.Or(m.Activation, qkv.SiLU), Up: w.up, Y: y,
	}
}

// add is x = x + h w.
func (m *Model) add(x, h qkv.Matrix, w qkv.Linear) error {
	return m.engine.MatMul(&qkv.Product{X: h, W: w.W, Packed: w.Packed, Precision: m.class, Y: x, Accumulate: true})
}

// scale multiplies embeddings, where the model does so.
func (m *Model) scale(x []float32) {
	if s := m.EmbeddingScale; s != 0 {
		for i := range x {
			x[i] *= s
		}
	}
}

// capLogits bounds logits, where the model does so.
func (m *Model) capLogits(logits []float32) {
	if c := float64(m.LogitCap); c != 0 {
		for i, v := range logits {
			logits[i] = float32(c * math.Tanh(float64(v)/c))
		}
	}
}

// argmax returns the token with the greatest logit, the first of equal ones. There is none, -1, which
// the next step refuses, where all logits are NaN.
func (m *Model) argmax(logits []float32) int32 { return int32(m.engine.ArgMax(logits)) }

// logProb returns the logarithm of the probability of a token under logits.
func logProb(logits []float32, token int32) float64 {
	most, sum := float64(slices.Max(logits)), 0.0
	for _, v := range logits {
		sum += math.Exp(float64(v) - most)
	}
	return float64(logits[token]) - most - math.Log(sum)
}

// checkTokens reports a token that the vocabulary does not have.
func (m *Model) checkTokens(tokens []int32) error {
	for _, token := range tokens {
		if token < 0 || int(token) >= m.Vocab {
			return fmt.Errorf("model: token %d is to be rated, the vocabulary has %d", token, m.Vocab)
		}
	}
	return nil
}

// logProbs adds up the logarithms of the probabilities of tokens, each under a row of logits. The error is for
// a token that the vocabulary does not have.
func (m *Model) logProbs(logits []float32, tokens []int32) (float64, error) {
	if err := m.checkTokens(tokens); err != nil {
		return 0, err
	}
	each := make([]float64, len(tokens))
	err := m.engine.Parallel(len(tokens), 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			each[i] = logProb(logits[i*m.Vocab:][:m.Vocab], tokens[i])
		}
	})
	sum := 0.0
	for _, v := range each {
		sum += v
	}
	return sum, err
}
