package heatmap

import (
	"image"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Sizes of text, and of what surrounds the maps.
const (
	titleSize vg.Length = 12
	nameSize  vg.Length = 10
	labelSize vg.Length = 10
	tickSize  vg.Length = 8

	border    vg.Length = 12 // around the picture
	gap       vg.Length = 14 // between maps, and before the colour bar
	barWidth  vg.Length = 12
	barHeight vg.Length = 180 // at most
	barLeast  vg.Length = 60
	swatch    vg.Length = 12
)

// A sheet is maps side by side, laid out: as a table, the legend at its right. A single map
// is a sheet too. Lengths are multiples of a dot where an image goes.
type sheet struct {
	a             *Attention
	shown         shown // of labels
	title, note   string
	scale         scale
	grid          grid
	kx, ky        int // dots of a cell
	columns, rows int // of maps

	width, height            vg.Length
	data                     vg.Point // size of a map
	left, top, bottom, right vg.Length
}

// sheet lays the maps out.
func (a *Attention) sheet(o Options, labels shown) *sheet {
	s := &sheet{a: a, shown: labels, title: o.Title, scale: a.scale(o.Log)}
	n := len(a.maps)
	s.columns = a.Columns
	if s.columns == 0 || s.columns > n {
		s.columns = tableColumns(n, float64(a.keys)/float64(a.queries))
	}
	s.rows = over(n, s.columns)

	// Dots of the longer side of a map: the more maps, the smaller.
	side := 1024
	if n > 1 {
		side = min(max(2048/s.columns, 160), 560)
	}
	s.grid = a.fit(side, side)
	s.note = s.grid.note()
	const largest, thinnest, labelled = 56, 60, 24 // dots of a cell; of the shorter side; of a cell with a label
	longest := max(s.grid.rows, s.grid.columns)
	k := min(side/longest, largest)
	if (a.QueryLabels != nil || a.KeyLabels != nil) && s.grid.block == (block{1, 1}) && longest <= 1024/labelled {
		k = max(k, labelled)
	}
	// Few queries beside many keys, or the other way round, have room for their labels.
	cell := func(n int) int { return max(k, over(thinnest, n), min(labelled, longest*k/3/n)) }
	s.kx, s.ky = cell(s.grid.columns), cell(s.grid.rows)
	s.data = vg.Point{X: vg.Length(s.grid.columns*s.kx) * dot, Y: vg.Length(s.grid.rows*s.ky) * dot}

	// Room for the labels: what a map with all of them takes.
	p := s.plot(0, true, true)
	origin := vg.Rectangle{Max: s.data}
	c := place(p, draw.Canvas{}, origin)
	s.left = border + dots(-c.Min.X)
	s.bottom = border + dots(-c.Min.Y)
	s.right = border + s.legendWidth()
	name := style(nameSize, draw.XLeft, draw.YBottom)
	s.top = border + dots(name.Height("0")+4)
	title := style(titleSize, draw.XLeft, draw.YTop)
	note := style(tickSize, draw.XLeft, draw.YTop)
	if s.title != "" {
		s.top += dots(title.Height(s.title) + 6)
	}
	if s.note != "" {
		s.top += dots(note.Height(s.note) + 4)
	}
	maps := vg.Point{
		X: vg.Length(s.columns)*(s.data.X+gap) - gap,
		Y: vg.Length(s.rows)*(s.data.Y+s.between()) - s.between(),
	}
	widest := max(title.Width(s.title), note.Width(s.note), name.Width(a.maps[0].name))
	s.width = max(s.left+maps.X+gap+s.right, dots(widest)+2*border)
	s.height = s.top + max(maps.Y+s.bottom, s.legendHeight()+border)
	return s
}

// between is the room between two rows of maps.
func (s *sheet) between() vg.Length {
	return dots(style(nameSize, draw.XLeft, draw.YBottom).Height("0") + 12)
}

// dots rounds up to whole dots.
func dots(x vg.Length) vg.Length { return vg.Length(math.Ceil(float64(x/dot)-1e-6)) * dot }

// tableColumns returns in how many columns n maps of that width/height look best: near the shape
// of a page, with few places left over.
func tableColumns(n int, aspect float64) int {
	const page, label = 1.5, 0.15 // a label's height, in maps
	aspect = min(max(aspect, 1.0/16), 16)
	w, h := max(aspect, 1), max(1/aspect, 1)
	best, least := 1, math.Inf(1)
	for c := 1; c <= n; c++ {
		r := over(n, c)
		cost := math.Abs(math.Log(float64(c)*(w+label)/(float64(r)*(h+label))/page)) + 4*float64(c*r-n)/float64(n)
		if cost < least {
			best, least = c, cost
		}
	}
	return best
}

// plot returns map i, with its labels at the left and at the bottom or without.
func (s *sheet) plot(i int, left, bottom bool) *plot.Plot {
	p := newPlot()
	px := &pixels{cells: s.a.cells(i, s.grid), grid: s.grid, kx: s.kx, ky: s.ky, scale: s.scale}
	p.Add(newTightMap(px))
	if bottom {
		p.X.Label.Text = "key"
		ticks := s.ticks(s.a.KeyLabels, s.a.keys, s.kx, false)
		if s.a.KeyLabels != nil && !s.fits(ticks) {
			p.X.Tick.Label.Rotation = math.Pi / 2
			p.X.Tick.Label.XAlign, p.X.Tick.Label.YAlign = draw.XRight, draw.YCenter
			for i := range ticks { // turned labels would touch the tick marks
				ticks[i].Label += "  "
			}
		}
		p.X.Tick.Marker = ticks
	}
	if left {
		p.Y.Label.Text = "query"
		p.Y.Tick.Marker = s.ticks(s.a.QueryLabels, s.a.queries, s.ky, true)
	}
	return p
}

// fits reports whether the labels of keys have room side by side.
func (s *sheet) fits(ticks plot.ConstantTicks) bool {
	text := style(tickSize, draw.XCenter, draw.YTop)
	apart := float64(s.grid.columns) // of ticks, in cells
	if len(ticks) > 1 {
		apart = ticks[1].Value - ticks[0].Value
	}
	for _, t := range ticks {
		if text.Width(t.Label)+4 > vg.Length(apart*float64(s.kx))*dot {
			return false
		}
	}
	return true
}

// ticks names as many of n queries or keys as have room, k dots a cell.
func (s *sheet) ticks(labels []string, n, k int, down bool) plot.ConstantTicks {
	spacing, block := tickSize+3, s.grid.block.keys
	if down {
		block = s.grid.block.queries
	} else if labels == nil { // side by side
		spacing = style(tickSize, draw.XCenter, draw.YTop).Width(s.shown.label(nil, n-1, 1)) + 6
	}
	step := tickStep(float64(spacing), float64(dot)*float64(k)/float64(block))
	ticks := plot.ConstantTicks{}
	for i := 0; i < n; i += step {
		at := (float64(i)+0.5)/float64(block) - 0.5
		if down {
			at = float64(s.grid.rows-1) - at
		}
		ticks = append(ticks, plot.Tick{Value: at, Label: s.shown.label(labels, i, step)})
	}
	return ticks
}

// bar returns the colour bar.
func (s *sheet) bar() *plot.Plot {
	p := newPlot()
	p.Add(&plotter.ColorBar{ColorMap: viridis, Vertical: true, Colors: len(colors)})
	p.Y.Label.Text = "probability"
	var ticks plot.ConstantTicks
	least, most := s.scale.ends()
	add := func(at float64, label string) { ticks = append(ticks, plot.Tick{Value: at, Label: label}) }
	add(0, least)
	if s.scale.log {
		decades := int(math.Round(math.Log10(s.scale.most / s.scale.least)))
		for i := 1; i < decades; i++ {
			at := float64(i) / float64(decades)
			add(at, number(math.Pow10(int(math.Round(math.Log10(s.scale.of(at)))))))
		}
	} else {
		for _, at := range []float64{0.25, 0.5, 0.75} {
			add(at, number(s.scale.of(at)))
		}
	}
	add(1, most)
	p.Y.Tick.Marker = ticks
	return p
}

// A legendEntry explains the colour of what has no probability.
type legendEntry struct {
	name  string
	image image.Image
}

func (s *sheet) legend() []legendEntry {
	var entries []legendEntry
	size := int(math.Round(float64(swatch / dot)))
	box := image.Rect(0, 0, size, size)
	if s.a.masked {
		m := image.NewRGBA(box)
		for y := range size {
			for x := range size {
				m.Set(x, y, maskedColor)
				if hatched(x, size-1-y) {
					m.Set(x, y, hatchColor)
				}
			}
		}
		entries = append(entries, legendEntry{"masked", m})
	}
	if s.a.nan {
		m := image.NewRGBA(box)
		for i := range size * size {
			m.Set(i%size, i/size, nanColor)
		}
		entries = append(entries, legendEntry{"NaN", m})
	}
	return entries
}

// barBox is the size of the colour bar itself.
func (s *sheet) barBox() vg.Point {
	all := vg.Length(s.rows)*(s.data.Y+s.between()) - s.between()
	all -= vg.Length(len(s.legend())) * (swatch + 6)
	return vg.Point{X: barWidth, Y: dots(min(max(all, barLeast), barHeight))}
}

func (s *sheet) legendWidth() vg.Length {
	c := place(s.bar(), draw.Canvas{}, vg.Rectangle{Max: s.barBox()})
	w := c.Max.X - c.Min.X
	for _, e := range s.legend() {
		w = max(w, swatch+4+style(tickSize, draw.XLeft, draw.YCenter).Width(e.name))
	}
	return dots(w)
}

func (s *sheet) legendHeight() vg.Length {
	return s.barBox().Y + vg.Length(len(s.legend()))*(swatch+6) + tickSize
}

// draw draws the sheet on a canvas of its size.
func (s *sheet) draw(c draw.Canvas) {
	// Black on what a reader has as background may not show.
	c.SetColor(paper)
	c.Fill(c.Rectangle.Path())

	y := s.height - border
	if s.title != "" {
		title := style(titleSize, draw.XLeft, draw.YTop)
		c.FillText(title, vg.Point{X: border, Y: y}, s.title)
		y -= dots(title.Height(s.title) + 6)
	}
	if s.note != "" {
		c.FillText(style(tickSize, draw.XLeft, draw.YTop), vg.Point{X: border, Y: y}, s.note)
	}
	for i, m := range s.a.maps {
		column, row := i%s.columns, i/s.columns
		corner := vg.Point{
			X: s.left + vg.Length(column)*(s.data.X+gap),
			Y: s.height - s.top - vg.Length(row)*(s.data.Y+s.between()),
		}
		area := vg.Rectangle{Min: corner.Sub(vg.Point{Y: s.data.Y}), Max: corner.Add(vg.Point{X: s.data.X})}
		p := s.plot(i, column == 0, i+s.columns >= len(s.a.maps))
		p.Draw(place(p, c, area))
		frame(c, area)
		c.FillText(style(nameSize, draw.XLeft, draw.YBottom), corner.Add(vg.Point{Y: 4}), m.name)
	}

	size := s.barBox()
	legendLeft := s.left + vg.Length(s.columns)*(s.data.X+gap)
	bar := s.bar()
	at := vg.Rectangle{Max: size}
	room := place(bar, c, at).Min.X // left of the bar, negative
	at = at.Add(vg.Point{X: legendLeft - room, Y: s.height - s.top - size.Y})
	bar.Draw(place(bar, c, at))
	frame(c, at)
	y = at.Min.Y - tickSize
	for _, e := range s.legend() {
		y -= swatch
		box := vg.Rectangle{Min: vg.Point{X: legendLeft, Y: y}, Max: vg.Point{X: legendLeft + swatch, Y: y + swatch}}
		c.DrawImage(box, e.image)
		frame(c, box)
		c.FillText(style(tickSize, draw.XLeft, draw.YCenter), vg.Point{X: box.Max.X + 4, Y: y + swatch/2}, e.name)
		y -= 6
	}
}
