package model

import "slices"

// A Draft guesses how a text goes on, by up to room tokens, which it appends to them.
type Draft func(tokens []int32, room int) []int32

// NGram returns a [Draft] without a model: where the last n tokens were there before, it guesses what
// followed them the last time, up to a number of tokens (prompt lookup decoding; Saxena, 2023).
func NGram(n, most int) Draft {
	return func(tokens []int32, room int) []int32 {
		have := len(tokens)
		for at := have - n - 1; at >= 0; at-- {
			if slices.Equal(tokens[at:at+n], tokens[have-n:have]) {
				for i := range min(most, room) { // guesses too, where the repetition is short
					tokens = append(tokens, tokens[at+n+i])
				}
				break
			}
		}
		return tokens
	}
}

// agreed returns how many tokens of a draft would have been chosen without it, and which is chosen
// after those. Row i of the logits is after i of them.
func (m *Model) agreed(t *Text, logits []float32, draft []int32) (n int, next int32) {
	for next = m.choose(t, logits, 0); n < len(draft) && draft[n] == next; {
		n++
		next = m.choose(t, logits, n)
	}
	return n, next
}

// choose returns the token behind a text and i tokens of its draft.
func (m *Model) choose(t *Text, logits []float32, i int) int32 {
	logits = logits[i*m.Vocab:][:m.Vocab]
	if t.Sampler == nil {
		return m.argmax(logits)
	}
	return t.Sampler.choose(m, logits, len(t.Tokens)+i)
}
