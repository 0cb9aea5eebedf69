package model

import (
	"cmp"
	"fmt"
	"math"
)

// Perplexity returns the perplexity of a text, which is cut into parts of size tokens that the model reads each
// by itself, beginning with first if it is no -1; and how many tokens it is the mean of: those of the second
// half of each part, which have at least size/2 tokens before them, as llama.cpp has it. What does not fill a
// part is left out. The cache needs room for a part. After an error it has no more in it than before.
func (e *Engine) Perplexity(tokens []int32, size int, first int32) (perplexity float64, count int, err error) {
	if size < 4 || size > e.Context || len(tokens) < size {
		return 0, 0, fmt.Errorf("model: parts are of %d tokens, 4 to %d are supported, of a text of %d", size, e.Context, len(tokens))
	}
	sum := 0.0
	for begin := 0; begin+size <= len(tokens); begin += size {
		part := append([]int32(nil), tokens[begin:begin+size]...)
		if first >= 0 {
			part[0] = first
		}
		p, err := e.rate(part)
		if err != nil {
			return 0, 0, err
		}
		sum, count = sum+p, count+size-1-size/2
	}
	return math.Exp(-sum / float64(count)), count, nil
}

// rate returns the logarithm of the probability of the second half of a part, but for the first token of it.
func (e *Engine) rate(part []int32) (sum float64, err error) {
	s := e.Cache.NewSequence()
	defer func() { err = cmp.Or(err, s.Free()) }()
	last := len(part) - 1
	for at := 0; at < last; {
		// The first half has no logits, nor has the last token.
		to := min(at+e.prompt, last)
		n := max(0, to-max(at, len(part)/2))
		p, err := e.read(Input{Sequence: s, Tokens: part[at:to], Logits: n}, part[to-n+1:to+1])
		if err != nil {
			return 0, err
		}
		sum, at = sum+p, to
	}
	return sum, nil
}

// read commits a step over one input, and returns the logarithm of the probability of the tokens that are next
// to those with logits. After an error there is no step.
func (e *Engine) read(in Input, next []int32) (p float64, err error) {
	logits, err := e.Forward([]Input{in})
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			e.Step.Rollback()
		}
	}()
	if p, err = e.logProbs(logits[0], next); err != nil {
		return 0, err
	}
	return p, e.Step.Commit()
}
