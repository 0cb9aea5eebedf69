package report

import (
	"fmt"
	"math"
	"slices"
	"sort"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/qkv-go/qkv/bench"
)

// A row of dots is a work, with the times of several over that of one.
type dotRow struct {
	name string
	dots map[string]float64
}

// peers draws the times of other systems over those of qkv, a figure for each number of
// workers of a record.
func (r *Report) peers() []figure {
	var figures []figure
	for i := range r.records {
		rec := &r.records[i]
		all := r.runs(func(x *run) bool { return x.r == rec })
		counts, byWorkers := byKey(all, func(x *run) int { return x.Workers })
		for _, n := range counts {
			rows, names := dotRows(byWorkers[n], func(x *run) string { return x.System }, func(x *run) float64 { return x.SecondsMedian }, bench.SystemName)
			if len(rows) == 0 {
				continue
			}
			f := dotFigure(rows, names, bench.SystemName)
			f.name, f.title = fmt.Sprintf("peers-%d", n), "Other systems beside qkv, "+workers(n)
			f.caption = "The time of a call over qkv's, each on the fastest of its paths: right of the line it is slower."
			f.x("time, times that of qkv")
			if r.several() {
				f.name += "-" + slug(rec.name)
				f.title += ", " + rec.name
			}
			figures = append(figures, f.figure)
		}
	}
	return figures
}

// machines draws the times of records over those of the first.
func (r *Report) machines() []figure {
	if !r.several() {
		return nil
	}
	var figures []figure
	base, seconds := r.records[0].name, r.compared()
	all := r.runs(func(x *run) bool { return x.ofSystem() == "" })
	counts, byWorkers := byKey(all, func(x *run) int { return x.Workers })
	for _, n := range counts {
		rows, names := dotRows(byWorkers[n], func(x *run) string { return x.r.name }, seconds, base)
		if len(rows) == 0 {
			continue
		}
		f := dotFigure(rows, names, base)
		f.name, f.title = fmt.Sprintf("records-%d", n), "Records beside the first, "+workers(n)
		f.caption = fmt.Sprintf("The time of a call over that of %s: right of the line it is slower.", base)
		f.x("time, times that of " + elide(textStyle(textSize), base, 180))
		figures = append(figures, f.figure)
	}
	return figures
}

// compared returns the times that records are compared by: medians of the passes.
func (r *Report) compared() func(*run) float64 {
	beside := make(map[*record]map[runKey]bench.Row)
	for i := range r.records {
		beside[&r.records[i]] = r.byRunKey(i, r.compare(i))
	}
	return func(x *run) float64 {
		median, _ := bench.Median(beside[x.r][x.key()].Other.Seconds)
		return median
	}
}

// dotRows returns the works that the base and another have, and the names of the others.
func dotRows(runs []*run, nameOf func(*run) string, seconds func(*run) float64, base string) (rows []dotRow, names []string) {
	var works []string
	times := make(map[string]map[string]float64)
	for _, x := range runs {
		w := x.short()
		if times[w] == nil {
			works = append(works, w)
			times[w] = make(map[string]float64)
		}
		times[w][nameOf(x)] = seconds(x)
	}
	for _, w := range works {
		own, ok := times[w][base]
		if !ok {
			continue
		}
		row := dotRow{name: w, dots: make(map[string]float64)}
		for name, t := range times[w] {
			if name == base || !drawable(t/own) {
				continue
			}
			row.dots[name] = t / own
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		if len(row.dots) > 0 {
			rows = append(rows, row)
		}
	}
	slices.Sort(names)
	return rows, names
}

// dotPlot is a figure whose axis of times is named later.
type dotPlot struct {
	figure
	x func(label string)
}

func dotFigure(rows []dotRow, names []string, base string) *dotPlot {
	// Names that would leave too little beside them stand above their rows.
	const beside, above = 230, narrowWidth - 40
	var longest, broken vg.Length
	for _, r := range rows {
		longest = max(longest, textStyle(smallSize).Width(r.name))
		if textStyle(rowName).Width(r.name) > above {
			broken = rowNameLine
		}
	}
	long := longest > beside
	f := &dotPlot{figure: figure{height: func(narrow bool) vg.Length {
		switch {
		case narrow:
			return 50 + (34+broken)*vg.Length(len(rows))
		case long:
			return 50 + 34*vg.Length(len(rows))
		}
		return 50 + 22*vg.Length(len(rows))
	}}}
	axis := ""
	f.x = func(label string) { axis = label }
	unit := mark{color: light.ink, line: true}
	f.legend = []entry{{base, unit}}
	least, most := 0.9, 1.1
	marks := make(map[string]mark)
	for i, name := range names {
		m := seriesMark(i + 1) // the base is the first
		m.line = false
		marks[name] = m
		f.legend = append(f.legend, entry{name, m})
	}
	labels := make([]string, len(rows))
	for i, r := range rows {
		labels[len(rows)-1-i] = r.name
		for _, t := range r.dots {
			least, most = min(least, t), max(most, t)
		}
	}
	f.plot = func(p *plot.Plot, narrow bool) {
		grid(p)
		p.X.Label.Text = axis
		logarithmic(&p.X, 2)
		if narrow || long {
			p.NominalY(make([]string, len(rows))...)
		} else {
			p.NominalY(labels...)
		}
		add(p, plotter.XYs{{X: 1, Y: -0.5}, {X: 1, Y: float64(len(rows)) - 0.5}}, unit)
		if narrow || long {
			p.Add(rowNames(labels))
		}
		for _, name := range names {
			var points plotter.XYs
			for i, r := range rows {
				if t, ok := r.dots[name]; ok {
					points = append(points, plotter.XY{X: t, Y: float64(len(rows) - 1 - i)})
				}
			}
			add(p, points, marks[name])
		}
		p.X.Min, p.X.Max = math.Min(least/1.1, 0.9), most*1.1
		p.Y.Min, p.Y.Max = -0.5, float64(len(rows))-0.5
	}
	return f
}

// rowNames are written above their rows, from the left edge of the data area on, in up to two
// lines. They take no part in how large that is, as plotter.Labels do.
type rowNames []string

const (
	rowName     = smallSize - 1.5
	rowNameLine = rowName + 2
)

// Plot draws on the data area.
func (names rowNames) Plot(c draw.Canvas, p *plot.Plot) {
	const inset, above = 4, 6
	_, y := p.Transforms(&c)
	style := textStyle(rowName)
	style.YAlign = draw.YBottom
	for i, name := range names {
		lines := wrap(style, name, c.Max.X-c.Min.X-inset)
		for j, line := range lines {
			at := vg.Point{X: c.Min.X + inset, Y: y(float64(i)) + above + rowNameLine*vg.Length(len(lines)-1-j)}
			right, top, bottom := at.X+style.Width(line), at.Y+rowNameLine, at.Y-2
			c.FillPolygon(light.back, []vg.Point{{X: at.X, Y: bottom}, {X: at.X, Y: top}, {X: right, Y: top}, {X: right, Y: bottom}}) // over lines
			c.FillText(style, at, line)
		}
	}
}

// wrap returns the name of a work in one line or two, broken behind a comma, as much of it as
// has room.
func wrap(s text.Style, name string, width vg.Length) []string {
	if s.Width(name) <= width {
		return []string{name}
	}
	cut := 0
	for i, c := range name {
		if c == ',' && s.Width(name[:i+1]) <= width {
			cut = i + 1
		}
	}
	if cut == 0 {
		return []string{elide(s, name, width)}
	}
	return []string{name[:cut], elide(s, name[cut:], width)}
}

// elide returns the text, or as much of it as has room.
func elide(s text.Style, name string, width vg.Length) string {
	if s.Width(name) <= width {
		return name
	}
	runes := []rune(name)
	n := sort.Search(len(runes), func(n int) bool { return s.Width(string(runes[:n])+"…") > width })
	return string(runes[:max(0, n-1)]) + "…"
}
