package tokenizer

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// bpe is byte-level BPE: each byte is a character, which the vocabulary is written in.
type bpe struct {
	t      *Tokenizer
	ranks  ranks
	split  splitter
	whole  bool        // words that are tokens are not merged first
	runes  [256]string // the character of a byte
	bytes  map[rune]byte
	absent int32 // what stands for a byte that is no token
}

// ranks are the places of pairs in the list of merges.
type ranks map[[2]string]float64

func newRanks(merges []string) (ranks, error) {
	all := make(ranks, len(merges))
	for i, s := range merges {
		left, right, ok := cutMerge(s)
		if !ok {
			return nil, fmt.Errorf("merge %d is %.40q, two parts with a space between them are needed", i, s)
		}
		all.add(left, right)
	}
	return all, nil
}

// add appends a merge. The first of two that are the same counts.
func (r ranks) add(left, right string) {
	if _, ok := r[[2]string{left, right}]; !ok {
		r[[2]string{left, right}] = float64(len(r))
	}
}

func (r ranks) of(left, right string) (float64, bool) {
	rank, ok := r[[2]string{left, right}]
	return rank, ok
}

func newBPE(t *Tokenizer, ranks ranks, split splitter, whole bool, absent int32) *bpe {
	b := &bpe{t: t, ranks: ranks, split: split, whole: whole, bytes: map[rune]byte{}, absent: absent}
	// GPT-2's characters: those that can be printed are themselves, and the others follow behind.
	other := rune(256)
	for i := range 256 {
		r := rune(i)
		if !(r >= '!' && r <= '~' || r >= '¡' && r <= '¬' || r >= '®' && r <= 'ÿ') {
			r, other = other, other+1
		}
		b.runes[i], b.bytes[r] = string(r), byte(i)
	}
	return b
}

// cutMerge returns the parts of a merge, neither of which is empty.
func cutMerge(s string) (left, right string, ok bool) {
	if len(s) < 3 {
		return "", "", false
	}
	i := strings.IndexByte(s[1:], ' ')
	if i < 0 || i+2 >= len(s) {
		return "", "", false
	}
	return s[:i+1], s[i+2:], true
}

func (b *bpe) spaced() bool { return false }

func (b *bpe) encode(to []int32, text string, _ bool) []int32 {
	var word strings.Builder
	var symbols []symbol
	for piece := range b.split(text) {
		word.Reset()
		for i := range len(piece) {
			word.WriteString(b.runes[piece[i]])
		}
		w := word.String()
		if id, ok := b.t.ids[w]; ok && b.whole {
			to = append(to, id)
			continue
		}
		symbols = symbols[:0]
		for i := 0; i < len(w); {
			_, n := utf8.DecodeRuneInString(w[i:])
			symbols = append(symbols, symbol{text: w[i : i+n]})
			i += n
		}
		symbols = merge(w, symbols, b.ranks.of)
		for _, s := range symbols {
			if id, ok := b.t.ids[s.text]; ok {
				to = append(to, id)
				continue
			}
			for _, r := range s.text { // a merge that is no token
				if id, ok := b.t.ids[string(r)]; ok {
					to = append(to, id)
				} else if b.absent != none {
					to = append(to, b.absent)
				}
			}
		}
	}
	return to
}

func (b *bpe) decode(to []byte, token string) []byte {
	for _, r := range token {
		if c, ok := b.bytes[r]; ok {
			to = append(to, c)
		} else {
			to = utf8.AppendRune(to, r)
		}
	}
	return to
}
