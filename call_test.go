package qkv_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

// after returns the changes of a call one after the other.
func after(changes ...func(*qkv.Call)) func(*qkv.Call) {
	return func(c *qkv.Call) {
		for _, change := range changes {
			change(c)
		}
	}
}

// Mistakes in what changes scores: each names the argument and what contradicts what.
func TestFeatureErrors(t *testing.T) {
	const batch, heads, seq, keys, dim = 2, 4, 8, 10, 16
	data := make([]float32, 4096)
	half := make([]qkv.Float16, 4096)
	bools := make([]bool, 4096)
	// The outputs of a call, and the scores from 2048 on.
	out := make([]float32, 4096)
	good := func() *qkv.Call {
		return &qkv.Call{
			Q: qkv.BHSD(data, batch, heads, seq, dim), K: qkv.BHSD(data, batch, 2, keys, dim),
			V: qkv.BHSD(data, batch, 2, keys, dim), Out: qkv.BHSD(out, batch, heads, seq, dim),
		}
	}
	// One of a ragged batch of three sequences.
	ragged := func(c *qkv.Call) {
		c.Q, c.Out = qkv.THD(data, 20, heads, dim), qkv.THD(out, 20, heads, dim)
		c.K, c.V = qkv.THD(data, 30, 2, dim), qkv.THD(data, 30, 2, dim)
		c.CuLensQ, c.CuLensKV = []int{1, 5, 5, 19}, []int{0, 10, 11, 30}
	}
	everything := func(c *qkv.Call) {
		c.Softcap, c.ALiBi, c.Sinks = 3, make([]float32, heads), make([]float32, heads)
		c.Bias, c.Mask.Keep = qkv.Pairs(half, 1, heads, 1, keys), qkv.Pairs(bools, batch, 1, seq, 1)
		c.Scores, c.ScoresAt = qkv.Pairs(out[2048:], batch, heads, seq, keys), qkv.StageProbs
		c.LensQ, c.LensKV = []int{0, seq}, []int{keys, 3}
		c.Mask.Prefixes, c.Mask.Align, c.Mask.Offsets = []int{0, keys}, qkv.AlignOffset, []int{-5, math.MaxInt}
		c.Mask.SegmentsQ, c.Mask.SegmentsKV = make([]int32, batch*seq), make([]int32, batch*keys)
		c.Mask.Window = qkv.Sliding(0, qkv.Unbounded)
		c.Mask.Blocks = newBlocks(3, 100, [4]int{1, heads, 3, 1}, func(_, _, _, _ int) bool { return true }).BlockMask
	}
	for _, change := range []func(*qkv.Call){func(*qkv.Call) {}, ragged, everything} {
		c := good()
		change(c)
		if err := qkv.Run(c); err != nil {
			t.Fatal(err)
		}
	}
	grid := func(queryBlock, keyBlock, batch, heads, rows, columns int) func(*qkv.Call) {
		return func(c *qkv.Call) {
			m, err := qkv.NewBlockMask(queryBlock, keyBlock, batch, heads, rows, columns)
			if err != nil {
				t.Error(err)
			}
			c.Mask.Blocks = m
		}
	}
	window := func(left, right int) func(*qkv.Call) {
		return func(c *qkv.Call) { c.Mask.Window = qkv.Sliding(left, right) }
	}
	scores := func(v qkv.View) func(*qkv.Call) { return func(c *qkv.Call) { c.Scores = v } }
	for _, e := range []callError{
		{"q", "qkv: q has elements of type Float16, float32 is needed", func(c *qkv.Call) { c.Q = qkv.BHSD(half, 2, 4, 8, 16) }},
		{"out", "qkv: out has elements of type bool, float32 is needed", func(c *qkv.Call) { c.Out = qkv.BHSD(bools, 2, 4, 8, 16) }},

		{"precision", "qkv: precision is the unknown class Precision(3)", func(c *qkv.Call) { c.Precision = 3 }},
		{"precision", "qkv: precision is the unknown class Precision(-1)", func(c *qkv.Call) { c.Precision = -1 }},
		{"valuePrecision", "qkv: valuePrecision is Int8 in class Float32, class Int8 is needed", func(c *qkv.Call) { c.ValuePrecision = qkv.PrecisionInt8 }},
		{"valuePrecision", "qkv: valuePrecision is BFloat16 in class Float32, class Int8 is needed", func(c *qkv.Call) { c.ValuePrecision = qkv.PrecisionBFloat16 }},
		{"valuePrecision", "qkv: valuePrecision is BFloat16 in class BFloat16, class Int8 is needed", func(c *qkv.Call) {
			c.ValuePrecision, c.Precision = qkv.PrecisionBFloat16, qkv.PrecisionBFloat16
		}},
		{"valuePrecision", "qkv: valuePrecision is the unknown class Precision(3)", func(c *qkv.Call) { c.ValuePrecision, c.Precision = 3, qkv.PrecisionInt8 }},
		{"softcap", "qkv: softcap is -1, a finite number of at least 0 is needed", func(c *qkv.Call) { c.Softcap = -1 }},
		{"softcap", "qkv: softcap is +Inf, a finite number of at least 0 is needed", func(c *qkv.Call) { c.Softcap = posInf }},
		{"softcap", "qkv: softcap is -Inf, a finite number of at least 0 is needed", func(c *qkv.Call) { c.Softcap = negInf }},
		{"softcap", "qkv: softcap is 1e-39, 0 or at least 2.3509887e-38 is needed", func(c *qkv.Call) { c.Softcap = 1e-39 }},
		{"softcap", "qkv: softcap is 2.3509886e-38, 0 or at least 2.3509887e-38 is needed", func(c *qkv.Call) { c.Softcap = math.Nextafter32(0x1p-125, 0) }},
		{"scale", "qkv: scale is 1e-45, 0 or a magnitude of at least 2.3509887e-38 is needed", func(c *qkv.Call) { c.Scale = 1e-45 }},
		{"scale", "qkv: scale is -2.3509886e-38, 0 or a magnitude of at least 2.3509887e-38 is needed", func(c *qkv.Call) { c.Scale = -math.Nextafter32(0x1p-125, 0) }},
		{"softcap", "qkv: softcap is NaN, a finite number of at least 0 is needed", func(c *qkv.Call) { c.Softcap = nan }},
		{"alibi", "qkv: alibi has length 2, q has 4 heads", func(c *qkv.Call) { c.ALiBi = make([]float32, 2) }},
		{"alibi", "qkv: alibi has length 0, q has 4 heads", func(c *qkv.Call) { c.ALiBi = []float32{} }},
		{"alibi", "qkv: alibi[2] is NaN, a finite number is needed", func(c *qkv.Call) { c.ALiBi = []float32{0, 0, nan, 0} }},
		{"alibi", "qkv: alibi[3] is -Inf, a finite number is needed", func(c *qkv.Call) { c.ALiBi = []float32{0, 0, 0, negInf} }},
		{"sinks", "qkv: sinks has length 5, q has 4 heads", func(c *qkv.Call) { c.Sinks = make([]float32, 5) }},

		{"bias", "qkv: bias has elements of type bool, float32 or Float16 is needed", func(c *qkv.Call) { c.Bias = qkv.Pairs(bools, 2, 4, 8, 10) }},
		{"bias", "qkv: bias has key length 8, which does not broadcast to 10", func(c *qkv.Call) { c.Bias = qkv.Pairs(data, 2, 4, 8, 8) }},
		{"bias", "qkv: bias has query length 9, which does not broadcast to 8", func(c *qkv.Call) { c.Bias = qkv.Pairs(data, 1, 1, 9, 1) }},
		{"bias", "qkv: bias has heads 2, which does not broadcast to 4", func(c *qkv.Call) { c.Bias = qkv.Pairs(half, 1, 2, 8, 10) }},
		{"bias", "qkv: bias has batch 4, which does not broadcast to 2", func(c *qkv.Call) { c.Bias = qkv.Pairs(data, 4, 1, 1, 1) }},
		{"bias", "qkv: bias has key length 0, which does not broadcast to 10", func(c *qkv.Call) { c.Bias = qkv.Pairs(data, 2, 4, 8, 0) }},
		{"bias", "qkv: bias has heads -4, at least 0 is needed", func(c *qkv.Call) { c.Bias = qkv.Pairs(data, 2, -4, 8, 10) }},
		{"bias", "qkv: bias reaches element 639, its slice has 600", func(c *qkv.Call) { c.Bias = qkv.Pairs(half[:600], 2, 4, 8, 10) }},
		{"bias", "qkv: bias reaches element -9, before the first of its slice (key length 10, stride -1)", func(c *qkv.Call) {
			c.Bias = qkv.Strided(data, 0, [4]int{1, 1, 1, 10}, [4]int{0, 0, 0, -1})
		}},
		{"bias", "qkv: bias has key length 18, which does not broadcast to 19", after(ragged, func(c *qkv.Call) { c.Bias = qkv.Pairs(data, 3, 1, 14, 18) })},
		{"bias", "qkv: bias has batch 2, which does not broadcast to 3", after(ragged, func(c *qkv.Call) { c.Bias = qkv.Pairs(data, 2, 1, 14, 19) })},
		{"mask", "qkv: mask has elements of type float32, bool is needed", func(c *qkv.Call) { c.Mask.Keep = qkv.Pairs(data, 2, 4, 8, 10) }},
		{"mask", "qkv: mask has key length 11, which does not broadcast to 10", func(c *qkv.Call) { c.Mask.Keep = qkv.Pairs(bools, 2, 4, 8, 11) }},
		{"mask", "qkv: mask reaches element 639, its slice has 99", func(c *qkv.Call) { c.Mask.Keep = qkv.Pairs(bools[:99], 2, 4, 8, 10) }},

		{"lensQ", "qkv: lensQ has 3 lengths, the batch has 2 sequences", func(c *qkv.Call) { c.LensQ = []int{1, 2, 3} }},
		{"lensQ", "qkv: lensQ[1] is 9, q has sequence length 8", func(c *qkv.Call) { c.LensQ = []int{8, 9} }},
		{"lensKV", "qkv: lensKV has 0 lengths, the batch has 2 sequences", func(c *qkv.Call) { c.LensKV = []int{} }},
		{"lensKV", "qkv: lensKV[0] is -1, at least 0 is needed", func(c *qkv.Call) { c.LensKV = []int{-1, 3} }},
		{"lensKV", "qkv: lensKV[1] is 11, k has sequence length 10", func(c *qkv.Call) { c.LensKV = []int{10, 11} }},

		{"q", "qkv: q has batch 2, a ragged batch has 1", func(c *qkv.Call) { c.CuLensQ, c.CuLensKV = []int{0, 8}, []int{0, 10} }},
		{"k", "qkv: k has batch 1, cuLensQ has 3 sequences", after(ragged, func(c *qkv.Call) { c.CuLensKV = nil })},
		{"cuLensQ", "qkv: cuLensQ has 0 cumulative lengths, at least 1 is needed", after(ragged, func(c *qkv.Call) { c.CuLensQ = []int{} })},
		{"cuLensKV", "qkv: cuLensKV has 3 cumulative lengths, cuLensQ has 4", after(ragged, func(c *qkv.Call) { c.CuLensKV = c.CuLensKV[:3] })},
		{"cuLensQ", "qkv: cuLensQ[0] is -1, at least 0 is needed", after(ragged, func(c *qkv.Call) { c.CuLensQ[0] = -1 })},
		{"cuLensQ", "qkv: cuLensQ[2] is 4, less than 5 before it", after(ragged, func(c *qkv.Call) { c.CuLensQ[2] = 4 })},
		{"cuLensKV", "qkv: cuLensKV ends at 31, k has 30 tokens", after(ragged, func(c *qkv.Call) { c.CuLensKV[3] = 31 })},
		{"cuLensKV", "less than 11 before it", after(ragged, func(c *qkv.Call) { c.CuLensKV[3] = math.MinInt })},
		{"lensQ", "qkv: lensQ has 3 lengths, a ragged batch has none beside cuLensQ", after(ragged, func(c *qkv.Call) { c.LensQ = []int{1, 2, 3} })},
		{"lensKV", "qkv: lensKV has 1 lengths, a ragged batch has none beside cuLensKV", after(ragged, func(c *qkv.Call) { c.LensKV = []int{1} })},
		{"lse", "qkv: lse has length 12, out has 80 rows", after(ragged, func(c *qkv.Call) { c.LSE = make([]float32, 12) })},

		{"mask", "qkv: mask has a window with left bound -1, at least 0 is needed", window(-1, 3)},
		{"mask", "qkv: mask has a window with right bound -7, at least 0 is needed", window(0, -7)},
		{"mask", "qkv: mask has 2 offsets, which need AlignOffset", func(c *qkv.Call) { c.Mask.Offsets = []int{0, 0} }},
		{"mask", "qkv: mask has offset -4, which needs AlignOffset", func(c *qkv.Call) { c.Mask.Align, c.Mask.Offset = qkv.BottomRight, -4 }},
		{"mask", "qkv: mask has offset 1 and 2 offsets, one of them is needed", func(c *qkv.Call) {
			c.Mask.Align, c.Mask.Offset, c.Mask.Offsets = qkv.AlignOffset, 1, []int{0, 0}
		}},
		{"mask", "qkv: mask has 1 offsets, the batch has 2 sequences", func(c *qkv.Call) { c.Mask.Align, c.Mask.Offsets = qkv.AlignOffset, []int{0} }},
		{"mask", "qkv: mask has 2 offsets, the batch has 3 sequences", after(ragged, func(c *qkv.Call) {
			c.Mask.Align, c.Mask.Offsets = qkv.AlignOffset, []int{0, 1}
		})},
		{"mask", "qkv: block mask has query block 0, at least 1 is needed: NewBlockMask makes one", func(c *qkv.Call) { c.Mask.Blocks = new(qkv.BlockMask) }},
		{"mask", "qkv: mask has first -1, at least 0 is needed", func(c *qkv.Call) { c.Mask.First = -1 }},
		{"mask", "qkv: mask has first 2 and a prefix, one of them is needed", func(c *qkv.Call) { c.Mask.First, c.Mask.Prefix = 2, 3 }},
		{"mask", "qkv: mask has prefix -1, at least 0 is needed", func(c *qkv.Call) { c.Mask.Prefix = -1 }},
		{"mask", "qkv: mask has prefixes[1] -3, at least 0 is needed", func(c *qkv.Call) { c.Mask.Prefixes = []int{0, -3} }},
		{"mask", "qkv: mask has prefix 1 and 2 prefixes, one of them is needed", func(c *qkv.Call) { c.Mask.Prefix, c.Mask.Prefixes = 1, []int{0, 0} }},
		{"mask", "qkv: mask has 3 prefixes, the batch has 2 sequences", func(c *qkv.Call) { c.Mask.Prefixes = []int{0, 0, 0} }},
		{"mask", "qkv: mask has segmentsKV of length 0, k has 20 tokens", func(c *qkv.Call) { c.Mask.SegmentsQ = make([]int32, 16) }},
		{"mask", "qkv: mask has segmentsQ of length 15, q has 16 tokens", func(c *qkv.Call) {
			c.Mask.SegmentsQ, c.Mask.SegmentsKV = make([]int32, 15), make([]int32, 20)
		}},
		{"mask", "qkv: mask has segmentsKV of length 29, k has 30 tokens", after(ragged, func(c *qkv.Call) {
			c.Mask.SegmentsQ, c.Mask.SegmentsKV = make([]int32, 20), make([]int32, 29)
		})},
		{"mask", "qkv: block mask has 3 sequences, the call has 2", grid(4, 4, 3, 1, 2, 3)},
		{"mask", "qkv: block mask has 2 heads, the call has 4", grid(4, 4, 1, 2, 2, 3)},
		{"mask", "qkv: block mask has 3 query blocks of 4, a length of 8 has 2", grid(4, 4, 1, 1, 3, 3)},
		{"mask", "qkv: block mask has 2 key blocks of 4, a length of 10 has 3", grid(4, 4, 1, 1, 2, 2)},
		{"mask", "qkv: block mask has 1 key blocks of 16, a length of 19 has 2", after(ragged, grid(16, 16, 1, 1, 1, 1))},

		{"scores", "qkv: scores are wanted at stage 4, the last is 3", func(c *qkv.Call) { c.ScoresAt = 4 }},
		{"scores", "qkv: scores are wanted at stage -1, the last is 3", func(c *qkv.Call) { c.ScoresAt = -1 }},
		{"scores", "qkv: scores are wanted at stage 3, there is no view for them", func(c *qkv.Call) { c.ScoresAt = qkv.StageProbs }},
		{"scores", "qkv: scores has elements of type Float16, float32 is needed", scores(qkv.Pairs(half, 2, 4, 8, 10))},
		{"scores", "qkv: scores has key length 1, the call has 10", scores(qkv.Pairs(out[2048:], 2, 4, 8, 1))},
		{"scores", "qkv: scores has key length 11, the call has 10", scores(qkv.Pairs(out[2048:], 2, 4, 8, 11))},
		{"scores", "qkv: scores has heads 1, the call has 4", scores(qkv.Pairs(out[2048:], 2, 1, 8, 10))},
		{"scores", "qkv: scores has query length 13, the call has 14", after(ragged, scores(qkv.Pairs(out, 3, 4, 13, 19)))},
		{"scores", "qkv: scores has batch 1, the call has 3", after(ragged, scores(qkv.Pairs(out[2048:], 1, 4, 14, 19)))},
		{"scores", "qkv: scores reaches element 639, its slice has 500", scores(qkv.Pairs(out[2048:2548], 2, 4, 8, 10))},
		{"scores", "qkv: scores overlaps itself: its heads stride is 0, at least 1 is needed",
			scores(qkv.Strided(out[2048:], 0, [4]int{2, 4, 8, 10}, [4]int{320, 0, 10, 1}))},
		{"scores", "qkv: scores and out share elements", scores(qkv.Pairs(out, 2, 4, 8, 10))},
		{"scores", "qkv: scores and q share elements", scores(qkv.Pairs(data, 2, 4, 8, 10))},
		{"scores", "qkv: scores and bias share elements", func(c *qkv.Call) {
			c.Bias = qkv.Pairs(out[3000:], 1, 1, 8, 10)
			c.Scores = qkv.Pairs(out[3000:], 2, 4, 8, 10)
		}},
	} {
		e.check(t, good(), out)
	}
}

func TestBlockMaskErrors(t *testing.T) {
	for _, c := range []struct {
		want string
		make func() error
	}{
		{"qkv: block mask has query block 0, at least 1 is needed", func() error { _, err := qkv.NewBlockMask(0, 1, 1, 1, 1, 1); return err }},
		{"qkv: block mask has key block -1, at least 1 is needed", func() error { _, err := qkv.NewBlockMask(1, -1, 1, 1, 1, 1); return err }},
		{"qkv: block mask has rows -2, at least 0 is needed", func() error { _, err := qkv.NewBlockMask(1, 1, 1, 1, -2, 1); return err }},
		{"qkv: block mask has 1073741825 blocks, at most 1073741824 are supported", func() error { _, err := qkv.NewBlockMask(1, 1, 1, 1, 1, 1<<30+1); return err }},
		{"at most 1073741824 are supported", func() error { _, err := qkv.NewBlockMask(1, 1, 1<<30, 1<<30, 1<<30, 1<<30); return err }},
		{"qkv: block mask has no query block 3, it has 3", func() error { _, err := qkv.BlockMaskOf(1, 1, 3, 2, []qkv.BlockPair{{Query: 3}}); return err }},
		{"qkv: block mask has no key block -1, it has 2", func() error { _, err := qkv.BlockMaskOf(1, 1, 3, 2, []qkv.BlockPair{{Key: -1}}); return err }},
	} {
		if err := c.make(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %s", err, c.want)
		}
	}
	m, err := qkv.BlockMaskOf(1, 1, 3, 2, []qkv.BlockPair{{Query: 2, Key: 1}})
	if err != nil || !m.Kept(0, 0, 2, 1) || m.Kept(0, 0, 2, 0) {
		t.Errorf("a mask of one block: %v", err)
	}
	defer func() {
		if got := recover(); got != "qkv: block mask: no such block" {
			t.Errorf("panic %v", got)
		}
	}()
	m.Kept(0, 0, 3, 0)
}

// TestLengthsChange: a callback that changes the lengths of its own call reaches nothing
// that is not an operand.
func TestLengthsChange(t *testing.T) {
	a := newAttention(t, qkv.Config{Workers: 1})
	p := newProblem(dims{1, 2, 1, 200, 200, 8, 8}, "bshd", none, normal(1))
	p.cuQ, p.cuKV = []int{0, 90, 200}, []int{0, 100, 200}
	c := p.call()
	cuQ, cuKV := slices.Clone(p.cuQ), slices.Clone(p.cuKV)
	c.CuLensQ, c.CuLensKV = cuQ, cuKV
	run := func(f func()) []float32 {
		called := false
		c.ScoreMod = func(*qkv.ScoreBlock) {
			called = true
			f()
		}
		if err := a.Run(c); err != nil || !called {
			t.Fatal(err, called)
		}
		checkGaps(t, p.out)
		return p.out.values()
	}
	want := run(func() {})
	sameBits(t, "out", run(func() { cuQ[1], cuQ[2], cuKV[1], cuKV[2] = 1<<29, 1<<30, 1<<29, 1<<30 }), want)
}

// TestFarOffsets: as far off as an int can be, a query attends the same keys alone as among
// others.
func TestFarOffsets(t *testing.T) {
	const seq = 12
	for _, offset := range []int{math.MinInt, math.MinInt + 1, math.MaxInt, math.MaxInt - seq, -1 << 30, 1 << 30} {
		for _, w := range []qkv.Window{
			qkv.Sliding(qkv.Unbounded, qkv.Unbounded-1), qkv.Sliding(qkv.Unbounded-1, qkv.Unbounded),
			qkv.Sliding(qkv.Unbounded-1, qkv.Unbounded-1), qkv.Sliding(1<<30+5, 1<<30+5), qkv.Sliding(3, 3),
		} {
			left, right, _ := w.Bounds()
			p := newProblem(dims{1, 1, 1, seq, seq, 4, 4}, "bhsd", qkv.Mask{Align: qkv.AlignOffset, Offset: offset, Window: w}, normal(1))
			a := newAttention(t, qkv.Config{})
			_, lse := p.run(t, a)
			for i := range seq {
				if offset > math.MaxInt-i {
					continue
				}
				keys := 0
				for j := range seq {
					// In float64, large enough and exact where it matters.
					d := float64(j-i) - float64(offset)
					if (left == qkv.Unbounded || d >= -float64(left)) && (right == qkv.Unbounded || d <= float64(right)) {
						keys++
					}
				}
				c := p.call()
				c.Q, c.Out, c.LSE = p.q.rows(i, 1), p.out.rows(i, 1), make([]float32, 1)
				c.Mask.Offset = offset + i
				if err := a.Run(c); err != nil {
					t.Fatal(err)
				}
				sameBits(t, fmt.Sprintf("offset %d, window %v, query %d", offset, w, i), c.LSE, lse[i:i+1])
				if far := math.Abs(float64(offset)) > 1<<52; !far && (keys == 0) != math.IsInf(float64(lse[i]), -1) {
					t.Errorf("offset %d, window %v: query %d attends %d keys, log-sum-exp %v", offset, w, i, keys, lse[i])
				}
			}
		}
	}
}

// TestEmptyViews: a tensor without elements is a tensor, not the lack of one.
func TestEmptyViews(t *testing.T) {
	data := make([]float32, 12)
	c := &qkv.Call{Q: qkv.BHSD(data, 1, 1, 3, 4), K: qkv.BHSD(data, 1, 1, 3, 4), V: qkv.BHSD(data, 1, 1, 3, 4), Out: qkv.BHSD(make([]float32, 12), 1, 1, 3, 4)}
	c.Mask.Keep = qkv.Pairs([]bool{}, 0, 0, 0, 0)
	if err := qkv.Run(c); err == nil || !strings.HasPrefix(err.Error(), "qkv: mask has batch 0, which does not broadcast to 1") {
		t.Errorf("mask: error %v", err)
	}
	c.Mask.Keep, c.Bias = qkv.View{}, qkv.Pairs([]float32{}, 0, 0, 0, 0)
	if err := qkv.Run(c); err == nil || !strings.HasPrefix(err.Error(), "qkv: bias has batch 0, which does not broadcast to 1") {
		t.Errorf("bias: error %v", err)
	}
}
