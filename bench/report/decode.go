package report

import (
	"cmp"
	"fmt"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/kernel"
)

// A bar is a rate in a category, and the rate of reading alone beside it.
type bar struct {
	category   int
	rate, read float64
}

// decode draws how fast keys and values of each type are read, for the sizes that most types
// were measured at.
func (r *Report) decode() []figure {
	runs := r.runs(func(x *run) bool {
		s, ok := x.work.(bench.Shape)
		return ok && x.GBps > 0 && s.SeqQ == 1 && s.KV == bench.KV{K: s.KV.K, V: s.KV.K} && plain(s)
	})
	sizes, bySize := byKey(runs, func(x *run) string {
		s := x.work.(bench.Shape)
		s.KV = bench.KV{}
		return s.Short()
	})
	if len(sizes) == 0 {
		return nil
	}
	kinds := func(size string) int {
		list, _ := byKey(bySize[size], func(x *run) string { return x.KDType })
		return len(list)
	}
	size := slices.MaxFunc(sizes, func(a, b string) int { return cmp.Compare(kinds(a), kinds(b)) })

	var figures []figure
	counts, byWorkers := byKey(bySize[size], func(x *run) int { return x.Workers })
	for _, n := range counts {
		figures = append(figures, r.decodeOf(size, n, byWorkers[n]))
	}
	return figures
}

// decodeOf draws runs of one size on one number of workers.
func (r *Report) decodeOf(size string, n int, runs []*run) figure {
	types, _ := byKey(runs, func(x *run) kernel.Elem { return x.work.(bench.Shape).KV.K })
	var names []string
	for _, e := range types {
		for _, x := range runs {
			if x.work.(bench.Shape).KV.K == e {
				names = append(names, fmt.Sprintf("%s\n%.3g MB", x.KDType, 1e-6*float64(x.ReadBytes)))
				break
			}
		}
	}
	keys, series := byKey(runs, func(x *run) string {
		return fmt.Sprintf("%03d", slices.IndexFunc(r.records, func(rec record) bool { return rec.name == x.r.name })) + x.ofSystem()
	}) // qkv first
	f := figure{
		name:    fmt.Sprintf("decode-%d", n),
		title:   "Keys and values read in decoding, " + workers(n),
		caption: fmt.Sprintf("One query over a cache (%s), by the type of keys and values. The line above a bar is the rate of reading as many bytes with nothing else to do, measured in turns with the run.", size),
	}
	bars := make([][]bar, len(keys))
	bottom, top := math.Inf(1), 0.0
	for i, k := range keys {
		m := barMark(i)
		x := series[k][0]
		f.legend = append(f.legend, entry{label(x.System, x.ofRecord(r)), m})
		for _, x := range series[k] {
			at := slices.Index(types, x.work.(bench.Shape).KV.K)
			bars[i] = append(bars[i], bar{at, x.GBps, x.ReadGBps})
			top = max(top, x.GBps, x.ReadGBps)
			bottom = min(bottom, x.GBps)
		}
	}
	f.legend = append(f.legend, entry{"reading alone", mark{color: light.ink, line: true}})
	f.plot = func(p *plot.Plot, narrow bool) {
		g := plotter.NewGrid()
		g.Horizontal, g.Vertical = draw.LineStyle{Color: light.faint, Width: 0.5}, draw.LineStyle{}
		p.Add(g)
		p.NominalX(names...)
		p.X.Label.Text, p.Y.Label.Text = "type of keys and values, and what a call reads", "rate, GB/s"
		p.Add(barChart(bars))
		p.X.Min, p.X.Max = -0.5, float64(len(types))-0.5
		rates(&p.Y, bottom, top)
	}
	return f
}

// plain reports whether a shape has neither mask nor changed scores nor lengths of their own.
func plain(s bench.Shape) bool {
	return s.Mask == bench.Mask{} && s.Values == bench.Values{} && s.Lengths == bench.Lengths{}
}

// A barChart draws the bars of each series side by side in their categories, and a line above
// each.
type barChart [][]bar

// Plot draws on the data area.
func (b barChart) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	width := 0.8 / float64(len(b))
	for i, list := range b {
		m := barMark(i)
		for _, one := range list {
			left := float64(one.category) - 0.4 + float64(i)*width
			m.shape.(barGlyph).fill(&c, m.color, vg.Rectangle{
				Min: vg.Point{X: x(left + 0.08*width), Y: y(p.Y.Min)},
				Max: vg.Point{X: x(left + 0.92*width), Y: y(one.rate)},
			})
			c.StrokeLine2(draw.LineStyle{Color: light.ink, Width: 1.6}, x(left), y(one.read), x(left+width), y(one.read))
		}
	}
}

// barMark returns the look of the bars of the i-th series.
func barMark(i int) mark {
	m := seriesMark(i)
	m.line, m.shape = false, barGlyph(i/len(light.series)%3)
	return m
}

// A barGlyph is how a bar is filled: 0 with its colour, 1 not at all, 2 with stripes.
type barGlyph int

// fill draws a bar.
func (g barGlyph) fill(c *draw.Canvas, of color.Color, bar vg.Rectangle) {
	corners := []vg.Point{bar.Min, {X: bar.Min.X, Y: bar.Max.Y}, bar.Max, {X: bar.Max.X, Y: bar.Min.Y}}
	if g == 0 {
		c.FillPolygon(of, corners)
		return
	}
	line := draw.LineStyle{Color: of, Width: 1}
	c.StrokeLines(line, append(corners, bar.Min))
	const gap = 4
	for y := bar.Min.Y + gap; g == 2 && y < bar.Max.Y; y += gap {
		c.StrokeLine2(line, bar.Min.X, y, bar.Max.X, y)
	}
}

// DrawGlyph draws a bar for a legend.
func (g barGlyph) DrawGlyph(c *draw.Canvas, s draw.GlyphStyle, at vg.Point) {
	half := vg.Point{X: s.Radius, Y: s.Radius}
	g.fill(c, s.Color, vg.Rectangle{Min: at.Sub(half), Max: at.Add(half)})
}
