package model

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
)

// TestSampler: tokens come as often as their probabilities say, and none that is excluded.
func TestSampler(t *testing.T) {
	e, err := qkv.New(qkv.Config{})
	must(err)
	m := &Model{engine: e}
	probs := []float64{0.05, 0.4, 0, 0.3, 0.15, 0.1} // tokens 1, 3, 4, 5, 0 in their order
	logits := make([]float32, len(probs))
	for i, p := range probs {
		logits[i] = float32(math.Log(p) + 3)
	}
	logits[2] = float32(math.NaN())
	for _, c := range []struct {
		s    Sampler
		want []float64
	}{
		{Sampler{}, []float64{0, 1, 0, 0, 0, 0}},
		{Sampler{TopK: 3, MinP: 0.1}, []float64{0, 1, 0, 0, 0, 0}},
		{Sampler{Temperature: 1}, probs},
		{Sampler{Temperature: 1, TopK: 2}, []float64{0, 4, 0, 3, 0, 0}},
		{Sampler{Temperature: 1, TopP: 0.8}, []float64{0, 40, 0, 30, 15, 0}},
		{Sampler{Temperature: 1, TopP: 0.01}, []float64{0, 1, 0, 0, 0, 0}},
		{Sampler{Temperature: 1, MinP: 0.3}, []float64{0, 40, 0, 30, 15, 0}},
		{Sampler{Temperature: 0.5, TopK: 3, Seed: 7}, []float64{0, 1600, 0, 900, 225, 0}},
		{Sampler{Temperature: 2, TopP: 0.5, MinP: 0.1}, []float64{0, math.Sqrt(40), 0, math.Sqrt(30), 0, 0}},
		{Sampler{Temperature: 1e-9}, []float64{0, 1, 0, 0, 0, 0}},
	} {
		const n = 20000
		counts, total := make([]float64, len(probs)), 0.0
		for at := range n {
			counts[c.s.choose(m, logits, at)]++
		}
		for _, w := range c.want {
			total += w
		}
		for i, w := range c.want {
			w *= n / total
			if math.Abs(counts[i]-w) > 4.5*math.Sqrt(w*(1-w/n)) {
				t.Errorf("%+v: token %d %v times, want about %.0f", c.s, i, counts[i], w)
			}
		}
	}
	if got := (&Sampler{Temperature: 1}).choose(m, slices.Repeat(logits[2:3], 5), 0); got != -1 {
		t.Errorf("token %d of NaN", got)
	}
}

// TestSampled: a sampled text is the same with drafts and beside others, and another with another seed.
func TestSampled(t *testing.T) {
	m, _ := newModel(t, qkv.Config{}, Small)
	e := newEngine(t, m, EngineConfig{PageTokens: 16, Pages: 100})
	run := func(seed uint64, others int, draft Draft) []int32 {
		var texts []*Text
		for i := range 1 + others {
			x := e.NewText([]int32{5, 6, 7}, 60+i)
			x.Sampler = &Sampler{Temperature: 0.3, TopK: 20, TopP: 0.95, Seed: seed + uint64(i)}
			texts = append(texts, x)
		}
		must(e.Generate(texts, draft))
		for _, x := range texts {
			must(x.Free())
		}
		return texts[0].Tokens
	}
	want := run(1, 0, nil)
	e.Stats = Stats{}
	known := func(tokens []int32, room int) []int32 { // a guess that is right but for every third
		for range min(5, room) {
			token := want[len(tokens)]
			if len(tokens)%3 == 0 {
				token++
			}
			tokens = append(tokens, token)
		}
		return tokens
	}
	if got := run(1, 0, known); !slices.Equal(got, want) || e.Stats.Kept < 20 {
		t.Errorf("with drafts\n%v\nwant\n%v, %+v", got, want, e.Stats)
	}
	if got := run(1, 3, nil); !slices.Equal(got, want) {
		t.Errorf("beside others\n%v\nwant\n%v", got, want)
	}
	if got := run(2, 0, nil); slices.Equal(got, want) {
		t.Error("another seed has the same tokens")
	}
}

// TestPerplexity: that of parts is the one that Score adds up.
func TestPerplexity(t *testing.T) {
	m, _ := newModel(t, qkv.Config{}, Small)
	e := newEngine(t, m, EngineConfig{PageTokens: 16, Pages: 3, PromptTokens: 7})
	tokens := randomTokens(70, m.Vocab, 3)
	sum, n := 0.0, 0
	for begin := 0; begin+32 <= len(tokens); begin += 32 {
		part := slices.Clone(tokens[begin : begin+32])
		part[0] = 9
		x := e.NewText(part[:17], 100)
		p, err := e.Score(x, part[17:])
		must(err)
		sum, n = sum+p, n+len(part[17:])
		must(x.Free())
	}
	got, count, err := e.Perplexity(tokens, 32, 9)
	if want := math.Exp(-sum / float64(n)); err != nil || count != n || math.Abs(got/want-1) > 1e-9 || e.Cache.FreePages(0) != 3 {
		t.Errorf("%v of %d, %v, want %v of %d", got, count, err, want, n)
	}
	for _, size := range []int{3, 71, m.Context + 1} {
		if _, _, err := e.Perplexity(tokens, size, -1); err == nil {
			t.Errorf("parts of %d", size)
		}
	}
	// After an error all pages are free, and there is no step.
	for _, at := range []int{0, 10, 30, 31, 63} { // the last of a part is rated, not read
		for _, bad := range []int32{-1, int32(m.Vocab)} {
			x := slices.Clone(tokens)
			x[at] = bad
			if _, _, err := e.Perplexity(x, 32, -1); err == nil || e.Cache.FreePages(0) != 3 {
				t.Errorf("token %d at %d: %v, %d pages are free", bad, at, err, e.Cache.FreePages(0))
			}
		}
	}
	pages := new(qkv.PagesError)
	if _, _, err := e.Perplexity(tokens, 60, -1); !errors.As(err, &pages) || e.Cache.FreePages(0) != 3 {
		t.Errorf("%v, %d pages are free", err, e.Cache.FreePages(0))
	}
	if again, _, err := e.Perplexity(tokens, 32, 9); err != nil || again != got {
		t.Errorf("%v, %v, and before %v", again, err, got)
	}
}
