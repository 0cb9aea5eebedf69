package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/cmd/qkv/heatmap"
)

// maxProbs is the most bytes that the probabilities of a head may take.
const maxProbs = 1 << 30

// read reads the files of the call.
func (v *viewFlags) read(ctx context.Context) (*headProbs, error) {
	engine, err := qkv.New(qkv.Config{Kernel: v.kernel, Workers: v.workers})
	if err != nil {
		return nil, err
	}
	q, err := readNPY(v.q)
	if err != nil {
		return nil, err
	}
	k, err := readNPY(v.k)
	if err != nil {
		return nil, err
	}
	p := &headProbs{flags: v, engine: engine}
	c := &p.call
	if c.Q, err = operand("q", v.q, q, q, v.layout); err != nil {
		return nil, err
	}
	p.q = partOf(q.data, q.dims, v.layout)
	if p.k, p.scales, err = v.class.operand("k", v.k, k, q, v.layout); err != nil {
		return nil, err
	}
	c.K, c.KScale, c.Precision = p.k.all, p.scales.all, v.class.class
	if c.Mask, err = v.mask.read(); err != nil {
		return nil, err
	}
	if err := v.values.read(c); err != nil {
		return nil, err
	}
	return p, p.check(ctx)
}

// attention computes the maps of the arrays in files, and says what they are of.
func (v *viewFlags) attention(ctx context.Context) (*heatmap.Attention, string, error) {
	p, err := v.read(ctx)
	if err != nil {
		return nil, "", err
	}
	batch, heads, queries, keys := p.lengths()
	if v.batch >= batch {
		return nil, "", fmt.Errorf("-batch is %d, q has batch %d", v.batch, batch)
	}
	first, last := 0, heads
	if v.oneHead {
		if v.head >= heads {
			return nil, "", fmt.Errorf("-head is %d, q has %d heads", v.head, heads)
		}
		first, last = v.head, v.head+1
	}
	a, err := heatmap.New(queries, keys)
	if err != nil {
		return nil, "", err
	}
	if n := 4 * int64(queries) * int64(keys); n > maxProbs {
		return nil, "", fmt.Errorf("the probabilities of a head, %d queries by %d keys, take %d bytes, at most %d are drawn", queries, keys, n, maxProbs)
	}
	if err := v.label(a, queries, keys); err != nil {
		return nil, "", err
	}
	for h := first; h < last; h++ {
		probs, err := p.of(ctx, h)
		if err != nil {
			return nil, "", err
		}
		if err := a.Add(fmt.Sprintf("head %d", h), probs); err != nil {
			return nil, "", err
		}
	}
	title := count(queries, "query", "queries") + " × " + count(keys, "key", "keys")
	if mask := p.call.Mask.String(); mask != "none" {
		title += ", " + mask
	}
	if batch > 1 {
		title += fmt.Sprintf(", element %d of a batch of %d", v.batch, batch)
	}
	return a, title, nil
}

func count(n int, one, more string) string {
	if n == 1 {
		more = one
	}
	return fmt.Sprint(n, " ", more)
}

// headProbs computes the probabilities of one head at a time, since those of all may not
// fit in memory.
type headProbs struct {
	flags        *viewFlags
	engine       *qkv.Engine
	q, k, scales part
	call         qkv.Call // of all heads; its values are nothing

	probs, scores []float32 // [seqQ, seqKV]
	out           []float32 // [seqQ]
}

func (p *headProbs) lengths() (batch, heads, queries, keys int) {
	q := p.call.Q.Shape()
	return q[0], q[1], q[2], p.call.K.Shape()[2]
}

// nothing is an operand with head dim 1 of zeros.
func nothing(batch, heads, seq int) qkv.View {
	return qkv.Strided([]float32{0}, 0, [4]int{batch, heads, seq, 1}, [4]int{})
}

// check reports what is wrong with the call of all heads.
func (p *headProbs) check(ctx context.Context) error {
	c := p.call
	batch, heads, queries, _ := p.lengths()
	k := c.K.Shape()
	c.V = nothing(k[0], k[1], k[2])
	c.Out = qkv.BHSD(make([]float32, batch*heads*queries), batch, heads, queries, 1)
	_, err := p.engine.ExplainContext(ctx, &c)
	return err
}

// of returns the probabilities of a head, [seqQ, seqKV], with heatmap.Masked where a pair is
// masked. They are overwritten by the next.
func (p *headProbs) of(ctx context.Context, head int) ([]float32, error) {
	_, heads, queries, keys := p.lengths()
	if p.probs == nil {
		p.probs = make([]float32, queries*keys)
		p.out = make([]float32, queries)
	}
	batch := p.flags.batch
	c := p.call
	kvHead := head / (heads / c.K.Shape()[1])
	c.Q, c.K, c.KScale = p.q.head(batch, head), p.k.head(batch, kvHead), p.scales.head(batch, kvHead)
	c.V = nothing(1, 1, keys)
	c.Out = qkv.BHSD(p.out, 1, 1, queries, 1)
	if c.ALiBi != nil {
		c.ALiBi = c.ALiBi[head:][:1]
	}
	if c.Sinks != nil {
		c.Sinks = c.Sinks[head:][:1]
	}
	if p.flags.mask.keep != "" {
		c.Mask.Keep = p.flags.mask.kept.of(batch, head)
	}
	biased := p.flags.values.bias != ""
	if biased {
		c.Bias = p.flags.values.biases.of(batch, head)
	}
	c.Scores, c.ScoresAt = qkv.Pairs(p.probs, 1, 1, queries, keys), qkv.StageProbs
	if err := p.engine.RunContext(ctx, &c); err != nil {
		return nil, err
	}

	m := &p.call.Mask
	_, _, windowed := m.Window.Bounds()
	if !m.Causal && !windowed && p.flags.mask.keep == "" && !biased {
		return p.probs, nil
	}
	// Of scores that are all 0, those that are -Inf in the end are masked.
	if p.scores == nil {
		p.scores = make([]float32, queries*keys)
	}
	zero := qkv.Call{
		Q: nothing(1, 1, queries), K: nothing(1, 1, keys), V: c.V, Out: c.Out,
		Mask: c.Mask, Bias: c.Bias,
		Scores: qkv.Pairs(p.scores, 1, 1, queries, keys), ScoresAt: qkv.StageMasked,
	}
	if err := p.engine.RunContext(ctx, &zero); err != nil {
		return nil, err
	}
	for i, s := range p.scores {
		if math.IsInf(float64(s), -1) {
			p.probs[i] = heatmap.Masked
		}
	}
	return p.probs, nil
}

// label names the keys by the tokens, and the queries by those at which they stand, unless
// nothing says where that is.
func (v *viewFlags) label(a *heatmap.Attention, queries, keys int) error {
	var tokens []string
	switch {
	case v.tokens != "":
		tokens = strings.Fields(v.tokens)
	case v.tokensFile != "":
		text, err := readAll(v.tokensFile, maxInput)
		if err != nil {
			return err
		}
		tokens = slices.Collect(strings.Lines(string(text)))
		for i, line := range tokens {
			tokens[i] = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		}
	default:
		return nil
	}
	if len(tokens) != keys {
		return fmt.Errorf("there are %d tokens, k has sequence length %d", len(tokens), keys)
	}
	a.KeyLabels = tokens
	m := v.mask.mask
	_, _, windowed := m.Window.Bounds()
	if queries != keys && !m.Causal && !windowed && !v.mask.align {
		return nil
	}
	first := m.Offset
	if m.Align == qkv.BottomRight {
		first = keys - queries
	}
	if first >= 0 && first <= keys-queries {
		a.QueryLabels = tokens[first:][:queries]
	}
	return nil
}
