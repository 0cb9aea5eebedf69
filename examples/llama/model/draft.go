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

// agreed returns how many tokens of a draft the model would have chosen itself, and which it chooses
// after those. Row i of the logits is after i of them.
func (m *Model) agreed(logits []float32, draft []int32) (n int, next int32) {
	for next = m.argmax(logits[:m.Vocab]); n < len(draft) && draft[n] == next; {
		n++
		next = m.argmax(logits[n*m.Vocab:][:m.Vocab])
	}
	return n, next
}
