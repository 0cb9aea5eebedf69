package qkv_test

import (
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/qkv-go/qkv"
)

var (
	none        = qkv.Mask{}
	topLeft     = qkv.Mask{Causal: true, Align: qkv.TopLeft}
	bottomRight = qkv.Mask{Causal: true, Align: qkv.BottomRight}
)

func causalAt(offset int) qkv.Mask {
	return qkv.Mask{Causal: true, Align: qkv.AlignOffset, Offset: offset}
}

// shapes brackets every tile dimension: vector and lane-group widths, micro-tile
// rows, key blocks, grouped heads, query blocks.
var shapes = []struct {
	dims
	mask qkv.Mask
}{
	{dims{1, 1, 1, 1, 1, 64, 64}, none},
	{dims{1, 1, 1, 1, 1, 1, 1}, none},
	{dims{1, 1, 1, 1, 300, 64, 64}, none},
	{dims{1, 2, 1, 17, 33, 7, 5}, none},
	{dims{2, 4, 2, 65, 129, 20, 33}, none},
	{dims{1, 3, 1, 50, 257, 80, 96}, bottomRight},
	{dims{1, 5, 5, 31, 31, 40, 40}, topLeft},
	{dims{2, 6, 2, 67, 130, 33, 17}, causalAt(20)},
	{dims{1, 8, 1, 129, 129, 16, 16}, topLeft},
	{dims{1, 2, 2, 10, 5, 8, 8}, bottomRight},
	{dims{1, 2, 1, 20, 40, 8, 8}, causalAt(-7)},
	{dims{1, 1, 1, 140, 140, 64, 64}, causalAt(-130)},
	{dims{1, 1, 1, 9, 40, 8, 8}, causalAt(math.MaxInt)},
	{dims{1, 1, 1, 9, 40, 8, 8}, causalAt(math.MinInt)},
	{dims{1, 2, 1, 200, 384, 12, 12}, bottomRight},
	{dims{1, 1, 1, 70, 70, 192, 128}, topLeft},
	{dims{1, 1, 1, 3, 20, 1024, 1023}, none},
	{dims{1, 2, 2, 5, 0, 8, 8}, none},
	{dims{1, 2, 2, 0, 5, 8, 8}, none},
	{dims{0, 2, 2, 5, 5, 8, 8}, none},
	{dims{1, 0, 0, 5, 5, 8, 8}, none},
	{dims{1, 0, 2, 5, 5, 8, 8}, none},
	{dims{1, 2, 2, 5, 0, 8, 8}, bottomRight},
}

func (d dims) String() string {
	return fmt.Sprintf("b=%d,h=%d,hkv=%d,sq=%d,skv=%d,d=%d,dv=%d", d.batch, d.heads, d.kvHeads, d.seqQ, d.seqKV, d.dimQK, d.dimV)
}

func TestAgainstFloat64(t *testing.T) {
	t.Parallel()
	rows := 200
	if brief() {
		rows = 30
	}
	for _, set := range sets() {
		t.Run("kernel="+set, func(t *testing.T) {
			a := newAttention(t, qkv.Config{Kernel: set})
			for _, s := range shapes {
				for _, layout := range []string{"bhsd", "bshd", "bhds", "gaps", "reversed", "broadcast"} {
					t.Run(fmt.Sprintf("%v,mask=%v,layout=%s", s.dims, s.mask, layout), func(t *testing.T) {
						p := newProblem(s.dims, layout, s.mask, normal(1))
						p.run(t, a)
						p.check(t, rows)
						checkGaps(t, p.out)
					})
				}
			}
		})
	}
}

func TestScale(t *testing.T) {
	a := newAttention(t, qkv.Config{})
	for _, scale := range []float32{1, -0.5, 3, 1e-30} {
		p := newProblem(dims{1, 2, 1, 30, 200, 24, 24}, "bhsd", bottomRight, normal(2))
		p.scale = scale
		p.run(t, a)
		p.check(t, 0)
	}
}

func TestPackedQKV(t *testing.T) {
	const batch, seq, heads, kvHeads, dim = 2, 40, 6, 2, 12
	next := normal(3)
	data := make([]float32, batch*seq*(heads+2*kvHeads)*dim)
	for i := range data {
		data[i] = next()
	}
	out := make([]float32, batch*seq*heads*dim)
	q, k, v := qkv.PackedQKV(data, batch, seq, heads, kvHeads, dim)
	if err := qkv.Run(&qkv.Call{Q: q, K: k, V: v, Out: qkv.BSHD(out, batch, seq, heads, dim), Mask: topLeft}); err != nil {
		t.Fatal(err)
	}

	// The same elements, split by hand.
	p := newProblem(dims{batch, heads, kvHeads, seq, seq, dim, dim}, "bhsd", topLeft, normal(0))
	at := 0
	for b := range batch {
		for s := range seq {
			for h := range heads + 2*kvHeads {
				for d := range dim {
					switch {
					case h < heads:
						p.q.data[p.q.index(b, h, s, d)] = data[at]
					case h < heads+kvHeads:
						p.k.data[p.k.index(b, h-heads, s, d)] = data[at]
					default:
						p.v.data[p.v.index(b, h-heads-kvHeads, s, d)] = data[at]
					}
					at++
				}
			}
		}
	}
	p.run(t, newAttention(t, qkv.Config{}))
	p.check(t, 0)
	for b := range batch {
		for s := range seq {
			for h := range heads {
				for d := range dim {
					got := out[((b*seq+s)*heads+h)*dim+d]
					if want := p.out.at(b, h, s, d); got != want {
						t.Fatalf("out[%d,%d,%d,%d] = %g, want %g", b, s, h, d, got, want)
					}
				}
			}
		}
	}
}

func TestInPlace(t *testing.T) {
	for _, layout := range []string{"bhsd", "bshd"} {
		p := newProblem(dims{2, 4, 2, 150, 150, 40, 40}, layout, topLeft, normal(4))
		a := newAttention(t, qkv.Config{Workers: 3})
		want, wantLSE := p.run(t, a)
		c := p.call()
		c.Out = c.Q
		if err := a.Run(c); err != nil {
			t.Fatal(err)
		}
		sameBits(t, "out in place of q", p.q.values(), want)
		sameBits(t, "lse", p.lse, wantLSE)
	}
}

// naive computes a row as float32 code without blocks does: three steps, each
// operation rounded.
func (p *problem) naive(b, h, i int) []float32 {
	dim := p.q.shape[3]
	scale := float32(1 / math.Sqrt(float64(dim)))
	s := make([]float32, p.k.shape[2])
	top := float32(math.Inf(-1))
	for j := range s {
		for d := range dim {
			s[j] += float32(p.q.at(b, h, i, d) * p.k.at(b, h, j, d))
		}
		s[j] *= scale
		top = max(top, s[j])
	}
	sum := float32(0)
	for j := range s {
		s[j] = float32(math.Exp(float64(s[j] - top)))
		sum += s[j]
	}
	out := make([]float32, p.v.shape[3])
	for j := range s {
		w := s[j] / sum
		for d := range out {
			out[d] += float32(w * p.v.at(b, h, j, d))
		}
	}
	return out
}

// The largest error is no larger than that of a naive float32 implementation.
func TestErrorAgainstNaive(t *testing.T) {
	t.Parallel()
	const seq, dim = 2048, 128
	p := newProblem(dims{1, 1, 1, seq, seq, dim, dim}, "bhsd", none, normal(5))
	p.run(t, newAttention(t, qkv.Config{}))
	var ours, naive float64
	for i := 0; i < seq; i += 16 { // 16,384 elements
		want := p.row(0, 0, i).out
		row := p.naive(0, 0, i)
		for d := range want {
			ours = max(ours, math.Abs(float64(p.out.at(0, 0, i, d))-want[d]))
			naive = max(naive, math.Abs(float64(row[d])-want[d]))
		}
	}
	t.Logf("largest error against float64: %.3g, naive float32 %.3g", ours, naive)
	if ours > naive {
		t.Errorf("largest error %.3g, naive float32 has %.3g", ours, naive)
	}
}

func TestConcurrentCallers(t *testing.T) {
	a := newAttention(t, qkv.Config{Workers: 3})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			// Sizes differ, so that pooled workspaces change hands between them.
			p := newProblem(dims{1, 4, 2, 40 + 30*g, 200, 8 + 8*g, 16}, "bshd", bottomRight, normal(uint64(g)))
			for range 3 {
				for i := range p.out.data {
					p.out.data[i] = canary
				}
				if err := a.Run(p.call()); err != nil {
					t.Error(err)
				}
			}
			want := append([]float32(nil), p.out.data...)
			lse := append([]float32(nil), p.lse...)
			alone, err := qkv.New(qkv.Config{Workers: 1})
			if err != nil {
				t.Error(err)
				return
			}
			if err := alone.Run(p.call()); err != nil {
				t.Error(err)
			}
			for i := range want {
				if want[i] != p.out.data[i] {
					t.Errorf("caller %d: element %d is %g beside others, %g alone", g, i, want[i], p.out.data[i])
					return
				}
			}
			for i := range lse {
				if lse[i] != p.lse[i] {
					t.Errorf("caller %d: lse %d differs", g, i)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items under the race detector")
	}
	for _, workers := range []int{1, 2, 4} {
		if brief() && workers > 2 {
			continue
		}
		a := newAttention(t, qkv.Config{Workers: workers})
		for _, s := range shapes {
			p := newProblem(s.dims, "bshd", s.mask, normal(6))
			c := p.call()
			if n := allocsPerCall(20, func() {
				if err := a.Run(c); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("workers=%d %v: %v allocations a call", workers, s.dims, n)
			}
		}
	}
}
