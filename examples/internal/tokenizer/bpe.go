package tokenizer

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/qkv-go/qkv/examples/internal/gguf"
)

// bpe is byte-level BPE: each byte is a character, which the vocabulary is written in.
type bpe struct {
	t      *Tokenizer
	ranks  map[[2]string]float64
	split  splitter
	whole  bool        // words that are tokens are not merged first
	runes  [256]string // the character of a byte
	bytes  map[rune]byte
	absent int32 // what stands for a byte that is no token
}

func newBPE(f *gguf.File, t *Tokenizer) (*bpe, error) {
	merges, ok := f.Texts("tokenizer.ggml.merges")
	if !ok {
		return nil, fmt.Errorf("the file has no tokenizer.ggml.merges")
	}
	b := &bpe{t: t, ranks: make(map[[2]string]float64, len(merges)), bytes: map[rune]byte{}, absent: none}
	for i, s := range merges {
		left, right, ok := cutMerge(s)
		if !ok {
			return nil, fmt.Errorf("merge %d is %.40q, two parts with a space between them are needed", i, s)
		}
		if _, ok := b.ranks[[2]string{left, right}]; !ok {
			b.ranks[[2]string{left, right}] = float64(i)
		}
	}
	name, _ := f.Text("tokenizer.ggml.pre")
	pre, ok := splitters[name]
	if !ok {
		return nil, fmt.Errorf("tokenizer.ggml.pre is %.40q, which is not supported", name)
	}
	b.split, b.whole = pre.split, pre.whole
	if id, ok := f.Int("tokenizer.ggml.unknown_token_id"); ok && id >= 0 && id < int64(len(t.tokens)) {
		b.absent = int32(id)
	}
	// GPT-2's characters: those that can be printed are themselves, and the others follow behind.
	other := rune(256)
	for i := range 256 {
		r := rune(i)
		if !(r >= '!' && r <= '~' || r >= '¡' && r <= '¬' || r >= '®' && r <= 'ÿ') {
			r, other = other, other+1
		}
		b.runes[i], b.bytes[r] = string(r), byte(i)
	}
	return b, nil
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
		symbols = merge(w, symbols, func(left, right string) (float64, bool) {
			rank, ok := b.ranks[[2]string{left, right}]
			return rank, ok
		})
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
