package report

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/internal/markdown"
)

// header are the columns of the table of runs.
var header = []string{"work", "system", "workers", "median ms", "quartiles ms", "GFLOP/s", "GB/s", "of limit", "bound by", "largest error", "path"}

// row returns the columns of a run.
func (x *run) row() []string {
	rate := func(v float64) string {
		if v == 0 {
			return "–"
		}
		return digits(v)
	}
	limit := x.Limit
	if limit == "" {
		limit = bench.LimitFMA
	}
	return []string{
		x.short(), label(x.System, x.Version), strconv.Itoa(x.Workers),
		digits(1e3 * x.SecondsMedian), digits(1e3*x.SecondsQ1) + " to " + digits(1e3*x.SecondsQ3),
		rate(x.GFLOPS), rate(x.GBps), fmt.Sprintf("%.1f%%", 100*x.ofLimit()), limit, fmt.Sprintf("%.1e", x.MaxError), x.Path,
	}
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
	for _, b := range c.Read {
		rows = append(rows, row("reading "+b.Level+", GB/s", b.GBpsOne, b.GBpsAll))
	}
	return rows
}

// WriteMarkdown writes the records as tables of Markdown.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	for i := range r.records {
		rec := &r.records[i]
		if i > 0 {
			b.WriteString("\n")
		}
		name := ""
		if r.several() {
			name = rec.letter + ": "
		}
		fmt.Fprintf(&b, "%s%s  \n%s\n\n%s\n", name, markdown.Escape(rec.machine()), markdown.Escape(rec.build()), markdown.Table(rec.ceilingRows()))
		rows := [][]string{header}
		for j := range rec.runs {
			rows = append(rows, rec.runs[j].row())
		}
		b.WriteString(markdown.Table(rows))
		if note := rec.note(); note != "" {
			b.WriteString("\n" + note + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
