package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/internal/markdown"
)

const compareSynopsis = `qkv compare [flags] BASE.json OTHER.json...

Holds records of qkv bench against the first of them. A difference counts if it exceeds the
noise (p < 0.05 in a Mann-Whitney U-test over the passes of a record, as benchstat judges it).
A record that has measured a work fewer than 6 times cannot tell, and one of which others have
disturbed all but 3 passes tells no difference either: qkv bench -json measures 8 times, its
flag -count says otherwise. Where machine and kernel
set are the same, the share of the limit that was measured in turns with a work is judged: a
regression reaches less of it, beyond the noise and by more than the threshold, and takes more
time. What a neighbour takes away, it takes from the limit too. Between different machines, or
conditions (-cold and -neighbour of qkv bench), the time alone is judged, and nothing is a
regression unless -threshold is given.

Exit code: 0, 1 if there is a regression, 2 for wrong usage. A record that cannot be read is 1,
and so is one that has no work of the first, or none that both have measured often enough.`

const defaultThreshold = 0.05

// errRegression ends a comparison that found one.
type errRegression struct{ count int }

func (e errRegression) Error() string { return plural(e.count, "regression") }

func compareCommand(_ context.Context, args []string, stdout, _ io.Writer) error {
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	threshold, given := defaultThreshold, false
	f.Func("threshold", "a regression is more than `SHARE` slower, such as 5% or 0.05 (default 5%)", func(text string) (err error) {
		given = true
		threshold, err = parseFraction(text)
		return err
	})
	format := f.String("format", "table", "write a `FORMAT`: table, md, or benchfmt, which benchstat reads (such as with -col commit)")
	files, err := parseArgs(f, args, compareSynopsis, stdout)
	if err != nil {
		return err
	}
	if *format != "table" && *format != "md" && *format != "benchfmt" {
		return badUsage("-format is %q, want table, md or benchfmt", *format)
	}
	if given && *format == "benchfmt" {
		return badUsage("-format benchfmt judges nothing, so -threshold has no use")
	}
	if len(files) < 2 && !(*format == "benchfmt" && len(files) == 1) {
		return badUsage("%s given, want a base and at least one other record", plural(len(files), "record"))
	}
	var records []flagFile
	for _, name := range files {
		records = append(records, flagFile{"a record", name})
	}
	if err := checkFiles(records, nil); err != nil {
		return err
	}
	var docs []*bench.Document
	for _, name := range files {
		d, err := readRecord(name)
		if err != nil {
			return err
		}
		docs = append(docs, d)
	}
	if *format == "benchfmt" {
		return bench.WriteBenchfmt(stdout, docs...)
	}
	files = recordNames(files, docs)
	out := &comparison{w: stdout, md: *format == "md"}
	for i, d := range docs {
		out.document(files[i], d)
	}
	regressions, foreign, few := 0, "", ""
	for i, other := range docs[1:] {
		c := bench.Compare(docs[0], other, threshold)
		judged := c.SameMachine || given
		out.table(files[0], files[i+1], c, judged)
		switch {
		case c.Common() == 0:
			foreign = files[i+1]
		case c.Judged() == 0:
			few = files[i+1]
		}
		if judged {
			regressions += len(c.Regressions())
		}
	}
	if out.err != nil {
		return out.err
	}
	if foreign != "" {
		return fmt.Errorf("%s has no work of %s", foreign, files[0])
	}
	if regressions > 0 {
		return errRegression{regressions}
	}
	if few != "" {
		return fmt.Errorf("%s and %s cannot be compared: no work was measured %d times in both", files[0], few, bench.LeastPasses)
	}
	return nil
}

// recordNames returns what records are called: by their labels, or by their files. Directories and
// endings are left out where names are different without.
func recordNames(files []string, docs []*bench.Document) []string {
	short := make([]string, len(files))
	for i, f := range files {
		base := filepath.Base(f)
		short[i] = cmp.Or(docs[i].Label, strings.TrimSuffix(base, ".json"), base)
	}
	names := slices.Clone(short)
	for i, name := range short {
		if slices.Index(short, name) != i || slices.Contains(short[i+1:], name) {
			names[i] = files[i]
		}
	}
	for i := range names { // of a file that is given twice
		if at := slices.Index(names, names[i]); at != i {
			names[i] = fmt.Sprintf("%s (%d)", names[i], i+1)
		}
	}
	return names
}

// parseFraction reads 5% or 0.05.
func parseFraction(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	x, err := strconv.ParseFloat(number, 64)
	if percent {
		x /= 100
	} else if x >= 1 {
		return 0, fmt.Errorf("%q is not a share such as 5%% or 0.05; above 1 it needs a percent sign", text)
	}
	if err != nil || !(x >= 0 && x <= 10) {
		return 0, fmt.Errorf("%q is not a share such as 5%% or 0.05", text)
	}
	return x, nil
}

// comparison writes comparisons for a person to read.
type comparison struct {
	w   io.Writer
	md  bool
	err error // the first
}

func (c *comparison) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(c.w, format, args...); err != nil && c.err == nil {
		c.err = err
	}
}

// document says what a record is of.
func (c *comparison) document(name string, d *bench.Document) {
	line := fmt.Sprintf("%s: %s, kernel set %s, qkv %s, %s", name, machineLine(&d.Machine, &d.Build), d.Ceilings.Kernel,
		d.Build.Short(), d.Time.UTC().Format("2006-01-02 15:04"))
	if conditions, same := d.Conditions(); same && conditions != "" {
		line += ", " + conditions
	}
	if c.md {
		line = markdown.Escape(line) + "  " // ends the line
	}
	c.printf("%s\n", line)
}

// table writes a comparison of two records.
func (c *comparison) table(base, other string, x *bench.Comparison, judged bool) {
	c.printf("\n")
	if differ := x.Differences(); len(differ) > 0 {
		line := fmt.Sprintf("%s and %s differ: %s", base, other, strings.Join(differ, "; "))
		if c.md {
			line = markdown.Escape(line)
		}
		c.printf("%s\n\n", line)
	}
	head := []string{"work", "workers", base, other, "time", "p"}
	if x.SameMachine {
		head = append(head, "of limit", "", "p")
	}
	head = append(head, "verdict")
	systems := false
	for _, r := range x.Rows {
		systems = systems || r.System != bench.SystemName
	}
	if systems {
		head = append([]string{"system"}, head...)
	}
	defer c.warnings(base, other, x)
	rows := [][]string{head}
	for _, r := range x.Rows {
		var row []string
		if systems {
			row = append(row, r.System)
		}
		row = append(row, work(r), strconv.Itoa(r.Workers), seconds(r.Base), seconds(r.Other))
		if r.Verdict == bench.OnlyOne {
			row = append(row, make([]string, len(head)-len(row)-1)...)
			rows = append(rows, append(row, r.Verdict.String()))
			continue
		}
		row = append(row, change(r.Slowdown), fmt.Sprintf("%.3f", r.P))
		if x.SameMachine {
			a, _ := bench.Median(r.Base.OfLimit)
			b, _ := bench.Median(r.Other.OfLimit)
			row = append(row, fmt.Sprintf("%.1f%%", 100*a), fmt.Sprintf("%.1f%%", 100*b), fmt.Sprintf("%.3f", r.LimitP))
		}
		verdict := r.Verdict
		if verdict == bench.Regression && !judged {
			verdict = bench.Slower
		}
		rows = append(rows, append(row, verdict.String()))
	}
	if x.Common() == 0 {
		c.rows(rows)
		return
	}
	mean, limits := x.Geomean()
	last := make([]string, len(head))
	at := 0
	if systems {
		at = 1
	}
	last[at], last[at+4] = "geometric mean", change(mean)
	if x.SameMachine {
		last[at+7] = change(1 / limits)
	}
	c.rows(append(rows, last))
}

// warnings say what a comparison cannot tell.
func (c *comparison) warnings(base, other string, x *bench.Comparison) {
	var few, disturbed, marked int
	least := [2]int{math.MaxInt, math.MaxInt}
	for _, r := range x.Rows {
		switch r.Verdict {
		case bench.TooFew:
			few++
			least[0], least[1] = min(least[0], r.Base.Passes), min(least[1], r.Other.Passes)
		case bench.Disturbed:
			disturbed++
		}
		for _, f := range []bench.Figures{r.Base, r.Other} {
			if f.Has() && f.Calm == 0 {
				marked++
			}
		}
	}
	paragraph := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		if c.md {
			text = markdown.Escape(text)
		}
		c.printf("\n%s\n", text)
	}
	if few > 0 {
		paragraph("Of %s %d cannot tell a difference from noise: measured %s in %s and %s in %s, where %d times are needed. Measure with -count %d or more, as qkv bench -json does by itself.",
			plural(x.Common(), "work"), few, times(least[0]), base, times(least[1]), other, bench.LeastPasses, bench.LeastPasses)
	}
	if marked > 0 {
		paragraph("! was disturbed whenever it was measured, and is not to be trusted.")
	}
	if disturbed > 0 {
		paragraph("Of %s %d cannot tell since something disturbed them. Measure again when the machine is left alone.", plural(x.Common(), "work"), disturbed)
	}
}

// times says how often.
func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// rows writes aligned columns, or a table of Markdown.
func (c *comparison) rows(rows [][]string) {
	if c.md {
		c.printf("%s", markdown.Table(rows))
		return
	}
	t := tabwriter.NewWriter(c.w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(t, strings.TrimRight(strings.Join(r, "\t"), "\t"))
	}
	if err := t.Flush(); err != nil && c.err == nil {
		c.err = err
	}
}

// work names the work of a row, and the conditions of it where a record has several.
func work(r bench.Row) string {
	if r.Conditions != "" {
		return short(r.Name) + ", " + r.Conditions
	}
	return short(r.Name)
}

// short names a work without its defaults.
func short(name string) string {
	w, err := bench.ParseWork(name)
	if err != nil { // that of a later version
		return name
	}
	return w.Short()
}

// seconds writes the median of the times and their spread, with a mark if all were disturbed.
func seconds(f bench.Figures) string {
	if !f.Has() {
		return "-"
	}
	m, spread := bench.Median(f.Seconds)
	mark := ""
	if f.Calm == 0 {
		mark = "!"
	}
	return fmt.Sprintf("%s ms ±%.0f%%%s", significant(1e3*m), 100*spread, mark)
}

// change writes a ratio as a difference.
func change(ratio float64) string { return fmt.Sprintf("%+.1f%%", 100*(ratio-1)) }
