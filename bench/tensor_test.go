package bench

import (
	"math"
	"slices"
	"testing"

	"github.com/qkv-go/qkv/kernel"
)

// TestTensorByHand has rows whose stored values can be worked out on paper.
func TestTensorByHand(t *testing.T) {
	x := make([]float32, 32)
	copy(x, []float32{254, -127, 1, 1 + 0x1p-7 + 0x1p-12})
	for _, c := range []struct {
		elem kernel.Elem
		want []float32
	}{
		{kernel.Float32, x[:4]},
		{kernel.Float16, []float32{254, -127, 1, 1 + 0x1p-7}},
		{kernel.BFloat16, []float32{254, -127, 1, 1 + 0x1p-7}},
		{kernel.Int8, []float32{254, -128, 0, 2}}, // twice 127, -63.5, 0.5 and 0.504, ties to even
		{kernel.Q8_0, []float32{254, -128, 0, 2}},
		{kernel.E4M3, []float32{256, -128, 1, 1}},
		{kernel.E5M2, []float32{256, -128, 1, 1}},
		{kernel.Q4_0, []float32{254, -127, 0, 0}},                                // -8, 4 and 0 times -31.75
		{kernel.Q4_1, []float32{15*25.390625 - 127, -127, -0.046875, -0.046875}}, // 15, 0 and 5 times 25.4 cut to binary16
	} {
		m := newTensor(c.elem, 3, 32)
		m.set(1, x)
		if got := m.row(1, nil)[:4]; !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.elem.Name(), got, c.want)
		}
		for _, row := range []int{0, 2} {
			if got := m.row(row, make([]float32, 32)); slices.ContainsFunc(got, func(x float32) bool { return x != 0 }) {
				t.Errorf("%s: row %d is %v, want zeros", c.elem.Name(), row, got)
			}
		}
	}
	m := newTensor(kernel.Int8, 1, 4)
	m.set(0, []float32{0, 0, 0, 0})
	if got := m.row(0, nil); !slices.Equal(got, make([]float32, 4)) {
		t.Errorf("a row of zeros is %v", got)
	}
}

// TestTensorFill: the values are normal, nearly those of float32, and only where they are used.
func TestTensorFill(t *testing.T) {
	const rows, dim = 5000, 64
	for _, e := range kernel.Elems() {
		m := newTensor(e, rows, dim)
		m.fill(rows, 1, 1, func(row int) bool { return row%5 != 0 })
		var sum, squares float64
		for row := range rows {
			for _, x := range m.row(row, nil) {
				if row%5 == 0 && x != 0 {
					t.Fatalf("%s: row %d is filled", e.Name(), row)
				}
				sum += float64(x)
				squares += float64(x) * float64(x)
			}
		}
		const n = rows * 4 / 5 * dim
		if mean, variance := sum/n, squares/n; math.Abs(mean) > 0.02 || math.Abs(variance-1) > 0.02 {
			t.Errorf("%s: mean %g, variance %g, want 0 and 1", e.Name(), mean, variance)
		}
	}
}

// TestRowBytes compares with the slices that hold the rows.
func TestRowBytes(t *testing.T) {
	const rows, dim = 3, 64
	for _, e := range kernel.Elems() {
		m := newTensor(e, rows, dim)
		bytes := 4*len(m.Float32) + 2*len(m.Float16) + 2*len(m.BFloat16) + len(m.Int8) + 4*len(m.Scale)
		bytes += len(m.E4M3) + len(m.E5M2)
		for _, b := range m.Q8_0 {
			bytes += 2 + len(b.Quants)
		}
		for _, b := range m.Q4_0 {
			bytes += 2 + len(b.Quants)
		}
		for _, b := range m.Q4_1 {
			bytes += 4 + len(b.Quants)
		}
		if got := rows * rowBytes(e, dim); got != bytes || bytes == 0 {
			t.Errorf("%s: %d bytes, want %d", e.Name(), got, bytes)
		}
	}
}

func TestKVBytes(t *testing.T) {
	for _, c := range []struct {
		text string
		want int64
	}{
		{"h=32,hkv=8,sq=1,skv=8192,d=128", 8 * 8192 * 2 * 512},
		{"h=32,hkv=8,sq=1,skv=8192,d=128,kv=int8", 8 * 8192 * 2 * 132},
		{"h=32,hkv=8,sq=1,skv=8192,d=128,kv=q8_0,page=16", 8 * 8192 * 2 * 136},
		{"b=3,h=4,hkv=1,sq=8,skv=100,d=64,dv=32,k=float16", 3 * 100 * (128 + 128)},
		{"h=4,hkv=2,sq=1,skv=8192,d=128,kv=float16,mask=causal,window=1023:0,prefix=4", 2 * 1028 * 512},
		{"h=4,hkv=2,sq=8,skv=8192,d=128,kv=float16,mask=causal,window=1023:0,prefix=4", 2 * (1024 + 7 + 4) * 512},
		{"h=1,sq=1,skv=9,d=1,mask=causal@-1", 0},
	} {
		if got := parse(t, c.text).KVBytes(); got != c.want {
			t.Errorf("%s: %d bytes, want %d", c.text, got, c.want)
		}
	}
}
