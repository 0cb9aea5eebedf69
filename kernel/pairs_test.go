package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv/kernel/fp"
)

// TestBrain: a number is rounded to the nearest multiple of its last place in bfloat16, ties to even, and
// +0 if the result is below 2^-56.
func TestBrain(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 1 << 20 {
		x := math.Float32frombits(r.Uint32())
		switch i % 4 {
		case 0: // around the least
			x = float32(math.Ldexp(r.Float64()*2-1, -55-r.IntN(2)))
		case 1: // around ties
			x = math.Float32frombits(math.Float32bits(x)&0xffff_0000 | uint32(1<<15-1+r.IntN(3)))
		}
		got := Brain(x)
		if x != x {
			if got == got || math.Float32bits(got)&0xffff != 0 {
				t.Fatalf("Brain(%x) = %x", math.Float32bits(x), math.Float32bits(got))
			}
			continue
		}
		_, exp := math.Frexp(float64(x))
		last := math.Ldexp(1, exp-8)
		want := math.RoundToEven(float64(x)/last) * last
		switch {
		case math.IsInf(float64(x), 0) || math.Abs(want) < LeastBrain:
			want = math.Copysign(math.Abs(float64(x)), float64(x))
			if !math.IsInf(want, 0) {
				want = 0
			}
		case math.Abs(want) >= 0x1p128:
			want = math.Inf(1 - 2*int(math.Float32bits(x)>>31))
		}
		if float64(got) != want || got == 0 && math.Signbit(float64(got)) {
			t.Fatalf("Brain(%g) = %g, want %g", x, got, want)
		}
	}
	for x, want := range map[float32]float32{
		0x1p-56: 0x1p-56, -0x1p-56: -0x1p-56, 0x1.ffp-57: 0x1p-56, 0x1.fefffep-57: 0, -0x1.fefffep-57: 0,
		0x1.feffp127: 0x1.fep127, math.MaxFloat32: float32(math.Inf(1)),
	} {
		if got := Brain(x); got != want {
			t.Errorf("Brain(%x) = %x, want %x", x, got, want)
		}
	}
	if b := math.Float32bits(Brain(float32(math.Copysign(0, -1)))); b != 0 {
		t.Errorf("Brain(-0) has bits %#x", b)
	}
}

func TestPair(t *testing.T) {
	for _, c := range [][2]float32{{1, 2}, {-3, 0.5}, {0, 7}, {float32(math.Inf(1)), -1}, {0x1p-60, -0x1p-56}} {
		if first, second := Split(Pair(c[0], c[1])); first != Brain(c[0]) || second != Brain(c[1]) {
			t.Errorf("Split(Pair(%v)) = %v, %v", c, first, second)
		}
	}
	if Pair(1, 2)>>16 != math.Float32bits(1)>>16 {
		t.Error("the first term is not in the upper half")
	}
}

// TestBrainSums: products of numbers that Brain leaves, and sums of them as fused multiply-adds round them,
// are multiples of 2^-126. So there is nothing subnormal, and no sum but of zeros is -0.
func TestBrainSums(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	least := func() float32 { // mostly near to the least, of all bits
		x := float32(1+r.IntN(128)) * 0x1p-63 * float32(math.Ldexp(1, r.IntN(6)))
		if r.IntN(8) == 0 {
			x = float32(math.Ldexp(1+r.Float64(), r.IntN(20)-60))
		}
		return Brain(x * float32(1-2*r.IntN(2)))
	}
	for range 1 << 14 {
		acc := float32(0)
		for range 32 {
			x, w := least(), least()
			if r.IntN(4) == 0 && x != 0 { // what cancels most of the sum
				w = Brain(-acc / x)
			}
			acc = fp.ExactFMA(x, w, acc)
			b := math.Float32bits(acc)
			if exp := b >> 23 & 0xff; exp == 0 && b != 0 {
				t.Fatalf("a sum with %g * %g is %x", x, w, acc)
			}
			if units := float64(acc) * 0x1p126; units != math.Trunc(units) {
				t.Fatalf("a sum with %g * %g is %x, no multiple of 2^-126", x, w, acc)
			}
		}
	}
}
