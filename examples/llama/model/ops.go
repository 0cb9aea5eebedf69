package model

import (
	"math"

	"github.com/qkv-go/qkv"
)

// rmsNorm writes rows of x, to which it adds those of add, if given, each divided by its root mean square
// and multiplied by weight.
func (m *Model) rmsNorm(y, x, add qkv.Matrix, weight []float32) error {
	return m.engine.RMSNorm(&qkv.Norm{X: x, Add: add, Weight: weight, Eps: 1e-5, Y: y})
}

// argmax returns the index of the largest element, the first of equal ones.
func argmax(x []float32) int32 {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return int32(best)
}

// logProb returns the logarithm of the probability of a token under logits.
func logProb(logits []float32, token int32) float64 {
	most, sum := float64(logits[argmax(logits)]), 0.0
	for _, v := range logits {
		sum += math.Exp(float64(v) - most)
	}
	return float64(logits[token]) - most - math.Log(sum)
}
