package qkv_test

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

var grid = flag.String("grid", "some", `cases of TestGGMLGrid: "some", or "all" (minutes)`)

// ggmlAxes are the parameters of the FLASH_ATTN_EXT cases of ggml's test-backend-ops.
var ggmlAxes = [...]struct {
	name   string
	values []int
}{
	{"d", []int{40, 64, 72, 80, 96, 128, 192, 256, 320_256, 512, 576_512, 192_128}}, // queries' and values' where they differ
	{"gqa", []int{1, 4, 8, 16, 32}},
	{"kv", []int{113, 512, 1024}},
	{"nb", []int{1, 3, 32, 75}},
	{"sinks", []int{0, 1}},
	{"mask", []int{0, 1}},
	{"max_bias", []int{0, 8}},
	{"softcap", []int{0, 10}},
}

// A ggmlCase has an index into the values of each axis.
type ggmlCase [len(ggmlAxes)]int

func (c ggmlCase) value(axis int) int { return ggmlAxes[axis].values[c[axis]] }

func (c ggmlCase) String() string {
	var s string
	for axis, a := range ggmlAxes {
		s += fmt.Sprintf(",%s=%d", a.name, c.value(axis))
	}
	return s[1:]
}

func (c ggmlCase) dims() dims {
	dim := c.value(0)
	d := dims{batch: 1, kvHeads: 1, seqKV: c.value(2), seqQ: c.value(3), dimQK: dim, dimV: dim}
	if dim > 1000 {
		d.dimQK, d.dimV = dim/1000, dim%1000
	}
	if c.value(1) <= 4 {
		d.kvHeads = 2
	}
	d.heads = d.kvHeads * c.value(1)
	return d
}

// problem makes ggml's case of ours. Its score is softcap(scale * q·k) + slope*mask, its
// mask of Float16. A slope other than 1 comes with max_bias and serves ALiBi: the mask then
// holds distances, which here are those that Call.ALiBi takes the slopes times of, and
// ours says with 0 or -Inf which keys there are.
func (c ggmlCase) problem() *problem {
	r := rand.New(rand.NewPCG(uint64(c[0]), uint64(c[2])))
	uniform := func() float32 { return float32(2*r.Float64() - 1) }
	d := c.dims()
	p := newProblem(d, "bshd", qkv.Mask{Align: qkv.BottomRight}, uniform)
	p.softcap = float32(c.value(7))
	maxBias := float64(c.value(6))
	if c.value(4) == 1 {
		p.sinks = draw(d.heads, func() float32 { return 10 * uniform() })
	}
	if c.value(5) == 1 {
		p.bias16 = &strided[qkv.Float16]{
			data:  make([]qkv.Float16, d.seqQ*d.seqKV),
			shape: [4]int{1, 1, d.seqQ, d.seqKV}, stride: [4]int{0, 0, d.seqKV, 1},
		}
		for i := range p.bias16.data {
			switch {
			case r.IntN(3) == 0:
				p.bias16.data[i] = 0xfc00 // -Inf
			case maxBias == 0:
				p.bias16.data[i] = qkv.Float16(r.IntN(0x3c00) | r.IntN(2)<<15) // -1 to 1
			}
		}
	}
	if maxBias > 0 {
		// The slopes of soft_max and flash_attn_ext in ggml.
		log2 := 1 << int(math.Log2(float64(d.heads)))
		m0 := math.Exp2(-maxBias / float64(log2))
		m1 := math.Exp2(-maxBias / 2 / float64(log2))
		for h := range d.heads {
			slope := math.Pow(m0, float64(h+1))
			if h >= log2 {
				slope = math.Pow(m1, float64(2*(h-log2)+1))
			}
			p.alibi = append(p.alibi, float32(slope))
		}
	}
	return p
}

// nmse returns the mean square error of at least rows rows against float64, normalised by
// the mean square.
func (p *problem) nmse(rows int) float64 {
	heads, seq := p.q.shape[1], p.q.shape[2]
	var diff, square float64
	step := max(1, heads*seq/rows) | 1 // over all heads, which are a power of two
	for x := 0; x < heads*seq; x += step {
		h, i := x%heads, x/heads
		for d, want := range p.row(0, h, i).out {
			e := float64(p.out.at(0, h, i, d)) - want
			diff += e * e
			square += want * want
		}
	}
	return diff / square
}

// work returns about how many multiply-adds a case is.
func (c ggmlCase) work() int {
	d := c.dims()
	return d.heads * d.seqQ * d.seqKV * (d.dimQK + d.dimV)
}

// ggmlCases returns the whole grid, or a part of it that covers every value and, if asked to,
// those pairs of values that cost little.
func ggmlCases(all, pairs bool) (cases []ggmlCase) {
	const cheap = 10_000_000

	total := 1
	for _, a := range ggmlAxes {
		total *= len(a.values)
	}
	nth := func(i int) (c ggmlCase) {
		for axis, a := range ggmlAxes {
			c[axis] = i % len(a.values)
			i /= len(a.values)
		}
		return c
	}
	if all {
		for i := range total {
			cases = append(cases, nth(i))
		}
		return cases
	}
	seen := map[[4]int]bool{}
	order := rand.New(rand.NewPCG(5, 6)).Perm(total)
	cover := func(pairs bool, most int) {
		for _, i := range order {
			c := nth(i)
			if c.work() > most {
				continue
			}
			news := false
			for a := range c {
				for b := range c {
					at := [4]int{a, c[a], b, c[b]}
					news = news || (pairs || a == b) && !seen[at]
				}
			}
			if !news {
				continue
			}
			for a := range c {
				for b := range c {
					seen[[4]int{a, c[a], b, c[b]}] = true
				}
			}
			cases = append(cases, c)
		}
	}
	cover(pairs, cheap)
	cover(false, math.MaxInt)
	return cases
}

// TestGGMLGrid holds us to what ggml holds its backends to against its CPU backend, less
// what their float16 costs: there the error may be 5e-4.
func TestGGMLGrid(t *testing.T) {
	t.Parallel()
	const most = 1e-10
	all, names := *grid == "all", sets()
	if all {
		names = names[:1]
	}
	worst, worstCase := 0.0, ""
	cases := ggmlCases(all, !brief())
	for _, set := range names {
		a := newAttention(t, qkv.Config{Kernel: set})
		for _, c := range cases {
			p := c.problem()
			p.run(t, a)
			e := p.nmse(8)
			if !(e <= most) {
				t.Errorf("kernel=%s %v: error %.3g, at most %g is wanted", set, c, e, most)
			}
			if e > worst {
				worst, worstCase = e, fmt.Sprintf("kernel=%s %v", set, c)
			}
		}
	}
	t.Logf("%d cases, largest error %.3g: %s", len(cases), worst, worstCase)
}
