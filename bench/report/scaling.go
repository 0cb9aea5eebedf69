package report

import (
	"cmp"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg/draw"

	"github.com/qkv-go/qkv/bench"
)

// scaling draws how many times as fast as one worker several are.
func (r *Report) scaling() []figure {
	runs := r.runs(func(x *run) bool { return x.ofSystem() == "" && x.Disturbed == nil })
	keys, byWork := byKey(runs, func(x *run) string { return x.r.name + "\x00" + x.Name })
	type curve struct {
		kind   string
		points plotter.XYs
	}
	var curves []curve
	var kinds []string
	most, top := 1.0, 1.0
	for _, k := range keys {
		list := byWork[k]
		slices.SortFunc(list, func(a, b *run) int { return cmp.Compare(a.Workers, b.Workers) })
		if list[0].Workers != 1 || len(list) < 2 {
			continue
		}
		kind := label(kindOf(list[0]), list[0].ofRecord(r))
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
		c := curve{kind: kind}
		for _, x := range list {
			speed := list[0].SecondsMedian / x.SecondsMedian
			if !drawable(speed) {
				continue
			}
			c.points = append(c.points, plotter.XY{X: float64(x.Workers), Y: speed})
			most, top = max(most, float64(x.Workers)), max(top, speed)
		}
		curves = append(curves, c)
	}
	if len(curves) == 0 {
		return nil
	}
	ideal := mark{color: light.ink, line: true, dashes: dashed}
	f := figure{
		name: "scaling", title: "Scaling with workers",
		caption: "How many times as fast a work is on several workers, a line for each. What is bound by memory can gain no more than reading does. Disturbed runs are left out.",
		legend:  []entry{{"ideal", ideal}},
	}
	for i, k := range kinds {
		f.legend = append(f.legend, entry{k, seriesMark(i)})
	}
	f.plot = func(p *plot.Plot, narrow bool) {
		grid(p)
		p.X.Label.Text, p.Y.Label.Text = "workers", "speed, times that of one worker"
		add(p, plotter.XYs{{X: 1, Y: 1}, {X: most, Y: most}}, ideal)
		for _, c := range curves {
			m := seriesMark(slices.Index(kinds, c.kind))
			line := m.lineStyle()
			line.Width = 0.8
			p.Add(&plotter.Line{XYs: c.points, LineStyle: line})
			p.Add(&plotter.Scatter{XYs: c.points, GlyphStyle: draw.GlyphStyle{Color: m.color, Radius: 2.5, Shape: m.shape}})
		}
		p.X.Min, p.X.Max = 0.9, most+0.1
		p.Y.Min, p.Y.Max = 0.9, 1.05*max(most, top)
		p.X.Tick.Marker, p.Y.Tick.Marker = wholeTicks{}, wholeTicks{}
	}
	return []figure{f}
}

func kindOf(x *run) string {
	switch {
	case x.Kind == bench.KindAppend:
		return "append"
	case x.ReadBytes > 0:
		return "few queries or rows"
	case x.Kind == bench.KindAttention:
		return "prefill"
	}
	return "products"
}

// wholeTicks marks 1, and at most a dozen round whole numbers above it.
type wholeTicks struct{}

// Ticks returns them.
func (wholeTicks) Ticks(_, most float64) []plot.Tick {
	step := 1.0
	for i := 0; most/step > 12; i++ {
		step *= []float64{2, 2.5, 2}[i%3]
	}
	ticks := []plot.Tick{{Value: 1, Label: "1"}}
	for i := 1.0; i*step <= most; i++ {
		if i*step > 1 {
			ticks = append(ticks, plot.Tick{Value: i * step, Label: number(i * step)})
		}
	}
	return ticks
}
