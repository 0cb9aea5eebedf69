package model

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// A Difference is how far the logits of an engine are from those of another, over a text.
type Difference struct {
	Perplexity, Other float64 // that of the engine, and of the other
	Tokens            int     // whose logits are compared
	Largest           float64 // magnitude of a logit of the other
	Off               float64 // most that a logit is off
	Divergence        float64 // of the probabilities from those of the other, by Kullback and Leibler, in nats: the mean
	Same              int     // tokens behind which both have the same most likely one
}

// A rowDifference is the Difference of a token.
type rowDifference struct {
	p, other, largest, off, divergence float64
	same                               bool
}

// Compare compares the logits of e with those of another engine, of the same vocabulary, over the tokens that
// [Engine.Perplexity] rates. After an error both caches have no more in them than before.
func (e *Engine) Compare(other *Engine, tokens []int32, size int, first int32) (d Difference, err error) {
	if other.Vocab != e.Vocab || other.prompt != e.prompt {
		return d, fmt.Errorf("model: vocabularies of %d and %d tokens, in steps of %d and %d", e.Vocab, other.Vocab, e.prompt, other.prompt)
	}
	err = e.eachPart(tokens, size, first, func(part []int32) error { return e.compare(other, part, &d) })
	if err != nil {
		return Difference{}, err
	}
	n := float64(d.Tokens)
	d.Perplexity, d.Other, d.Divergence = math.Exp(-d.Perplexity/n), math.Exp(-d.Other/n), d.Divergence/n
	return d, nil
}

// compare adds to a Difference, whose means are sums as yet, that of a part.
func (e *Engine) compare(other *Engine, part []int32, d *Difference) (err error) {
	s, o := e.Cache.NewSequence(), other.Cache.NewSequence()
	defer func() { err = cmp.Or(err, s.Free(), o.Free()) }()
	for at, last := 0, len(part)-1; at < last; {
		in := e.next(s, part, at)
		at += len(in.Tokens)
		next := part[at-in.Logits+1 : at+1]
		if err := e.checkTokens(next); err != nil {
			return err
		}
		logits, err := e.step(in)
		if err != nil {
			return err
		}
		in.Sequence = o
		others, err := other.step(in)
		if err != nil {
			return err
		}
		rows := make([]rowDifference, in.Logits)
		err = e.engine.Parallel(in.Logits, 1, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				row := i * e.Vocab
				rows[i] = difference(logits[row:][:e.Vocab], others[row:][:e.Vocab], next[i])
			}
		})
		if err != nil {
			return err
		}
		for _, r := range rows {
			d.Tokens++
			d.Perplexity, d.Other, d.Divergence = d.Perplexity+r.p, d.Other+r.other, d.Divergence+r.divergence
			d.Largest, d.Off = max(d.Largest, r.largest), max(d.Off, r.off)
			if r.same {
				d.Same++
			}
		}
	}
	return nil
}

// step commits a step over one input, and returns its logits.
func (e *Engine) step(in Input) ([]float32, error) {
	logits, err := e.Forward([]Input{in})
	if err != nil {
		return nil, err
	}
	return logits[0], e.Step.Commit()
}

// difference compares the logits behind a token, which another follows.
func difference(logits, others []float32, next int32) (r rowDifference) {
	best, bestOther := slices.Max(logits), slices.Max(others)
	most, mostOther := float64(best), float64(bestOther)
	sum, sumOther, mean := 0.0, 0.0, 0.0
	for i, v := range logits {
		x, y := float64(v), float64(others[i])
		sum += math.Exp(x - most)
		p := math.Exp(y - mostOther)
		sumOther += p
		mean += p * (y - x)
		r.largest, r.off = max(r.largest, math.Abs(y)), max(r.off, math.Abs(x-y))
	}
	// The logarithms of the sums of exponentials.
	lse, lseOther := most+math.Log(sum), mostOther+math.Log(sumOther)
	r.p, r.other = float64(logits[next])-lse, float64(others[next])-lseOther
	r.divergence = mean/sumOther + lse - lseOther
	r.same = slices.Index(logits, best) == slices.Index(others, bestOther)
	return r
}
