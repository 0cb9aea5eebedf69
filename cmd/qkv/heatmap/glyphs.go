package heatmap

import (
	"strings"
	"sync"

	"github.com/rivo/uniseg"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/text/unicode/bidi"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
)

// typeface is that of all text in pictures.
var typeface = font.Font{Typeface: "Liberation", Variant: "Sans"}

// hasGlyph reports whether the font of pictures can draw a character.
var hasGlyph = func() func(r rune) bool {
	var mu sync.Mutex
	var b sfnt.Buffer
	known := map[rune]bool{}
	return func(r rune) bool {
		mu.Lock()
		defer mu.Unlock()
		has, ok := known[r]
		if !ok {
			i, err := font.DefaultCache.Lookup(typeface, tickSize).Face.GlyphIndex(&b, r)
			has = err == nil && i != 0
			known[r] = has
		}
		return has
	}
}()

// A fallbackText lays out text whose missing characters a reader of SVG takes from another
// font: it gives them the width that they have on a terminal.
type fallbackText struct{ text.Handler }

var textHandler = fallbackText{plot.DefaultTextHandler}

func (h fallbackText) Box(s string, f font.Font) (width, height, depth vg.Length) {
	width, height, depth = h.Handler.Box(s, f)
	var has strings.Builder
	columns := 0
	for rest, state := s, -1; rest != ""; {
		var cluster string
		var n int
		cluster, rest, n, state = uniseg.FirstGraphemeClusterInString(rest, state)
		if lacks(cluster) {
			columns += n
		} else {
			has.WriteString(cluster)
		}
	}
	if has.Len() < len(s) {
		width, _, _ = h.Handler.Box(has.String(), f)
		width += vg.Length(columns) * f.Size * 0.55
	}
	return width, height, depth
}

// Draw puts a line where its alignment says by the width of Box.
func (h fallbackText) Draw(c vg.Canvas, s string, style text.Style, at vg.Point) {
	if style.XAlign != 0 {
		width, _, _ := h.Box(s, style.Font)
		plain, _, _ := h.Handler.Box(s, style.Font)
		by := vg.Point{X: vg.Length(style.XAlign) * (width - plain)}
		at = at.Add(rotate(by, style.Rotation))
	}
	h.Handler.Draw(c, s, style, at)
}

// lacks reports whether the font lacks a character of a text.
func lacks(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return !hasGlyph(r) })
}

// Isolates of Unicode: what is between them has the direction that its first letter says, and
// does not turn what is around it.
const (
	firstStrongIsolate = "\u2068"
	popIsolate         = "\u2069"
)

// isolated marks text that has letters written from right to left.
func isolated(s string) string {
	if !turns(s) {
		return s
	}
	return firstStrongIsolate + s + popIsolate
}

// turns reports whether text has letters written from right to left.
func turns(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		p, _ := bidi.LookupRune(r)
		return p.Class() == bidi.R || p.Class() == bidi.AL
	})
}

// visual puts the characters of a line in the order in which they stand from the left, as its
// first letter says, for what draws them so.
func visual(s string) string {
	if !turns(s) {
		return s
	}
	var p bidi.Paragraph
	p.SetString(s)
	order, err := p.Order()
	if err != nil {
		return s
	}
	line := ""
	for i := range order.NumRuns() {
		run := order.Run(i)
		text := run.String()
		if run.Direction() == bidi.RightToLeft {
			text = bidi.ReverseString(text)
		}
		if order.Direction() == bidi.RightToLeft {
			line = text + line
		} else {
			line += text
		}
	}
	return line
}
