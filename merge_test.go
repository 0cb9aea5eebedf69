package qkv_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qkv-go/qkv"
)

// part computes p over the keys [first, end).
func (p *problem) part(t *testing.T, a *qkv.Engine, first, end int) qkv.Partial {
	t.Helper()
	out := newTensor("bshd", p.out.shape[0], p.out.shape[1], p.out.shape[2], p.out.shape[3], nil)
	c := p.call()
	c.K, c.V, c.Out = p.k.rows(first, end-first), p.v.rows(first, end-first), out.view()
	c.LSE = make([]float32, len(p.lse))
	if c.Mask.Causal {
		c.Mask = causalAt(p.offset() - first)
	}
	if err := a.Run(c); err != nil {
		t.Fatal(err)
	}
	return qkv.Partial{Out: out.view(), LSE: c.LSE}
}

// TestMerge: attention over parts of the keys, merged, is attention over all. The sum is
// that of p.check, with a weight more, which is within its bound of the scores' errors.
func TestMerge(t *testing.T) {
	t.Parallel()
	forEachSet(t, func(t *testing.T, a *qkv.Engine) {
		for _, m := range []qkv.Mask{none, topLeft, bottomRight} {
			for _, cuts := range [][]int{{0, 300}, {0, 1, 300}, {0, 0, 128, 300, 300}, {0, 50, 100, 150, 200, 250, 300}} {
				p := newProblem(dims{2, 4, 2, 33, 300, 24, 20}, "gaps", m, normal(7))
				p.run(t, a)
				want, wantLSE := p.out.values(), append([]float32(nil), p.lse...)
				var parts []qkv.Partial
				for i := range len(cuts) - 1 {
					parts = append(parts, p.part(t, a, cuts[i], cuts[i+1]))
				}
				for i := range p.out.data {
					p.out.data[i] = canary
				}
				if err := a.Merge(p.out.view(), p.lse, parts); err != nil {
					t.Fatal(err)
				}
				checkGaps(t, p.out)
				p.check(t, 0)
				if len(parts) == 1 {
					sameBits(t, "one part: out", p.out.values(), want)
					sameBits(t, "one part: lse", p.lse, wantLSE)
				}
			}
		}
	})
}

func TestMergeSpecial(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	part := func(lse float32, out ...float32) qkv.Partial {
		return qkv.Partial{Out: qkv.BHSD(out, 1, 1, 1, len(out)), LSE: []float32{lse}}
	}
	for _, c := range []struct {
		name  string
		parts []qkv.Partial
		out   float32
		lse   float32
	}{
		{"no keys", []qkv.Partial{part(-inf, 0), part(-inf, 0)}, 0, -inf},
		{"no keys in one, whatever it holds", []qkv.Partial{part(-inf, nan), part(2, 3)}, 3, 2},
		{"equal weights", []qkv.Partial{part(1, 2), part(1, 4)}, 3, float32(1 + math.Ln2)},
		{"a weight that underflows", []qkv.Partial{part(-1000, 5), part(1000, 7)}, 7, 1000},
		{"a NaN of no weight", []qkv.Partial{part(-1000, nan), part(1000, 7)}, nan, 1000},
		{"log-sum-exp of NaN", []qkv.Partial{part(nan, 5), part(1, 7)}, nan, nan},
		{"large", []qkv.Partial{part(3e38, 5), part(3e38, 7)}, 6, 3e38},
	} {
		out, lse := []float32{canary}, []float32{canary}
		if err := e.Merge(qkv.BHSD(out, 1, 1, 1, 1), lse, c.parts); err != nil {
			t.Fatal(err)
		}
		same := func(a, b float32) bool { return a == b || a != a && b != b }
		if !same(out[0], c.out) || !same(lse[0], c.lse) {
			t.Errorf("%s: out %v, lse %v, want %v, %v", c.name, out[0], lse[0], c.out, c.lse)
		}
	}
}

func TestMergeInPlace(t *testing.T) {
	a := newAttention(t, qkv.Config{})
	p := newProblem(dims{1, 2, 2, 20, 200, 16, 16}, "bhsd", none, normal(8))
	first, second := p.part(t, a, 0, 90), p.part(t, a, 90, 200)
	if err := a.Merge(p.out.view(), p.lse, []qkv.Partial{first, second}); err != nil {
		t.Fatal(err)
	}
	want, wantLSE := p.out.values(), append([]float32(nil), p.lse...)
	if err := a.Merge(second.Out, second.LSE, []qkv.Partial{first, second}); err != nil {
		t.Fatal(err)
	}
	if err := a.Merge(p.out.view(), nil, []qkv.Partial{second}); err != nil {
		t.Fatal(err)
	}
	sameBits(t, "out", p.out.values(), want)
	sameBits(t, "lse", second.LSE, wantLSE)
	many := make([]qkv.Partial, 40)
	for i := range many {
		many[i] = first
	}
	for _, parts := range [][]qkv.Partial{{first, second}, many} {
		n := allocsPerCall(10, func() { must(a.Merge(p.out.view(), p.lse, parts)) })
		if n != 0 && !raceEnabled { // under the race detector sync.Pool drops items
			t.Errorf("%v allocations for %d parts", n, len(parts))
		}
	}
	for i, x := range p.lse {
		if want := float64(first.LSE[i]) + math.Log(40); math.Abs(float64(x)-want) > 1e-5 {
			t.Fatalf("lse[%d] of %d equal parts is %v, want %v", i, len(many), x, want)
		}
	}
	// Without a dim of values there are log-sum-exps still.
	none := qkv.BHSD([]float32{}, 1, 2, 20, 0)
	if err := a.Merge(none, p.lse, []qkv.Partial{{Out: none, LSE: first.LSE}}); err != nil {
		t.Fatal(err)
	}
	sameBits(t, "lse without values", p.lse, first.LSE)
}

// TestMergeWorkers: rows that several workers merge, of any strides, have the bits of one worker.
func TestMergeWorkers(t *testing.T) {
	const batch, heads, seq, dim, parts = 2, 3, 70, 24, 5
	next := normal(9)
	list := make([]qkv.Partial, parts)
	for i := range list {
		layout := []string{"bshd", "bhsd", "gaps"}[i%3]
		list[i] = qkv.Partial{Out: newTensor(layout, batch, heads, seq, dim, next).view(), LSE: draw(batch*heads*seq, next)}
		for row := i; row < len(list[i].LSE); row += 11 {
			list[i].LSE[row] = float32(math.Inf(-1))
		}
	}
	var want []float32
	for _, workers := range workerCounts(1, 2, 5) {
		e := newAttention(t, qkv.Config{Workers: workers})
		out, lse := newTensor("gaps", batch, heads, seq, dim, nil), make([]float32, batch*heads*seq)
		must(e.MergeContext(context.Background(), out.view(), lse, list))
		checkGaps(t, out)
		got := append(out.values(), lse...)
		if want == nil {
			want = got
		}
		sameBits(t, fmt.Sprintf("%d workers", workers), got, want)
	}
}

// TestMergeMany: the error does not grow with the number of parts.
func TestMergeMany(t *testing.T) {
	const parts, dim, value, lse = 1 << 17, 3, 0.7, 2.5
	v := draw(dim, func() float32 { return value })
	all := draw(parts, func() qkv.Partial {
		return qkv.Partial{Out: qkv.BHSD(v, 1, 1, 1, dim), LSE: []float32{lse}}
	})
	for i := range all[parts/2:] { // half of them weigh a quarter
		all[parts/2+i].LSE[0] -= float32(math.Log(4))
	}
	out, got := make([]float32, dim), make([]float32, 1)
	if err := newAttention(t, qkv.Config{}).Merge(qkv.BHSD(out, 1, 1, 1, dim), got, all); err != nil {
		t.Fatal(err)
	}
	sameBits(t, "out", out, v)
	if want := lse + math.Log(parts*5./8); math.Abs(float64(got[0])-want) > 1e-6 {
		t.Errorf("lse %v, want %v", got[0], want)
	}
}

func TestMergeErrors(t *testing.T) {
	data := make([]float32, 64)
	view := func(seq int) qkv.View { return qkv.BHSD(data, 1, 2, seq, 4) }
	for _, c := range []struct {
		want  string
		out   qkv.View
		lse   []float32
		parts []qkv.Partial
	}{
		{"qkv: parts has length 0, at least 1 is needed", view(3), nil, nil},
		{"qkv: lse has length 5, out has 6 rows", view(3), make([]float32, 5), []qkv.Partial{{view(3), make([]float32, 6)}}},
		{"qkv: parts[1] has sequence length 2, out has 3", view(3), nil, []qkv.Partial{{view(3), make([]float32, 6)}, {view(2), nil}}},
		{"qkv: parts[0] has a log-sum-exp of length 4, out has 6 rows", view(3), nil, []qkv.Partial{{view(3), make([]float32, 4)}}},
		{"qkv: out reaches element 71, its slice has 64", view(9), nil, []qkv.Partial{{view(9), make([]float32, 18)}}},
	} {
		if err := newAttention(t, qkv.Config{}).Merge(c.out, c.lse, c.parts); err == nil || !strings.HasPrefix(fmt.Sprint(err), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

// TestMergeEnded: rows of a merge that ends early are merged, with their log-sum-exp, or as they were, those
// of a part that the result replaces among them.
func TestMergeEnded(t *testing.T) {
	const heads, queries, dim = 6, 100, 33
	next := normal(66)
	early := 0
	for round := range 100 {
		e := newAttention(t, qkv.Config{Workers: 1 + round%4})
		tensors := draw(3, func() *tensor { return newTensor("bshd", 1, heads, queries, dim, next) })
		var parts []qkv.Partial
		for _, x := range tensors {
			parts = append(parts, qkv.Partial{Out: x.view(), LSE: draw(heads*queries, next)})
		}
		out, sums := newTensor("bhsd", 1, heads, queries, dim, nil), make([]float32, heads*queries)
		must(e.Merge(out.view(), sums, parts))
		to, lse := tensors[0], parts[0].LSE
		before, beforeLSE := to.values(), slices.Clone(lse)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for begin := time.Now(); time.Since(begin) < time.Duration(round%60)*time.Microsecond; {
			}
			cancel()
		}()
		err := e.MergeContext(ctx, to.view(), lse, parts)
		if err != nil {
			early++
		}
		got, want := to.values(), out.values()
		for row := range lse {
			from, end := row*dim, (row+1)*dim
			merged := lse[row] == sums[row] && slices.Equal(got[from:end], want[from:end])
			asBefore := lse[row] == beforeLSE[row] && slices.Equal(got[from:end], before[from:end])
			if !merged && (!asBefore || err == nil) {
				t.Fatalf("row %d is neither merged nor as it was: %v", row, err)
			}
		}
		<-ctx.Done()
	}
	t.Logf("%d of 100 ended early", early)
}
