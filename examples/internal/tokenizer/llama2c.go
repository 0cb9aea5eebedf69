package tokenizer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// FromLlama2C returns the tokenizer of a tokenizer.bin of https://github.com/karpathy/llama2.c, of so many tokens: a
// number of 32 bits, the bytes of the longest, and of each token its score in float32, the number of its bytes and these, all in
// little-endian order. Tokens 1 and 2 are BOS and EOS. The error says where the file ends, or what lies behind.
func FromLlama2C(data []byte, tokens int) (*Tokenizer, error) {
	t, err := fromLlama2C(data, tokens)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	return t, nil
}

func fromLlama2C(data []byte, n int) (*Tokenizer, error) {
	const unknown, bos, eos, least = 0, 1, 2, 8 // bytes of a token
	size := len(data)
	if n < 3 {
		return nil, fmt.Errorf("there are %d tokens, at least 3 are needed", n)
	}
	if n > size/least {
		return nil, fmt.Errorf("the file has %d bytes, %d tokens take %d at least", size, n, least*int64(n)+4)
	}
	data = data[4:]
	tokens, scores := make([]string, n), make([]float32, n)
	types := slices.Repeat([]int64{normalToken}, n)
	for i := range tokens {
		if len(data) < least {
			return nil, fmt.Errorf("the file has %d bytes, and ends before token %d of %d", size, i, n)
		}
		scores[i] = math.Float32frombits(binary.LittleEndian.Uint32(data))
		length := int64(int32(binary.LittleEndian.Uint32(data[4:])))
		data = data[least:]
		if length < 0 || length > int64(len(data)) {
			return nil, fmt.Errorf("token %d of %d has %d bytes, the file %d more", i, n, length, len(data))
		}
		tokens[i] = strings.ReplaceAll(string(data[:length]), " ", space) // which the file has as spaces
		data = data[length:]
		if _, ok := byteOf(tokens[i]); ok {
			types[i] = byteToken
		}
	}
	if len(data) > 0 {
		return nil, fmt.Errorf("%d bytes follow the last of %d tokens", len(data), n)
	}
	if slices.ContainsFunc(scores, func(x float32) bool { return x != x }) {
		return nil, errors.New("a score is NaN")
	}
	types[unknown], types[bos], types[eos] = controlToken, controlToken, controlToken
	t := newTokenizer(tokens, types)
	t.BOS, t.EOS, t.AddBOS = bos, eos, true
	t.ends[bos], t.ends[eos] = true, true // a text that another follows ends, too
	t.model = newSentencePiece(t, t.byScore(scores), anyPrefix, unknown)
	return t, nil
}
