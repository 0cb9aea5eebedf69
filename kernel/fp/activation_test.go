package fp

import (
	"math"
	"testing"
)

// An activation is a function beside the exact one.
type activation struct {
	name  string
	f     func(float32) float32
	exact func(float64) float64
	// From least on errors are bounded in ulps. Below results are -0, and exact values above -lost.
	least float32
	lost  float64
	ulps  float64
	// steps is f in its steps.
	steps func(float32) float32
}

var activations = []activation{
	{"SiLU", SiLU, exactSiLU, -88.3, 0x1p-121, 3, stepsSiLU},
	{"GELUTanh", GELUTanh, exactGELUTanh, -10, 0x1p-124, 3, stepsGELUTanh},
	{"GELU", GELU, exactGELU, -13.2, 0x1p-126, 6, stepsGELU},
}

func exactSiLU(x float64) float64 { return x / (1 + math.Exp(-x)) }

func exactGELUTanh(x float64) float64 {
	return x / (1 + math.Exp(-2*math.Sqrt(2/math.Pi)*x*(1+0.044715*x*x)))
}

func exactGELU(x float64) float64 { return x * math.Erfc(-x/math.Sqrt2) / 2 }

// TestActivations bounds errors at float32 of both signs, of which one in 51 below 2^-20 and above
// 128. Each one is what -exhaustive is for.
func TestActivations(t *testing.T) {
	for _, a := range activations {
		t.Run(a.name, func(t *testing.T) {
			for _, sign := range []uint32{0, 1 << 31} {
				worst := eachFloat(0, math.Float32bits(float32(math.Inf(1))), func(lo, hi uint32) (worst worstCase) {
					stride := uint64(strideOf(37, 1999))
					exact := curveOf(a.exact)
					for b := uint64(lo); b <= uint64(hi); b += stride {
						x, want := math.Float32frombits(uint32(b)|sign), exact.at(uint32(b)|sign)
						if math.Abs(float64(x)) < 0x1p-20 || math.Abs(float64(x)) > 128 {
							b += 50 * stride
						}
						got := float64(a.f(x))
						if math.IsInf(float64(x), 0) {
							want = math.Max(0, float64(x))
						}
						if math.Signbit(got) != (sign != 0) {
							t.Errorf("%s(%x) = %x: sign", a.name, x, got)
							return worst
						}
						switch {
						case got == want:
						case x >= a.least:
							worst.note(x, ulpsOf(got, want))
						case got != 0 && ulpsOf(got, want) > a.ulps || got == 0 && want <= -a.lost:
							t.Errorf("%s(%x) = %x, want %x", a.name, x, got, want)
							return worst
						}
					}
					return worst
				})
				t.Logf("largest error: %.4f ulp, at %v", worst.error, worst.at)
				if !(worst.error <= a.ulps) {
					t.Errorf("%s(%x) = %x, wrong by %v ulp", a.name, worst.at, a.f(worst.at), worst.error)
				}
			}
		})
	}
}

func TestActivationsSpecial(t *testing.T) {
	inf := float32(math.Inf(1))
	const tiny = math.SmallestNonzeroFloat32
	negZero := float32(math.Copysign(0, -1))
	for _, a := range activations {
		for _, c := range []struct{ x, want float32 }{
			{0, 0}, {negZero, negZero},
			{-tiny, negZero}, {-3 * tiny, -2 * tiny}, // half of it, to even
			{0x1p-126, 0x1p-127}, {-0x1p-126, -0x1p-127},
			{1e-30, 1e-30 / 2}, {-1e-30, -1e-30 / 2},
			{40, 40}, {100, 100}, {math.MaxFloat32, math.MaxFloat32}, {inf, inf},
			{-89, negZero}, {-100, negZero}, {-200, negZero}, {-math.MaxFloat32, negZero}, {-inf, negZero},
		} {
			if got := a.f(c.x); !same(got, c.want) {
				t.Errorf("%s(%v) = %v, want %v", a.name, c.x, got, c.want)
			}
		}
		for payload := uint32(1); payload < 1<<23; payload += 1 + payload/64 {
			for _, sign := range []uint32{0, 1 << 31} {
				if got := a.f(math.Float32frombits(sign | 0x7f800000 | payload)); got == got {
					t.Fatalf("%s of the NaN %#08x is %v", a.name, sign|0x7f800000|payload, got)
				}
			}
		}
	}
}

// Steps are written anew, with ExactFMA.

func stepsSiLU(x float32) float32 {
	if x < -89 {
		x = -89
	}
	y := x
	if y > 32 {
		y = 32
	}
	return x / (stepsLogistic(y, 0x1.715476p-1, 0x1.4ae0c0p-27))
}

func stepsLogistic(y, factor, rest float32) float32 {
	t := ExactFMA(-y, factor, ExpMagic)
	f := ExactFMA(-y, rest, ExactFMA(-y, factor, ExpMagic-t))
	p := expPoly[6]
	for i := 5; i >= 0; i-- {
		p = ExactFMA(p, f, expPoly[i])
	}
	return ExactFMA(p, math.Float32frombits(math.Float32bits(t)<<23), 1)
}

func stepsGELUTanh(x float32) float32 {
	if x < -10.06 {
		x = -10.06
	}
	y := x
	if y > 6 {
		y = 6
	}
	z := float32(y * y)
	const a, b = 0x1.26afp+0, 0x1.a5a7dp-5
	q := ExactFMA(b, z, a)
	rest := ExactFMA(b, z, a-q)
	rest = ExactFMA(-0x1.151aaep-30, z, rest)
	rest = ExactFMA(-b, ExactFMA(-y, y, z), rest)
	return x / stepsLogistic(y, q, rest+-0x1.ef218cp-19)
}

func stepsGELU(x float32) float32 {
	a := float32(math.Abs(float64(x)))
	if a > 13.27 {
		a = 13.27
	}
	z := float32(a * a)
	const c = 0x1.715476p-2
	t := ExactFMA(-z, c, ExpMagic)
	f := ExactFMA(-z, 0x1.4ae0c0p-28, ExactFMA(-z, c, ExpMagic-t))
	f = ExactFMA(c, ExactFMA(-a, a, z), f)
	e := expPoly[6]
	for i := 5; i >= 1; i-- {
		e = ExactFMA(e, f, expPoly[i])
	}
	e = float32(e * f)
	num := ExactFMA(ExactFMA(geluNum[4], a, geluNum[3]), z, ExactFMA(geluNum[2], a, geluNum[1]))
	num = ExactFMA(num, a, geluNum[0])
	den := ExactFMA(geluDen[5], z, ExactFMA(geluDen[4], a, geluDen[3]))
	den = ExactFMA(den, z, ExactFMA(geluDen[2], a, geluDen[1]))
	den = ExactFMA(den, a, geluDen[0])
	r := num / den
	r = ExactFMA(r, e, r)
	s := float32(a * math.Float32frombits(math.Float32bits(t)<<23))
	if x > 0 {
		return ExactFMA(-r, s, x)
	}
	return float32(math.Copysign(float64(ExactFMA(-r, s, 0)), float64(x)))
}

// TestActivationsSteps holds the bits of activations against their steps.
func TestActivationsSteps(t *testing.T) {
	stride := strideOf(997, 19997)
	for _, a := range activations {
		for b := uint64(0); b < 1<<32; b += uint64(stride) {
			x := math.Float32frombits(uint32(b))
			if got, want := a.f(x), a.steps(x); !same(got, want) {
				t.Fatalf("%s(%x) = %x, want %x", a.name, x, got, want)
			}
		}
	}
}

func BenchmarkActivations(b *testing.B) {
	for _, a := range activations {
		b.Run("f="+a.name, func(b *testing.B) {
			for b.Loop() {
				a.f(-1.3)
			}
		})
	}
}
