package gpt

// maxVocab is how many tokens have a letter.
const maxVocab = 26

// Tokens returns the tokens of letters: A is 0, B is 1. The error is an [*InputError]
// for what the model has no token for.
func (m *Model) Tokens(letters string) ([]int, error) {
	tokens := make([]int, 0, len(letters))
	for _, r := range letters {
		if r < 'A' || int(r-'A') >= m.Vocab {
			return nil, inputError("letters", "%.20q has %q, the model knows A to %s", letters, r, Label(m.Vocab-1))
		}
		tokens = append(tokens, int(r-'A'))
	}
	return tokens, nil
}

// Label returns the letter of a token.
func Label(token int) string { return string(rune('A' + token)) }
