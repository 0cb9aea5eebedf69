package qkv_test

import (
	"cmp"
	"fmt"
	"log"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/qkv-go/qkv"
)

// ranking returns all elements that are not NaN, the greatest first, and the first of equal ones first.
func ranking(x []float32) (all []qkv.Ranked) {
	for i, v := range x {
		if v == v {
			all = append(all, qkv.Ranked{Value: v, Index: i})
		}
	}
	slices.SortStableFunc(all, func(a, b qkv.Ranked) int { return cmp.Compare(b.Value, a.Value) })
	return all
}

// TestTopK compares with a sort: lists of every length around blocks, in every order, with equal elements,
// infinities and NaN.
func TestTopK(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	zero := float32(0)
	kinds := map[string]func(i int) float32{
		"normal":          func(int) float32 { return float32(r.NormFloat64()) },
		"few values":      func(int) float32 { return float32(r.IntN(4)) },
		"equal":           func(int) float32 { return 7 },
		"zeros":           func(int) float32 { return []float32{zero, -zero, 1 / negInf}[r.IntN(3)] },
		"ascending":       func(i int) float32 { return float32(i) },
		"descending":      func(i int) float32 { return float32(-i) },
		"special":         func(int) float32 { return []float32{nan, posInf, negInf, 0, 1, 2}[r.IntN(6)] },
		"-Inf":            func(int) float32 { return negInf },
		"NaN":             func(int) float32 { return nan },
		"one among NaN":   func(i int) float32 { return []float32{nan, negInf}[min(i, 1)] },
		"one among lower": func(i int) float32 { return float32(i%97) - float32(i%89)*2 },
	}
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		var lengths []int
		for n := 0; n < 140; n++ {
			lengths = append(lengths, n)
		}
		for _, n := range append(lengths, 191, 192, 193, 1000, 5000) {
			for name, draw := range kinds {
				x := make([]float32, n)
				for i := range x {
					x[i] = draw(i)
				}
				all := ranking(x)
				what := fmt.Sprintf("%s: %d elements, %s", e.Kernel().Name, n, name)
				first := -1
				if len(all) > 0 {
					first = all[0].Index
				}
				if got := e.ArgMax(x); got != first {
					t.Fatalf("%s: ArgMax is %d, want %d", what, got, first)
				}
				for _, k := range []int{0, 1, 2, 5, 40, n, n + 3} {
					top := make([]qkv.Ranked, k)
					want := all[:min(k, len(all))]
					if got := e.TopK(top, x); got != len(want) || !slices.Equal(top[:got], want) {
						t.Fatalf("%s: the first %d are %v, want %v", what, k, top[:got], want)
					}
				}
			}
		}
	})
}

// TestArgMaxLong: one greatest element in any place of a list that is longer than a kernel searches at once.
func TestArgMaxLong(t *testing.T) {
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		x := make([]float32, 300_001)
		for _, at := range []int{0, 1, 63, 64, 131_071, 131_072, 131_073, 262_144, 299_999, 300_000} {
			x[at] = 1
			if got := e.ArgMax(x); got != at {
				t.Errorf("%s: ArgMax is %d, want %d", e.Kernel().Name, got, at)
			}
			top := make([]qkv.Ranked, 2)
			if e.TopK(top, x); top[0] != (qkv.Ranked{Value: 1, Index: at}) || top[1].Value != 0 || top[1].Index > 1 {
				t.Errorf("%s: the first are %v, want %d", e.Kernel().Name, top, at)
			}
			x[at] = 0
		}
	})
}

// BenchmarkTopK times searches of logits beside reading them in the same run.
func BenchmarkTopK(b *testing.B) {
	for _, vocab := range []int{32_000, 128_256, 262_144} {
		x := draw(vocab, normal(1))
		e := newAttention(b, qkv.Config{})
		for _, k := range []int{0, 1, 50} {
			b.Run(fmt.Sprintf("vocab=%d/k=%d", vocab, k), func(b *testing.B) {
				top := make([]qkv.Ranked, k)
				read := func() float64 {
					const n = 50
					begin := time.Now()
					for range n {
						e.Kernel().Read(&x[0], vocab/256*256)
					}
					return 4 * float64(vocab) * n / float64(time.Since(begin).Nanoseconds())
				}
				best := read()
				for b.Loop() {
					if k == 0 {
						e.ArgMax(x)
					} else {
						e.TopK(top, x)
					}
				}
				best = max(best, read())
				b.ReportMetric(4*float64(vocab)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GB/s")
				b.ReportMetric(best, "GB/s-read")
			})
		}
	}
}

// The next token of greedy decoding, and the two that are likeliest.
func ExampleEngine_TopK() {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	logits := []float32{0.5, 3, -1, 3, 2}
	top := make([]qkv.Ranked, 3)
	n := e.TopK(top, logits)
	fmt.Println(e.ArgMax(logits), top[:n])
	// Output: 1 [{3 1} {3 3} {2 4}]
}
