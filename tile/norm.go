package tile

import (
	"math"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel/fp"
)

// normHead divides the dim elements from p on, stride apart, by their root mean square and
// multiplies them by weight [dim], in place (RMSNorm; Zhang and Sennrich, 2019):
//
//	sum[l] = fma(p[i], p[i], sum[l]), l = i % 16, for i upwards, from +0
//	sum[l] += sum[l+w] for l < w, for w = 8, 4, 2, 1
//	r = 1 / sqrt(sum[0]/dim + eps)
//	p[i] = (p[i] * r) * weight[i]
//
// Every operation is rounded to float32. The mean square of elements above 2^63 overflows,
// and they become zeros.
func normHead(p *float32, dim, stride int, weight []float32, eps float32) {
	sum := fp.Squares(p, stride, dim)
	for w := len(sum) / 2; w > 0; w /= 2 {
		for l := range w {
			sum[l] += sum[l+w]
		}
	}
	r := 1 / float32(math.Sqrt(float64(sum[0]/float32(dim)+eps)))
	for i := range dim {
		*ptr.At(p, i*stride) *= r
	}
	for i, w := range weight {
		*ptr.At(p, i*stride) *= w
	}
}
