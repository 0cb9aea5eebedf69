package report

import (
	"fmt"
	"image/color"
	"strings"
)

// A theme is the colours of a picture.
type theme struct {
	ink, faint, back color.RGBA
	series           []color.RGBA
}

func hex(rgb uint32) color.RGBA {
	return color.RGBA{uint8(rgb >> 16), uint8(rgb >> 8), uint8(rgb), 255}
}

// light and dark have the colours of Okabe and Ito, which the colour-blind can tell apart, in
// the dark lighter. Series follow each other in contrast.
var (
	light = theme{
		ink: hex(0x1b1f24), faint: hex(0xc3c9d1), back: hex(0xffffff),
		series: []color.RGBA{hex(0x0072b2), hex(0xd55e00), hex(0x009e73), hex(0x9a4f86), hex(0xb07d00), hex(0x3f8fc4), hex(0x6b7280)},
	}
	dark = theme{
		ink: hex(0xe6e8eb), faint: hex(0x4a525e), back: hex(0x14171c),
		series: []color.RGBA{hex(0x56b4e9), hex(0xff8a50), hex(0x2ec99c), hex(0xe59bc4), hex(0xe6b93d), hex(0x9ad1f5), hex(0xa5adba)},
	}
)

// each calls f with the name and the colour of every part of the theme.
func (t *theme) each(f func(name string, c color.RGBA)) {
	f("ink", t.ink)
	f("faint", t.faint)
	f("back", t.back)
	for i, c := range t.series {
		f(fmt.Sprintf("series-%d", i+1), c)
	}
}

func css(c color.RGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }

// variables declares the colours as variables of CSS.
func (t *theme) variables() string {
	var b strings.Builder
	t.each(func(name string, c color.RGBA) { fmt.Fprintf(&b, "--%s: %s; ", name, css(c)) })
	return strings.TrimSpace(b.String())
}

// byVariable replaces the colours of the light theme, as vgsvg writes them, by variables.
var byVariable = func() *strings.Replacer {
	var pairs []string
	light.each(func(name string, c color.RGBA) {
		pairs = append(pairs, strings.ToUpper(css(c)), "var(--"+name+")")
	})
	return strings.NewReplacer(pairs...)
}()
