package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// A gen draws operands of one kind.
type gen struct {
	name string
	draw func(r *rand.Rand) float32
}

var (
	inf       = float32(math.Inf(1))
	nan       = math.Float32frombits(0x7fc0_0000)
	negNaN    = math.Float32frombits(0xffc0_0001)
	staleNaN  = math.Float32frombits(stale)
	tiny      = float32(math.SmallestNonzeroFloat32)
	minNormal = float32(0x1p-126)
	huge      = float32(math.MaxFloat32)

	specials = []float32{
		0, negZero, 1, -1, tiny, -tiny, minNormal, -minNormal, minNormal - tiny,
		huge, -huge, huge / 3, inf, -inf, nan, negNaN,
	}
)

var (
	unwritten = gen{"stale", func(*rand.Rand) float32 { return staleNaN }}
	zero      = gen{"zero", func(*rand.Rand) float32 { return 0 }}
	one       = gen{"one", func(*rand.Rand) float32 { return 1 }}
	normal    = gen{"normal", func(r *rand.Rand) float32 { return float32(r.NormFloat64()) }}
	// integers cancel exactly, to zeros of either sign.
	integers = gen{"integers", func(r *rand.Rand) float32 { return float32(r.IntN(9)-4) * float32(1-2*r.IntN(2)) }}
	// odd numbers of few bits make sums that lie between two float32.
	halfway = gen{"halfway", func(r *rand.Rand) float32 {
		return float32(math.Ldexp(float64(2*r.IntN(4096)+1), r.IntN(14)-13)) * float32(1-2*r.IntN(2))
	}}
	// exponents of the whole range, so that products and sums leave the normal one.
	wide = gen{"wide", func(r *rand.Rand) float32 {
		return float32(math.Ldexp(r.Float64()*2-1, r.IntN(277)-149))
	}}
	// small has products around the least normal number and below.
	small = gen{"small", func(r *rand.Rand) float32 {
		return float32(math.Ldexp(r.Float64()*2-1, r.IntN(24)-75))
	}}
	special = gen{"special", func(r *rand.Rand) float32 { return specials[r.IntN(len(specials))] }}
	bits    = gen{"bits", func(r *rand.Rand) float32 { return math.Float32frombits(r.Uint32()) }}

	numbers = []gen{normal, integers, halfway, wide, small, normal.with(special, 16), special, bits}
)

// with returns g with one value in n drawn from h.
func (g gen) with(h gen, n int) gen {
	return gen{g.name + "+" + h.name, func(r *rand.Rand) float32 {
		if r.IntN(n) == 0 {
			return h.draw(r)
		}
		return g.draw(r)
	}}
}

// uniform draws from [lo, hi).
func uniform(lo, hi float32) gen {
	return gen{fmt.Sprintf("[%g,%g)", lo, hi), func(r *rand.Rand) float32 { return lo + (hi-lo)*r.Float32() }}
}

// constant draws v.
func constant(v float32) gen {
	return gen{fmt.Sprint(v), func(*rand.Rand) float32 { return v }}
}

func choose(r *rand.Rand, gens []gen) gen { return gens[r.IntN(len(gens))] }

func isNaN(w uint32) bool { return w&(1<<31-1) > 0x7f80_0000 }

func show(w uint32) string {
	switch w {
	case poison:
		return "poison"
	case stale:
		return "stale"
	}
	return fmt.Sprintf("%g (%#08x)", math.Float32frombits(w), w)
}

// weightKinds are weights that Softmax may leave for keys that are kept.
var weightKinds = []gen{
	uniform(0, 1),
	one,
	uniform(0, 1).with(zero, 3),
	{"underflowing", func(r *rand.Rand) float32 {
		return max(minNormal, float32(math.Ldexp(r.Float64(), -r.IntN(126))))
	}},
	uniform(0, 1).with(constant(nan), 32).with(constant(negNaN), 32),
}

// scoreKinds are scores, in the range where weights vary and outside of it.
var scoreKinds = []gen{
	uniform(-4, 4),
	uniform(-70, 2),
	uniform(-64, -62).with(zero, 4),
	uniform(30, 100),
	constant(-1e30),
	constant(-inf),
	uniform(-4, 4).with(constant(-inf), 3),
	uniform(-4, 4).with(constant(nan), 64),
	uniform(-4, 4).with(special, 8),
	{"halves", func(r *rand.Rand) float32 { return float32(r.IntN(300)-200) / 4 }},
	wide,
	special,
	bits,
}
