package fp

import "math"

// SoftcapMin is the least argument of the exponential in Softcap: 4^SoftcapMin is lost
// beside 1.
const SoftcapMin = -32

// Softcap returns out * tanh(ln(2) * in * s).
//
// This is the sequence of operations that every Set performs: with y = -|in*s|, the
// hyperbolic tangent of -y ln(2) is (1-4^y) / (1+4^y), where 4^y - 1 comes from the
// polynomial of Exp2 without its first coefficient and so keeps its relative precision.
func Softcap(s, in, out float32) float32 {
	const sign = 1 << 31
	y := math.Float32frombits(math.Float32bits(s*in) | sign)
	if y < SoftcapMin {
		y = SoftcapMin
	}
	t := y + ExpMagic
	f := y - float32(t-ExpMagic)
	q := float32(horner(f, 1) * f)
	e := math.Float32frombits(math.Float32bits(t) << 23)
	x := FMA(e, q, e-1)
	r := x / (x + 2)
	return float32(math.Float32frombits(math.Float32bits(r)&^sign|math.Float32bits(s)&sign) * out)
}
