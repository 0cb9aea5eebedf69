package tokenizer

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// nfc returns a text in Unicode's form NFC, whatever the number of marks behind a letter. Package norm puts a
// [norm.GraphemeJoiner] behind 30 of them, as its stream-safe format has it, and tokenizers do not.
func nfc(text string) string {
	composed := norm.NFC.String(text)
	if strings.Count(composed, norm.GraphemeJoiner) == strings.Count(text, norm.GraphemeJoiner) {
		return composed
	}
	return string(compose(decompose(text)))
}

// A mark is a character with its canonical combining class, which is 0 for one that others combine with.
type mark struct {
	r     rune
	class uint8
}

// decompose returns the characters of a text in form NFD.
func decompose(text string) []mark {
	var all []mark
	first := 0 // of the marks behind the last character of class 0
	order := func() {
		slices.SortStableFunc(all[first:], func(a, b mark) int { return cmp.Compare(a.class, b.class) })
	}
	for _, r := range text {
		for _, r := range norm.NFD.String(string(r)) { // of one character, which has few marks
			var b [utf8.UTFMax]byte
			class := norm.NFD.Properties(b[:utf8.EncodeRune(b[:], r)]).CCC()
			if class == 0 {
				order()
				first = len(all) + 1
			}
			all = append(all, mark{r, class})
		}
	}
	order()
	return all
}

// compose returns the characters of form NFC of those of form NFD. A mark is composed with the last character of
// class 0 unless one between them has its class.
func compose(all []mark) []rune {
	var to []rune
	starter, last := -1, uint8(0) // the place of that character, and the class of the last that was not composed with it
	for _, m := range all {
		if starter >= 0 && (starter == len(to)-1 || last != 0 && last < m.class) {
			pair := []rune(norm.NFC.String(string([]rune{to[starter], m.r})))
			if len(pair) == 1 {
				to[starter] = pair[0]
				continue
			}
		}
		if m.class == 0 {
			starter = len(to)
		}
		last = m.class
		to = append(to, m.r)
	}
	return to
}
