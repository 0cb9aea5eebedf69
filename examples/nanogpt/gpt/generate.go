package gpt

// A Step is a token that was generated.
type Step struct {
	Token int       // the most likely
	Probs []float32 // [vocab], of each token
}

// Generate continues a sequence by n tokens, always the most likely (greedy decoding).
// All but the last are run through the network again to find the one after, so that
// len(tokens)+n-1 is at most Context. The error is an [*InputError].
//
// A larger model would keep the keys and values of what it has seen, and run only the
// new token: a KV cache.
func (m *Model) Generate(tokens []int, n int) ([]Step, error) {
	if n < 0 {
		return nil, inputError("tokens", "%d tokens are to be generated, at least 0 are needed", n)
	}
	if most := m.Context + 1 - len(tokens); n > most {
		return nil, inputError("tokens", "%d tokens are to follow %d, the model's context has room for %d", n, len(tokens), max(most, 0))
	}
	tokens = append([]int(nil), tokens...)
	var steps []Step
	for range n {
		logits, err := m.Forward(tokens, nil)
		if err != nil {
			return nil, err
		}
		last := len(tokens) - 1
		probs := softmax(logits).row(last)
		next := argmax(probs)
		steps = append(steps, Step{next, probs})
		tokens = append(tokens, next)
	}
	return steps, nil
}

// argmax returns the index of the largest element, the first of equal ones.
func argmax(x []float32) int {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return best
}

// Sort returns letters in order, as far as the model knows it, and how it got there. It
// is trained for one number of letters, of which all, and the sorted ones but for the last,
// fill its context. The error is an [*InputError].
func (m *Model) Sort(letters string) (string, []Step, error) {
	tokens, err := m.Tokens(letters)
	if err != nil {
		return "", nil, err
	}
	if n := (m.Context + 1) / 2; len(tokens) != n {
		return "", nil, inputError("letters", "%.20q has %d letters, the model sorts %d", letters, len(tokens), n)
	}
	steps, err := m.Generate(tokens, len(tokens))
	if err != nil {
		return "", nil, err
	}
	sorted := ""
	for _, s := range steps {
		sorted += Label(s.Token)
	}
	return sorted, steps, nil
}
