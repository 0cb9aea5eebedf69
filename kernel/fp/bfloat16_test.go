package fp

import (
	"math"
	"testing"
)

// TestBFloat16 converts every number, and back.
func TestBFloat16(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		got := BFloat16ToFloat32(h)
		back := Float32ToBFloat16(got)
		if h&0x7fff > 0x7f80 {
			if got == got || back&0x7fff <= 0x7f80 || back&0x40 == 0 || back>>15 != h>>15 {
				t.Errorf("%#04x, a NaN, is %v, and that is %#04x", h, got, back)
			}
			continue
		}
		want := math.Ldexp(float64(h&0x7f|0x80), int(h>>7&0xff)-134)
		switch h >> 7 & 0xff {
		case 0:
			want = math.Ldexp(float64(h&0x7f), -133)
		case 0xff:
			want = math.Inf(1)
		}
		want = math.Copysign(want, 1-2*float64(h>>15))
		if math.Float64bits(float64(got)) != math.Float64bits(want) || back != h {
			t.Errorf("%#04x is %v, want %v, and that is %#04x", h, got, want, back)
		}
	}
}

// TestBFloat16Rounding holds numbers between two of bfloat16 against these in float64,
// where the one that would follow the largest stands for the infinity.
func TestBFloat16Rounding(t *testing.T) {
	value := func(h uint16) float64 {
		if h == 0x7f80 {
			return 0x1p128
		}
		return float64(BFloat16ToFloat32(h))
	}
	test := func(f float32, lo uint16) {
		t.Helper()
		below, above := float64(f)-value(lo), value(lo+1)-float64(f)
		want := lo
		if above < below || above == below && lo&1 == 1 {
			want++
		}
		for sign, x := range map[uint16]float32{0: f, 0x8000: -f} {
			if got := Float32ToBFloat16(x); got != sign|want {
				t.Fatalf("%x is %#04x, want %#04x", x, got, sign|want)
			}
		}
	}
	for h := uint16(0); h < 0x7f80; h++ {
		for _, low := range []uint32{1, 0x7fff, 0x8000, 0x8001, 0xffff, uint32(h) * 40503 & 0xffff} {
			test(math.Float32frombits(uint32(h)<<16|low), h)
		}
	}
	for _, b := range []uint32{0x7f800001, 0x7fffffff, 0xff800001, 0xffffffff, 0xffc00000} {
		if got := Float32ToBFloat16(math.Float32frombits(b)); got&0x7fff <= 0x7f80 || got>>15 != uint16(b>>31) {
			t.Errorf("the NaN %#08x is %#04x", b, got)
		}
	}
}
