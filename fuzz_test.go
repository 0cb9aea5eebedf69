package qkv_test

import (
	"encoding/binary"
	"flag"
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
		if p.precision = drawn(r, attentionClasses...); p.precision == qkv.PrecisionInt8 {
			if p.keys = qkv.TypeInt8; r.IntN(2) == 0 {
				p.values = qkv.TypeInt8
			}
			p.valuePrecision = drawn(r, attentionClasses...)
		}
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
		sets := p.sets()
		if fuzzing() { // an input is to be short, see FuzzTypesAndTables
			first := int(seed % uint64(len(sets)))
			sets = []string{sets[first], sets[(first+1)%len(sets)]}
		}
		p.checkSameSample(t, r, sets)
	})
}

// fuzzing reports whether inputs are a fuzzer's, and not those that stand in a test.
func fuzzing() bool { return flag.Lookup("test.fuzz").Value.String() != "" }

// FuzzCall hands arbitrary shapes, strides and lengths to Run: it returns an error or
// stays inside the slices.
func FuzzCall(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4})
	for i := range 80 {
		// Small numbers: views that fit.
		r := rand.New(rand.NewPCG(uint64(i), 6))
		f.Add(draw(300, func() byte { return byte(r.IntN(4 + i)) }))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzCall(t, b)
	})
}

// A byteReader makes numbers of bytes: most of them small, some at the ends of int.
type byteReader struct{ b []byte }

func (r *byteReader) number() int {
	if len(r.b) == 0 {
		return 0
	}
	x := int(int8(r.b[0]))
	r.b = r.b[1:]
	switch {
	case x > 120:
		return math.MaxInt >> (x - 121)
	case x < -120:
		return math.MinInt >> (-x - 121)
	}
	return x
}

func (r *byteReader) flag() bool { return r.number()&1 == 1 }

func (r *byteReader) four() (x [4]int) {
	for i := range x {
		x[i] = r.number()
	}
	return x
}

// near returns x, or sometimes another number.
func (r *byteReader) near(x int) int {
	if r.number()&7 == 7 {
		return r.number()
	}
	return x
}

// some returns about n numbers, or nil.
func (r *byteReader) some(n int) []int {
	if !r.flag() {
		return nil
	}
	return draw(max(0, min(r.near(n), 50)), r.number)
}

// pairs returns the shape of a tensor of pairs that may broadcast.
func (r *byteReader) pairs(full [4]int) [4]int {
	for axis := range full {
		if r.flag() {
			full[axis] = r.near(1)
		}
	}
	return full
}

func fuzzCall(t *testing.T, b []byte) {
	r := &byteReader{b}
	const size = 2000
	values := normal(uint64(len(b)))
	in := draw(size, values)
	// What may be written lies between canaries.
	guarded := draw(7*size, func() float32 { return canary })
	out, scores, lse := guarded[size:2*size], guarded[3*size:4*size], guarded[5*size:6*size]

	c := &qkv.Call{Q: qkv.Strided(in, r.number(), r.four(), r.four())}
	q := c.Q.Shape()
	kv := [4]int{r.near(q[0]), r.number(), r.number(), r.near(q[3])}
	c.K = qkv.Strided(in, r.number(), kv, r.four())
	c.V = qkv.Strided(in, r.number(), kv, r.four())
	c.Out = qkv.Strided(out, r.number(), q, r.four())
	if n := float64(q[0]) * float64(q[1]) * float64(q[2]); r.flag() && n >= 0 && n <= size {
		c.LSE = lse[:r.near(int(n))&1023]
	}
	n, full := q[0], [4]int{q[0], q[1], q[2], kv[2]}
	if r.number()&3 == 3 {
		c.CuLensQ, c.CuLensKV = r.some(3), r.some(3)
		n = len(c.CuLensQ) - 1
		full = [4]int{n, q[1], r.near(q[2]), r.near(kv[2])}
	}
	c.LensQ, c.LensKV = r.some(n), r.some(n)
	c.Precision, c.ValuePrecision = qkv.Precision(r.number()&3), qkv.Precision(r.number()&3)
	c.Softcap, c.Scale = float32(r.number()), float32(r.number())
	for _, x := range []*[]float32{&c.ALiBi, &c.Sinks} {
		if r.flag() {
			*x = in[:r.near(q[1])&1023]
		}
	}
	c.Mask = qkv.Mask{
		Causal: r.flag(), Align: qkv.Align(r.number() & 3), Offset: r.near(0), Offsets: r.some(n),
		Prefix: r.near(0), Prefixes: r.some(n), First: r.near(0),
	}
	if r.flag() {
		c.Mask.Window = qkv.Sliding(r.number(), r.number())
	}
	if r.flag() {
		c.Mask.SegmentsQ = make([]int32, r.near(q[0]*q[2])&1023)
		c.Mask.SegmentsKV = make([]int32, r.near(kv[0]*kv[2])&1023)
	}
	if r.flag() {
		// The error is that of a mask that cannot be.
		c.Mask.Blocks, _ = qkv.NewBlockMask(r.number(), r.number(), r.near(n)&63, r.near(1)&63, r.number()&63, r.number()&63)
	}
	if r.flag() {
		c.Mask.Keep = qkv.Strided(draw(size, func() bool { return values() > 0 }), r.number(), r.pairs(full), r.four())
	}
	switch r.number() & 3 {
	case 1:
		c.Bias = qkv.Strided(in, r.number(), r.pairs(full), r.four())
	case 2:
		c.Bias = qkv.Strided(make([]qkv.Float16, size), r.number(), r.pairs(full), r.four())
	}
	if r.flag() {
		shape := [4]int{r.near(full[0]), r.near(full[1]), r.near(full[2]), r.near(full[3])}
		c.Scores = qkv.Strided(scores, r.number(), shape, r.four())
		c.ScoresAt = qkv.Stage(r.number() & 3)
	}
	nothing := func(*qkv.ScoreBlock) {}
	if r.flag() {
		c.ScoreMod = nothing
	}
	if r.flag() {
		c.ProbMod = nothing
	}

	if r.flag() {
		fuzzKeys(r, c, kv, size)
	}

	// A broadcast axis makes any amount of work of a short slice.
	work := 1.0
	for _, x := range [][4]int{q, kv} {
		for _, n := range x {
			work *= math.Max(1, float64(n))
		}
	}
	if work > 1e7 {
		return
	}
	err := newAttention(t, qkv.Config{Workers: 2}).Run(c)
	for i, x := range guarded {
		if x == canary {
			continue
		}
		if part := i / size; err != nil || part%2 == 0 || part == 3 && c.Scores == (qkv.View{}) {
			t.Fatalf("element %d was written, error %v", i, err)
		}
	}
}

// fuzzKeys gives a call keys and values of other types, and page tables.
func fuzzKeys(r *byteReader, c *qkv.Call, kv [4]int, size int) {
	scales := draw(size, normal(5))
	for _, x := range [...]struct{ rows, scale *qkv.View }{{&c.K, &c.KScale}, {&c.V, &c.VScale}} {
		switch r.number() & 15 {
		case 1:
			*x.rows = qkv.Strided(make([]qkv.Float16, size), r.number(), kv, r.four())
		case 2:
			*x.rows = qkv.Strided(make([]qkv.BFloat16, size), r.number(), kv, r.four())
		case 3:
			*x.rows = qkv.Strided(make([]int8, size), r.number(), kv, r.four())
		case 4:
			*x.rows = qkv.Strided(make([]qkv.BlockQ8_0, size/34), r.number(), kv, r.four())
		case 5:
			*x.rows = qkv.Strided(make([]qkv.Float8E4M3, size), r.number(), kv, r.four())
		case 6:
			*x.rows = qkv.Strided(make([]qkv.Float8E5M2, size), r.number(), kv, r.four())
		case 7:
			*x.rows = qkv.Strided(make([]qkv.BlockQ4_0, size/18), r.number(), kv, r.four())
		case 8:
			*x.rows = qkv.Strided(make([]qkv.BlockQ4_1, size/20), r.number(), kv, r.four())
		}
		if r.flag() {
			*x.scale = qkv.Strided(scales, r.number(), [4]int{kv[0], kv[1], kv[2], r.near(1)}, r.four())
		}
	}
	if !r.flag() {
		return
	}
	c.Ring = r.flag()
	c.CuLensKV = nil
	c.Tables = make([][]int32, max(0, min(r.near(len(c.LensKV)), 50)))
	for i := range c.Tables {
		for range max(0, min(r.number(), 20)) {
			c.Tables[i] = append(c.Tables[i], int32(r.near(0)))
		}
	}
	c.Lost = r.some(len(c.Tables))
}
