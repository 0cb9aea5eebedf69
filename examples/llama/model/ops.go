package model

import (
	"math"
	"slices"

	"github.com/qkv-go/qkv"
)

// rmsNorm writes rows of x, to which it adds those of add, if given, each divided by its root mean square
// and multiplied by weight.
func (m *Model) rmsNorm(y, x, add qkv.Matrix, weight []float32) error {
	return m.engine.RMSNorm(&qkv.Norm{X: x, Add: add, Weight: weight, Eps: 1e-5, Y: y})
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
