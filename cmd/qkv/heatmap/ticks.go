package heatmap

import (
	"strconv"
	"strings"
	"unicode"
)

// maxLabel is the length in characters of what is shown of a label.
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
func label(labels []string, i, step int) string {
	n := strconv.Itoa(i)
	if labels == nil {
		return n
	}
	if step > 1 { // its neighbours are not there to count by
		return n + " " + visible(labels[i])
	}
	return visible(labels[i])
}

// visible shows a label in one line: spaces and what does not print by their symbols, and
// the beginning of a long one.
func visible(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > maxLabel {
			return b.String() + "…"
		}
		switch {
		case r == ' ':
			r = '␣'
		case r == '\n':
			r = '⏎'
		case r == '\t':
			r = '⇥'
		case !unicode.IsPrint(r):
			r = '�'
		}
		b.WriteRune(r)
	}
	return b.String()
}
