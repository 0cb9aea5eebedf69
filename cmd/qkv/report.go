package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/qkv-go/qkv/bench"
)

// A report writes measurements for a person to read, as they come: the columns are
// wide enough from the start.
type report struct {
	w     io.Writer
	width int   // of the column of shapes
	err   error // the first

	unmasked bool // whether there is a column of shares of unmasked rates

	// decodes is whether some shape decodes. There are then columns of what is read, and a
	// shape has a line of its own above its runs.
	decodes bool
	shape   bench.Shape // of the last such line
}

func newReport(w io.Writer, jobs []bench.Job, unmasked bool) *report {
	r := &report{w: w, width: len("shape"), unmasked: unmasked}
	for _, j := range jobs {
		r.width = max(r.width, len(j.Shape.Short()))
		r.decodes = r.decodes || j.Shape.Decodes()
	}
	return r
}

func (r *report) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(r.w, format, args...); err != nil && r.err == nil {
		r.err = err
	}
}

func (r *report) machine(m *bench.Machine) {
	r.printf("%s\n", machineLine(m))
}

// machineLine describes a machine on one line.
func machineLine(m *bench.Machine) string {
	s := m.CPU
	if m.Cores > 0 {
		s += ", " + plural(m.Cores, "core")
	}
	s += ", " + plural(m.Threads, "thread")
	if m.GOMAXPROCS != m.Threads {
		s += fmt.Sprintf(" (GOMAXPROCS %d)", m.GOMAXPROCS)
	}
	for _, c := range m.Caches {
		s += fmt.Sprintf(", %s %s", c.Level, size(c.Bytes))
	}
	return s + fmt.Sprintf(", %s/%s, %s", m.OS, m.Arch, m.GoVersion)
}

func (r *report) ceilings(c *bench.Ceilings) {
	row := func(name string, one, all any) {
		r.printf("%-22s  %9v", name, one)
		if c.Workers > 1 {
			r.printf("  %11v", all)
		}
		r.printf("\n")
	}
	rate := func(name string, one, all float64) {
		row(name, fmt.Sprintf("%.1f", one), fmt.Sprintf("%.1f", all))
	}
	r.printf("\n")
	row("ceilings of "+c.Kernel, "1 worker", plural(c.Workers, "worker"))
	rate("peak FMA, GFLOP/s", c.PeakGFLOPSOne, c.PeakGFLOPSAll)
	for _, l := range c.Read {
		rate("read "+l.Level+", GB/s", l.GBpsOne, l.GBpsAll)
	}
}

func (r *report) header() {
	limit := ""
	if r.decodes {
		limit = "bound by"
		r.printf("\nworkers  median ms       MB   GB/s  read GB/s  level   of read  GFLOP/s  of peak  %s", limit)
	} else {
		r.printf("\n%-*s  workers  median ms     min ms  GFLOP/s  peak GFLOP/s  of peak", r.width, "shape")
	}
	if r.unmasked {
		r.printf("%s  of unmasked", r.afterLimit(limit))
	}
	r.printf("\n")
}

func (r *report) run(j bench.Job, run *bench.Run) {
	limit := run.Limit
	switch {
	case !r.decodes:
		r.printf("%-*s  %7d  %9s  %9s  %7.1f  %12.1f  %6.1f%%", r.width, j.Shape.Short(), j.Workers,
			significant(1e3*run.SecondsMedian), significant(1e3*run.SecondsMin), run.GFLOPS, run.PeakGFLOPS, 100*run.Efficiency)
	case run.KVBytes == 0:
		limit = bench.LimitFMA
		r.shapeLine(j, "")
		r.printf("%7d  %9s  %7s  %5s  %9s  %-6s  %7s  %7.1f  %6.1f%%  %s", j.Workers, significant(1e3*run.SecondsMedian),
			"-", "-", "-", "-", "-", run.GFLOPS, 100*run.Efficiency, limit)
	default:
		r.shapeLine(j, run.Path)
		r.printf("%7d  %9s  %7s  %5s  %9s  %-6s  %6.1f%%  %7.1f  %6.1f%%  %s", j.Workers, significant(1e3*run.SecondsMedian),
			threeDigits(1e-6*float64(run.KVBytes)), threeDigits(run.GBps), threeDigits(run.ReadGBps), run.ReadLevel, 100*run.OfRead,
			run.GFLOPS, 100*run.Efficiency, limit)
	}
	if run.Unmasked != "" {
		r.printf("%s  %10.1f%%", r.afterLimit(limit), 100*run.OfUnmasked)
	}
	r.printf("\n")
}

// afterLimit returns the blanks that fill the column of limits behind one, if there is such a
// column: it is the last but for that of shares of unmasked rates.
func (r *report) afterLimit(limit string) string {
	if !r.decodes {
		return ""
	}
	return strings.Repeat(" ", len(bench.LimitBandwidth)-len(limit))
}

// shapeLine writes the shape of a job, once for all runs in a row. It tells of a shape of few
// queries that is not decoded.
func (r *report) shapeLine(j bench.Job, path string) {
	if j.Shape == r.shape {
		return
	}
	r.shape = j.Shape
	r.printf("%s", j.Shape.Short())
	if path == "prefill" {
		r.printf(" (path: prefill)")
	}
	r.printf("\n")
}

func (r *report) skip(j bench.Job, s *bench.Skip) {
	if r.decodes {
		r.shapeLine(j, "")
	} else {
		r.printf("%-*s  ", r.width, j.Shape.Short())
	}
	r.printf("%7d  left out: needs about %.1f s, has %.1f s\n", j.Workers, s.Needs, s.Share)
}

// footer says what the numbers rest on.
func (r *report) footer(d *bench.Document) {
	if len(d.Runs) == 0 {
		return
	}
	worst, share := 0.0, 0.0
	for _, run := range d.Runs {
		worst, share = max(worst, run.MaxError), max(share, run.ErrorOfBound)
	}
	r.printf("\npeak: the median of bursts between the timed calls, on as many workers at once\n")
	if r.decodes {
		r.printf("read: likewise, of reading as many bytes as the keys and values that a call has to read (MB)\n")
		r.printf("bound by: what would take longer at its limit, and so is the greater of the two shares\n")
	}
	if r.unmasked {
		r.printf("of unmasked: the share of the rate without mask and changed scores, in turns with it\n")
	}
	r.printf("checked against float64: %d rows of each result, or all; largest error %.2g, %.2g%% of its bound\n",
		bench.CheckRows, worst, 100*share)
}

// significant writes x with four significant digits, without an exponent.
func significant(x float64) string {
	if x <= 0 {
		return "0"
	}
	decimals := max(0, 3-int(math.Floor(math.Log10(x))))
	return strconv.FormatFloat(x, 'f', decimals, 64)
}

// threeDigits writes x with three digits, or those before the point, and at most two behind it.
func threeDigits(x float64) string {
	switch {
	case x >= 99.95:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case x >= 9.995:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return strconv.FormatFloat(x, 'f', 2, 64)
}

// size writes a number of bytes in the largest unit that divides it.
func size(bytes int) string {
	unit := 0
	for bytes%1024 == 0 && bytes != 0 && unit < 3 {
		bytes /= 1024
		unit++
	}
	return fmt.Sprintf("%d %s", bytes, [...]string{"B", "KiB", "MiB", "GiB"}[unit])
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// wrap breaks words into lines of at most width, each indented.
func wrap(words []string, indent string, width int) string {
	var b strings.Builder
	line := indent
	for _, w := range words {
		if len(line) > len(indent) && len(line)+1+len(w) > width {
			b.WriteString(line + "\n")
			line = indent
		}
		if len(line) > len(indent) {
			line += " "
		}
		line += w
	}
	b.WriteString(line + "\n")
	return b.String()
}
