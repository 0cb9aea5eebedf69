package gpt

import (
	"math"
	"slices"
)

// softmax makes probabilities of each row of x [rows, cols]: exp(x) over the sum of the
// row's.
func softmax(x Tensor) Tensor {
	y := newTensor(x.Shape...)
	for t := range x.Shape[0] {
		from, to := x.row(t), y.row(t)
		most := float64(slices.Max(from)) // cancels, and nothing overflows
		sum := 0.0
		for _, v := range from {
			sum += math.Exp(float64(v) - most)
		}
		for i, v := range from {
			to[i] = float32(math.Exp(float64(v)-most) / sum)
		}
	}
	return y
}
