package kernel

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/qkv-go/qkv/kernel/fp"
)

// randomBlocks returns n blocks of any bytes.
func randomBlocks(r *rand.Rand, w Weight, n int) []byte {
	b := make([]byte, n*w.Bytes()+1)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b[1:] // not aligned
}

// TestWeight: each type has a name of its own and a block that Decode reads and Encode writes whole.
func TestWeight(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	names := map[string]bool{}
	for _, w := range Weights() {
		if !w.Known() || names[w.String()] || w.String() == "" {
			t.Errorf("type %d is called %q", int(w), w.String())
		}
		names[w.String()] = true
		if w.Values() > maxBlock {
			t.Errorf("%v: a block has %d values, more than %d", w, w.Values(), maxBlock)
		}
		block := randomBlocks(r, w, 1)
		values, changed := make([]float32, w.Values()), make([]float32, w.Values())
		w.Decode(values, block)
		for i := range block {
			differs := false
			for range 20 { // a scale may be one of few, a NaN
				other := randomBlocks(r, w, 1)
				w.Decode(values, other)
				for bit := range 8 {
					other[i] ^= 1 << bit
					w.Decode(changed, other)
					differs = differs || !bytes.Equal(bitsOf(values), bitsOf(changed))
				}
			}
			if !differs {
				t.Errorf("%v: no value depends on byte %d", w, i)
			}
		}
		if !w.Encodes() {
			continue
		}
		for i := range values {
			values[i] = float32(r.NormFloat64())
		}
		a, b := bytes.Repeat([]byte{0}, w.Bytes()), bytes.Repeat([]byte{0xff}, w.Bytes())
		w.Encode(a, values)
		w.Encode(b, values)
		if !bytes.Equal(a, b) {
			t.Errorf("%v: a block is % x or % x, depending on what was there", w, a, b)
		}
	}
	for _, w := range []Weight{-1, weights, math.MaxInt} {
		if w.Known() {
			t.Errorf("there is a type %d", int(w))
		}
	}
}

// TestDecodeRange: values of a row from any one on are those that Decode has there.
func TestDecodeRange(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for _, w := range Weights() {
		const blocks = 4
		row := randomBlocks(r, w, blocks)
		all := make([]float32, blocks*w.Values())
		w.Decode(all, row)
		for range 300 {
			first := r.IntN(len(all))
			n := r.IntN(len(all) - first + 1)
			have := make([]float32, n)
			w.decodeRange(have, row, first)
			if !bytes.Equal(bitsOf(have), bitsOf(all[first:first+n])) {
				t.Fatalf("%v: values %d to %d are %v, want %v", w, first, first+n, have, all[first:first+n])
			}
		}
	}
}

// TestWeightRows: values are found in all rows, and integers multiplied by the scale of their group.
func TestWeightRows(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for _, w := range Weights() {
		const rows = 3
		m := WeightRows{Type: w, Data: randomBlocks(r, w, 2*rows), Cols: 2 * w.Values()}
		if w.Values() == 1 {
			m.Cols, m.Data = 77, randomBlocks(r, w, 77*rows)
		}
		all := make([]float32, rows*m.Cols)
		w.Decode(all, m.Data)
		perRow := 1
		if w == WeightInt8 {
			m.GroupSize, perRow = 16, 5
			for range rows * perRow {
				m.Scales = append(m.Scales, float32(r.NormFloat64()))
			}
			for i := range all {
				all[i] = m.Scales[i/m.Cols*perRow+i%m.Cols/m.GroupSize] * all[i]
			}
		}
		for range 100 {
			first := r.IntN(len(all))
			have := make([]float32, r.IntN(len(all)-first+1))
			m.Values(have, first)
			if want := all[first:][:len(have)]; !bytes.Equal(bitsOf(have), bitsOf(want)) {
				t.Fatalf("%v: values from %d on are %v, want %v", w, first, have, want)
			}
		}
	}
}

// TestWeightUnits: types of single values are rounded and read as their functions do it.
func TestWeightUnits(t *testing.T) {
	values := []float32{1, -0.1, 65520, 1e-7, float32(math.NaN()), float32(math.Inf(-1)), float32(math.Copysign(0, -1)), 1e-40}
	for w, round := range map[Weight]func(float32) float32{
		WeightFloat32:  func(x float32) float32 { return x },
		WeightFloat16:  func(x float32) float32 { return fp.Float16ToFloat32(fp.Float32ToFloat16(x)) },
		WeightBFloat16: func(x float32) float32 { return fp.BFloat16ToFloat32(fp.Float32ToBFloat16(x)) },
	} {
		b, have, want := make([]byte, len(values)*w.Bytes()), make([]float32, len(values)), make([]float32, len(values))
		w.Encode(b, values)
		w.Decode(have, b)
		for i, x := range values {
			want[i] = round(x)
		}
		if !bytes.Equal(bitsOf(have), bitsOf(want)) {
			t.Errorf("%v: %v are %v, want %v", w, values, have, want)
		}
	}
	var least [1]float32
	WeightFloat16.Decode(least[:], []byte{1, 0}) // little-endian
	if least[0] != 0x1p-24 {
		t.Errorf("the least number of binary16 is %v", least[0])
	}
	var x [3]float32
	WeightInt8.Decode(x[:], []byte{0x80, 0xff, 0x7f})
	if x != [3]float32{-128, -1, 127} {
		t.Errorf("integers are %v", x)
	}
}

// TestEncodeNotFinite: a value that is no finite number makes all of its block NaN.
func TestEncodeNotFinite(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for _, w := range Weights() {
		if !w.Encodes() || w.Values() == 1 {
			continue
		}
		for i := range w.Values() {
			for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
				values := make([]float32, w.Values())
				for j := range values {
					values[j] = float32(r.NormFloat64())
				}
				values[i] = float32(x)
				block := make([]byte, w.Bytes())
				w.Encode(block, values)
				w.Decode(values, block)
				if slices.ContainsFunc(values, func(v float32) bool { return v == v }) {
					t.Fatalf("%v: value %d is %v, and the block % x is %v", w, i, x, block, values)
				}
			}
		}
	}
}

// TestEncodeExtremes: blocks that C does not define. Scales that have no reciprocal are 0, and codes
// those of zeros; differences that overflow are infinite scales.
func TestEncodeExtremes(t *testing.T) {
	row := func(first, others float32) []float32 {
		x := make([]float32, 32)
		for i := range x {
			x[i] = others
		}
		x[0] = first
		return x
	}
	codes := func(head string, code byte, n int) []byte {
		return append([]byte(head), bytes.Repeat([]byte{code}, n)...)
	}
	for _, c := range []struct {
		w    Weight
		x    []float32
		want []byte
	}{
		{WeightQ8_0, row(0x1p-140, -0x1p-149), codes("\x00\x00", 0, 32)},
		{WeightQ4_0, row(0x1p-140, -0x1p-149), codes("\x00\x80", 0x88, 16)},
		{WeightQ4_1, row(0x1p-140, -0x1p-149), codes("\x00\x00\x00\x80", 0, 16)},
		{WeightQ5_0, row(0x1p-140, -0x1p-149), codes("\x00\x80\xff\xff\xff\xff", 0, 16)},
		{WeightQ5_1, row(0x1p-140, -0x1p-149), codes("\x00\x00\x00\x80", 0, 20)},
		{WeightIQ4_NL, row(0x1p-140, -0x1p-149), codes("\x00\x00", 0x88, 16)},
		{WeightMXFP4, row(0x1.8p-127, -0x1p-149), append([]byte{0, 3}, make([]byte, 15)...)},
		{WeightQ4_1, row(math.MaxFloat32, -math.MaxFloat32), codes("\x00\x7c\x00\xfc", 0, 16)},
		{WeightQ5_1, row(math.MaxFloat32, -math.MaxFloat32), codes("\x00\x7c\x00\xfc", 0, 20)},
		{WeightIQ4_NL, row(0x1p100, 1), codes("\x00\x7e", 0, 16)}, // squares overflow
	} {
		have := make([]byte, c.w.Bytes())
		if c.w.Encode(have, c.x); !bytes.Equal(have, c.want) {
			t.Errorf("%v: a block of %v and %v is % x, want % x", c.w, c.x[0], c.x[1], have, c.want)
		}
	}
}

// TestMXFP4Scale: a scale is any power of two, or a NaN.
func TestMXFP4Scale(t *testing.T) {
	for e := range 256 {
		block := make([]byte, WeightMXFP4.Bytes())
		block[0], block[1] = byte(e), 0xa2 // 1 and -1
		var values [32]float32
		WeightMXFP4.Decode(values[:], block)
		want := math.Ldexp(1, e-127)
		if e == 255 {
			want = math.NaN()
		}
		if have := [3]float64{float64(values[0]), -float64(values[16]), float64(values[1])}; e == 255 {
			if have[0] == have[0] || have[1] == have[1] || have[2] == have[2] {
				t.Errorf("scale 255: values are %v", have)
			}
		} else if have != [3]float64{want, want, 0} {
			t.Errorf("scale %d: values are %v, want %v", e, have, want)
		}
	}
}

// errorOf returns the most that a value of a block may be off by. The largest magnitude is most, and the
// scale of the block a number of binary16 that is neither subnormal nor infinite.
func errorOf(w Weight, x []float32) float64 {
	least, greatest := float64(slices.Min(x)), float64(slices.Max(x))
	most := max(-least, greatest)
	const half = 0x1p-11 // the rounding of a scale
	switch w {
	case WeightQ8_0:
		return most / 127 * (0.5 + 128*half)
	case WeightQ4_0, WeightQ5_0: // no code is as far as the largest magnitude on the other side
		codes := map[Weight]float64{WeightQ4_0: 8, WeightQ5_0: 16}[w]
		return most / codes * (1 + codes*half)
	case WeightQ4_1, WeightQ5_1:
		codes := map[Weight]float64{WeightQ4_1: 15, WeightQ5_1: 31}[w]
		return (greatest-least)/codes*(0.5+(codes+1)*half) + max(math.Abs(least)*half, 0x1p-25)
	case WeightIQ4_NL: // 14 steps of 127 by the scale of the largest, and as many by that of the squares
		return most / 127 * 28
	case WeightMXFP4: // 8 is beyond 6
		return math.Exp2(math.Floor(math.Log2(most)*(1+1e-7))-2) * 2
	}
	return 0
}

// checkEncoded encodes values and reports a value that is off by more than the step of its block.
func checkEncoded(t *testing.T, w Weight, x []float32) {
	t.Helper()
	block, have := make([]byte, w.Bytes()), make([]float32, len(x))
	w.Encode(block, x)
	w.Decode(have, block)
	finite, most, spread := true, float64(0), float64(slices.Max(x))-float64(slices.Min(x))
	for _, v := range x {
		finite = finite && isFinite(v)
		most = max(most, math.Abs(float64(v)))
	}
	// All scales are in the normal range of binary16.
	if !finite || most < 0x1p-6 || most > 0x1p14 || spread < 0x1p-6 {
		return
	}
	bound := errorOf(w, x) * (1 + 1e-5)
	for i, v := range x {
		if off := math.Abs(float64(v) - float64(have[i])); !(off <= bound) {
			t.Fatalf("%v: value %d, %v, became %v: off by %v, more than %v\nblock % x of %v", w, i, v, have[i], off, bound, block, x)
		}
	}
}

func TestEncodeError(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for _, w := range Weights() {
		if !w.Encodes() || w.Values() != 32 {
			continue
		}
		for range 2000 {
			x := make([]float32, 32)
			scale, mean, heavy := math.Exp2(12*r.Float64()-6), r.NormFloat64(), 1+2*r.Float64()
			for i := range x {
				v := r.NormFloat64()
				x[i] = float32(scale * (mean + math.Copysign(math.Pow(math.Abs(v), heavy), v)))
			}
			checkEncoded(t, w, x)
		}
	}
}

// FuzzWeights decodes any bytes, and encodes any values.
func FuzzWeights(f *testing.F) {
	f.Add(bytes.Repeat([]byte{0xff, 0x7f, 0x80, 0}, 64))
	f.Add(bytes.Repeat([]byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0}, 16))
	f.Add(bytes.Repeat([]byte{1, 0, 0, 0}, 32))                                     // 2^-149
	f.Add(bytes.Repeat([]byte{0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f, 0x7f}, 16)) // the largest, of both signs
	f.Add(bytes.Repeat([]byte{0, 0, 0xc0, 0x7f}, 32))
	f.Fuzz(func(t *testing.T, data []byte) {
		values := make([]float32, maxBlock)
		for _, w := range Weights() {
			for b := data; len(b) >= w.Bytes(); b = b[w.Bytes():] {
				w.Decode(values[:w.Values()], b[:w.Bytes()])
			}
		}
		for b := data; len(b) >= 4*32; b = b[4*32:] {
			x := make([]float32, 32)
			for i := range x {
				x[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
			}
			for w := WeightQ8_0; w < weights; w++ {
				if w.Encodes() {
					checkEncoded(t, w, x)
				}
			}
		}
	})
}
