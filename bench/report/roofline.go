package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/qkv-go/qkv/bench"
)

// roofs are the limits of a record on a number of workers.
type roofs struct {
	workers int
	peak    float64   // GFLOP/s
	levels  []string  // with the size that was read
	read    []float64 // GB/s of each
}

func (r *record) roofs() []roofs {
	c := &r.Ceilings
	one := roofs{workers: 1, peak: c.PeakGFLOPSOne}
	all := roofs{workers: c.Workers, peak: c.PeakGFLOPSAll}
	for _, b := range c.Read {
		if !drawable(b.GBpsOne) || !drawable(b.GBpsAll) {
			continue
		}
		one.levels, one.read = append(one.levels, sized(b.Level, b.BytesOne)), append(one.read, b.GBpsOne)
		all.levels, all.read = append(all.levels, sized(b.Level, b.BytesAll*c.Workers)), append(all.read, b.GBpsAll)
	}
	if c.Workers <= 1 {
		return []roofs{one}
	}
	return []roofs{one, all}
}

// drawable reports whether a rate has a place on a logarithmic axis.
func drawable(rate float64) bool { return rate > 1e-6 && rate < 1e12 }

// intensity returns the operations of a run for each byte that it has to move.
func (x *run) intensity() float64 {
	if x.work == nil {
		return 0
	}
	moved := x.work.MovedBytes()
	if moved <= 0 {
		return 0
	}
	return x.FLOPs / float64(moved)
}

// roofline draws the limits of each record and every run of it (Williams et al., 2009).
func (r *Report) roofline() []figure {
	var figures []figure
	for i := range r.records {
		rec := &r.records[i]
		for _, roof := range rec.roofs() {
			f := rec.rooflineOf(roof)
			if f == nil {
				continue
			}
			if r.several() {
				f.name += "-" + slug(rec.name)
				f.title += ", " + rec.name
			}
			figures = append(figures, *f)
		}
	}
	return figures
}

func (r *record) rooflineOf(roof roofs) *figure {
	if !drawable(roof.peak) {
		return nil
	}
	series := []struct {
		name string
		keep func(*run) bool
	}{
		{"attention, many queries", func(x *run) bool { return x.Kind == bench.KindAttention && x.ReadBytes == 0 }},
		{"attention, few queries", func(x *run) bool { return x.Kind == bench.KindAttention && x.ReadBytes > 0 }},
		{"matrix products", func(x *run) bool { return x.Kind != bench.KindAttention }},
	}
	f := &figure{
		name:  fmt.Sprintf("roofline-%d", roof.workers),
		title: "Roofline, " + workers(roof.workers),
		caption: "Each point is a run: its rate against the operations it does for each byte that it has to move at least. " +
			"Numbers are those of works in the tables. Above are the limits of the machine, the best of all bursts: the peak of multiply-adds, and the rate at which each level of memory is read.",
	}
	points := make([]plotter.XYs, 0, len(series))
	var xs, ys []float64
	var named namedPoints
	for i, g := range series {
		for _, own := range []bool{true, false} {
			var list plotter.XYs
			for j := range r.runs {
				x := &r.runs[j]
				in := x.intensity()
				if x.Workers != roof.workers || !g.keep(x) || (x.System == bench.SystemName) != own || in <= 1e-9 || !drawable(x.GFLOPS) {
					continue
				}
				list = append(list, plotter.XY{X: in, Y: x.GFLOPS})
				named = append(named, namedPoint{
					XY: plotter.XY{X: in, Y: x.GFLOPS}, name: strconv.Itoa(x.number), disturbed: x.Disturbed != nil,
					title: label(fmt.Sprintf("%d: %s", x.number, x.short()), x.ofSystem(), number(x.GFLOPS)+" GFLOP/s", fmt.Sprintf("%.1f%% of limit", 100*x.ofLimit())),
				})
				xs, ys = append(xs, in), append(ys, x.GFLOPS)
			}
			if len(list) == 0 {
				continue
			}
			m, name := mark{color: light.series[i], shape: full[i]}, g.name
			if !own {
				m.shape, name = hollow[i], name+", other systems"
			}
			points = append(points, list)
			f.legend = append(f.legend, entry{name, m})
		}
	}
	if len(xs) == 0 {
		return nil
	}
	marks := slices.Clone(f.legend)
	// The axes fit the points, and the ridge of the slowest level.
	ridges := []float64{}
	if len(roof.read) > 0 {
		ridges = append(ridges, min(roof.peak/slices.Min(roof.read), 1e3*slices.Max(xs)))
	}
	least, most := slices.Min(append(ridges, xs...))/1.7, slices.Max(append(ridges, xs...))*1.7
	bottom, top := slices.Min(ys)/2, max(roof.peak, slices.Max(ys))*1.5
	if slices.ContainsFunc(named, func(p namedPoint) bool { return p.disturbed }) {
		f.legend = append(f.legend, entry{"disturbed", mark{color: light.ink, shape: roundGlyph{}}})
	}
	f.points = named
	first := len(f.legend)
	var lines []float64 // rates of the levels that are drawn
	for i := range roof.read {
		if roof.peak/roof.read[i] <= least {
			continue // it ends left of the picture
		}
		lines = append(lines, roof.read[i])
		style := mark{color: light.ink, line: true}
		if !strings.HasPrefix(roof.levels[i], "memory") {
			style = mark{color: light.series[len(light.series)-1], line: true, dashes: [][]vg.Length{nil, dashed, dotted}[min(i, 2)]}
		}
		f.legend = append(f.legend, entry{fmt.Sprintf("%s, %s GB/s", roof.levels[i], number(math.Round(roof.read[i]))), style})
	}
	f.legend = append(f.legend, entry{fmt.Sprintf("peak, %s GFLOP/s", number(math.Round(roof.peak))), mark{color: light.ink, line: true}})
	roofMarks := f.legend[first:]
	f.plot = func(p *plot.Plot, narrow bool) {
		grid(p)
		p.X.Label.Text, p.Y.Label.Text = "operations per byte, FLOP/B", "rate, GFLOP/s"
		logarithmic(&p.X, 10)
		logarithmic(&p.Y, 10)
		for i, rate := range lines {
			ridge := roof.peak / rate
			line := plotter.XYs{{X: least, Y: least * rate}, {X: min(ridge, most), Y: min(ridge, most) * rate}}
			add(p, line, roofMarks[i].mark)
		}
		add(p, plotter.XYs{{X: max(least, roof.peak/slices.Max(append(slices.Clone(lines), roof.peak/most))), Y: roof.peak}, {X: most, Y: roof.peak}}, roofMarks[len(roofMarks)-1].mark)
		for i, list := range points {
			add(p, list, marks[i].mark)
		}
		p.Add(named)
		p.X.Min, p.X.Max = least, most
		p.Y.Min, p.Y.Max = bottom, top
	}
	return f
}
