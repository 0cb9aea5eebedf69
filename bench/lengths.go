package bench

import "math/rand/v2"

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
}

// seedOfShape seeds what belongs to a shape: its lengths, its blocks and the pairs that
// it keeps. The seed of the operands changes none of them, so that all runs of a shape do
// the same work.
const seedOfShape = 0x716b76

// lengths returns the length of each sequence, or nil if all are as long as the shape.
func (s Shape) lengths() []int {
	if s.Lengths.Least == 0 {
		return nil
	}
	r := rand.New(rand.NewPCG(seedOfShape, 1))
	lens := make([]int, s.Batch)
	for i := range lens {
		lens[i] = s.Lengths.Least + r.IntN(s.SeqQ-s.Lengths.Least+1)
	}
	lens[0] = s.SeqQ
	return lens
}

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
