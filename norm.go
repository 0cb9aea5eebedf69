package qkv

import (
	"math"

	"github.com/qkv-go/qkv/kernel"
)

// normLanes is the number of partial sums of normHead: element i counts to sum
// i % normLanes.
const normLanes = 16

// normHead divides the dim elements from p on, stride apart, by their root mean square and
// multiplies them by weight [dim], or by nothing if it is nil, in place (RMSNorm; Zhang and
// Sennrich, 2019):
//
//	sum[l] = fma(p[i], p[i], sum[l]), l = i % 16, for i upwards, from +0
//	sum[l] += sum[l+w] for l < w, for w = 8, 4, 2, 1
//	r = 1 / sqrt(sum[0]/dim + eps)
//	p[i] = (p[i] * r) * weight[i]
//
// Every operation is rounded to float32. The mean square of elements above 2^63 overflows,
// and they become zeros.
func normHead(p *float32, dim, stride int, weight []float32, eps float32) {
	var sum [normLanes]float32
	for i := range dim {
		x := *at(p, i*stride)
		s := &sum[i%normLanes]
		if t := kernel.WideFMA(x, x, *s); kernel.Ambiguous(t) {
			*s = kernel.FMA(x, x, *s)
		} else {
			*s = float32(t)
		}
	}
	for w := normLanes / 2; w > 0; w /= 2 {
		for l := range w {
			sum[l] += sum[l+w]
		}
	}
	r := 1 / float32(math.Sqrt(float64(sum[0]/float32(dim)+eps)))
	for i := range dim {
		*at(p, i*stride) *= r
	}
	for i, w := range weight {
		*at(p, i*stride) *= w
	}
}
