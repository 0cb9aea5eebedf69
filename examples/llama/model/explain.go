package model

import (
	"fmt"
	"io"

	"github.com/qkv-go/qkv"
)

// Explain writes how the library computes a prompt of so many tokens, and one token behind it: the attention of a layer
// of each kind, the products of the first MLP, unless it is one of experts, and that of the logits. The cache needs room for one token more.
// The error is that of the library, or of w.
func (e *Engine) Explain(w io.Writer, tokens int) error {
	s := e.Cache.NewSequence()
	defer s.Free()
	err := e.explainStep(w, fmt.Sprintf("a prompt of %d tokens", tokens), s, tokens, tokens)
	if err == nil {
		err = e.explainStep(w, fmt.Sprintf("a token behind %d", tokens), s, 1, tokens+1)
	}
	if err != nil {
		return fmt.Errorf("model: %w", err)
	}
	return nil
}

// explainStep explains the last tokens of an empty sequence that reads so many in all. It has them in one step,
// without queries of those before, and takes that back.
func (e *Engine) explainStep(w io.Writer, title string, s *qkv.Sequence, tokens, reads int) error {
	if err := e.Step.Begin([]qkv.StepSequence{{Sequence: s, Tokens: reads}}); err != nil {
		return err
	}
	defer e.Step.Rollback()
	if err := e.Step.SetQueries([]int{tokens}); err != nil {
		return err
	}
	write := func(part string, plan fmt.Stringer, err error) error {
		if err == nil {
			_, err = fmt.Fprintf(w, "%s, %s\n%v\n\n", title, part, plan)
		}
		return err
	}
	heads := func(rows, heads int) qkv.View {
		return qkv.BSHD(make([]float32, rows*heads*e.Dim()), 1, rows, heads, e.Dim())
	}
	kv, q, out := heads(reads, e.KVHeads), heads(tokens, e.Heads), heads(tokens, e.Heads)
	explained := map[bool]bool{} // of local layers, and of others
	for i := range e.blocks {
		local := e.local(i)
		if explained[local] {
			continue
		}
		explained[local] = true
		if err := e.Step.Write(i, kv, kv); err != nil {
			return err
		}
		call := e.blocks[i].attention
		call.Q, call.Out = q, out
		part := fmt.Sprintf("attention of layer %d", i)
		if local {
			part += fmt.Sprintf(" in a window of %d", e.Window)
		}
		plan, err := e.Step.Explain(i, &call)
		if err := write(part, plan, err); err != nil {
			return err
		}
	}
	matrix := func(rows, cols int) qkv.Matrix { return qkv.RowMajor(make([]float32, rows*cols), rows, cols) }
	x := matrix(tokens, e.Width)
	if !e.mixed(0) {
		b, gated := &e.blocks[0].mlp, matrix(tokens, e.mlpWidth())
		hidden := e.hiddenProduct(gated, x, b)
		plan, err := e.engine.ExplainMatMul(&hidden)
		if err := write("gate and up of layer 0", plan, err); err != nil {
			return err
		}
		down := e.productOf(matrix(tokens, e.Width), gated, b.down)
		plan, err = e.engine.ExplainMatMul(&down)
		if err := write("down of layer 0", plan, err); err != nil {
			return err
		}
	}
	logits := e.productOf(matrix(1, e.Vocab), x.Slice(0, 1), e.out)
	plan, err := e.engine.ExplainMatMul(&logits)
	return write("logits of one token", plan, err)
}
