package tokenizer

import (
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A splitter cuts a text into the pieces that BPE merges by themselves: all of them together are the text.
type splitter func(text string) iter.Seq[string]

// splitters are those of tokenizer.ggml.pre. They are the regular expressions of llama.cpp, by hand: Go's
// have no look-ahead.
var splitters = map[string]struct {
	split splitter
	whole bool // words that are tokens are not merged
}{
	"gpt-2":            {split: by(gpt2)},
	"phi-2":            {split: by(gpt2)},
	"smollm":           {split: digitsFirst},
	"starcoder":        {split: digitsFirst},
	"refact":           {split: digitsFirst},
	"command-r":        {split: digitsFirst},
	"llama-bpe":        {split: by(llama3(3, anyASCII)), whole: true},
	"llama3":           {split: by(llama3(3, anyASCII)), whole: true},
	"llama-v3":         {split: by(llama3(3, anyASCII)), whole: true},
	"dbrx":             {split: by(llama3(3, anyASCII))},
	"smaug-bpe":        {split: by(llama3(3, anyASCII))},
	"qwen2":            {split: by(llama3(1, anyASCII))},
	"deepseek-r1-qwen": {split: by(llama3(1, anyASCII))},
	"stablelm2":        {split: by(llama3(1, anyASCII))},
	"gpt-4o":           {split: by(o200k(anyASCII))},
	"llama4":           {split: by(o200k(anyASCII))},
}

// by returns the splitter of a function that returns how long the piece is that a text begins with.
func by(next func(text string) int) splitter {
	return func(text string) iter.Seq[string] {
		return func(yield func(string) bool) {
			for text != "" {
				n := next(text)
				if !yield(text[:n]) {
					return
				}
				text = text[n:]
			}
		}
	}
}

// digitsFirst cuts out each number character, and then what lies between, each by itself, by GPT-2's expression.
func digitsFirst(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for text != "" {
			n := 0
			if kind, size := kindOf(text); kind == number {
				n = size
				if !yield(text[:n]) {
					return
				}
			} else {
				n = run(text, func(kind class, _ rune) bool { return kind != number })
				for piece := range by(gpt2)(text[:n]) {
					if !yield(piece) {
						return
					}
				}
			}
			text = text[n:]
		}
	}
}

// A class is what an expression asks of a character.
type class int

const (
	end    class = iota // of the text
	white               // \s
	letter              // \p{L}
	number              // \p{N}
	other
)

// kindOf returns the kind of the first character, and its bytes. A byte that is none of UTF-8 is a character.
func kindOf(text string) (class, int) {
	if text == "" {
		return end, 0
	}
	r, n := utf8.DecodeRuneInString(text)
	return kindOfRune(r), n
}

func kindOfRune(r rune) class {
	switch {
	case unicode.IsSpace(r):
		return white
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	}
	return other
}

// run returns how many bytes the characters have that a text begins with.
func run(text string, is func(kind class, r rune) bool) int {
	for i, r := range text {
		if !is(kindOfRune(r), r) {
			return i
		}
	}
	return len(text)
}

// all is run for a kind.
func all(text string, want class) int {
	return run(text, func(kind class, _ rune) bool { return kind == want })
}

// A letterCase says which letters a contraction may have.
type letterCase int

const (
	onlySmall  letterCase = iota
	anyASCII              // and capitals, as llama.cpp writes [sS] for (?i:s)
	anyUnicode            // and ſ for s, as expressions with (?i:s) have it
)

// contraction returns the length of 's|'t|'re|'ve|'m|'ll|'d at the beginning.
func contraction(text string, letters letterCase) int {
	const longS = "ſ" // the only other character that becomes one of these letters
	if letters == anyUnicode && strings.HasPrefix(text, "'"+longS) {
		return len("'" + longS)
	}
	if len(text) < 2 || text[0] != '\'' {
		return 0
	}
	at := func(i int) byte {
		if i >= len(text) {
			return 0
		}
		c := text[i]
		if letters != onlySmall && c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}
	switch at(1) {
	case 's', 't', 'm', 'd':
		return 2
	case 'r', 'v':
		if at(2) == 'e' {
			return 3
		}
	case 'l':
		if at(2) == 'l' {
			return 3
		}
	}
	return 0
}

// spaces is \s+(?!\S)|\s+: white space, without the last character if something else follows, unless that is
// the only one.
func spaces(text string) int {
	n := all(text, white)
	if n == len(text) {
		return n
	}
	if _, last := utf8.DecodeLastRuneInString(text[:n]); last < n {
		return n - last
	}
	return n
}

// gpt2 is 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
func gpt2(text string) int {
	if n := contraction(text, onlySmall); n > 0 {
		return n
	}
	at := 0
	if text[0] == ' ' {
		at = 1
	}
	if kind, _ := kindOf(text[at:]); kind != white && kind != end {
		return at + all(text[at:], kind)
	}
	return spaces(text)
}

// llama3 is (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
func llama3(digits int, letters letterCase) func(text string) int {
	return func(text string) int {
		if n := contraction(text, letters); n > 0 {
			return n
		}
		first, size := kindOf(text)
		second, _ := kindOf(text[size:])
		switch {
		case first == letter:
			return all(text, letter)
		case first == number:
			return numbers(text, digits)
		case second == letter && text[0] != '\r' && text[0] != '\n':
			return size + all(text[size:], letter)
		}
		return signs(text, newline)
	}
}

func newline(_ class, r rune) bool { return r == '\r' || r == '\n' }

// numbers is \p{N}{1,most}, or 0.
func numbers(text string, most int) (n int) {
	for range most {
		if kind, size := kindOf(text[n:]); kind == number {
			n += size
		}
	}
	return n
}

// signs is  ?[^\s\p{L}\p{N}]+[behind]*|\s*[\r\n]+|\s+(?!\S)|\s+
func signs(text string, behind func(class, rune) bool) int {
	at := 0
	if text[0] == ' ' {
		at = 1
	}
	if n := at + all(text[at:], other); n > at {
		return n + run(text[n:], behind)
	}
	last := 0 // behind the last end of a line in the white space
	for i, r := range text[:all(text, white)] {
		if newline(white, r) {
			last = i + 1
		}
	}
	if last > 0 {
		return last
	}
	return spaces(text)
}

// o200k is, with U for [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}], L for [\p{Ll}\p{Lm}\p{Lo}\p{M}] and C for
// (?i:'s|'t|'re|'ve|'m|'ll|'d)?,
//
//	[^\r\n\p{L}\p{N}]?U*L+C|[^\r\n\p{L}\p{N}]?U+L*C|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
func o200k(letters letterCase) func(text string) int {
	return func(text string) int {
		first, size := kindOf(text)
		before := size // of the sign before a word
		if first == letter || first == number || text[0] == '\r' || text[0] == '\n' {
			before = 0
		}
		for _, word := range [...]func(text string) int{capitalised, capitals} {
			for _, at := range [...]int{before, 0} {
				if n := word(text[at:]); n > 0 {
					n += at
					return n + contraction(text[n:], letters)
				}
			}
		}
		if n := numbers(text, 3); n > 0 {
			return n
		}
		return signs(text, func(kind class, r rune) bool { return newline(kind, r) || r == '/' })
	}
}

// Letters with a case, and those without, which count as both.
func isUpper(_ class, r rune) bool { return unicode.In(r, unicode.Lu, unicode.Lt) || isCaseless(r) }
func isLower(_ class, r rune) bool { return unicode.Is(unicode.Ll, r) || isCaseless(r) }
func isCaseless(r rune) bool       { return unicode.In(r, unicode.Lm, unicode.Lo, unicode.M) }

// capitalised is U*L+ of o200k, or 0.
func capitalised(text string) int {
	n := run(text, isUpper)
	if more := run(text[n:], isLower); more > 0 {
		return n + more
	}
	for n > 0 { // back to a letter that is both
		r, size := utf8.DecodeLastRuneInString(text[:n])
		if isCaseless(r) {
			return n
		}
		n -= size
	}
	return 0
}

// capitals is U+L* of o200k, or 0.
func capitals(text string) int {
	n := run(text, isUpper)
	if n > 0 {
		n += run(text[n:], isLower)
	}
	return n
}
