package report

import (
	"fmt"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg/draw"
)

// logScale is a scale by powers of a base.
type logScale struct {
	base float64
	text func(x float64) string
}

// Ticks marks whole powers, with labels at no more than about a dozen. Of powers of ten that are
// few, 2 and 5 times each have labels too; where there are hardly any, round numbers.
func (l logScale) Ticks(least, most float64) []plot.Tick {
	log := math.Log(l.base)
	decades := math.Log(most/least) / log
	first, last := int(math.Ceil(math.Log(least)/log-1e-9)), int(math.Floor(math.Log(most)/log+1e-9))
	if decades < 1 || l.base != 10 && last-first < 2 {
		return linearScale{}.Ticks(least, most)
	}
	every := 1 + (last-first)/13
	var ticks []plot.Tick
	for i := first - 1; i <= last; i++ {
		x := math.Pow(l.base, float64(i))
		if i >= first {
			t := plot.Tick{Value: x}
			if i%every == 0 {
				t.Label = l.text(x)
			}
			ticks = append(ticks, t)
		}
		if l.base != 10 || last-first > 2 {
			continue
		}
		for _, m := range []float64{2, 5} {
			if y := m * x; least <= y && y <= most {
				ticks = append(ticks, plot.Tick{Value: y, Label: l.text(y)})
			}
		}
	}
	return ticks
}

// A lengthScale is a logarithmic scale of the lengths that were measured.
type lengthScale []float64

// Ticks marks the lengths where they are few, and powers of two where they are many. A label
// that would run into the one before it is left out.
func (l lengthScale) Ticks(least, most float64) []plot.Tick {
	const many, apart = 12, 0.06
	if len(l) > many {
		return logScale{2, length}.Ticks(least, most)
	}
	var ticks []plot.Tick
	last := math.Inf(-1)
	for _, x := range l {
		t := plot.Tick{Value: x}
		if at := math.Log(x) / math.Log(most/least); at-last >= apart {
			t.Label, last = length(x), at
		}
		ticks = append(ticks, t)
	}
	return ticks
}

// number writes a number with at most four digits that count.
func number(x float64) string {
	if x >= 1e4 && x < 1e9 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'g', 4, 64)
}

// length writes a length of a sequence: 512, 2k.
func length(x float64) string {
	if x >= 1024 && math.Mod(x, 1024) == 0 {
		return fmt.Sprintf("%gk", x/1024)
	}
	return number(x)
}

// linearScale is a linear scale of half a dozen round numbers.
type linearScale struct{}

// Ticks marks round numbers.
func (linearScale) Ticks(least, most float64) []plot.Tick {
	const about = 6
	if !(most > least) {
		return nil
	}
	unit := math.Pow(10, math.Floor(math.Log10((most-least)/about)))
	step := unit
	for _, m := range []float64{2, 5, 10} {
		if (most-least)/step > about {
			step = m * unit
		}
	}
	var ticks []plot.Tick
	for i := int(math.Ceil(least/step - 1e-9)); float64(i)*step <= most; i++ {
		ticks = append(ticks, plot.Tick{Value: float64(i) * step, Label: number(float64(i) * step)})
	}
	return ticks
}

// farApart is the ratio of rates from which on a linear axis would not show the lower one.
const farApart = 12

// rates gives an axis of rates the range from 0, or a logarithmic scale where they are far apart.
func rates(a *plot.Axis, least, most float64) {
	if drawable(least) && drawable(most) && most/least > farApart {
		logarithmic(a, 10)
		a.Min, a.Max = least/1.5, 1.5*most
		return
	}
	a.Min, a.Max = 0, 1.08*most
}

// logarithmic makes an axis of powers of a base.
func logarithmic(a *plot.Axis, base float64) {
	a.Scale = plot.LogScale{}
	a.Tick.Marker = logScale{base, number}
}

// grid draws faint lines at the ticks.
func grid(p *plot.Plot) {
	g := plotter.NewGrid()
	g.Horizontal = draw.LineStyle{Color: light.faint, Width: 0.5}
	g.Vertical = draw.LineStyle{Color: light.faint, Width: 0.5}
	p.Add(g)
}

// add draws points, and lines between them, in the look of a mark.
func add(p *plot.Plot, points plotter.XYs, m mark) {
	if m.line {
		p.Add(&plotter.Line{XYs: points, LineStyle: m.lineStyle()})
	}
	if m.shape != nil {
		p.Add(&plotter.Scatter{XYs: points, GlyphStyle: m.glyph()})
	}
}
