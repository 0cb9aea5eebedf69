package bert

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// longestWord is how many characters a word has at most that is cut into pieces.
const longestWord = 100

// A Tokenizer makes tokens of text by a vocabulary of word pieces, in small letters and without accents, as BERT's
// uncased models have it. It does not change, and is safe for use by several goroutines at once.
type Tokenizer struct {
	ids                 map[string]int32
	len                 int // lines of the vocabulary
	begin, end, unknown int32
}

// NewTokenizer returns the Tokenizer of a vocabulary: a vocab.txt, with a token in each line. Of a token that comes
// twice the last line counts. The error names a token that is missing.
func NewTokenizer(vocab string) (*Tokenizer, error) {
	t := &Tokenizer{ids: map[string]int32{}}
	for line := range strings.SplitSeq(strings.TrimSuffix(vocab, "\n"), "\n") {
		t.ids[strings.TrimSuffix(line, "\r")] = int32(t.len)
		t.len++
	}
	for _, x := range []struct {
		name string
		to   *int32
	}{{"[CLS]", &t.begin}, {"[SEP]", &t.end}, {"[UNK]", &t.unknown}} {
		id, ok := t.ids[x.name]
		if !ok {
			return nil, fmt.Errorf("bert: the vocabulary of %d tokens has no %s", t.len, x.name)
		}
		*x.to = id
	}
	return t, nil
}

// Len returns how many tokens there are.
func (t *Tokenizer) Len() int { return t.len }

// Encode returns the tokens of a text, between those that begin and end one: at most so many, of which two are
// these. Names of such tokens in the text are text.
func (t *Tokenizer) Encode(text string, most int) []int32 {
	all := []int32{t.begin}
	for _, word := range words(text) {
		if len(all) >= most-1 {
			break
		}
		all = t.pieces(all, word)
	}
	all = all[:min(len(all), max(most-1, 1))]
	return append(all, t.end)
}

// pieces appends the tokens of a word: the longest that it begins with, and so on with the rest.
func (t *Tokenizer) pieces(to []int32, word string) []int32 {
	if len([]rune(word)) > longestWord {
		return append(to, t.unknown)
	}
	have, prefix := len(to), ""
	for word != "" {
		end := len(word)
		for ; end > 0; end-- {
			// What ends within a character is no token.
			if id, ok := t.ids[prefix+word[:end]]; ok {
				to = append(to, id)
				break
			}
		}
		if end == 0 {
			return append(to[:have], t.unknown)
		}
		word, prefix = word[end:], "##"
	}
	return to
}

// words returns the words of a text. Punctuation and Chinese characters are words by themselves.
func words(text string) []string {
	var b strings.Builder
	for _, r := range norm.NFD.String(clean(text)) {
		r = unicode.ToLower(r)
		switch {
		case unicode.Is(unicode.Mn, r): // an accent
		case isPunctuation(r), isChinese(r):
			b.WriteByte(' ')
			b.WriteRune(r)
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
	}
	return strings.Fields(b.String())
}

// clean leaves out characters that are not to be seen.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == 0, r == unicode.ReplacementChar, unicode.Is(unicode.C, r):
			return -1
		}
		return r
	}, text)
}

// isPunctuation tells whether BERT takes a character for punctuation, as it does all of ASCII that is no letter or
// number.
func isPunctuation(r rune) bool {
	return r > ' ' && r < 0x7f && !(r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z') || unicode.IsPunct(r)
}

// isChinese tells whether a character is in a block of CJK ideographs.
func isChinese(r rune) bool {
	for _, block := range [...][2]rune{
		{0x4e00, 0x9fff}, {0x3400, 0x4dbf}, {0x20000, 0x2a6df}, {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf},
		{0xf900, 0xfaff}, {0x2f800, 0x2fa1f},
	} {
		if r >= block[0] && r <= block[1] {
			return true
		}
	}
	return false
}
