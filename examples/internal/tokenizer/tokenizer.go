// Package tokenizer makes tokens of text and text of tokens, by the vocabulary that a GGUF file, a tokenizer.json of
// Hugging Face or a tokenizer.bin of llama2.c has: byte-level BPE (Sennrich et al., 2016; GPT-2, 2019), and BPE of characters as SentencePiece has it
// (Kudo and Richardson, 2018). Tokens are those of llama.cpp, and of Hugging Face's tokenizers.
package tokenizer

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// The types of tokens, by the numbers of GGUF.
const (
	normalToken      = 1
	controlToken     = 3
	userDefinedToken = 4
	byteToken        = 6
)

// none is the token that there is not.
const none int32 = -1

// A Tokenizer is a vocabulary. It does not change, and is safe for use by several goroutines at once.
type Tokenizer struct {
	BOS, EOS int32 // -1 if there is none
	AddBOS   bool  // whether the model reads BOS before a text

	tokens  []string
	types   []int64
	ids     map[string]int32
	names   map[string]int32 // of tokens that are found in texts as they are
	lengths [256][]int       // of these names by their first byte, the longest first
	ends    map[int32]bool
	strips  map[int32]strip
	compose func(text string) string // what is done to a text first, or nil
	model   model
}

// A strip says where a special token takes white space with it.
type strip struct{ left, right bool }

// A model makes tokens of a text without special ones.
type model interface {
	// encode appends the tokens of a text; first tells that nothing comes before it.
	encode(to []int32, text string, first bool) []int32
	// decode appends the bytes of a token.
	decode(to []byte, token string) []byte
	// spaced tells whether texts have a space put before them.
	spaced() bool
}

// newTokenizer returns one of some tokens, without a model.
func newTokenizer(tokens []string, types []int64) *Tokenizer {
	t := &Tokenizer{BOS: none, EOS: none, tokens: tokens, types: types, ids: make(map[string]int32, len(tokens)), ends: map[int32]bool{}}
	for i, s := range t.tokens {
		if _, ok := t.ids[s]; !ok {
			t.ids[s] = int32(i)
		}
	}
	t.index()
	for _, name := range ends { // of a turn, where a chat has them
		if id, ok := t.ids[name]; ok && t.types[id] != normalToken {
			t.ends[id] = true
		}
	}
	if a, ok := t.ids["<|return|>"]; ok { // of gpt-oss, in which <|end|> ends a message, and others follow
		if b, ok := t.ids["<|call|>"]; ok {
			t.ends = map[int32]bool{a: true, b: true}
		}
	}
	return t
}

// index finds the tokens that are looked for in texts.
func (t *Tokenizer) index() {
	t.names, t.lengths = map[string]int32{}, [256][]int{}
	for i, s := range t.tokens {
		if _, ok := t.names[s]; ok || s == "" || t.types[i] != controlToken && t.types[i] != userDefinedToken {
			continue
		}
		t.names[s] = int32(i)
		if of := &t.lengths[s[0]]; !slices.Contains(*of, len(s)) {
			*of = append(*of, len(s))
		}
	}
	for _, of := range t.lengths {
		slices.SortFunc(of, func(a, b int) int { return b - a })
	}
}

// ends are names of tokens that end a text or a turn of a chat.
var ends = []string{"<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<end_of_turn>", "<|end|>", "</s>"}

// Len returns how many tokens there are.
func (t *Tokenizer) Len() int { return len(t.tokens) }

// Limit leaves out added tokens from n on, which a model with n embeddings does not read. The error is for another token there.
func (t *Tokenizer) Limit(n int) error {
	for id := n; id < len(t.tokens); id++ {
		if s := t.tokens[id]; s != "" && t.types[id] != controlToken && t.types[id] != userDefinedToken {
			return fmt.Errorf("tokenizer: token %.40q is %d, the model has %d", s, id, n)
		}
		if t.BOS == int32(id) || t.EOS == int32(id) {
			return fmt.Errorf("tokenizer: BOS or EOS is %d, the model has %d tokens", id, n)
		}
	}
	if n >= len(t.tokens) {
		return nil
	}
	t.tokens, t.types = t.tokens[:n], t.types[:n]
	beyond := func(id int32) bool { return int(id) >= n }
	maps.DeleteFunc(t.ids, func(_ string, id int32) bool { return beyond(id) })
	maps.DeleteFunc(t.ends, func(id int32, _ bool) bool { return beyond(id) })
	t.index()
	return nil
}

// IsEnd tells whether a text ends with a token.
func (t *Tokenizer) IsEnd(token int32) bool { return t.ends[token] }

// Encode returns the tokens of a text. With special, names of control tokens in it, such as <|im_start|>, are
// those tokens. Otherwise they are text, as what a user wrote should be. It puts BOS before the text
// where the model has it so.
func (t *Tokenizer) Encode(text string, special bool) []int32 {
	var all []int32
	if t.AddBOS {
		all = append(all, t.BOS)
	}
	parts := t.cut(text, special)
	for i, p := range parts {
		if p.text != "" {
			if t.compose != nil {
				p.text = t.compose(p.text)
			}
			all = t.model.encode(all, p.text, i == 0)
		}
		if p.token != none {
			all = append(all, p.token)
		}
	}
	return all
}

// A part is a text, and the token behind it, or none.
type part struct {
	text  string
	token int32
}

// cut returns the texts between the tokens that a text has as they are: the leftmost, and of several that begin there the longest.
func (t *Tokenizer) cut(text string, special bool) (parts []part) {
	begin := 0
	for at := 0; at < len(text); {
		id, end := none, at+1
		for _, n := range t.lengths[text[at]] {
			if n > len(text)-at {
				continue
			}
			if x, ok := t.names[text[at:at+n]]; ok && (special || t.types[x] != controlToken) {
				id, end = x, at+n
				break
			}
		}
		if id != none {
			before := text[begin:at]
			if t.strips[id].left {
				before = strings.TrimRightFunc(before, unicode.IsSpace)
			}
			if t.strips[id].right {
				end += len(text[end:]) - len(strings.TrimLeftFunc(text[end:], unicode.IsSpace))
			}
			parts, begin = append(parts, part{before, id}), end
		}
		at = end
	}
	return append(parts, part{text[begin:], none})
}

// Append appends the text of a token, which may be a part of a character. Control tokens have none, nor do
// tokens that do not exist.
func (t *Tokenizer) Append(to []byte, token int32) []byte {
	if token < 0 || int(token) >= len(t.tokens) {
		return to
	}
	switch s := t.tokens[token]; t.types[token] {
	case controlToken:
		return to
	case userDefinedToken:
		return append(to, s...)
	case byteToken:
		if b, ok := byteOf(s); ok {
			return append(to, b)
		}
		return to
	default:
		return t.model.decode(to, s)
	}
}

// Decode returns the text of tokens.
func (t *Tokenizer) Decode(tokens []int32) string {
	var all []byte
	for _, token := range tokens {
		all = t.Append(all, token)
	}
	if t.model.spaced() {
		return strings.TrimPrefix(string(all), " ")
	}
	return string(all)
}

// byteOf returns the byte of a token like <0x0A>.
func byteOf(s string) (b byte, ok bool) {
	if len(s) != 6 || s[:3] != "<0x" || s[5] != '>' {
		return 0, false
	}
	n, err := strconv.ParseUint(s[3:5], 16, 8)
	return byte(n), err == nil
}
