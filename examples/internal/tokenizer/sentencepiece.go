package tokenizer

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// space is what the vocabulary has for a space.
const space = "▁"

// sentencePiece merges characters to tokens, those of the least rank first. What is no token becomes bytes.
type sentencePiece struct {
	t      *Tokenizer
	rank   func(left, right string) (float64, bool)
	bytes  [256]int32
	prefix prefix
	once   bool // a text that begins with a space has none put before it
	absent int32
}

// A prefix says where a space is put before a text.
type prefix int

const (
	noPrefix    prefix = iota
	firstPrefix        // before one that nothing comes before
	anyPrefix          // and before one behind a special token
)

func newSentencePiece(t *Tokenizer, rank func(left, right string) (float64, bool), prefix prefix, absent int32) *sentencePiece {
	s := &sentencePiece{t: t, rank: rank, prefix: prefix, absent: absent}
	for i := range s.bytes {
		s.bytes[i] = s.absent
		if id, ok := t.ids[fmt.Sprintf("<0x%02X>", i)]; ok {
			s.bytes[i] = id
		} else if id, ok := t.ids[string([]byte{byte(i)})]; ok {
			s.bytes[i] = id
		}
	}
	return s
}

// byScore ranks pairs by the scores of what they make.
func (t *Tokenizer) byScore(scores []float32) func(left, right string) (float64, bool) {
	return func(left, right string) (float64, bool) {
		id, ok := t.ids[left+right]
		if !ok {
			return 0, false
		}
		return -float64(scores[id]), true
	}
}

func (s *sentencePiece) spaced() bool { return s.prefix != noPrefix }

func (s *sentencePiece) encode(to []int32, text string, first bool) []int32 {
	text = strings.ReplaceAll(text, " ", space)
	if (s.prefix == anyPrefix || s.prefix == firstPrefix && first) && !(s.once && strings.HasPrefix(text, space)) {
		text = space + text
	}
	var symbols []symbol
	for i := 0; i < len(text); {
		_, n := utf8.DecodeRuneInString(text[i:])
		symbols = append(symbols, symbol{text: text[i : i+n]})
		i += n
	}
	symbols = merge(text, symbols, s.rank)
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
