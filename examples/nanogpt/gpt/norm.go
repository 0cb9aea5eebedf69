package gpt

import "math"

// A norm is a layer norm (Ba, Kiros and Hinton, Layer Normalization, 2016).
type norm struct {
	weight, bias []float32 // [width]
}

// apply gives each row of x [seq, width] the mean 0 and the variance 1, then scales and
// shifts each column as the model has learnt. What the blocks add up in x thus comes in at
// the same size everywhere.
func (n norm) apply(x Tensor) Tensor {
	const epsilon = 1e-5 // PyTorch's
	y := newTensor(x.Shape...)
	for t := range x.Shape[0] {
		from, to := x.row(t), y.row(t)
		mean := 0.0
		for _, v := range from {
			mean += float64(v)
		}
		mean /= float64(len(from))
		variance := 0.0
		for _, v := range from {
			d := float64(v) - mean
			variance += float64(d * d)
		}
		variance /= float64(len(from))
		scale := 1 / math.Sqrt(variance+epsilon)
		for i, v := range from {
			d := (float64(v) - mean) * scale
			to[i] = float32(float64(d*float64(n.weight[i])) + float64(n.bias[i]))
		}
	}
	return y
}
