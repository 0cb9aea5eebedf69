package model

import "math"

// rmsNorm writes rows of x, each divided by its root mean square and multiplied by weight (RMSNorm;
// Zhang and Sennrich, 2019).
func rmsNorm(y, x, weight []float32) {
	const epsilon = 1e-5
	for width := len(weight); len(x) > 0; x, y = x[width:], y[width:] {
		sum := 0.0
		for _, v := range x[:width] {
			sum += float64(v) * float64(v)
		}
		scale := float32(1 / math.Sqrt(sum/float64(width)+epsilon))
		for i, w := range weight {
			y[i] = x[i] * scale * w
		}
	}
}

// swiGLU multiplies the second half of each row by the first half's SiLU, x/(1+exp(-x)), into the
// first half (GLU Variants Improve Transformer; Shazeer, 2020).
func swiGLU(x []float32, half int) {
	for ; len(x) > 0; x = x[2*half:] {
		up := x[half : 2*half]
		for i, v := range x[:half] {
			x[i] = float32(float64(v)/(1+math.Exp(-float64(v)))) * up[i]
		}
	}
}

// addTo adds x to y.
func addTo(y, x []float32) {
	for i, v := range x {
		y[i] += v
	}
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
