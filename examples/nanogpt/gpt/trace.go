package gpt

import (
	"fmt"

	"github.com/qkv-go/qkv"
)

// A Trace holds the values on the way through a network, by the names that
// bbycroft.net/llm has for them. Those of the first block are
//
//	ln1 attnResid yProj        [seq, width]
//	qkv                        [seq, 3*width]
//	q k v                      [heads, seq, headDim]
//	att attSm                  [heads, seq, seq]
//	y                          [seq, width]
//	ln2 mlp mlpResid           [seq, width]
//	fc gelu                    [seq, 4*width]
//
// and those of block n are "n.ln1" and so on, see [Name]. Of the whole network, there are
// tok_emb, pos_emb, x, block0, block1 and so on, and ln_f, [seq, width], and lm_head and
// probs, [seq, vocab].
type Trace map[string]Tensor

// Name returns the name that a value of a block has in a [Trace]: "attSm" for block 0,
// "2.attSm" for block 2.
func Name(block int, value string) string {
	if block == 0 {
		return value
	}
	return fmt.Sprintf("%d.%s", block, value)
}

// put records a value, if there is a trace, and returns it.
func (t Trace) put(name string, x Tensor) Tensor {
	if t != nil {
		t[name] = x
	}
	return x
}

// record records a value of the block that runs.
func (p *pass) record(name string, x Tensor) Tensor {
	return p.trace.put(Name(p.layer, name), x)
}

// attendTraced does as attend does, into out, and records what the layer computes between.
func (p *pass) attendTraced(b *block, out, x Tensor) {
	seq, heads := x.Shape[0], p.Heads
	dim := p.Width / heads
	packed := p.record("qkv", newTensor(seq, 3*p.Width)) // a row is [query, key, value]
	att := p.record("att", newTensor(heads, seq, seq))
	attSm := p.record("attSm", newTensor(heads, seq, seq))
	y := p.record("y", newTensor(seq, p.Width))

	// The layer leaves its operands in what it is given for them.
	c := attention
	c.Q, c.K, c.V = qkv.PackedQKV(packed.Data, 1, seq, heads, heads, dim)
	c.Out = qkv.BSHD(y.Data, 1, seq, heads, dim)
	c.Scores, c.ScoresAt = qkv.Pairs(attSm.Data, 1, heads, seq, seq), qkv.StageProbs
	p.keep(b.attn.Run(&qkv.LayerCall{X: matrix(x), Y: matrix(out), Attention: &c}))

	// A call returns the scores of one stage: those before the softmax take another.
	c.Scores, c.ScoresAt = qkv.Pairs(att.Data, 1, heads, seq, seq), qkv.StageMasked
	p.keep(p.engine.Run(&c))

	for i, name := range []string{"q", "k", "v"} {
		part := newTensor(heads, seq, dim)
		for h := range heads {
			for t := range seq {
				copy(part.Data[(h*seq+t)*dim:][:dim], packed.row(t)[i*p.Width+h*dim:])
			}
		}
		p.record(name, part)
	}
}

// Attention returns what each query gives to each key in each block: the probabilities
// [heads, seq, seq], of which rows are queries and columns keys. [Label] names the tokens.
// The error is an [*InputError].
func (m *Model) Attention(tokens []int) ([]Tensor, error) {
	trace := Trace{}
	if _, err := m.Forward(tokens, trace); err != nil {
		return nil, err
	}
	maps := make([]Tensor, m.Layers)
	for i := range maps {
		maps[i] = trace[Name(i, "attSm")]
	}
	return maps, nil
}
