package heatmap

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// maxLabel is the columns of a terminal that what is shown of a label takes.
const maxLabel = 16

// tickStep returns the least of 1, 2, 5, 10, 20, ... of which as many pairs as it is are at
// least as long as the spacing, each pair having that length.
func tickStep(spacing, pair float64) int {
	for unit := 1; ; unit *= 10 {
		for _, m := range []int{1, 2, 5} {
			if step := m * unit; float64(step)*pair >= spacing || step > maxInt32/20 {
				return step
			}
		}
	}
}

const maxInt32 = 1<<31 - 1

// label names query or key i of those that are labelled, if they are, step apart.
func (s shown) label(labels []string, i, step int) string {
	n := strconv.Itoa(i)
	if labels == nil {
		return n
	}
	if step > 1 { // its neighbours are not there to count by
		return n + " " + s.text(labels[i])
	}
	return s.text(labels[i])
}

// A shown says where labels are shown.
type shown struct {
	glyphs   bool // the font has to have a character, and draws from left to right
	isolates bool // text from right to left is marked
}

// text shows a label in one line: spaces by their symbols, what does not print or has no
// glyph by its escape, and the beginning of a long one.
func (s shown) text(label string) string {
	var b strings.Builder
	columns := 0
	for state := -1; label != ""; {
		var cluster string // which stays together
		cluster, label, _, state = uniseg.FirstGraphemeClusterInString(label, state)
		for _, part := range s.parts(cluster) {
			if columns += textWidth(part); columns > maxLabel {
				b.WriteString("…")
				label = ""
				break
			}
			b.WriteString(part)
		}
	}
	switch {
	case s.isolates:
		return isolated(b.String())
	case s.glyphs:
		return visual(b.String())
	}
	return b.String()
}

// symbols stand for what is blank. They are shown as they are, or in letters.
var symbols = map[string][2]string{" ": {"␣", "_"}, "\n": {"⏎", `\n`}, "\r\n": {"⏎", `\r\n`}, "\t": {"⇥", `\t`}}

// parts shows what a reader takes for one character: in one part, unless some of it has to be
// escaped.
func (s shown) parts(cluster string) []string {
	if to, ok := symbols[cluster]; ok {
		if s.glyphs && lacks(to[0]) {
			return to[1:]
		}
		return to[:1]
	}
	var parts []string
	escaped := false
	for rest := cluster; rest != ""; {
		r, n := utf8.DecodeRuneInString(rest)
		part := rest[:n]
		switch {
		case r == utf8.RuneError && n == 1:
			part, escaped = fmt.Sprintf(`\x%02x`, rest[0]), true
		case !unicode.IsPrint(r) || s.glyphs && !hasGlyph(r):
			quoted := strconv.QuoteRuneToASCII(r)
			part, escaped = quoted[1:len(quoted)-1], true
		case unicode.Is(unicode.M, r) && (len(parts) == 0 || escaped):
			part = "◌" + part // a mark without a letter of its own
		}
		parts = append(parts, part)
		rest = rest[n:]
	}
	if escaped {
		return parts
	}
	return []string{strings.Join(parts, "")}
}
