package model

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/qkv-go/qkv"
)

// A Text is tokens, of which the model has read those that are in the cache.
type Text struct {
	*qkv.Sequence         // the first Len() tokens
	Tokens        []int32 // all: a prompt, and what follows
	Limit         int     // how many there are to be

	// Sampler, if not nil, chooses tokens. The most likely ones are taken otherwise.
	Sampler *Sampler
}

// NewText returns a text that begins with a prompt, of as many tokens as the model reads at most. It
// ends with limit tokens, of which at least one is new, or one more than the model reads. Free gives
// its pages back.
func (e *Engine) NewText(prompt []int32, limit int) *Text {
	limit = max(min(limit, e.Context+1), len(prompt)+1)
	return &Text{Sequence: e.Cache.NewSequence(), Tokens: append(make([]int32, 0, limit), prompt...), Limit: limit}
}

// Restart has a text begin with another prompt, as [Engine.NewText] would, and returns how many of its tokens need not be
// read: those that the text begins with too, but for the last of the prompt. The error wraps [qkv.ErrOverwritten] where a
// window does not reach back that far; the text is as it was then.
func (e *Engine) Restart(t *Text, prompt []int32, limit int) (int, error) {
	kept := 0
	for kept < min(t.Len(), len(prompt)-1) && t.Tokens[kept] == prompt[kept] {
		kept++
	}
	if err := t.Truncate(kept); err != nil {
		return 0, fmt.Errorf("model: %w", err)
	}
	t.Limit = max(min(limit, e.Context+1), len(prompt)+1)
	t.Tokens = append(make([]int32, 0, t.Limit), prompt...)
	return kept, nil
}

// Fork returns a text that goes on from the same beginning. What has been read is shared, not copied.
func (t *Text) Fork() (*Text, error) {
	s, err := t.Sequence.Fork()
	if err != nil {
		return nil, err
	}
	return &Text{s, append(make([]int32, 0, t.Limit), t.Tokens...), t.Limit, t.Sampler}, nil
}

// Continue is one step over all texts that have not come to their limits: of each it reads what has not
// been read, a prompt or a part of it, or one token, and behind that a draft, if there is one. It
// appends the token that is chosen; with a draft all those of it that would have been chosen without,
// and the one after. Where the cache has not enough pages for all, the last texts wait. It returns how many
// texts it went on with: none are left after 0.
func (e *Engine) Continue(texts []*Text, draft Draft) (int, error) {
	e.texts, e.inputs, e.taken = e.texts[:0], e.inputs[:0], e.taken[:0]
	for _, t := range texts {
		read, known := t.Len(), len(t.Tokens)
		in := Input{Sequence: t.Sequence}
		switch {
		case known >= t.Limit:
			continue
		case known-read > e.prompt:
			in.Tokens = t.Tokens[read:][:e.prompt]
		default:
			all := t.Tokens
			if draft != nil {
				all = draft(all, min(t.Limit-known-1, e.prompt-(known-read)))
			}
			in.Tokens, in.Logits = all[read:], 1+len(all)-known
		}
		e.texts, e.inputs = append(e.texts, t), append(e.inputs, in)
	}
	if len(e.texts) == 0 {
		return 0, nil
	}
	logits, err := e.Forward(e.inputs)
	for last := len(e.texts) - 1; last > 0 && err != nil && errors.As(err, new(*qkv.PagesError)); last-- {
		e.texts, e.inputs = e.texts[:last], e.inputs[:last]
		logits, err = e.Forward(e.inputs)
	}
	if err != nil {
		return 0, err
	}
	for i, t := range e.texts {
		in := &e.inputs[i]
		n := len(in.Tokens) - max(in.Logits-1, 0)
		if in.Logits > 0 {
			draft := in.Tokens[n:]
			agreed, next := e.agreed(t, logits[i], draft)
			if next < 0 { // what texts before this one have got is read again
				e.Step.Rollback()
				return 0, fmt.Errorf("model: the logits behind %d tokens are NaN", len(t.Tokens)+agreed)
			}
			t.Tokens, n = append(append(t.Tokens, draft[:agreed]...), next), n+agreed
			e.Stats.Drafted, e.Stats.Kept = e.Stats.Drafted+len(draft), e.Stats.Kept+agreed
		}
		e.taken = append(e.taken, n)
	}
	return len(e.texts), e.Step.CommitFirst(e.taken)
}

// Generate continues texts to their limits.
func (e *Engine) Generate(texts []*Text, draft Draft) error {
	for {
		if n, err := e.Continue(texts, draft); n == 0 || err != nil {
			return err
		}
	}
}

// Score returns the logarithm of the probability that tokens follow, and leaves the text as it is, after an
// error too.
func (e *Engine) Score(t *Text, tokens []int32) (float64, error) {
	if len(tokens) == 0 {
		return 0, nil
	}
	all := slices.Concat(t.Tokens[t.Len():], tokens[:len(tokens)-1]) // the last need not be read
	logits, err := e.Forward([]Input{{Sequence: t.Sequence, Tokens: all, Logits: len(tokens)}})
	if err != nil {
		return 0, err
	}
	sum, err := e.logProbs(logits[0], tokens)
	return sum, cmp.Or(err, e.Step.Rollback())
}

// Save writes a text with what the cache has of it, for [Engine.Restore] after a restart.
func (t *Text) Save(w io.Writer) error {
	err := binary.Write(w, binary.LittleEndian, append([]int32{int32(t.Limit), int32(len(t.Tokens))}, t.Tokens...))
	if err == nil {
		_, err = t.WriteTo(w)
	}
	return err
}

// Restore reads what [Text.Save] wrote, with the same model and type of cache. What the model has read
// it does not read again.
func (e *Engine) Restore(r io.Reader) (*Text, error) {
	var h struct{ Limit, Tokens int32 }
	t, err := new(Text), binary.Read(r, binary.LittleEndian, &h)
	if err == nil && (int(h.Limit)-1 > e.Context || h.Tokens > h.Limit || h.Tokens < 1) {
		err = fmt.Errorf("it has %d tokens of %d, the model reads %d", h.Tokens, h.Limit, e.Context)
	}
	if err == nil {
		t.Tokens, t.Limit = make([]int32, h.Tokens, h.Limit), int(h.Limit)
		err = binary.Read(r, binary.LittleEndian, t.Tokens)
	}
	if err == nil {
		t.Sequence, err = e.Cache.ReadSequence(r)
	}
	if err == nil && t.Len() > len(t.Tokens) {
		err = fmt.Errorf("it has %d tokens, %d are in the cache", len(t.Tokens), t.Len())
		t.Free()
	}
	if err != nil {
		return nil, fmt.Errorf("model: reading a text: %w", err)
	}
	return t, nil
}
