package model

import (
	"cmp"
	"fmt"
	"math"

	"github.com/qkv-go/qkv"
)

// Perplexity returns the perplexity of a text, which is cut into parts of size tokens that the model reads each
// by itself, beginning with first if it is no -1; and how many tokens it is the mean of: those of the second
// half of each part, which have at least size/2 tokens before them, as llama.cpp has it. What does not fill a
// part is left out. The cache needs room for a part. After an error it has no more in it than before.
func (e *Engine) Perplexity(tokens []int32, size int, first int32) (perplexity float64, count int, err error) {
	sum := 0.0
	err = e.eachPart(tokens, size, first, func(part []int32) error {
		p, err := e.rate(part)
		sum, count = sum+p, count+size-1-size/2
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	return math.Exp(-sum / float64(count)), count, nil
}

// eachPart calls do with the parts of a text.
func (e *Engine) eachPart(tokens []int32, size int, first int32, do func(part []int32) error) error {
	if size < 4 || size > e.Context || len(tokens) < size {
		return fmt.Errorf("model: parts are of %d tokens, 4 to %d are supported, of a text of %d", size, e.Context, len(tokens))
	}
	for begin := 0; begin+size <= len(tokens); begin += size {
		part := append([]int32(nil), tokens[begin:begin+size]...)
		if first >= 0 {
			part[0] = first
		}
		if err := do(part); err != nil {
			return err
		}
	}
	return nil
}

// rate returns the logarithm of the probability of the second half of a part, but for the first token of it.
func (e *Engine) rate(part []int32) (sum float64, err error) {
	s := e.Cache.NewSequence()
	defer func() { err = cmp.Or(err, s.Free()) }()
	for at, last := 0, len(part)-1; at < last; {
		in := e.next(s, part, at)
		at += len(in.Tokens)
		p, err := e.read(in, part[at-in.Logits+1:at+1])
		if err != nil {
			return 0, err
		}
		sum += p
	}
	return sum, nil
}

// next returns the input of the next step over a part, of which some tokens are read. The first half has no
// logits, nor has the last token, which is not read.
func (e *Engine) next(s *qkv.Sequence, part []int32, at int) Input {
	to := min(at+e.prompt, len(part)-1)
	return Input{Sequence: s, Tokens: part[at:to], Logits: max(0, to-max(at, len(part)/2))}
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
