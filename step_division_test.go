package qkv_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

// TestStepDivision: a call that comes after others in a step, which may leave it how they were divided,
// is divided as the same call by itself, and has its bits.
func TestStepDivision(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 75))
	layer := func(kvHeads, dim int, typ qkv.ElemType) cacheShape {
		return cacheShape{kvHeads, dim, dim, typ, typ}
	}
	shapes := []cacheShape{
		layer(2, 32, qkv.TypeFloat32), layer(2, 32, qkv.TypeFloat16), layer(1, 32, qkv.TypeFloat32),
		layer(2, 64, qkv.TypeFloat32), layer(4, 32, qkv.TypeInt8), layer(2, 31, qkv.TypeFloat32),
	}
	cfg := qkv.CacheConfig{PageTokens: 16, Pages: 400}
	for _, s := range shapes {
		cfg.Layers = append(cfg.Layers, s.layer())
	}
	e, c := newAttention(t, qkv.Config{Workers: 4}), newCache(t, cfg)
	step, alone := newStep(t, e, c), newStep(t, e, c)
	var batch, reads []qkv.StepSequence
	total, queries := 0, 0
	for i, n := range []int{2500, 700, 90} {
		s := qkv.StepSequence{Sequence: c.NewSequence(), Tokens: n, Queries: []int{1, 3, 40}[i]}
		batch = append(batch, s)
		reads = append(reads, qkv.StepSequence{Sequence: s.Sequence, Queries: s.Queries})
		total, queries = total+n, queries+s.Queries
	}
	must(step.Begin(batch))
	for i, s := range shapes {
		k, v := s.tokens(r, total)
		must(step.Write(i, k.view(), v.view()))
	}
	must(errors.Join(step.Commit(), step.Begin(reads)))
	calls := 160
	if brief() {
		calls = 50
	}
	for i := range calls {
		// Ten calls in turn are the same, but that every other has an option more.
		r := rand.New(rand.NewPCG(uint64(i/10), 76))
		which := r.IntN(len(shapes))
		s := shapes[which]
		heads := s.kvHeads * (1 + r.IntN(3))
		q, out := newTensor("bshd", 1, heads, queries, s.dimQK, normal(uint64(i/10))), newTensor("bshd", 1, heads, queries, s.dimV, nil)
		if r.IntN(3) == 0 {
			q = newTensor("bhsd", 1, heads, queries, s.dimQK, normal(uint64(i/10)))
		}
		call := qkv.Call{Q: q.view(), Mask: qkv.Mask{Causal: r.IntN(3) > 0}, LSE: make([]float32, heads*queries)}
		if r.IntN(3) == 0 {
			call.Mask.Window = qkv.Sliding(r.IntN(2000), r.IntN(9))
		}
		switch r.IntN(4) {
		case 0:
			call.Mask.First = r.IntN(70)
		case 1:
			call.Mask.Prefix = r.IntN(600)
		}
		switch i % 10 {
		case 1:
			call.Softcap = 3
		case 3:
			call.Bias = qkv.Pairs(draw(2500, normal(uint64(i/10))), 1, 1, 1, 2500)
		case 5:
			call.ProbMod = func(*qkv.ScoreBlock) {}
		case 7:
			call.Scores = qkv.Pairs(make([]float32, 3*heads*40*2500), 3, heads, 40, 2500)
		case 9:
			call.Mask.Keep = qkv.Pairs(draw(2500, func() bool { return r.IntN(9) > 0 }), 1, 1, 1, 2500)
		}
		attend := func(step *qkv.Step) ([]float32, []float32, string) {
			call.Out = out.view()
			plan, err := step.Explain(which, &call)
			must(err)
			must(step.Attend(which, &call))
			return append([]float32(nil), out.data...), append([]float32(nil), call.LSE...), fmt.Sprintf("%+v", plan)
		}
		got, lse, plan := attend(step)
		must(alone.Begin(reads))
		want, wantLSE, wantPlan := attend(alone)
		must(alone.Commit())
		what := fmt.Sprintf("call %d of layer %d under %v", i, which, call.Mask)
		sameBits(t, what, got, want)
		sameBits(t, what, lse, wantLSE)
		if plan != wantPlan {
			t.Fatalf("%s: divided as\n%s\nby itself\n%s", what, plan, wantPlan)
		}
	}
}
