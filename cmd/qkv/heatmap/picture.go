package heatmap

import (
	"image/color"
	"io"
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/palette"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Options are what all renderings share.
type Options struct {
	// Title stands above all maps.
	Title string

	// Log colours by the logarithm of the probability.
	Log bool
}

// WritePNG writes a picture of all maps. Characters of labels that its font lacks are escaped,
// see [Attention.Escaped].
func (a *Attention) WritePNG(w io.Writer, o Options) error {
	if err := a.check(); err != nil {
		return err
	}
	s := a.sheet(o, shown{glyphs: true})
	c := vgimg.NewWith(vgimg.UseWH(s.width, s.height), vgimg.UseDPI(dpi))
	s.draw(draw.New(c))
	_, err := vgimg.PngCanvas{Canvas: c}.WriteTo(w)
	return err
}

// WriteSVG writes a picture of all maps, with its text as text, which its reader draws in the
// fonts and directions of its characters.
func (a *Attention) WriteSVG(w io.Writer, o Options) error {
	if err := a.check(); err != nil {
		return err
	}
	s := a.sheet(o, shown{isolates: true})
	c := vgsvg.New(s.width, s.height)
	s.draw(draw.New(c))
	var b strings.Builder
	if _, err := c.WriteTo(&b); err != nil {
		return err
	}
	_, err := svgFixes.WriteString(w, b.String())
	return err
}

// svgFixes name fonts of the same metrics for readers who lack Liberation Sans, and images
// by their true type; and those of a colour bar are to fill their place.
var svgFixes = strings.NewReplacer(
	`style="font-family:Liberation Sans;`, `style="font-family:Liberation Sans,Arial,Helvetica,sans-serif;`,
	`xlink:href="data:image/jpg;`, `xlink:href="data:image/png;`,
	`<image x=`, `<image preserveAspectRatio="none" x=`,
)

const (
	dpi = 144
	dot = vg.Inch / dpi // of a PNG; in an SVG the pixels of a map have this size too
)

// style returns one for text of that size.
func style(size vg.Length, x draw.XAlignment, y draw.YAlignment) text.Style {
	return text.Style{
		Color:   color.Black,
		Font:    font.From(typeface, size),
		XAlign:  x,
		YAlign:  y,
		Handler: textHandler,
	}
}

// pixels is a map as a plotter.GridXYZ: positions on the scale, each cell as many pixels.
// Row 0 is at the bottom, where the last query is. Drawn as an image, one pixel a
// dot, no renderer leaves seams between cells.
type pixels struct {
	cells  []float32
	grid   grid
	kx, ky int // pixels of a cell
	scale  scale
}

// What pixels has for pairs without a probability: below and above the range.
const (
	maskedPosition = -1
	hatchPosition  = 2
)

func (p *pixels) Dims() (c, r int) { return p.grid.columns * p.kx, p.grid.rows * p.ky }
func (p *pixels) X(c int) float64  { return (float64(c)+0.5)/float64(p.kx) - 0.5 }
func (p *pixels) Y(r int) float64  { return (float64(r)+0.5)/float64(p.ky) - 0.5 }
func (p *pixels) Z(c, r int) float64 {
	v := p.cells[(p.grid.rows-1-r/p.ky)*p.grid.columns+c/p.kx]
	switch {
	case v != v:
		return math.NaN()
	case v != Masked:
		return p.scale.at(v)
	case hatched(c, r):
		return hatchPosition
	}
	return maskedPosition
}

// hatched reports whether a pixel of a masked cell is on a line of its hatching.
func hatched(x, y int) bool { return (x+y)%10 < 2 }

type fixedPalette []color.Color

func (p fixedPalette) Colors() []color.Color { return p }

var _ palette.Palette = fixedPalette(nil)

// A tightMap is a HeatMap that asks for no room around it.
type tightMap struct{ *plotter.HeatMap }

func (tightMap) GlyphBoxes(*plot.Plot) []plot.GlyphBox { return nil }

func newTightMap(p *pixels) tightMap {
	h := plotter.HeatMap{
		GridXYZ:   p,
		Palette:   fixedPalette(colors),
		Underflow: maskedColor, Overflow: hatchColor, NaN: nanColor,
		Max:        1,
		Rasterized: true,
	}
	return tightMap{&h}
}

// newPlot returns a plot without a background or room between the axes and the data.
func newPlot() *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	p.X.Tick.Label, p.Y.Tick.Label = style(tickSize, draw.XCenter, draw.YTop), style(tickSize, draw.XRight, draw.YCenter)
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Padding, axis.LineStyle.Width = 0, 0
		axis.Label.TextStyle = style(labelSize, draw.XCenter, draw.YBottom)
		axis.Label.Padding = 3
		axis.Tick.Length = 3
		axis.Tick.Marker = plot.ConstantTicks(nil)
	}
	return p
}

// place returns the canvas on which the data area of a plot is the rectangle. The room
// that a plot takes for its labels depends a little on the canvas: it converges.
func place(p *plot.Plot, c draw.Canvas, data vg.Rectangle) draw.Canvas {
	c.Rectangle = data
	for range 8 {
		got := p.DataCanvas(c)
		c.Min = c.Min.Add(data.Min.Sub(got.Min))
		c.Max = c.Max.Add(data.Max.Sub(got.Max))
	}
	return c
}

// rotate turns a vector by an angle.
func rotate(p vg.Point, angle float64) vg.Point {
	sin, cos := math.Sincos(angle)
	return vg.Point{X: p.X*vg.Length(cos) - p.Y*vg.Length(sin), Y: p.X*vg.Length(sin) + p.Y*vg.Length(cos)}
}

// frame draws the outline of a data area.
func frame(c draw.Canvas, r vg.Rectangle) {
	path := r.Path()
	c.SetLineWidth(dot)
	c.SetLineDash(nil, 0)
	c.SetColor(color.Gray{0x60})
	c.Stroke(path)
}
