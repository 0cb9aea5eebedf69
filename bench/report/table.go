package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/qkv-go/qkv/internal/markdown"
)

// header are the columns of the table of runs, by whether there are other systems.
func header(systems bool) []string {
	h := []string{"#", "work", "workers", "median ms", "±", "GFLOP/s", "GB/s", "of limit", "bound by", "passes", "error", "path"}
	if systems {
		return slices.Insert(h, 2, "system")
	}
	return h
}

// row returns the columns of a run.
func (x *run) row(systems bool) []string {
	rate := func(v float64) string {
		if v == 0 {
			return "–"
		}
		return digits(v)
	}
	limit := x.Limit
	if limit == "" {
		limit = x.PeakLimit()
	}
	passes := strconv.Itoa(len(x.Passes))
	if x.Calm > 0 && x.Calm < len(x.Passes) {
		passes = fmt.Sprintf("%d of %d", x.Calm, len(x.Passes))
	}
	spread := "–"
	if x.SecondsQ1 > 0 && x.SecondsQ3 > 0 {
		spread = fmt.Sprintf("%.1f%%", 100*(x.SecondsQ3-x.SecondsQ1)/2/x.SecondsMedian)
	}
	cells := []string{
		strconv.Itoa(x.number), x.short(), strconv.Itoa(x.Workers), digits(1e3 * x.SecondsMedian), spread,
		rate(x.GFLOPS), rate(x.GBps), x.fraction(), limit, passes, fmt.Sprintf("%.1e", x.MaxError), x.Path,
	}
	if systems {
		return slices.Insert(cells, 2, label(x.System, x.Version))
	}
	return cells
}

// fraction writes the share of the limit, with a mark if it is not to be trusted.
func (x *run) fraction() string {
	s := fmt.Sprintf("%.1f%%", 100*x.ofLimit())
	if x.Disturbed != nil {
		s += "!"
	}
	return s
}

// systems reports whether a record has runs of other systems.
func (r *record) systems() bool {
	return slices.ContainsFunc(r.runs, func(x run) bool { return x.ofSystem() != "" })
}

// rows returns the table of the runs of a record, its header first.
func (r *record) rows() [][]string {
	rows := [][]string{header(r.systems())}
	for i := range r.runs {
		rows = append(rows, r.runs[i].row(r.systems()))
	}
	return rows
}

// digits writes four digits that count.
func digits(x float64) string {
	if x <= 0 || math.IsInf(x, 0) || math.IsNaN(x) {
		return "0"
	}
	return strconv.FormatFloat(x, 'f', max(0, 3-int(math.Floor(math.Log10(x)))), 64)
}

// ceilingRows returns the table of the limits of a record, its header first.
func (r *record) ceilingRows() [][]string {
	c := &r.Ceilings
	row := func(name string, one, all float64) []string {
		cells := []string{name, digits(one)}
		if c.Workers > 1 {
			cells = append(cells, digits(all))
		}
		return cells
	}
	head := []string{"ceiling", "1 worker"}
	if c.Workers > 1 {
		head = append(head, workers(c.Workers))
	}
	rows := [][]string{head, row("peak multiply-adds, GFLOP/s", c.PeakGFLOPSOne, c.PeakGFLOPSAll)}
	if c.PeakInt8One > 0 {
		rows = append(rows, row("peak of integers of 8 bits, GOP/s", c.PeakInt8One, c.PeakInt8All))
	}
	if c.PeakBFloat16One > 0 {
		rows = append(rows, row("peak of pairs of bfloat16, GFLOP/s", c.PeakBFloat16One, c.PeakBFloat16All))
	}
	for _, b := range c.Read {
		size := bytesText(b.BytesOne)
		if all := bytesText(b.BytesAll * c.Workers); c.Workers > 1 && all != size {
			size = label(size, all)
		}
		level := b.Level
		if size != "" {
			level += " (" + size + ")"
		}
		rows = append(rows, row("reading "+level+", GB/s", b.GBpsOne, b.GBpsAll))
	}
	return rows
}

// sized names a level of memory with the size that was read of it.
func sized(level string, bytes int) string {
	if size := bytesText(bytes); size != "" {
		return level + " (" + size + ")"
	}
	return level
}

// bytesText writes a size, or nothing if there is none.
func bytesText(bytes int) string {
	switch {
	case bytes <= 0:
		return ""
	case bytes >= 1<<20:
		return fmt.Sprintf("%.3g MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%.3g KiB", float64(bytes)/(1<<10))
}

// WriteMarkdown writes the verdict and the records as tables of Markdown.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	for _, v := range r.verdict() {
		b.WriteString(markdown.Escape(v) + "\n\n")
	}
	if r.several() {
		b.WriteString(markdown.Table(r.joined()) + "\n")
	}
	for i := range r.records {
		rec := &r.records[i]
		if i > 0 {
			b.WriteString("\n")
		}
		if r.several() {
			b.WriteString("**" + markdown.Escape(rec.name) + "**  \n")
		}
		for _, f := range rec.facts() {
			if slices.Contains(briefFacts, f[0]) {
				fmt.Fprintf(&b, "%s: %s  \n", f[0], markdown.Escape(f[1]))
			}
		}
		fmt.Fprintf(&b, "\n%s\n%s", markdown.Table(rec.ceilingRows()), markdown.Table(rec.rows()))
		if note := rec.note(); note != "" {
			b.WriteString("\n" + note + "\n")
		}
		for _, d := range rec.disturbed() {
			b.WriteString("\n! " + markdown.Escape(d) + "  \n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
