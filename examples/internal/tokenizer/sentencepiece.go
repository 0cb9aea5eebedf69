package tokenizer

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/qkv-go/qkv/examples/internal/gguf"
)

// space is what the vocabulary has for a space.
const space = "▁"

// sentencePiece merges characters to tokens of the best score. What is no token becomes bytes.
type sentencePiece struct {
	t      *Tokenizer
	scores []float32
	bytes  [256]int32
	prefix bool // texts begin with a space
	absent int32
}

func newSentencePiece(f *gguf.File, t *Tokenizer) (*sentencePiece, error) {
	s := &sentencePiece{t: t, prefix: true, absent: none}
	var ok bool
	if s.scores, ok = f.Floats("tokenizer.ggml.scores"); !ok || len(s.scores) != len(t.tokens) {
		return nil, fmt.Errorf("the file has %d tokens, and scores of %d", len(t.tokens), len(s.scores))
	}
	if prefix, ok := f.Bool("tokenizer.ggml.add_space_prefix"); ok {
		s.prefix = prefix
	}
	if id, ok := f.Int("tokenizer.ggml.unknown_token_id"); ok && id >= 0 && id < int64(len(t.tokens)) {
		s.absent = int32(id)
	}
	for i := range s.bytes {
		s.bytes[i] = s.absent
		if id, ok := t.ids[fmt.Sprintf("<0x%02X>", i)]; ok {
			s.bytes[i] = id
		} else if id, ok := t.ids[string([]byte{byte(i)})]; ok {
			s.bytes[i] = id
		}
	}
	return s, nil
}

func (s *sentencePiece) spaced() bool { return s.prefix }

func (s *sentencePiece) encode(to []int32, text string, first bool) []int32 {
	if s.prefix && first {
		text = " " + text
	}
	text = strings.ReplaceAll(text, " ", space)
	var symbols []symbol
	for i := 0; i < len(text); {
		_, n := utf8.DecodeRuneInString(text[i:])
		symbols = append(symbols, symbol{text: text[i : i+n]})
		i += n
	}
	symbols = merge(text, symbols, func(left, right string) (float64, bool) {
		id, ok := s.t.ids[left+right]
		if !ok {
			return 0, false
		}
		return -float64(s.scores[id]), true
	})
	for _, x := range symbols {
		if id, ok := s.t.ids[x.text]; ok {
			to = append(to, id)
			continue
		}
		for i := range len(x.text) {
			if id := s.bytes[x.text[i]]; id != none {
				to = append(to, id)
			}
		}
	}
	return to
}

func (s *sentencePiece) decode(to []byte, token string) []byte {
	return append(to, strings.ReplaceAll(token, space, " ")...)
}
