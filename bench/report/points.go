package report

import (
	"fmt"
	"html"
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// A namedPoint is a point with what is written beside it, and what a page shows for it.
type namedPoint struct {
	plotter.XY
	name, title string
	disturbed   bool
}

func (n *namedPoint) size() vg.Length {
	if n.disturbed {
		return ringSize
	}
	return pointSize
}

// namedPoints write the names of points beside them, where there is room.
type namedPoints []namedPoint

const (
	pointName = smallSize - 1.5
	pointSize = 4 // half of a point, with room around it
	ringSize  = 6.5
)

// Plot draws on the data area.
func (points namedPoints) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	style := textStyle(pointName)
	style.XAlign, style.YAlign = draw.XCenter, draw.YCenter
	var taken []vg.Rectangle
	at := make([]vg.Point, len(points))
	for i, n := range points {
		at[i] = vg.Point{X: x(n.X), Y: y(n.Y)}
		taken = append(taken, around(at[i], n.size(), n.size()))
		if n.disturbed {
			c.DrawGlyph(draw.GlyphStyle{Color: light.ink, Radius: 3.5, Shape: roundGlyph{}}, at[i])
		}
	}
	for i, n := range points {
		size := n.size()
		width, height := style.Width(n.name)/2+1, vg.Length(pointName/2)
		place, ok := vg.Point{}, false
		for ring := vg.Length(1); ring <= 4 && !ok; ring++ {
			for _, to := range [][2]vg.Length{{0, 1}, {1, 0}, {-1, 0}, {0, -1}, {1, 1}, {-1, 1}, {1, -1}, {-1, -1}} {
				place = vg.Point{
					X: at[i].X + to[0]*(width+(size+0.5)*ring),
					Y: at[i].Y + to[1]*(height+(size-1)*ring),
				}
				box := around(place, width, height)
				if c.Min.X <= box.Min.X && box.Max.X <= c.Max.X && c.Min.Y <= box.Min.Y && box.Max.Y <= c.Max.Y && !overlaps(box, taken) {
					taken, ok = append(taken, box), true
					if ring > 1 {
						c.StrokeLine2(draw.LineStyle{Color: light.faint, Width: 0.6}, at[i].X, at[i].Y, place.X, place.Y)
					}
					break
				}
			}
		}
		if !ok {
			continue // the title and the table still have it
		}
		c.FillText(style, place, n.name)
	}
}

// A roundGlyph is a ring around a point, which marks it as disturbed.
type roundGlyph struct{}

// DrawGlyph draws it.
func (roundGlyph) DrawGlyph(c *draw.Canvas, s draw.GlyphStyle, at vg.Point) {
	c.SetLineStyle(draw.LineStyle{Color: s.Color, Width: 1.2})
	var p vg.Path
	p.Move(vg.Point{X: at.X + s.Radius + 2, Y: at.Y})
	p.Arc(at, s.Radius+2, 0, 2*math.Pi)
	p.Close()
	c.Stroke(p)
}

// titles puts the titles of the points on them.
func (points namedPoints) titles(c draw.Canvas, p *plot.Plot, to *titles) {
	x, y := p.Transforms(&c)
	for _, n := range points {
		to.add(vg.Point{X: x(n.X), Y: y(n.Y)}, n.title)
	}
}

func around(p vg.Point, width, height vg.Length) vg.Rectangle {
	half := vg.Point{X: width, Y: height}
	return vg.Rectangle{Min: p.Sub(half), Max: p.Add(half)}
}

func overlaps(r vg.Rectangle, others []vg.Rectangle) bool {
	for _, o := range others {
		if r.Min.X < o.Max.X && o.Min.X < r.Max.X && r.Min.Y < o.Max.Y && o.Min.Y < r.Max.Y {
			return true
		}
	}
	return false
}

// titles are places of an SVG that say what is there when a pointer is over them.
type titles struct {
	height vg.Length // of the picture
	text   strings.Builder
}

// add puts a title on a point.
func (t *titles) add(at vg.Point, title string) {
	fmt.Fprintf(&t.text, `<circle cx="%.1f" cy="%.1f" r="7" fill-opacity="0"><title>%s</title></circle>`+"\n",
		float64(at.X), float64(t.height-at.Y), html.EscapeString(title))
}
