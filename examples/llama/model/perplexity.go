package model

import (
	"fmt"
	"math"
)

// Perplexity returns the perplexity of a text, which is cut into parts of size tokens that the model reads each
// by itself, beginning with first if it is no -1; and how many tokens it is the mean of: those of the second
// half of each part, which have at least size/2 tokens before them, as llama.cpp has it. What does not fill a
// part is left out. The cache needs room for a part.
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
		s := e.Cache.NewSequence()
		for at := 0; at < size-1; {
			// The first half has no logits, nor has the last token.
			to := min(at+e.prompt, size-1)
			in := Input{Sequence: s, Tokens: part[at:to], Logits: to - max(at, size/2)}
			in.Logits = max(0, in.Logits)
			logits, err := e.Forward([]Input{in})
			if err != nil {
				return 0, 0, err
			}
			n := in.Logits
			p, err := e.logProbs(logits[0], part[to-n+1:to+1])
			if err != nil {
				return 0, 0, err
			}
			if err := e.Step.Commit(); err != nil {
				return 0, 0, err
			}
			sum, count, at = sum+p, count+n, to
		}
		if err := s.Free(); err != nil {
			return 0, 0, err
		}
	}
	return math.Exp(-sum / float64(count)), count, nil
}
