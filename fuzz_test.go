package qkv_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

var layouts = []string{"bhsd", "bshd", "bhds", "gaps", "reversed", "broadcast"}

// fuzzProblem makes a small problem of a fuzzer's numbers.
func fuzzProblem(shape uint64, mask int8, offset int16, next func() float32) *problem {
	field := func(n uint64) int {
		x := shape % n
		shape /= n
		return int(x)
	}
	kvHeads := 1 + field(3)
	d := dims{
		batch: 1 + field(2), heads: kvHeads * (1 + field(5)), kvHeads: kvHeads,
		seqQ: field(150), seqKV: field(300), dimQK: 1 + field(70), dimV: 1 + field(70),
	}
	layout := layouts[field(uint64(len(layouts)))]
	m := [...]qkv.Mask{none, topLeft, bottomRight, causalAt(int(offset))}[mask&3]
	return newProblem(d, layout, m, next)
}

// FuzzFloat64 compares every kernel set with float64 over shapes, strides and masks.
func FuzzFloat64(f *testing.F) {
	f.Add(uint64(0), int8(0), int16(0), uint64(1), float32(0))
	f.Add(uint64(0x123456789abcdef), int8(1), int16(0), uint64(2), float32(1))
	f.Add(uint64(0xfedcba987654321), int8(2), int16(0), uint64(3), float32(-0.3))
	f.Add(uint64(99999999999999), int8(3), int16(-20), uint64(4), float32(0.01))
	f.Fuzz(func(t *testing.T, shape uint64, mask int8, offset int16, seed uint64, scale float32) {
		if !(math.Abs(float64(scale)) < 100) {
			scale = 0
		}
		if s := math.Abs(float64(scale)); s < 1e-6 {
			scale = 0 // a scale that underflows is another test's
		}
		p := fuzzProblem(shape, mask, offset, normal(seed))
		p.scale = scale
		for _, set := range sets() {
			a := newAttention(t, qkv.Config{Kernel: set, Workers: 1 + int(seed%3)})
			p.run(t, a)
			p.check(t, 20)
			checkGaps(t, p.out)
		}
	})
}

// FuzzSameBits compares sets, workers, chunks and heads bit for bit over combinations of
// features and any values: those that raw bytes spell.
func FuzzSameBits(f *testing.F) {
	f.Add(uint32(0), uint64(0), uint64(0), []byte{0, 0, 0x80, 0x3f})
	f.Add(uint32(0), uint64(99999999999999), uint64(0), []byte{})
	// Probabilities of masked pairs in rows of NaN.
	f.Add(uint32(196655), uint64(17513998550885), uint64(16), []byte("\xff\xff\x7f\x7f\x01\x00\x00\x00\x00\x00\x00\x80"))
	for i := range features {
		f.Add(uint32(1)<<i, uint64(0x123456789abcdef)<<i, uint64(i), []byte{1, 2, 3, 4, 0, 0, 0xc0, 0x7f, 0, 0, 0x80, 0xff})
		f.Add(uint32(3)<<i, uint64(0xfedcba987654321)>>i, uint64(i), []byte{0xff, 0xff, 0x7f, 0x7f, 1, 0, 0, 0, 0, 0, 0, 0x80})
	}
	f.Fuzz(func(t *testing.T, which uint32, shape, seed uint64, values []byte) {
		p := fuzzFeatures(feature(which), shape, seed)
		r := rand.New(rand.NewPCG(seed, uint64(len(values))))
		spell := func(x []float32, i int) {
			// Half the values stay as they are, so that not every row is NaN.
			if at := r.IntN(2 * (len(values)/4 + 1)); at < len(values)/4 {
				x[i] = math.Float32frombits(binary.LittleEndian.Uint32(values[4*at:]))
			}
		}
		for _, x := range []*tensor{p.q, p.k, p.v} {
			x.each(func(i int) { spell(x.data, i) })
		}
		if p.bias != nil {
			p.bias.each(func(i int) { spell(p.bias.data, i) })
		}
		for h := range p.sinks {
			spell(p.sinks, h)
		}
		p.checkSameSample(t, r)
	})
}

// FuzzCall hands arbitrary shapes and strides to Run: it returns an error or stays
// inside the slices.
func FuzzCall(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := rand.New(rand.NewPCG(uint64(len(b)), 5))
		number := func() int {
			if len(b) == 0 {
				return 0
			}
			x := int(int8(b[0]))
			b = b[1:]
			switch {
			case x > 120:
				return math.MaxInt >> (x - 121)
			case x < -120:
				return math.MinInt >> (-x - 121)
			}
			return x
		}
		four := func() (x [4]int) {
			for i := range x {
				x[i] = number()
			}
			return x
		}
		const size = 2000
		buf := make([]float32, 3*size)
		for i := range buf {
			buf[i] = canary
		}
		in := make([]float32, size)
		for i := range in {
			in[i] = float32(r.NormFloat64())
		}
		q := qkv.Strided(in, number(), four(), four())
		kv := four()
		k := qkv.Strided(in, number(), kv, four())
		v := qkv.Strided(in, number(), kv, four())
		out := qkv.Strided(buf[size:2*size], number(), q.Shape(), four())
		c := &qkv.Call{Q: q, K: k, V: v, Out: out, Mask: qkv.Mask{Causal: number()&1 == 0, Align: qkv.Align(number() & 3), Offset: number()}}
		// A broadcast axis makes any amount of work of a short slice.
		work := 1.0
		for _, n := range append(append([]int{}, sliceOf(q.Shape())...), sliceOf(k.Shape())...) {
			work *= math.Max(1, float64(n))
		}
		if work > 1e7 {
			return
		}
		err := newAttention(t, qkv.Config{Workers: 2}).Run(c)
		for i, x := range buf {
			if x != canary && (i < size || i >= 2*size || err != nil) {
				t.Fatalf("element %d was written, error %v", i, err)
			}
		}
	})
}

func sliceOf(x [4]int) []int { return x[:] }
