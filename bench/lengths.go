package bench

import (
	"math/rand/v2"
	"slices"
)

// Lengths say how long the sequences of a batch are. The zero value has all of them as
// long as the shape.
type Lengths struct {
	// Least, if not 0, is the least length: the first sequence is as long as the shape,
	// the others have a length from Least up to that, drawn at random. Queries and keys
	// have the same.
	Least int

	// Ragged packs the sequences one behind the other, [tokens, heads, dim]. Otherwise
	// they are padded to the length of the shape.
	Ragged bool

	// LeastKV, if not 0, is the least number of keys: the first sequence has those of the
	// shape, the others from LeastKV up to that, drawn at random. Queries are not concerned.
	LeastKV int

	// Prefill, if not 0, is how many sequences have the queries of the shape, and no fewer
	// keys; the others have one query. Queries are packed.
	Prefill int
}

// seedOfShape seeds what belongs to a shape: its lengths, its pages, its blocks and the
// pairs that it keeps. The seed of the operands changes none of them, so that all runs of a
// shape do the same work.
const seedOfShape = 0x716b76

// lengths returns the queries and keys of each sequence, or nil if all are as long as the
// shape.
func (s Shape) lengths() (queries, keys []int) {
	l := s.Lengths
	if l == (Lengths{}) {
		return nil, nil
	}
	r := rand.New(rand.NewPCG(seedOfShape, 1))
	draw := func(least, most int) int { return least + r.IntN(most-least+1) }
	queries, keys = make([]int, s.Batch), make([]int, s.Batch)
	for i := range s.Batch {
		if l.Least != 0 {
			queries[i] = draw(l.Least, s.SeqQ)
			keys[i] = queries[i]
			continue
		}
		least := l.LeastKV
		if least == 0 {
			least = s.SeqKV
		}
		queries[i] = s.SeqQ
		switch {
		case l.Prefill == 0:
		case s.prefills(i):
			least = max(least, s.SeqQ)
		default:
			queries[i] = 1
		}
		keys[i] = draw(least, s.SeqKV)
	}
	if l.Least != 0 {
		queries[0] = s.SeqQ
	}
	keys[0] = s.SeqKV
	return queries, keys
}

// prefills reports whether a sequence of a batch of both kinds has all queries: the last of
// each of as many equal stretches of the batch.
func (s Shape) prefills(sequence int) bool {
	n := s.Lengths.Prefill
	return (sequence+1)*n/s.Batch > sequence*n/s.Batch
}

// keys returns the keys of each sequence.
func (s Shape) keys() []int {
	if _, keys := s.lengths(); keys != nil {
		return keys
	}
	return slices.Repeat([]int{s.SeqKV}, s.Batch)
}

// packed reports whether queries are packed one sequence behind the other.
func (s Shape) packed() bool { return s.Lengths.Ragged || s.Lengths.Prefill != 0 }

// cumulate returns the sums of the first 0, 1, ... lengths.
func cumulate(lens []int) []int {
	cu := make([]int, 1, len(lens)+1)
	for i, n := range lens {
		cu = append(cu, cu[i]+n)
	}
	return cu
}

func parseLengths(ragged bool) func(string) (Lengths, error) {
	return func(text string) (Lengths, error) {
		n, err := parseCount(text)
		return Lengths{Least: n, Ragged: ragged}, err
	}
}

func formatLengths(ragged bool) func(Lengths) string {
	return func(l Lengths) string {
		if l.Ragged != ragged {
			return ""
		}
		return formatCount(l.Least)
	}
}
