package gpt

import "math"

// gelu returns x times about the probability that a normal variable is below x: nearly x
// where x is positive, nearly 0 where it is negative. It is minGPT's form, with tanh
// (Hendrycks and Gimpel, Gaussian Error Linear Units, 2016).
func gelu(x Tensor) Tensor {
	y := newTensor(x.Shape...)
	for i, v := range x.Data {
		v := float64(v)
		cube := float64(v * v * v)
		y.Data[i] = float32(0.5 * v * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+float64(0.044715*cube)))))
	}
	return y
}
