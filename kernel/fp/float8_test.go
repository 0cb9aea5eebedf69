package fp

import (
	"math"
	"testing"
)

// float8s are the types of 8 bits: the magnitude of a code by the formula of the specification, NaN for
// those that stand for none, and what is computed.
var float8s = map[string]struct {
	most       uint8 // the code of the largest finite number
	value      func(code uint8) float64
	to         func(float32) uint8
	from       func(uint8) float32
	halfOfMost float64 // from the largest number to where the next would begin, had there been one
}{
	"E4M3": {0x7e, func(code uint8) float64 {
		switch e, m := int(code>>3), float64(code&7); {
		case code == 0x7f:
			return math.NaN()
		case e == 0:
			return math.Ldexp(m/8, -6)
		default:
			return math.Ldexp(1+m/8, e-7)
		}
	}, Float32ToFloat8E4M3, Float8E4M3ToFloat32, 16},
	"E5M2": {0x7b, func(code uint8) float64 {
		switch e, m := int(code>>2), float64(code&3); {
		case code == 0x7c:
			return math.Inf(1)
		case code > 0x7c:
			return math.NaN()
		case e == 0:
			return math.Ldexp(m/4, -14)
		default:
			return math.Ldexp(1+m/4, e-15)
		}
	}, Float32ToFloat8E5M2, Float8E5M2ToFloat32, 4096},
}

// TestFloat8 converts every number, and back: an infinity becomes the largest number.
func TestFloat8(t *testing.T) {
	for name, f := range float8s {
		for i := range 1 << 8 {
			h := uint8(i)
			got, want := f.from(h), math.Copysign(f.value(h&0x7f), 1-2*float64(h>>7))
			back := f.to(got)
			if want != want {
				if got == got || math.Signbit(float64(got)) != (h >= 0x80) || back != h|0x7f {
					t.Errorf("%s: %#02x, a NaN, is %v, and that is %#02x", name, h, got, back)
				}
				continue
			}
			wantBack := h
			if math.IsInf(want, 0) {
				wantBack = h&0x80 | f.most
			}
			if math.Float64bits(float64(got)) != math.Float64bits(want) || back != wantBack {
				t.Errorf("%s: %#02x is %v, want %v, and that is %#02x", name, h, got, want, back)
			}
		}
	}
}

// TestFloat8Rounding holds every number of binary16, and the float32 beside it and beside the ties,
// against what is nearest in float64, ties to even, at most the largest.
func TestFloat8Rounding(t *testing.T) {
	for name, f := range float8s {
		var values [0x80]float64
		for code := range values {
			values[code] = f.value(uint8(code))
		}
		test := func(x float32) {
			t.Helper()
			code := uint8(0) // the last that is not above
			for step := uint8(64); step > 0; step /= 2 {
				if code+step <= f.most && values[code+step] <= math.Abs(float64(x)) {
					code += step
				}
			}
			if code < f.most {
				below, above := math.Abs(float64(x))-values[code], values[code+1]-math.Abs(float64(x))
				if above < below || above == below && code&1 == 1 {
					code++
				}
			}
			if x != x {
				code = 0x7f
			}
			if math.Signbit(float64(x)) {
				code |= 0x80
			}
			if got := f.to(x); got != code {
				t.Fatalf("%s: %x is %#02x, want %#02x", name, x, got, code)
			}
		}
		beside := func(x float32) {
			for _, x := range [2]float32{x, -x} {
				b := math.Float32bits(x)
				test(x)
				test(math.Float32frombits(b + 1))
				test(math.Float32frombits(b ^ 1))
				if b&^(1<<31) != 0 {
					test(math.Float32frombits(b - 1))
				}
			}
		}
		for h := range 1 << 15 {
			beside(Float16ToFloat32(uint16(h)))
		}
		for code := range f.most {
			beside(float32((values[code] + values[code+1]) / 2))
		}
		for _, x := range []float64{values[f.most] + f.halfOfMost, math.MaxFloat32, math.Inf(1), 0x1p-149, 0x1p-126, values[1] / 2} {
			beside(float32(x))
		}
		for _, b := range []uint32{0x7f800001, 0x7fffffff, 0xff800001, 0xffffffff} {
			test(math.Float32frombits(b))
		}
	}
}
