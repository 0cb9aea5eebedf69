package qkv_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv"
)

// ggmlBytes returns blocks as files of ggml have them: scales are little-endian there.
func ggmlBytes(blocks []qkv.BlockQ8_0) (b []byte) {
	for i := range blocks {
		b = binary.LittleEndian.AppendUint16(b, blocks[i].Scale)
		for _, q := range blocks[i].Quants {
			b = append(b, byte(q))
		}
	}
	return b
}

// bytesOf returns the memory of blocks.
func bytesOf(b []qkv.BlockQ8_0) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(b))), 34*len(b))
}

// TestQuantizeQ8_0Golden compares the blocks of 20000 rows, ties and subnormal scales among
// them, with those that quantize_row_q8_0_ref makes in C.
func TestQuantizeQ8_0Golden(t *testing.T) {
	some := map[int]string{
		3:  "4000aac0707fd8480059aa154b373ec6819e95fc7a4cfdb9a1729b1ef1d302319104",
		21: "af3b09fe589501e97b120cd87c849cc48669813347342c5c7c3628e971343d13ec9d",
	}
	h := fnv.New64a()
	x, b := make([]float32, 32), make([]qkv.BlockQ8_0, 1)
	state := uint32(1)
	for i := range 20000 {
		exp := i%40 - 20
		for j := range x {
			state = state*1664525 + 1013904223
			f := float64(int32(state)>>8) * 0x1p-23
			if i%3 == 0 {
				f = math.RoundToEven(float64(float32(f*127))) * 0.5
			}
			x[j] = float32(math.Ldexp(f, exp))
		}
		if err := qkv.QuantizeQ8_0(b, x); err != nil {
			t.Fatal(err)
		}
		h.Write(ggmlBytes(b))
		if want, ok := some[i]; ok && hex.EncodeToString(ggmlBytes(b)) != want {
			t.Errorf("row %d: %x, want %s", i, ggmlBytes(b), want)
		}
	}
	if got, want := h.Sum64(), uint64(0x6c0ee084ff615922); got != want {
		t.Errorf("hash of all blocks %#x, want %#x", got, want)
	}
}

// TestQuantizeError bounds the error of a value by half a step of its row, and the
// magnitudes and the roundings of the scale and the product.
func TestQuantizeError(t *testing.T) {
	const n = 96
	next := normal(1)
	for exp := -140; exp <= 127; exp += 3 {
		x := draw(n, func() float32 { return float32(math.Ldexp(float64(max(-1, min(1, next()))), exp)) })
		most := func(x []float32) (m float64) {
			for _, v := range x {
				m = max(m, math.Abs(float64(v)))
			}
			return m
		}
		check := func(what string, got, x []float32, step, slack float64) {
			t.Helper()
			for i, v := range x {
				if d := math.Abs(float64(got[i]) - float64(v)); !(d <= step/2*(1+1e-5)+slack*math.Abs(float64(v))+127*0x1p-149) {
					t.Fatalf("2^%d, %s: value %d is %g, want %g ± %g", exp, what, i, got[i], v, step/2)
				}
			}
		}
		ints, got := make([]int8, n), make([]float32, n)
		scale, err := qkv.QuantizeInt8(ints, x)
		if err != nil {
			t.Fatal(err)
		}
		if want := float32(most(x) / 127); math.Abs(float64(scale-want)) > math.Max(0x1p-149, 0x1p-23*float64(want)) {
			t.Fatalf("2^%d: scale %g, want %g", exp, scale, want)
		}
		if err := qkv.DequantizeInt8(got, ints, scale); err != nil {
			t.Fatal(err)
		}
		check("int8", got, x, most(x)/127, 0x1p-22)

		if exp < -8 || exp > 20 { // the scale is not a normal binary16
			continue
		}
		blocks := make([]qkv.BlockQ8_0, n/32)
		if err := errors.Join(qkv.QuantizeQ8_0(blocks, x), qkv.DequantizeQ8_0(got, blocks)); err != nil {
			t.Fatal(err)
		}
		for i := 0; i < n; i += 32 {
			check("q8_0", got[i:i+32], x[i:i+32], most(x[i:i+32])/127, 0x1p-10)
		}
	}
}

// TestQuantizeTies: int8 rounds ties to even, Q8_0 away from zero.
func TestQuantizeTies(t *testing.T) {
	x := make([]float32, 32)
	copy(x, []float32{127, 0.5, 1.5, -0.5, -2.5, 2.5})
	ints := make([]int8, 32)
	scale, err := qkv.QuantizeInt8(ints, x)
	if want := [6]int8{127, 0, 2, 0, -2, 2}; err != nil || scale != 1 || [6]int8(ints) != want {
		t.Errorf("int8: %v times %v, error %v, want %v", ints[:6], scale, err, want)
	}
	b := make([]qkv.BlockQ8_0, 1)
	err = qkv.QuantizeQ8_0(b, x)
	if want := [6]int8{127, 1, 2, -1, -3, 3}; err != nil || [6]int8(b[0].Quants[:6]) != want {
		t.Errorf("q8_0: %v, error %v, want %v", b[0].Quants[:6], err, want)
	}
}

// TestQuantizeSpecial: what is no number stays none, and what is smaller than any scale is 0.
func TestQuantizeSpecial(t *testing.T) {
	next := normal(2)
	for _, c := range []struct {
		value float32
		nan   bool
	}{{nan, true}, {math.Float32frombits(0xffc00001), true}, {posInf, true}, {negInf, true}, {0, false}, {1e-45, false}, {-1e-38, false}} {
		for at := range 32 {
			x := draw(64, func() float32 { return 0 })
			if c.nan {
				x = draw(64, next)
			}
			x[32+at] = c.value
			ints, blocks, got := make([]int8, 64), make([]qkv.BlockQ8_0, 2), make([]float32, 64)
			scale, err := qkv.QuantizeInt8(ints, x)
			if err != nil {
				t.Fatal(err)
			}
			if (scale != scale) != c.nan {
				t.Fatalf("%v at %d, int8: scale %v", c.value, at, scale)
			}
			if err := qkv.DequantizeInt8(got, ints, scale); err != nil {
				t.Fatal(err)
			}
			for i, v := range got {
				if (v != v) != c.nan || !c.nan && math.Abs(float64(v)-float64(x[i])) > 1e-38 {
					t.Fatalf("%v at %d, int8: value %d is %v, was %v", c.value, at, i, v, x[i])
				}
			}
			if err := errors.Join(qkv.QuantizeQ8_0(blocks, x), qkv.DequantizeQ8_0(got, blocks)); err != nil {
				t.Fatal(err)
			}
			for i, v := range got {
				if (v != v) != (c.nan && i >= 32) || !c.nan && v != 0 {
					t.Fatalf("%v at %d, q8_0: value %d is %v, was %v", c.value, at, i, v, x[i])
				}
			}
		}
	}
	// Beyond binary16 a scale is infinite.
	x := draw(32, func() float32 { return 1e8 })
	b := make([]qkv.BlockQ8_0, 1)
	if err := qkv.QuantizeQ8_0(b, x); err != nil || b[0].Scale != 0x7c00 || b[0].Quants[0] != 127 {
		t.Errorf("1e8: scale %#x, quants %v, error %v", b[0].Scale, b[0].Quants, err)
	}
	if scale, err := qkv.QuantizeInt8(nil, nil); scale != 0 || err != nil {
		t.Errorf("nothing: scale %v, error %v", scale, err)
	}
}

func TestQuantizeErrors(t *testing.T) {
	x, ints, blocks := make([]float32, 65), make([]int8, 64), make([]qkv.BlockQ8_0, 2)
	raw := make([]qkv.BlockQ8_0, 3)
	bytes := bytesOf(raw)
	for _, c := range []struct {
		arg       string
		got, want int
		err       func() error
	}{
		{"dst", 64, 65, func() error { _, err := qkv.QuantizeInt8(ints, x); return err }},
		{"dst", 65, 64, func() error { return qkv.DequantizeInt8(x, ints, 1) }},
		{"src", 65, 64, func() error { return qkv.QuantizeQ8_0(blocks, x) }},
		{"src", 32, 64, func() error { return qkv.QuantizeQ8_0(blocks, x[:32]) }},
		{"dst", 65, 64, func() error { return qkv.DequantizeQ8_0(x, blocks) }},
		{"b", 101, 34, func() error { _, err := qkv.BlocksQ8_0(bytes[:101]); return err }},
		{"b", 1, 2, func() error { _, err := qkv.BlocksQ8_0(bytes[1:69]); return err }},
	} {
		var arg *qkv.ArgError
		if err := c.err(); !errors.As(err, &arg) || arg.Arg != c.arg || arg.Got != c.got || arg.Want != c.want {
			t.Errorf("error %v, want one of %s, %d and %d", err, c.arg, c.got, c.want)
		}
	}
	for i, v := range x {
		if v != 0 {
			t.Fatalf("value %d was written", i)
		}
	}
}

func TestBlocksQ8_0(t *testing.T) {
	own := make([]qkv.BlockQ8_0, 3)
	b, err := qkv.BlocksQ8_0(bytesOf(own)[34:])
	if err != nil || len(b) != 2 {
		t.Fatalf("%d blocks, error %v", len(b), err)
	}
	b[1].Scale, b[1].Quants[31] = 0x1234, -5
	if own[2] != b[1] {
		t.Errorf("%v is not the memory of %v", b[1], own[2])
	}
	if b, err := qkv.BlocksQ8_0(nil); len(b) != 0 || err != nil {
		t.Errorf("no bytes: %d blocks, error %v", len(b), err)
	}
}

func TestElemTypeString(t *testing.T) {
	for typ, want := range map[qkv.ElemType]string{
		qkv.TypeFloat32: "float32", qkv.TypeFloat16: "Float16", qkv.TypeBFloat16: "BFloat16", qkv.TypeInt8: "int8",
		qkv.TypeQ8_0: "BlockQ8_0", qkv.TypeFloat8E4M3: "Float8E4M3", qkv.TypeFloat8E5M2: "Float8E5M2",
		qkv.TypeQ4_0: "BlockQ4_0", qkv.TypeQ4_1: "BlockQ4_1", 9: "ElemType(9)", -1: "ElemType(-1)",
	} {
		if got := typ.String(); got != want {
			t.Errorf("%d is %q, want %q", int(typ), got, want)
		}
	}
}

// TestQuantizeTiny: values that have scales of few bits are off by no more than documented.
func TestQuantizeTiny(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 81))
	for exp := -149; exp < -100; exp++ {
		for range 20 {
			x := draw(32, func() float32 { return float32(math.Ldexp(2*r.Float64()-1, exp)) })
			ints, got := make([]int8, 32), make([]float32, 32)
			scale, err := qkv.QuantizeInt8(ints, x)
			must(errors.Join(err, qkv.DequantizeInt8(got, ints, scale)))
			for i := range x {
				if e := math.Abs(float64(got[i]) - float64(x[i])); e > float64(scale)*(0.5+1e-4)+0x1p-143 {
					t.Fatalf("2^%d: %g became %g, scale %g", exp, x[i], got[i], scale)
				}
			}
		}
	}
	for exp := -30; exp < 24; exp++ {
		for range 20 {
			x := draw(32, func() float32 { return float32(math.Ldexp(2*r.Float64()-1, exp)) })
			most := 0.0
			for _, v := range x {
				most = max(most, math.Abs(float64(v)))
			}
			blocks, got := make([]qkv.BlockQ8_0, 1), make([]float32, 32)
			must(errors.Join(qkv.QuantizeQ8_0(blocks, x), qkv.DequantizeQ8_0(got, blocks)))
			for i := range x {
				e := math.Abs(float64(got[i]) - float64(x[i]))
				switch {
				case most >= 127*65520:
					if got[i]-got[i] == 0 {
						t.Fatalf("2^%d: %g became %g", exp, x[i], got[i])
					}
				case most < 127*0x1p-25 && got[i] != 0, e > most/127*0.5+max(most*0x1p-11, 127*0x1p-25)+1e-6*most:
					t.Fatalf("2^%d: %g became %g of at most %g", exp, x[i], got[i], most)
				}
			}
		}
	}
}

// TestQuantizeQ4: blocks of 4 bits are those that weights of the types have, but for the sign of a Min of
// zero and the order of bytes, and stand for the values of these.
func TestQuantizeQ4(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	kinds := []func() float32{
		normal(15), func() float32 { return float32(r.IntN(5) - 2) }, func() float32 { return float32(r.IntN(9) - 4) },
		func() float32 { return math.Float32frombits(r.Uint32()) }, func() float32 { return 1e-42 * float32(r.IntN(9)-4) },
		func() float32 { return float32(1 - 2*r.IntN(2)) }, func() float32 { return float32(math.Copysign(0, float64(r.IntN(2)*2-1))) },
		func() float32 { return 3e38 * float32(1-2*r.IntN(2)) }, func() float32 { return 7 + float32(r.NormFloat64()) },
	}
	x, want, got := make([]float32, 64), make([]float32, 64), make([]float32, 64)
	zeros, ones, file := make([]qkv.BlockQ4_0, 2), make([]qkv.BlockQ4_1, 2), make([]byte, 40)
	order := binary.LittleEndian
	for round := range 400 {
		for i := range x {
			x[i] = kinds[round%len(kinds)]()
		}
		must(errors.Join(qkv.QuantizeQ4_0(zeros, x), qkv.DequantizeQ4_0(got, zeros), qkv.Quantize(qkv.WeightQ4_0, file[:36], x)))
		must(qkv.Dequantize(qkv.WeightQ4_0, want, file[:36]))
		sameBits(t, "Q4_0", got, want)
		for i, b := range zeros {
			if f := file[18*i:]; b.Scale != order.Uint16(f) || !bytes.Equal(b.Quants[:], f[2:18]) {
				t.Fatalf("Q4_0: %+v, want %x", b, f[:18])
			}
		}
		must(errors.Join(qkv.QuantizeQ4_1(ones, x), qkv.DequantizeQ4_1(got, ones), qkv.Quantize(qkv.WeightQ4_1, file, x)))
		must(qkv.Dequantize(qkv.WeightQ4_1, want, file))
		sameBits(t, "Q4_1", got, want)
		for i, b := range ones {
			f := file[20*i:]
			m := order.Uint16(f[2:])
			if b.Min == 0 && m == 0x8000 {
				m = 0
			}
			if b.Scale != order.Uint16(f) || b.Min != m || !bytes.Equal(b.Quants[:], f[4:20]) {
				t.Fatalf("Q4_1: %+v, want %x", b, f[:20])
			}
		}
	}
	raw := make([]byte, 41)
	for i, err := range []error{
		qkv.QuantizeQ4_0(zeros, x[:63]), qkv.QuantizeQ4_1(ones[:1], x), qkv.DequantizeQ4_0(x, zeros[:1]), qkv.DequantizeQ4_1(x[:32], ones),
		errorOf(qkv.BlocksQ4_0(raw[:19])), errorOf(qkv.BlocksQ4_1(raw[:41])),
	} {
		var e *qkv.ArgError
		if !errors.As(err, &e) {
			t.Errorf("mistake %d: error %v", i, err)
		}
	}
	if b, err := qkv.BlocksQ4_1(bytesOfQ4(ones)); err != nil || len(b) != 2 || &b[0] != &ones[0] {
		t.Errorf("blocks of memory: %d, error %v", len(b), err)
	}
}

func errorOf[T any](_ T, err error) error { return err }

func bytesOfQ4(b []qkv.BlockQ4_1) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(b))), len(b)*int(unsafe.Sizeof(b[0])))
}
