package model

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

// TestCompare: a comparison has the numbers of its definition, of the tokens that a perplexity is of, and none
// of a model with itself.
func TestCompare(t *testing.T) {
	const size = 40
	c := Small
	c.Layers, c.Vocab, c.Context = 2, 60, size
	tokens := randomTokens(2*size+7, c.Vocab, 9)
	m, small := newModelOf(t, qkv.Config{}, c, qkv.PrecisionFloat32), newModelOf(t, qkv.Config{}, c, qkv.PrecisionInt8)
	engine := func(m *Model, kv qkv.ElemType) *Engine {
		return newEngine(t, m, EngineConfig{Type: kv, PageTokens: 8, Pages: size / 8, PromptTokens: 16})
	}
	e, other := engine(small, qkv.TypeQ8_0), engine(m, qkv.TypeFloat32)
	d, err := e.Compare(other, tokens, size, -1)
	must(err)
	p, n, err := e.Perplexity(tokens, size, -1)
	must(err)
	q, _, err := other.Perplexity(tokens, size, -1)
	must(err)
	near := func(what string, got, want float64) {
		t.Helper()
		if !(math.Abs(got-want) <= 1e-9*(1+math.Abs(want))) {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	near("the perplexity", d.Perplexity, p)
	near("the other's", d.Other, q)

	var want Difference
	for begin := 0; begin < 2*size; begin += size {
		part := tokens[begin:][:size]
		var rows [2][]float32
		for i, e := range []*Engine{e, other} {
			s := e.Cache.NewSequence()
			rows[i] = read(e, s, part[:size-1], 16)
			must(s.Free())
		}
		for at := size / 2; at < size-1; at++ {
			x, y := rows[0][at*c.Vocab:][:c.Vocab], rows[1][at*c.Vocab:][:c.Vocab]
			for i, v := range y {
				want.Largest, want.Off = max(want.Largest, math.Abs(float64(v))), max(want.Off, math.Abs(float64(x[i])-float64(v)))
				log := logProb(y, int32(i))
				want.Divergence += math.Exp(log) * (log - logProb(x, int32(i)))
			}
			if want.Tokens++; slices.Index(x, slices.Max(x)) == slices.Index(y, slices.Max(y)) {
				want.Same++
			}
		}
	}
	near("the largest logit", d.Largest, want.Largest)
	near("the error", d.Off, want.Off)
	near("the divergence", d.Divergence, want.Divergence/float64(want.Tokens))
	if d.Tokens != n || d.Tokens != want.Tokens || d.Same != want.Same || d.Off == 0 {
		t.Errorf("%+v, want %+v", d, want)
	}

	d, err = other.Compare(engine(m, qkv.TypeFloat32), tokens, size, 5)
	must(err)
	if d.Off != 0 || math.Abs(d.Divergence) > 1e-12 || d.Same != d.Tokens || d.Perplexity != d.Other {
		t.Errorf("of a model with itself: %+v", d)
	}
	c.Vocab++
	strange := engine(newModelOf(t, qkv.Config{}, c, qkv.PrecisionFloat32), qkv.TypeFloat32)
	if _, err := e.Compare(strange, tokens, size, -1); err == nil {
		t.Error("of vocabularies of 60 and 61 tokens")
	}
	if _, err := e.Compare(other, tokens, size+1, -1); err == nil {
		t.Error("of parts that the model does not read")
	}
	tokens[size-1] = int32(e.Vocab) // which is rated, and not read
	if _, err := e.Compare(other, tokens, size, -1); err == nil || !strings.Contains(err.Error(), "token 60 is to be rated") {
		t.Errorf("of a token that the vocabulary does not have: %v", err)
	}
	if n := e.Cache.FreePages(0); n != size/8 {
		t.Errorf("%d pages are free", n)
	}
}
