package qkv_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/qkv-go/qkv"
)

var (
	nan    = float32(math.NaN())
	posInf = float32(math.Inf(1))
	negInf = float32(math.Inf(-1))
)

// forEachSet runs f with every kernel set that this machine has.
func forEachSet(t *testing.T, f func(t *testing.T, a *qkv.Engine)) {
	for _, set := range sets() {
		t.Run("kernel="+set, func(t *testing.T) { f(t, newAttention(t, qkv.Config{Kernel: set})) })
	}
}

// A row without any key is zeros and has log-sum-exp -Inf.
func TestEmptyRow(t *testing.T) {
	forEachSet(t, func(t *testing.T, a *qkv.Engine) {
		for _, c := range []struct {
			dims
			mask  qkv.Mask
			empty int // rows without a key, from the first on
		}{
			{dims{1, 2, 1, 70, 0, 8, 8}, none, 70},
			{dims{1, 2, 1, 70, 0, 8, 8}, bottomRight, 70},
			{dims{1, 2, 1, 70, 10, 8, 8}, bottomRight, 60},
			{dims{1, 2, 1, 70, 300, 8, 8}, causalAt(-5), 5},
			{dims{1, 2, 1, 70, 300, 8, 8}, causalAt(-70), 70},
		} {
			p := newProblem(c.dims, "bhsd", c.mask, normal(1))
			p.run(t, a)
			for h := range 2 {
				for i := range c.seqQ {
					lse := p.lse[h*c.seqQ+i]
					if empty := i < c.empty; (lse == negInf) != empty {
						t.Errorf("%v, mask %v: lse of row %d is %v, empty: %v", c.dims, c.mask, i, lse, empty)
					}
					for d := range c.dimV {
						if got := p.out.at(0, h, i, d); i < c.empty && math.Float32bits(got) != 0 {
							t.Errorf("%v, mask %v: out of empty row %d is %v", c.dims, c.mask, i, got)
						}
					}
				}
			}
		}
	})
}

// What is masked never leaks: poison in the keys and values that a query does not
// attend leaves every bit of its row as it was.
func TestMaskedNeverLeaks(t *testing.T) {
	t.Parallel()
	forEachSet(t, func(t *testing.T, a *qkv.Engine) {
		for _, poison := range []float32{nan, math.Float32frombits(0xffc00001), posInf, negInf, math.MaxFloat32} {
			for _, where := range []string{"k", "v", "kv"} {
				p := newProblem(dims{1, 4, 2, 150, 150, 16, 20}, "bhsd", topLeft, normal(2))
				want, wantLSE := p.run(t, a)
				// The keys from 70 on are poisoned: rows 0..69 may not notice.
				const from = 70
				for h := range 2 {
					for j := from; j < 150; j++ {
						if where != "v" {
							p.k.data[p.k.index(0, h, j, 3)] = poison
						}
						if where != "k" {
							p.v.data[p.v.index(0, h, j, 5)] = poison
						}
					}
				}
				got, gotLSE := p.run(t, a)
				for h := range 4 {
					what := fmt.Sprintf("%v in %s: head %d", poison, where, h)
					sameBits(t, what, got[h*150*20:][:from*20], want[h*150*20:][:from*20])
					sameBits(t, what+" lse", gotLSE[h*150:][:from], wantLSE[h*150:][:from])
				}
			}
		}
	})
}

// An unmasked NaN always shows, also with a weight that underflows to 0.
func TestUnmaskedNaNShows(t *testing.T) {
	t.Parallel()
	forEachSet(t, func(t *testing.T, a *qkv.Engine) {
		const seq, dim = 150, 16
		for _, key := range []int{0, 1, 63, 64, 127, 128, 149} {
			for _, bits := range []uint32{0x7fc00000, 0xffc00000, 0x7f800001, 0xffffffff, 0x7fc001ff} {
				poison := math.Float32frombits(bits)

				p := newProblem(dims{1, 1, 1, seq, seq, dim, dim}, "bhsd", topLeft, normal(3))
				p.k.data[p.k.index(0, 0, key, 7)] = poison
				p.run(t, a)
				for i := range seq {
					for d := range dim {
						if got := p.out.at(0, 0, i, d); (got != got) != (i >= key) {
							t.Fatalf("NaN %#x in key %d: out[%d,%d] = %v", bits, key, i, d, got)
						}
					}
					if got := p.lse[i]; (got != got) != (i >= key) {
						t.Fatalf("NaN %#x in key %d: lse[%d] = %v", bits, key, i, got)
					}
				}

				p = newProblem(dims{1, 1, 1, seq, seq, dim, dim}, "bhsd", topLeft, normal(3))
				for d := range dim { // a weight of zero
					p.k.data[p.k.index(0, 0, key, d)] = 0
					for i := range seq {
						p.q.data[p.q.index(0, 0, i, d)] = 100
					}
				}
				for j := range seq {
					if j != key {
						p.k.data[p.k.index(0, 0, j, 0)] = 1000
					}
				}
				p.v.data[p.v.index(0, 0, key, 7)] = poison
				p.run(t, a)
				for i := range seq {
					for d := range dim {
						if got := p.out.at(0, 0, i, d); (got != got) != (i >= key && d == 7) {
							t.Fatalf("NaN %#x in value %d: out[%d,%d] = %v", bits, key, i, d, got)
						}
					}
				}
			}
		}

		// A NaN in a query is one row's.
		p := newProblem(dims{1, 1, 1, seq, seq, dim, dim}, "bhsd", none, normal(3))
		p.q.data[p.q.index(0, 0, 70, 7)] = nan
		p.run(t, a)
		for i := range seq {
			if got := p.out.at(0, 0, i, 0); (got != got) != (i == 70) {
				t.Fatalf("NaN in query 70: out[%d,0] = %v", i, got)
			}
		}
	})
}

// Scores as large as float32 allows do not overflow the softmax.
func TestLargeScores(t *testing.T) {
	const big = math.MaxFloat32
	forEachSet(t, func(t *testing.T, a *qkv.Engine) {
		for _, c := range []struct {
			q, scale float32
			k        []float32
			want     []float32 // weights
			lse      float32
		}{
			{1, 1, []float32{big, -big, 0}, []float32{1, 0, 0}, big},
			{1, 1, []float32{-big, -big, -big, -big}, []float32{.25, .25, .25, .25}, -big},
			{1, 1, []float32{big, big}, []float32{.5, .5}, big},
			{big, 1, []float32{1, .5, -1}, []float32{1, 0, 0}, big},
			{1, -1, []float32{big, -big}, []float32{0, 1}, big},
			{1, big, []float32{1, 1, -1, 0}, []float32{.5, .5, 0, 0}, big},
			// A score of -Inf has weight 0, and a row of nothing else is empty.
			{1, 1, []float32{negInf, 0, 0}, []float32{0, .5, .5}, math.Ln2},
			{1, 1, []float32{negInf, negInf}, []float32{0, 0}, negInf},
			// +Inf - +Inf has no value.
			{1, 1, []float32{posInf, 0, 0}, []float32{nan, nan, nan}, nan},
		} {
			n := len(c.k)
			// Values are the unit vectors: the output is the weights.
			v := make([]float32, n*n)
			for j := range n {
				v[j*n+j] = 1
			}
			out, lse := make([]float32, n), make([]float32, 1)
			err := a.Run(&qkv.Call{
				Q: qkv.BHSD([]float32{c.q}, 1, 1, 1, 1), K: qkv.BHSD(c.k, 1, 1, n, 1),
				V: qkv.BHSD(v, 1, 1, n, n), Out: qkv.BHSD(out, 1, 1, 1, n), LSE: lse, Scale: c.scale,
			})
			if err != nil {
				t.Fatal(err)
			}
			sameBits(t, fmt.Sprintf("q %g, scale %g, keys %g", c.q, c.scale, c.k), out, c.want)
			if d := math.Abs(float64(lse[0] - c.lse)); !(lse[0] == c.lse || d <= 1e-6*math.Abs(float64(c.lse)) || lse[0] != lse[0] && c.lse != c.lse) {
				t.Errorf("q %g, scale %g, keys %g: lse %g, want %g", c.q, c.scale, c.k, lse[0], c.lse)
			}
		}
	})
}
