package heatmap

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/rivo/uniseg"
)

// Colors is how a terminal can colour.
type Colors int

const (
	// NoColors is plain text: shades are characters.
	NoColors Colors = iota
	// Colors256 is the colours of xterm-256color.
	Colors256
	// TrueColor is any colour, of 24 bits.
	TrueColor
)

// A Terminal is what text is written for.
type Terminal struct {
	Width  int // characters in a line; 0 means 80
	Colors Colors
}

// shades are those of a fifth of the scale each.
const shades = " ░▒▓█"

// Marks of what has no probability, where there are no colours.
const (
	maskedMark = "·"
	nanMark    = "?"
)

// WriteText draws the maps with characters, as many side by side as the lines have room
// for, but none beside those of another row of the sheet. Long sequences are reduced to
// what fits; then the text says so.
func (a *Attention) WriteText(w io.Writer, o Options, t Terminal) error {
	if err := a.check(); err != nil {
		return err
	}
	b := bufio.NewWriter(w) // an error stays until Flush
	x := a.textLayout(o, t)
	if o.Title != "" {
		fmt.Fprintln(b, o.Title)
	}
	if note := x.grid.note(); note != "" {
		fmt.Fprintln(b, note)
	}
	row := len(a.maps)
	if a.Columns > 0 {
		row = a.Columns
	}
	for first := 0; first < len(a.maps); {
		last := min(first+x.across, first-first%row+row, len(a.maps))
		fmt.Fprintln(b)
		x.maps(b, first, last)
		first = last
	}
	fmt.Fprintln(b)
	x.names(b)
	x.legend(b)
	return b.Flush()
}

// A textLayout is how maps become lines.
type textLayout struct {
	a      *Attention
	colors Colors
	scale  scale
	grid   grid
	width  int // characters of a line

	legendWidth int // likewise, of a terminal only: elsewhere the legend is a line

	half   bool     // a line is two rows of cells
	narrow bool     // a cell is one character wide, not two
	rows   []string // the label of each line, all of the same width
	header string   // above each map
	keys   bool     // the header names the keys themselves
	across int      // maps side by side
}

const (
	textGap  = 2  // between maps
	largeMap = 24 // cells of a side that have two characters each, if there are colours
	mostText = 64 // cells of a side
	leastMap = 32 // characters that a map may be wide, to have another beside it
)

func (a *Attention) textLayout(o Options, t Terminal) *textLayout {
	x := &textLayout{a: a, colors: t.Colors, scale: a.scale(o.Log), width: t.Width}
	x.legendWidth = x.width
	if x.width <= 0 {
		x.width, x.legendWidth = 80, math.MaxInt
	}
	// The labels of the rows, before it is known which of them have room.
	margin := textWidth(x.rowLabel(a.queries - 1))
	for i := range a.QueryLabels {
		margin = max(margin, textWidth(x.rowLabel(i)))
	}
	room := max(x.width-margin-1, 8)
	x.lay(room)
	if shared := max((room-textGap)/2, min(room, leastMap)); len(a.maps) > 1 && x.grid.columns*x.cellWidth() > shared {
		// Two side by side at least, unless it is for them that cells are more than pairs.
		alone := *x
		x.lay(shared)
		if alone.grid.block == (block{1, 1}) && alone.grid.rows <= mostText/2 {
			*x = alone
		}
	}
	x.label()
	x.across = max((x.width-textWidth(x.rows[0])+textGap)/(x.mapWidth()+textGap), 1)
	return x
}

// lay chooses the grid for so many characters a line.
func (x *textLayout) lay(room int) {
	a := x.a
	// Where the keys alone are many, each query has a line.
	x.half = x.colors != NoColors && a.queries > 1 && (a.queries > largeMap || (a.keys > largeMap || 2*a.keys > room) && 4*a.queries > min(a.keys, mostText))
	x.narrow = x.half
	if x.half {
		x.grid = a.fit(mostText, min(mostText, room))
		return
	}
	x.grid = a.fit(mostText/2, min(mostText, room)/2)
	if b := x.grid.block; b.keys > b.queries {
		x.grid, x.narrow = a.fit(mostText/2, min(mostText, room)), true
	}
}

// cellWidth is the characters that a cell is wide.
func (x *textLayout) cellWidth() int {
	if x.narrow {
		return 1
	}
	return 2
}

// cellRows is the cells of a column that a line has.
func (x *textLayout) cellRows() int {
	if x.half {
		return 2
	}
	return 1
}

// mapWidth is the characters of a map, and of its name.
func (x *textLayout) mapWidth() int {
	w := x.grid.columns * x.cellWidth()
	for i := range x.a.maps {
		w = max(w, textWidth(x.a.maps[i].name))
	}
	return w
}

// rowLabel names a query, with its number.
func (x *textLayout) rowLabel(i int) string { return shown{}.label(x.a.QueryLabels, i, 2) }

// label makes the labels of the lines and the header.
func (x *textLayout) label() {
	lines := over(x.grid.rows, x.cellRows())
	x.rows = make([]string, lines)
	perLine := x.grid.block.queries * x.cellRows()
	spacing := 1.0 // in lines
	if x.a.QueryLabels == nil && lines > 12 {
		spacing = 4
	}
	step := tickStep(spacing, 1/float64(perLine))
	for i := 0; i < x.a.queries; i += step {
		if at := &x.rows[i/perLine]; *at == "" {
			*at = x.rowLabel(i)
		}
	}
	width := 0
	for _, s := range x.rows {
		width = max(width, textWidth(s))
	}
	for i, s := range x.rows {
		x.rows[i] = strings.Repeat(" ", width-textWidth(s)) + s + " "
	}

	// Tokens of a letter, be it a wide one, fit above their columns.
	x.keys = x.a.KeyLabels != nil && x.grid.block.keys == 1 && !x.narrow
	for _, s := range x.a.KeyLabels {
		s = shown{}.text(s)
		x.keys = x.keys && (textWidth(s) == 1 || textWidth(s) == 2 && uniseg.GraphemeClusterCount(s) == 1)
	}
	var b strings.Builder
	if x.keys {
		for _, s := range x.a.KeyLabels {
			s = shown{}.text(s)
			b.WriteString(s + strings.Repeat(" ", 2-textWidth(s)))
		}
	} else {
		n := strconv.Itoa(x.a.keys - 1)
		perCell := float64(x.cellWidth()) / float64(x.grid.block.keys)
		step := tickStep(float64(len(n)+1), perCell)
		for i := 0; i < x.a.keys; i += step {
			at := i / x.grid.block.keys * x.cellWidth()
			if n := strconv.Itoa(i); at >= b.Len() && at+len(n) <= x.grid.columns*x.cellWidth() {
				b.WriteString(strings.Repeat(" ", at-b.Len()) + n + " ")
			}
		}
	}
	x.header = strings.TrimRight(b.String(), " ")
}

// textWidth is the characters that a terminal gives a string.
func textWidth(s string) int { return uniseg.StringWidth(s) }

// maps writes some maps side by side.
func (x *textLayout) maps(b *bufio.Writer, first, last int) {
	margin := strings.Repeat(" ", textWidth(x.rows[0]))
	line := func(margin string, part func(i int) (s string, width int)) {
		text := margin
		for i := first; i < last; i++ {
			s, n := part(i)
			text += s
			if i < last-1 {
				text += strings.Repeat(" ", x.mapWidth()-n+textGap)
			}
		}
		fmt.Fprintln(b, strings.TrimRight(text, " "))
	}
	line(margin, func(i int) (string, int) { s := x.a.maps[i].name; return s, textWidth(s) })
	line(margin, func(int) (string, int) { return x.header, textWidth(x.header) })
	cells := make([][]float32, last)
	for i := first; i < last; i++ {
		cells[i] = x.a.cells(i, x.grid)
	}
	for r, label := range x.rows {
		line(label, func(i int) (string, int) { return x.line(cells[i], r), x.grid.columns * x.cellWidth() })
	}
}

// line returns line r of a map.
func (x *textLayout) line(cells []float32, r int) string {
	row := func(r int) []float32 {
		if r >= x.grid.rows {
			return nil
		}
		return cells[r*x.grid.columns:][:x.grid.columns]
	}
	var b strings.Builder
	switch {
	case x.colors == NoColors:
		for _, p := range row(r) {
			b.WriteString(strings.Repeat(x.shade(p), x.cellWidth()))
		}
	case x.half:
		upper, lower := row(2*r), row(2*r+1)
		var last paint
		for c, p := range upper {
			q := float32(Masked)
			if lower != nil {
				q = lower[c]
			}
			now := paint{fore: x.color(p), back: x.color(q)}
			mark := "▀"
			switch {
			case now.fore == nil && now.back == nil:
				mark = " "
			case now.fore == nil:
				mark, now = "▄", paint{fore: now.back}
			}
			b.WriteString(x.change(last, now) + mark)
			last = now
		}
		b.WriteString(x.change(last, paint{}))
	default:
		var last paint
		for _, p := range row(r) {
			now := paint{back: x.color(p)}
			b.WriteString(x.change(last, now) + strings.Repeat(" ", x.cellWidth()))
			last = now
		}
		b.WriteString(x.change(last, paint{}))
	}
	return b.String()
}

// shade returns the character of a cell.
func (x *textLayout) shade(p float32) string {
	switch {
	case p != p:
		return nanMark
	case p == Masked:
		return maskedMark
	}
	all := []rune(shades)
	return string(all[min(int(x.scale.at(p)*float64(len(all))), len(all)-1)])
}

// names lists the keys that no label shows.
func (x *textLayout) names(b *bufio.Writer) {
	if x.a.KeyLabels == nil || x.keys || len(x.a.QueryLabels) == len(x.a.KeyLabels) {
		return
	}
	const most = 128
	line := "keys:"
	for i := range x.a.KeyLabels {
		name := shown{}.label(x.a.KeyLabels, i, 2)
		if i == most {
			name = "…"
		}
		if textWidth(line)+2+textWidth(name) > x.width {
			fmt.Fprintln(b, line)
			line = "     "
		}
		line += "  " + name
		if i == most {
			break
		}
	}
	fmt.Fprintln(b, line)
}

// legend says what the colours or the characters mean.
func (x *textLayout) legend(b *bufio.Writer) {
	least, most := x.scale.ends()
	var parts []string // none of which is divided
	if x.colors == NoColors {
		all := []rune(shades)
		for i, s := range all {
			part := fmt.Sprintf("%c below %s,", s, number(x.scale.of(float64(i+1)/float64(len(all)))))
			if i == 0 {
				part = "probability: ␣" + strings.TrimPrefix(part, " ")
			}
			if i == len(all)-1 {
				part = fmt.Sprintf("%c up to %s", s, most)
			}
			parts = append(parts, part)
		}
	} else {
		steps := min(32, max(8, x.legendWidth-textWidth("probability "+least+"  "+most+";")))
		bar := "probability " + least + " "
		var last paint
		for i := range steps {
			now := paint{back: rgb(colorAt(float64(i) / float64(steps-1)))}
			bar += x.change(last, now) + " "
			last = now
		}
		parts = append(parts, bar+x.change(last, paint{})+" "+most)
	}
	add := func(mark, what string) {
		parts[len(parts)-1] += ";"
		parts = append(parts, mark+" "+what)
	}
	if x.a.masked {
		mark := maskedMark
		if x.colors != NoColors {
			mark = "blank"
		}
		add(mark, "masked")
	}
	if x.a.nan {
		mark := nanMark
		if x.colors != NoColors {
			mark = x.change(paint{}, paint{back: rgb(nanColor)}) + "  " + x.change(paint{back: rgb(nanColor)}, paint{})
		}
		add(mark, "NaN")
	}
	room := 0
	for i, part := range parts {
		n := textWidth(sequences.ReplaceAllString(part, ""))
		switch {
		case i == 0:
			room = x.legendWidth
		case 1+n <= room:
			b.WriteString(" ")
			room--
		default:
			b.WriteString("\n")
			room = x.legendWidth
		}
		b.WriteString(part)
		room -= n
	}
	b.WriteString("\n")
}

// sequences are those that change colours.
var sequences = regexp.MustCompile("\x1b\\[[0-9;]*m")
