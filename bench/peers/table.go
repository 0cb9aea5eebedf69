package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/internal/markdown"
)

// A contest is the runs of a work on a number of threads.
type contest struct {
	work    bench.Work
	workers int
	runs    []bench.Run
	left    []bench.Skip // left out, or failed
	failed  int
}

func (g *contest) skip(doc *bench.Document, s bench.System, reason string) {
	skip := bench.Skip{Name: g.work.String(), System: s.Name(), Workers: g.workers, Reason: reason}
	doc.Skipped = append(doc.Skipped, skip)
	g.left = append(g.left, skip)
}

func (g *contest) fail(doc *bench.Document, s bench.System, err error) {
	g.skip(doc, s, "FAILED: "+err.Error())
	g.failed++
}

// A table writes results for a person to read, as they come.
type table struct {
	w        io.Writer
	md       bool
	err      error    // the first
	contests int      // with qkv and another system
	lost     []string // contests in which qkv is not first
	failed   int

	disturbed int // runs

	conditions string // "" for the usual ones
	layouts    bool   // whether a work has another than BHSD
	weights    bool   // whether a product has weights in place
}

func (t *table) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(t.w, format, args...); err != nil && t.err == nil {
		t.err = err
	}
}

func (t *table) system(s bench.System) {
	t.printf("%-12s %s\n", s.Name(), s.Version())
}

func (t *table) missing(c candidate, err error) {
	reason, _, _ := strings.Cut(err.Error(), "\n")
	t.printf("%-12s missing: %s (%s)\n", c.name, reason, c.from)
}

// contest writes the runs of a contest, the fastest first. What others have disturbed is marked.
func (t *table) contest(g *contest, doc *bench.Document) {
	slices.SortStableFunc(g.runs, func(a, b bench.Run) int { return cmp.Compare(a.SecondsMedian, b.SecondsMedian) })
	var own *bench.Run
	for i := range g.runs {
		if g.runs[i].System == bench.SystemName {
			own = &g.runs[i]
		}
	}
	title := fmt.Sprintf("%s, %s", g.work.Short(), threads(g.workers))
	if t.conditions != "" {
		title += ", " + t.conditions
	}
	if s, ok := g.work.(bench.Shape); ok && s.Layout != (bench.Layout{}) {
		t.layouts = true
	}
	if p, ok := g.work.(bench.Product); ok && p.InPlace {
		t.weights = true
	}
	t.failed += g.failed
	if other := slices.IndexFunc(g.runs, func(r bench.Run) bool { return r.System != bench.SystemName && r.System != bench.PackedName }); own != nil && other >= 0 {
		t.contests++
		if first := &g.runs[other]; first.SecondsMedian < own.SecondsMedian {
			t.lost = append(t.lost, fmt.Sprintf("%s: %s takes %.2f of the time", title, first.System, first.SecondsMedian/own.SecondsMedian))
		}
	}
	reads := g.work.ReadBytes() > 0
	head := []string{"system", "median ms", "time", "GFLOP/s", "of peak", "error", "path"}
	if reads {
		head = []string{"system", "median ms", "time", "GB/s", "of read", "error", "path"}
	}
	rows := [][]string{head}
	for _, r := range g.runs {
		rate, fraction := r.GFLOPS, r.Efficiency
		if reads {
			rate, fraction = r.GBps, r.OfRead
		}
		mark := ""
		if doc.Disturbed(&r) != nil {
			mark, t.disturbed = "!", t.disturbed+1
		}
		relative := "-"
		if own != nil {
			relative = fmt.Sprintf("%.2f", r.SecondsMedian/own.SecondsMedian)
		}
		rows = append(rows, []string{
			r.System, strconv.FormatFloat(1e3*r.SecondsMedian, 'g', 4, 64), relative,
			fmt.Sprintf("%.1f", rate), fmt.Sprintf("%.1f%%%s", 100*fraction, mark), fmt.Sprintf("%.1e", r.MaxError), r.Path,
		})
	}
	if t.md {
		t.printf("\n%s:\n\n%s", markdown.Escape(title), markdown.Table(rows))
	} else {
		t.printf("\n%s\n", title)
		for _, r := range rows {
			t.printf("  %-12s %10s %7s %8s %8s %8s  %s\n", r[0], r[1], r[2], r[3], r[4], r[5], r[6])
		}
	}
	for _, s := range g.left {
		if t.md {
			t.printf("\n%s: %s\n", s.System, markdown.Escape(s.Reason))
		} else {
			t.printf("  %-12s %s\n", s.System, s.Reason)
		}
	}
}

func threads(n int) string {
	if n == 1 {
		return "1 thread"
	}
	return strconv.Itoa(n) + " threads"
}

// summary says where qkv is not first.
func (t *table) summary() {
	t.printf("\ntime: that of a call over qkv's; of peak, of read: the share of what multiply-adds, or reading, reach alone in turns with it\n")
	if t.layouts {
		t.printf("layout: that of qkv's operands; each of the others has the one that it likes best, and bringing operands into it is not counted\n")
	}
	if t.weights {
		t.printf("%s: a copy of the weights, packed before the clock runs; of read counts the bytes of the weights in place\n", bench.PackedName)
	}
	if t.disturbed > 0 {
		t.printf("!: %d are disturbed by what else ran, and not to be trusted; qkv report says by what\n", t.disturbed)
	}
	if len(t.lost) == 0 {
		t.printf("qkv is first in all %d\n", t.contests)
		return
	}
	t.printf("qkv is first in %d of %d, but not in\n", t.contests-len(t.lost), t.contests)
	for _, l := range t.lost {
		t.printf("  %s\n", l)
	}
}
