package gpt

import (
	"fmt"

	"github.com/qkv-go/qkv"
)

// attention is causal: a position sees itself and those before it, which is all that there
// is when the next token is to be found. The scale of the scores is 1/√headDim by default.
var attention = qkv.Call{Mask: qkv.Mask{Causal: true}}

// Forward runs the network on a sequence of 1 to Context tokens. It returns the logits
// [seq, vocab]: row t says of each token how much it is expected to follow after tokens 0
// to t; softmax makes probabilities of them. A trace, if not nil, receives the values on
// the way. The error is an [*InputError].
//
// From one end to the other the network works on x [seq, width], a row of numbers for each
// position. All that is done to a row is done by itself, except in the attention, where
// rows look at each other.
func (m *Model) Forward(tokens []int, trace Trace) (Tensor, error) {
	if err := m.check(tokens); err != nil {
		return Tensor{}, err
	}
	p := &pass{Model: m, trace: trace}

	// A position starts as what is there plus where it is, [seq, width]: a row of weights
	// for each token, and a row for each place in the sequence.
	tok, pos := newTensor(len(tokens), m.Width), newTensor(len(tokens), m.Width)
	for t, token := range tokens {
		copy(tok.row(t), m.wte.row(token))
		copy(pos.row(t), m.wpe.row(t))
	}
	x := trace.put("x", add(trace.put("tok_emb", tok), trace.put("pos_emb", pos)))

	// Each block adds to x what it finds out, [seq, width] to [seq, width].
	for i := range m.blocks {
		p.layer = i
		x = trace.put(fmt.Sprintf("block%d", i), p.block(&m.blocks[i], x))
	}

	// At the end each row is compared with a row of weights for each token: the product
	// [seq, width] x [width, vocab] is a score for each.
	x = trace.put("ln_f", m.lnF.apply(x))
	logits := trace.put("lm_head", p.linear(m.lmHead, x))
	if trace != nil {
		trace.put("probs", softmax(logits))
	}
	if p.err != nil {
		return Tensor{}, p.err
	}
	return logits, nil
}

// A pass is one run of the network.
type pass struct {
	*Model
	trace Trace
	layer int   // the block that runs
	err   error // the first; what follows one is of no use
}

// block runs a transformer block on x [seq, width]. First positions gather from each other
// (attention), then each works by itself on what it has (multilayer perceptron). Both add
// their result to x rather than replace it, so that what is there already is kept unless
// there is something to change, through any number of blocks.
func (p *pass) block(b *block, x Tensor) Tensor {
	ln1 := p.record("ln1", b.ln1.apply(x))        // [seq, width], of one size everywhere
	yProj := p.record("yProj", p.attend(b, ln1))  // [seq, width], see there
	x = p.record("attnResid", add(x, yProj))      // [seq, width]
	ln2 := p.record("ln2", b.ln2.apply(x))        // [seq, width]
	fc := p.record("fc", p.linear(b.fc, ln2))     // [seq, 4*width], how far each pattern is met
	act := p.record("gelu", gelu(fc))             // [seq, 4*width], those that are
	mlp := p.record("mlp", p.linear(b.proj, act)) // [seq, width], what to add for each
	return p.record("mlpResid", add(x, mlp))      // [seq, width]
}

// attend runs the attention of a block on x [seq, width], for all heads:
//
//  1. Q = X Wq + bq, K = X Wk + bk, V = X Wv + bv, each [seq, heads*headDim]. A row of X
//     becomes a query, what the position looks for; a key, what it can be found by; and a
//     value, what it gives. Each head has headDim columns to itself.
//  2. att = Q Kᵀ / √headDim, [seq, seq] in each head: how well each key fits each query.
//     Where the key comes after the query, the mask puts -Inf.
//  3. attSm = softmax(att), by rows: the share that a query gives to each key.
//  4. y = attSm V, [seq, headDim] in each head, side by side [seq, width]: the mean of
//     the values in these shares.
//  5. y Wo + bo, [seq, width]: what the heads found, as something to add to x.
//
// That is [qkv.Layer.Forward], and keeps neither att nor attSm.
func (p *pass) attend(b *block, x Tensor) Tensor {
	out := newTensor(x.Shape...)
	if p.trace != nil {
		p.attendTraced(b, out, x)
	} else {
		p.keep(b.attn.Forward(matrix(out), matrix(x)))
	}
	return out
}

// linear returns x w + bias, [seq, out].
func (p *pass) linear(l linear, x Tensor) Tensor {
	y := newTensor(x.Shape[0], l.w.Cols())
	p.keep(p.engine.MatMul(&qkv.Product{X: matrix(x), Packed: l.w, Bias: l.bias, Y: matrix(y)}))
	return y
}

// matrix is a tensor of two axes as an operand.
func matrix(t Tensor) qkv.Matrix { return qkv.RowMajor(t.Data, t.Shape[0], t.Shape[1]) }

func (p *pass) keep(err error) {
	if p.err == nil {
		p.err = err
	}
}

// check reports tokens that the network cannot run on.
func (m *Model) check(tokens []int) error {
	if n := len(tokens); n < 1 || n > m.Context {
		return inputError("tokens", "there are %d tokens, the model takes 1 to %d", n, m.Context)
	}
	for t, token := range tokens {
		if token < 0 || token >= m.Vocab {
			return inputError("tokens", "tokens[%d] is %d, the model knows 0 to %d", t, token, m.Vocab-1)
		}
	}
	return nil
}
