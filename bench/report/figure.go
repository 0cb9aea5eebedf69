package report

import (
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// A figure is a plot to be drawn at several sizes.
type figure struct {
	name    string // as -plot has it
	title   string
	caption string // what it shows and how to read it
	legend  []entry
	height  func(narrow bool) vg.Length // nil means the usual

	plot   func(p *plot.Plot, narrow bool)
	points namedPoints // of it, whose titles an SVG has
}

// An entry of a legend is a mark and a text.
type entry struct {
	text string
	mark mark
}

// A mark is how points and lines of a series look.
type mark struct {
	color  color.RGBA
	shape  draw.GlyphDrawer // nil for none
	line   bool
	dashes []vg.Length
}

func (m *mark) lineStyle() draw.LineStyle {
	return draw.LineStyle{Color: m.color, Width: 1.6, Dashes: m.dashes}
}

func (m *mark) glyph() draw.GlyphStyle {
	return draw.GlyphStyle{Color: m.color, Radius: 3.5, Shape: m.shape}
}

// shapes of series of points, full and hollow ones apart.
var (
	full   = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.BoxGlyph{}, draw.PyramidGlyph{}}
	hollow = []draw.GlyphDrawer{draw.RingGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}}
	dashed = []vg.Length{5, 3}
	dotted = []vg.Length{1.5, 2.5}

	// dashes of lines of one colour.
	dashes = [][]vg.Length{dashed, dotted, {9, 3}, {7, 2.5, 1.5, 2.5}}
)

// seriesMark returns the look of the i-th series.
func seriesMark(i int) mark {
	n := len(light.series)
	m := mark{color: light.series[i%n], shape: full[i/n%len(full)], line: true}
	if i/n%2 == 1 {
		m.dashes = dashed
	}
	return m
}

// Sizes in points, which are pixels of the page.
const (
	wideWidth   vg.Length = 580
	narrowWidth vg.Length = 340
	usualHeight vg.Length = 310
	textSize    vg.Length = 11.5
	smallSize   vg.Length = 10.5
	margin      vg.Length = 6
)

func textStyle(size vg.Length) text.Style {
	return text.Style{
		Color: light.ink, Handler: plot.DefaultTextHandler,
		Font: font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, size),
	}
}

// size returns how large the figure is. Alone, it has its title and its legend.
func (f *figure) size(narrow, alone bool) (width, height vg.Length) {
	width, height = wideWidth, usualHeight
	if narrow {
		width = narrowWidth
	}
	if f.height != nil {
		height = f.height(narrow)
	}
	if alone {
		height += 2*textSize + f.legendHeight(width)
	}
	return width, height
}

// draw draws the figure on a canvas of its size, and puts titles where they are wanted.
func (f *figure) draw(c draw.Canvas, narrow, alone bool, t *titles) {
	c.SetColor(light.back)
	c.Fill(c.Rectangle.Path())
	c = draw.Crop(c, margin, -margin, margin, -margin)
	if alone {
		s := textStyle(textSize + 2)
		s.YAlign = draw.YTop
		c.FillText(s, vg.Point{X: c.Min.X, Y: c.Max.Y}, f.title)
		c = draw.Crop(c, 0, 0, 0, -2*textSize)
		c = draw.Crop(c, 0, 0, 0, -f.drawLegend(&c))
	}
	p := plot.New()
	p.BackgroundColor = color.Transparent
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.LineStyle.Color, a.Tick.LineStyle.Color = light.ink, light.ink
		a.LineStyle.Width, a.Tick.LineStyle.Width = 0.7, 0.7
		a.Label.TextStyle = withAlign(textStyle(textSize), a.Label.TextStyle)
		a.Tick.Marker = linearScale{}
		a.Tick.Label = withAlign(textStyle(smallSize), a.Tick.Label)
	}
	f.plot(p, narrow)
	p.Draw(c)
	if t != nil {
		f.points.titles(p.DataCanvas(c), p, t)
	}
}

func withAlign(s, from text.Style) text.Style {
	s.Rotation, s.XAlign, s.YAlign = from.Rotation, from.XAlign, from.YAlign
	return s
}

// draw draws the mark as a swatch that begins at a point.
func (m *mark) draw(c *draw.Canvas, x, y vg.Length) {
	const inset = 5
	if m.line {
		c.StrokeLine2(m.lineStyle(), x, y, x+swatchWidth-inset, y)
	}
	if m.shape != nil {
		c.DrawGlyph(m.glyph(), vg.Point{X: x + (swatchWidth-inset)/2, Y: y})
	}
}

const (
	entryHeight vg.Length = 17
	swatchWidth vg.Length = 22
	entryGap    vg.Length = 14
)

func (f *figure) legendHeight(width vg.Length) vg.Length {
	_, rows := f.layout(width - 2*margin)
	if rows == 0 {
		return 0
	}
	return vg.Length(rows)*entryHeight + 4
}

// layout places the entries of the legend, row by row.
func (f *figure) layout(width vg.Length) (at []vg.Point, rows int) {
	s := textStyle(smallSize)
	x := vg.Length(math.Inf(1))
	for _, e := range f.legend {
		w := swatchWidth + s.Width(e.text)
		if x > 0 && x+w > width {
			x = 0
			rows++
		}
		at = append(at, vg.Point{X: x, Y: vg.Length(rows) * entryHeight})
		x += w + entryGap
	}
	return at, rows
}

// drawLegend draws the legend along the upper edge and returns its height.
func (f *figure) drawLegend(c *draw.Canvas) vg.Length {
	at, rows := f.layout(c.Max.X - c.Min.X)
	if rows == 0 {
		return 0
	}
	s := textStyle(smallSize)
	s.YAlign = draw.YCenter
	for i, e := range f.legend {
		x, y := c.Min.X+at[i].X, c.Max.Y-at[i].Y+entryHeight/2
		e.mark.draw(c, x, y)
		c.FillText(s, vg.Point{X: x + swatchWidth, Y: y}, e.text)
	}
	return vg.Length(rows)*entryHeight + 4
}
