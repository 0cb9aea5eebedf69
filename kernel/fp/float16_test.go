package fp

import (
	"math"
	"testing"
)

const inf16 = 0x7c00 // the bits of the infinity

// value16 is the value of the bits of a binary16 number that is no NaN. It gives the
// infinity the value that the finite ones would go on with. No integer waits for Ldexp to
// return: on loong64 Go 1.26 puts two bytes aside and reads eight back, as a float64 to be
// converted (a sister of go.dev/issue/81000).
func value16(h uint16) float64 {
	frac, exp := float64(h&0x3ff), -24
	if e := int(h >> 10 & 0x1f); e != 0 {
		frac, exp = float64(h&0x3ff|0x400), e-25
	}
	v := math.Ldexp(frac, exp)
	if h>>15 == 1 {
		v = -v
	}
	return v
}

// TestFloat16 converts every number, and back.
func TestFloat16(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		got := Float16ToFloat32(h)
		back := Float32ToFloat16(got)
		switch abs := h &^ 0x8000; {
		case abs > inf16:
			if got == got || back&^0x8000 <= inf16 || back&0x200 == 0 {
				t.Errorf("%#04x, a NaN, is %v, and that is %#04x", h, got, back)
			}
			continue
		case abs == inf16:
			if !math.IsInf(float64(got), 1-2*int(h>>15)) {
				t.Errorf("%#04x is %v", h, got)
			}
		case float64(got) != value16(h) || math.Signbit(float64(got)) != (h>>15 == 1):
			t.Errorf("%#04x is %v, want %v", h, got, value16(h))
		}
		if back != h {
			t.Errorf("%#04x is %v, and that is %#04x", h, got, back)
		}
	}
}

// TestFloat16Rounding holds numbers between two of binary16 against the middle of
// these: the middle itself, its neighbours, and a sample of all.
func TestFloat16Rounding(t *testing.T) {
	test := func(f float32, want uint16) {
		if got := Float32ToFloat16(f); got != want {
			t.Fatalf("%x is %#04x, want %#04x", f, got, want)
		}
		if got := Float32ToFloat16(-f); got != want|0x8000 {
			t.Fatalf("%x is %#04x, want %#04x", -f, got, want|0x8000)
		}
	}
	var value [inf16 + 1]float64
	for h := range value {
		value[h] = value16(uint16(h))
	}
	top := float32(math.Inf(1))
	for h := uint16(0); h < inf16; h++ {
		middle := float32((value[h] + value[h+1]) / 2)
		test(math.Nextafter32(middle, 0), h)
		test(middle, (h+1)&^1)
		test(math.Nextafter32(middle, top), h+1)
	}
	h := uint16(0)
	for b := uint32(0); b < math.Float32bits(top); b += 499 {
		f := math.Float32frombits(b)
		for h < inf16 && value[h+1] <= float64(f) {
			h++
		}
		want := h
		if h < inf16 {
			middle := (value[h] + value[h+1]) / 2
			if float64(f) == middle {
				continue // tested above
			}
			if float64(f) > middle {
				want++
			}
		}
		test(f, want)
	}
	test(math.MaxFloat32, inf16)
	test(top, inf16)
	for _, b := range []uint32{0x7f800001, 0x7fffffff, 0xff800001, 0xffc00000} {
		if got := Float32ToFloat16(math.Float32frombits(b)); got&0x7e00 != 0x7e00 || got>>15 != uint16(b>>31) {
			t.Errorf("the NaN %#08x is %#04x", b, got)
		}
	}
}
