package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/qkv-go/qkv/bench"
)

// A table writes measurements for a person to read, as they come: the columns are
// wide enough from the start.
type table struct {
	w     io.Writer
	width int   // of the column of shapes
	err   error // the first

	unmasked bool // whether there is a column of shares of unmasked rates
	cold     int  // most copies that took turns

	neighbours []string // where there was one, each once

	// reads is whether reading may bind some work. There are then columns of what is read,
	// and a work has a line of its own above its runs.
	reads  bool
	suffix string     // of all works: the conditions
	work   bench.Work // of the last such line

	disturbed []string // what was, and by what
}

func newTable(w io.Writer, jobs []bench.Job, unmasked bool, conditions string) *table {
	t := &table{w: w, width: len("work"), unmasked: unmasked}
	if conditions != "" {
		t.suffix = ", " + conditions
	}
	for _, j := range jobs {
		t.width = max(t.width, len(j.Work.Short()+t.suffix))
		t.reads = t.reads || j.Work.ReadBytes() > 0
	}
	return t
}

func (t *table) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(t.w, format, args...); err != nil && t.err == nil {
		t.err = err
	}
}

func (t *table) machine(m *bench.Machine, b *bench.Build) {
	t.printf("%s\n", machineLine(m, b))
}

// machineLine describes a machine on one line.
func machineLine(m *bench.Machine, b *bench.Build) string {
	s := m.CPU
	if m.Core != "" {
		s += " (" + m.Core + ")"
	}
	s += ", " + m.Processors()
	if m.GOMAXPROCS != m.Threads {
		s += fmt.Sprintf(" (GOMAXPROCS %d)", m.GOMAXPROCS)
	}
	for _, c := range m.Caches {
		s += fmt.Sprintf(", %s %s", c.Level, size(c.Bytes))
	}
	return s + fmt.Sprintf(", %s/%s, %s", m.OS, m.Arch, b.GoVersion)
}

func (t *table) ceilings(c *bench.Ceilings) {
	row := func(name string, one, all any) {
		t.printf("%-23s  %9v", name, one)
		if c.Workers > 1 {
			t.printf("  %11v", all)
		}
		t.printf("\n")
	}
	rate := func(name string, one, all float64) {
		row(name, fmt.Sprintf("%.1f", one), fmt.Sprintf("%.1f", all))
	}
	t.printf("\n")
	row("ceilings of "+c.Kernel, "1 worker", plural(c.Workers, "worker"))
	rate("peak FMA, GFLOP/s", c.PeakGFLOPSOne, c.PeakGFLOPSAll)
	if c.PeakInt8One > 0 {
		rate("peak int8, GOP/s", c.PeakInt8One, c.PeakInt8All)
	}
	if c.PeakBFloat16One > 0 {
		rate("peak bfloat16, GFLOP/s", c.PeakBFloat16One, c.PeakBFloat16All)
	}
	for _, l := range c.Read {
		rate("read "+l.Level+", GB/s", l.GBpsOne, l.GBpsAll)
	}
	for _, l := range c.Clocks {
		row("clock, "+l.Load+" load, GHz", fmt.Sprintf("%.2f", l.GHzOne), fmt.Sprintf("%.2f", l.GHzAll))
	}
}

// counters says what cannot be counted.
func (t *table) counters(err error) {
	if err != nil {
		t.printf("\n%v\n", err)
	}
}

func (t *table) header() {
	limit := ""
	if t.reads {
		limit = "bound by"
		t.printf("\nworkers  median ms       MB   GB/s  read GB/s  level   of read  GFLOP/s  of peak  %s", limit)
	} else {
		t.printf("\n%-*s  workers  median ms     min ms  GFLOP/s  peak GFLOP/s  of peak", t.width, "work")
	}
	if t.unmasked {
		t.printf("%s  of unmasked", t.afterLimit(limit))
	}
	t.printf("\n")
}

func (t *table) run(j bench.Job, run *bench.Result) {
	limit := run.Limit
	t.cold = max(t.cold, run.Cold)
	if n := run.Neighbour; n != nil {
		if where := n.String(); !slices.Contains(t.neighbours, where) {
			t.neighbours = append(t.neighbours, where)
		}
	}
	switch {
	case !t.reads:
		t.printf("%-*s  %7d  %9s  %9s  %7.1f  %12.1f  %6.1f%%", t.width, j.Work.Short()+t.suffix, j.Workers,
			significant(1e3*run.SecondsMedian), significant(1e3*run.SecondsMin), run.GFLOPS, run.PeakGFLOPS, 100*run.Efficiency)
	case run.ReadBytes == 0:
		limit = run.PeakLimit()
		t.workLine(j, "")
		t.printf("%7d  %9s  %7s  %5s  %9s  %-6s  %7s  %7.1f  %6.1f%%  %s", j.Workers, significant(1e3*run.SecondsMedian),
			"-", "-", "-", "-", "-", run.GFLOPS, 100*run.Efficiency, limit)
	default:
		t.workLine(j, run.Path)
		rate, fraction := "-", "-"
		if run.GFLOPS > 0 {
			rate, fraction = fmt.Sprintf("%.1f", run.GFLOPS), fmt.Sprintf("%.1f%%", 100*run.Efficiency)
		}
		t.printf("%7d  %9s  %7s  %5s  %9s  %-6s  %6.1f%%  %7s  %7s  %s", j.Workers, significant(1e3*run.SecondsMedian),
			threeDigits(1e-6*float64(run.ReadBytes)), threeDigits(run.GBps), threeDigits(run.ReadGBps), run.ReadLevel, 100*run.OfRead,
			rate, fraction, limit)
	}
	if run.Unmasked != "" {
		t.printf("%s  %10.1f%%", t.afterLimit(limit), 100*run.OfUnmasked)
	}
	if run.Disturbed != nil {
		t.printf("!")
		t.disturbed = append(t.disturbed, fmt.Sprintf("%s on %s: %s", j.Work.Short(), plural(j.Workers, "worker"), strings.Join(run.Disturbed, ", ")))
	}
	t.printf("\n")
	if c := run.Counters; c != nil {
		t.printf("%8s%s\n", "", countersLine(c))
	}
}

// countersLine writes what was counted of a call.
func countersLine(c *bench.Counters) string {
	var parts []string
	add := func(name string, x float64, format func(float64) string) {
		if x > 0 {
			parts = append(parts, format(x)+" "+name)
		}
	}
	plain := func(x float64) string { return strconv.FormatFloat(x, 'g', 3, 64) }
	add("cycles", c.Cycles, plain)
	add("instructions", c.Instructions, plain)
	add("a cycle", c.IPC, threeDigits)
	add("of them multiply-adds", c.FMAFraction, func(x float64) string { return fmt.Sprintf("%.0f%%", 100*x) })
	add("L1 misses", c.L1Misses, plain)
	add("LLC misses", c.LLCMisses, plain)
	add("ms on processors", 1e3*c.TaskSeconds, significant)
	add("context switches", c.ContextSwitches, plain)
	add("page faults", c.PageFaults, plain)
	return "a call: " + strings.Join(parts, ", ")
}

// afterLimit returns the blanks that fill the column of limits behind one, if there is such a
// column: it is the last but for that of shares of unmasked rates.
func (t *table) afterLimit(limit string) string {
	if !t.reads {
		return ""
	}
	return strings.Repeat(" ", len(bench.LimitBandwidth)-len(limit))
}

// workLine writes the work of a job, once for all runs in a row. It tells of few queries
// that are not decoded.
func (t *table) workLine(j bench.Job, path string) {
	if j.Work == t.work {
		return
	}
	t.work = j.Work
	t.printf("%s%s", j.Work.Short(), t.suffix)
	if path == "prefill" {
		t.printf(" (path: prefill)")
	}
	t.printf("\n")
}

func (t *table) skip(j bench.Job, s *bench.Skip) {
	if t.reads {
		t.workLine(j, "")
	} else {
		t.printf("%-*s  ", t.width, j.Work.Short()+t.suffix)
	}
	if s.Reason != "" {
		t.printf("%7d  left out: %s\n", j.Workers, s.Reason)
		return
	}
	t.printf("%7d  left out: needs about %.1f s, has %.1f s\n", j.Workers, s.Needs, s.Budget)
}

// footer says what the numbers rest on.
func (t *table) footer(d *bench.Document) {
	if len(d.Runs) == 0 {
		return
	}
	worst, fraction, passes := 0.0, 0.0, 0
	for _, r := range d.Results() {
		passes = max(passes, len(r.Passes))
		for _, run := range r.Passes {
			worst, fraction = max(worst, run.MaxError), max(fraction, run.ErrorOfBound)
		}
	}
	t.printf("\n")
	if passes > 1 {
		t.printf("of %d passes the one whose time is the median, of those that nothing disturbed", passes)
		if !t.reads { // which is with a column of the least
			t.printf("; min of all")
		}
		t.printf("\n")
	}
	t.printf("peak: the best of the bursts between the timed calls, on as many workers at once\n")
	if t.reads {
		t.printf("read: likewise, of reading as many bytes as a call has to read (MB): keys and values, weights, or what is appended\n")
		t.printf("bound by: what would take longer at its limit, and so is the greater of the two shares\n")
	}
	if len(t.neighbours) > 0 {
		t.printf("neighbour: another process works through memory all the while, also beside peak and read: %s\n", strings.Join(t.neighbours, "; "))
	}
	if t.cold > 0 {
		t.printf("cold: keys, values and weights come from memory; up to %d copies of them take turns\n", t.cold)
	}
	if t.unmasked {
		t.printf("of unmasked: the share of the rate without mask and changed scores, in turns with it\n")
	}
	t.printf("checked against float64: %d rows of each result, or all; largest error %.2g, %.2g%% of its bound\n",
		bench.CheckRows, worst, 100*fraction)
	const most = 3 // that are told
	for i, what := range t.disturbed {
		if i == most && len(t.disturbed) > most+1 {
			t.printf("! and %d more\n", len(t.disturbed)-most)
			break
		}
		t.printf("! disturbed, and not to be trusted: %s\n", what)
	}
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
