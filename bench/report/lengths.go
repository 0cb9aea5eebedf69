package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"

	"github.com/qkv-go/qkv/bench"
)

// A line is the runs of one kind of a record over sequence lengths.
type line struct {
	name   string
	record string // empty if there is one only
	mark   mark
	points plotter.XYs
	peaks  plotter.XYs
}

// lengths draws the rate of prefill over the length of the sequence, a figure for each number
// of workers.
func (r *Report) lengths() []figure {
	runs := r.runs(func(x *run) bool {
		s, ok := x.work.(bench.Shape)
		return ok && x.Disturbed == nil && s.SeqQ == s.SeqKV && s.Options() == "" && s.ReadBytes() == 0
	})
	var figures []figure
	counts, byWorkers := byKey(runs, func(x *run) int { return x.Workers })
	for _, n := range counts {
		list := byWorkers[n]
		if !slices.ContainsFunc(list, func(x *run) bool { return x.ofSystem() != "" }) {
			lines := r.linesOf(list, func(x *run) string { return label(x.dimAndMask(), x.ofRecord(r)) })
			figures = append(figures, lengthFigure("", n, lines)...)
			continue
		}
		// With other systems, each dim and mask has a figure.
		kinds, byKind := byKey(list, (*run).dimAndMask)
		for _, k := range kinds {
			lines := r.linesOf(byKind[k], func(x *run) string { return label(x.System, x.ofRecord(r)) })
			figures = append(figures, lengthFigure(k, n, lines)...)
		}
	}
	return figures
}

// dimAndMask names the head dim and the mask of a run.
func (x *run) dimAndMask() string {
	mask := bench.MaskName(x.work.(bench.Shape).Mask)
	if mask == "none" {
		mask = "full"
	}
	return fmt.Sprintf("d=%d %s", x.work.(bench.Shape).DimQK, mask)
}

// linesOf returns a line for each name, those of qkv first, that has more than one length. Of
// several head counts the rates are about the same: the middle one stands for all.
func (r *Report) linesOf(runs []*run, nameOf func(*run) string) []line {
	names, byName := byKey(runs, nameOf)
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Compare(len(byName[a][0].ofSystem()), 0) - cmp.Compare(len(byName[b][0].ofSystem()), 0)
	})
	var lines []line
	for _, name := range names {
		l := line{name: name, record: byName[name][0].ofRecord(r), mark: seriesMark(len(lines))}
		lens, same := byKey(byName[name], func(x *run) int { return x.work.(bench.Shape).SeqQ })
		if len(lens) < 2 {
			continue
		}
		for _, n := range lens {
			list := same[n]
			slices.SortFunc(list, func(a, b *run) int { return cmp.Compare(a.GFLOPS, b.GFLOPS) })
			mid := list[len(list)/2]
			l.points = append(l.points, plotter.XY{X: float64(n), Y: mid.GFLOPS})
			l.peaks = append(l.peaks, plotter.XY{X: float64(n), Y: mid.PeakGFLOPS})
		}
		lines = append(lines, l)
	}
	return lines
}

// lengthFigure returns the figure of lines, or none if there is none.
func lengthFigure(kind string, n int, lines []line) []figure {
	if len(lines) == 0 {
		return nil
	}
	f := figure{
		name:    strings.Join(strings.Fields(fmt.Sprintf("lengths %s %d", kind, n)), "-"),
		title:   label("Rate over sequence length", kind, workers(n)),
		caption: "Only pairs that the mask keeps count. The ceiling is the rate of multiply-adds alone, the best of bursts in turns with each run. Disturbed runs are left out.",
	}
	var records []string
	roofs := make(map[string]plotter.XYs)
	for _, l := range lines {
		if !slices.Contains(records, l.record) {
			records = append(records, l.record)
		}
	}
	slices.Sort(records)
	ceilings := make([]mark, len(records))
	for i, record := range records {
		roofs[record] = roofOf(lines, record)
		ceilings[i] = mark{color: light.ink, line: true, dashes: dashes[i%len(dashes)]}
		f.legend = append(f.legend, entry{label("ceiling", record), ceilings[i]})
	}
	bottom, top := math.Inf(1), 0.0
	var lens []float64
	for _, l := range lines {
		f.legend = append(f.legend, entry{l.name, l.mark})
		for i, p := range l.points {
			lens, top = append(lens, p.X), max(top, p.Y, l.peaks[i].Y)
			bottom = min(bottom, p.Y, l.peaks[i].Y)
		}
	}
	slices.Sort(lens)
	lens = slices.Compact(lens)
	f.plot = func(p *plot.Plot, narrow bool) {
		grid(p)
		p.X.Label.Text, p.Y.Label.Text = "sequence length, tokens", "rate, GFLOP/s"
		logarithmic(&p.X, 2)
		p.X.Tick.Marker = lengthScale(lens)
		for i, record := range records {
			add(p, roofs[record], ceilings[i])
		}
		for _, l := range lines {
			add(p, l.points, l.mark)
		}
		p.X.Min, p.X.Max = lens[0]/1.1, lens[len(lens)-1]*1.1
		rates(&p.Y, bottom, top)
	}
	return []figure{f}
}

// roofOf returns the best peak beside the lines of a record at each length.
func roofOf(lines []line, record string) plotter.XYs {
	peaks := make(map[float64]float64)
	for _, l := range lines {
		if l.record == record {
			for _, p := range l.peaks {
				peaks[p.X] = max(peaks[p.X], p.Y)
			}
		}
	}
	var roof plotter.XYs
	for _, x := range slices.Sorted(maps.Keys(peaks)) {
		roof = append(roof, plotter.XY{X: x, Y: peaks[x]})
	}
	return roof
}
