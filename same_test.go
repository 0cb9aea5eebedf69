package qkv_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

// offset returns the offset of the causal mask that p has.
func (p *problem) offset() int {
	switch p.mask.Align {
	case qkv.TopLeft:
		return 0
	case qkv.BottomRight:
		return p.k.shape[2] - p.q.shape[2]
	}
	return p.mask.Offset
}

// chunk computes the rows [first, first+n) of every head of p in a call of their own.
func (p *problem) chunk(t *testing.T, a *qkv.Attention, first, n int) (out, lse []float32) {
	t.Helper()
	c := p.call()
	c.Q, c.Out = p.q.rows(first, n), p.out.rows(first, n)
	c.LSE = make([]float32, p.q.shape[0]*p.q.shape[1]*n)
	if p.mask.Causal {
		c.Mask = causalAt(max(-1<<20, min(p.offset(), 1<<20)) + first)
	}
	if err := a.Run(c); err != nil {
		t.Fatal(err)
	}
	for b := range p.q.shape[0] {
		for h := range p.q.shape[1] {
			for i := range n {
				for d := range p.out.shape[3] {
					out = append(out, p.out.at(b, h, first+i, d))
				}
			}
		}
	}
	return out, c.LSE
}

// pickRows returns the rows [first, first+n) of every head from whole, a [batch, heads,
// seq, dim] tensor.
func pickRows(whole []float32, heads, seq, dim, first, n int) []float32 {
	var rows []float32
	for h := range heads {
		rows = append(rows, whole[(h*seq+first)*dim:][:n*dim]...)
	}
	return rows
}

// checkSame computes p in every way that must give the same bits: each kernel set,
// numbers of workers, queries in chunks, a row alone, a batch and head alone.
func (p *problem) checkSame(t *testing.T) {
	t.Helper()
	ref := newAttention(t, qkv.Config{Kernel: "generic", Workers: 1})
	out, lse := p.run(t, ref)
	batch, heads, seq, dim := p.out.shape[0], p.out.shape[1], p.out.shape[2], p.out.shape[3]

	for _, set := range sets() {
		for _, workers := range []int{1, 2, 7} {
			what := fmt.Sprintf("kernel=%s workers=%d", set, workers)
			a := newAttention(t, qkv.Config{Kernel: set, Workers: workers})
			gotOut, gotLSE := p.run(t, a)
			sameBits(t, what+" out", gotOut, out)
			sameBits(t, what+" lse", gotLSE, lse)
		}

		a := newAttention(t, qkv.Config{Kernel: set})
		for _, n := range []int{1, 5, 16, 64, 100} {
			step := n
			if n == 1 {
				step = max(1, seq/3) // rows alone: a sample
			}
			for first := 0; first < seq; first += step {
				n := min(n, seq-first)
				what := fmt.Sprintf("kernel=%s rows %d..%d", set, first, first+n-1)
				gotOut, gotLSE := p.chunk(t, a, first, n)
				sameBits(t, what+" out", gotOut, pickRows(out, batch*heads, seq, dim, first, n))
				sameBits(t, what+" lse", gotLSE, pickRows(lse, batch*heads, seq, 1, first, n))
			}
		}

		if batch*heads*seq == 0 {
			continue
		}
		b, h := batch-1, heads/2
		kh := h / (heads / p.k.shape[1])
		one := func(x *tensor, h int) qkv.View {
			shape := x.shape
			shape[0], shape[1] = 1, 1
			return qkv.Strided(x.data, x.index(b, h, 0, 0), shape, x.stride)
		}
		if seqKV := p.k.shape[2]; seqKV > 0 {
			c := p.call()
			c.Q, c.K, c.V, c.Out = one(p.q, h), one(p.k, kh), one(p.v, kh), one(p.out, h)
			c.LSE = make([]float32, seq)
			if err := a.Run(c); err != nil {
				t.Fatal(err)
			}
			at := (b*heads + h) * seq
			sameBits(t, "kernel="+set+" one head's lse", c.LSE, lse[at:at+seq])
			sameBits(t, "kernel="+set+" one head's out", p.out.values()[at*dim:][:seq*dim], out[at*dim:][:seq*dim])
		}
	}
}

func TestSameBits(t *testing.T) {
	more := []struct {
		dims
		mask qkv.Mask
	}{
		{dims{1, 4, 1, 100, 300, 33, 31}, bottomRight},
		{dims{1, 7, 1, 40, 150, 16, 16}, topLeft},
		{dims{2, 2, 2, 257, 257, 24, 8}, topLeft},
		{dims{1, 1, 1, 193, 520, 32, 100}, none},
	}
	for i, s := range append(shapes, more...) {
		t.Run(fmt.Sprintf("%v,mask=%v", s.dims, s.mask), func(t *testing.T) {
			layout := []string{"bhsd", "bshd", "gaps"}[i%3]
			newProblem(s.dims, layout, s.mask, normal(uint64(i))).checkSame(t)
		})
	}
}

// Values for which zeros, subnormals and infinities come out keep the promise too.
func TestSameBitsExtreme(t *testing.T) {
	values := map[string][]float32{
		"tiny":      {1e-38, -1e-38, 1e-45, -1e-45, 0, float32(math.Copysign(0, -1)), 3, -3},
		"huge":      {1e38, -1e38, 3e38, 1, -1, 1e19, -1e19, 0},
		"infinite":  {float32(math.Inf(1)), float32(math.Inf(-1)), 1, -1, 2, -2, 0.5, 3},
		"nan":       {float32(math.NaN()), math.Float32frombits(0xffc00123), 1, -1, 2, -2, 0.5, 3},
		"underflow": {20, -20, 11, -11, 13, 9, -8, 14},
	}
	for name, set := range values {
		for _, every := range []uint64{8, 50} {
			t.Run(fmt.Sprintf("%s,every=%d", name, every), func(t *testing.T) {
				r := rand.New(rand.NewPCG(7, every))
				next := func() float32 {
					if i := r.Uint64N(every); i < uint64(len(set)) {
						return set[i]
					}
					return float32(r.NormFloat64())
				}
				newProblem(dims{1, 3, 1, 70, 140, 9, 11}, "bhsd", topLeft, next).checkSame(t)
				newProblem(dims{1, 2, 2, 20, 300, 2, 3}, "bshd", bottomRight, next).checkSame(t)
			})
		}
	}
}
