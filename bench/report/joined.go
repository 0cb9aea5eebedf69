package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/qkv-go/qkv/bench"
)

// threshold is that of a regression, see [bench.Compare].
const threshold = 0.05

// A runKey is what runs of several records have to share to be held against each other.
type runKey struct {
	name, system, conditions string
	workers                  int
}

func (x *run) key() runKey { return runKey{x.Name, x.System, x.conditions(), x.Workers} }

// joined returns the table of all records, its header first: a row for each work on a system and
// a number of workers, the time and the share of the limit in each record, and what the others
// are beside the first.
func (r *Report) joined() [][]string {
	systems := slices.ContainsFunc(r.records, func(rec record) bool { return rec.systems() })
	head := []string{"#", "work"}
	if systems {
		head = append(head, "system")
	}
	head = append(head, "workers")
	var keys []runKey
	runs := make([]map[runKey]*run, len(r.records))
	beside := make([]map[runKey]bench.Row, len(r.records)) // those of the first
	means := make([]string, len(r.records))                // of the times, nothing where no work is common
	for i := range r.records {
		rec := &r.records[i]
		runs[i] = make(map[runKey]*run)
		for j := range rec.runs {
			x := &rec.runs[j]
			runs[i][x.key()] = x
			keys = append(keys, x.key())
		}
		head = append(head, rec.name+", ms", "of limit")
		c := r.compare(i)
		beside[i] = r.byRunKey(i, c)
		if i > 0 {
			head = append(head, "times", "verdict")
			if c.Common() > 0 {
				mean, _ := c.Geomean()
				means[i] = times(mean)
			}
		}
	}
	slices.SortStableFunc(keys, func(a, b runKey) int { return r.at[a.name] - r.at[b.name] })
	rows := [][]string{head}
	seen := make(map[runKey]bool)
	for _, k := range keys {
		if seen[k] {
			continue
		}
		seen[k] = true
		row := []string{strconv.Itoa(r.at[k.name]), label(short(k.name), k.conditions)}
		if systems {
			row = append(row, k.system)
		}
		row = append(row, strconv.Itoa(k.workers))
		for i := range r.records {
			x, compared := runs[i][k], beside[i][k]
			if x == nil {
				row = append(row, "–", "–")
			} else {
				median, _ := bench.Median(compared.Other.Seconds)
				row = append(row, digits(1e3*median), x.fraction())
			}
			switch {
			case i == 0:
			case x == nil || runs[0][k] == nil:
				row = append(row, "–", "–")
			default:
				row = append(row, times(compared.Slowdown), compared.Verdict.String())
			}
		}
		rows = append(rows, row)
	}
	last := make([]string, len(head))
	last[1] = "geometric mean"
	at := slices.Index(head, "workers") + 3
	for i := 1; i < len(r.records); i++ {
		last[at+2] = means[i]
		at += 4
	}
	return append(rows, last)
}

// times writes a ratio.
func times(x float64) string { return fmt.Sprintf("%.3g", x) }

// compare holds a record against the first. Between different machines nothing is a regression.
func (r *Report) compare(i int) *bench.Comparison {
	c := bench.Compare(r.records[0].Document, r.records[i].Document, threshold)
	for j := range c.Rows {
		if v := &c.Rows[j].Verdict; *v == bench.Regression && !c.SameMachine {
			*v = bench.Slower
		}
	}
	return c
}

// byRunKey returns the rows of a comparison of a record with the first, by the keys of its runs. Two
// records each of which has the same conditions for all its runs are compared without them.
func (r *Report) byRunKey(i int, c *bench.Comparison) map[runKey]bench.Row {
	of := &r.records[i]
	rows := make(map[runKey]bench.Row)
	for _, row := range c.Rows {
		k := runKey{row.Name, row.System, row.Conditions, row.Workers}
		if r.mixed && of.uniform && r.records[0].uniform {
			k.conditions = of.conditions
		}
		rows[k] = row
	}
	return rows
}

// verdict says in a few sentences what the records show.
func (r *Report) verdict() []string {
	var list []string
	if r.several() {
		for i := 1; i < len(r.records); i++ {
			list = append(list, r.beside(i))
		}
	} else {
		list = append(list, r.records[0].reaches()...)
		list = append(list, r.records[0].others()...)
	}
	disturbed, all := 0, 0
	for i := range r.records {
		all += len(r.records[i].runs)
		disturbed += len(r.records[i].disturbed())
	}
	if disturbed > 0 {
		list = append(list, fmt.Sprintf("Of %s disturbed: %d, marked with ! and not to be trusted. Measure again when the machine is left alone.", plural(all, "result"), disturbed))
	}
	return list
}

// beside says how a record compares with the first.
func (r *Report) beside(i int) string {
	c := r.compare(i)
	name, base := r.records[i].name, r.records[0].name
	if c.Common() == 0 {
		return fmt.Sprintf("%s has no work of %s.", name, base)
	}
	mean, _ := c.Geomean()
	least, most := math.Inf(1), 0.0
	counts := make(map[bench.Verdict]int)
	for _, row := range c.Rows {
		if row.Verdict != bench.OnlyOne {
			least, most = min(least, row.Slowdown), max(most, row.Slowdown)
			counts[row.Verdict]++
		}
	}
	var what []string
	for _, v := range []bench.Verdict{bench.Regression, bench.Slower, bench.SlowerMachine, bench.Faster, bench.Same, bench.Disturbed, bench.TooFew} {
		if n := counts[v]; n > 0 {
			what = append(what, fmt.Sprintf("%d %s", n, v))
		}
	}
	s := fmt.Sprintf("%s takes %s times as long as %s, in the geometric mean of %d (%s to %s): %s.", name, times(mean), base, c.Common(), times(least), times(most), strings.Join(what, ", "))
	if counts[bench.TooFew] > 0 {
		s += fmt.Sprintf(" A work has to be measured %d times or more to tell a difference from noise.", bench.LeastPasses)
	}
	conditions := [2]string{r.records[0].conditions, r.records[i].conditions}
	switch {
	case !c.SameMachine && conditions[0] != conditions[1]:
		s += fmt.Sprintf(" The conditions are different: %s and %s.", cmp.Or(conditions[0], bench.UsualConditions), cmp.Or(conditions[1], bench.UsualConditions))
	case !c.SameMachine:
		s += " The machines or kernel sets are different."
	}
	return s
}

// reaches says which shares of their limits the works of a record reach, on each number of
// workers.
func (r *record) reaches() []string {
	var list []string
	var own []*run
	for i := range r.runs {
		if x := &r.runs[i]; x.ofSystem() == "" && x.Disturbed == nil {
			own = append(own, x)
		}
	}
	counts, byWorkers := byKey(own, func(x *run) int { return x.Workers })
	for _, n := range counts {
		var parts []string
		for _, g := range []struct {
			limit, of string
		}{{bench.LimitFMA, "of the peak of their arithmetic"}, {bench.LimitBandwidth, "of the rate of reading alone"}} {
			least, most, logs, count := math.Inf(1), 0.0, 0.0, 0
			for _, x := range byWorkers[n] {
				if fraction := x.ofLimit(); fraction > 0 && (x.Limit == bench.LimitBandwidth) == (g.limit == bench.LimitBandwidth) {
					least, most, logs, count = min(least, fraction), max(most, fraction), logs+math.Log(fraction), count+1
				}
			}
			switch percent := func(x float64) string { return fmt.Sprintf("%.0f%%", 100*x) }; {
			case count == 1:
				parts = append(parts, fmt.Sprintf("%s %s", percent(least), g.of))
			case count > 1:
				parts = append(parts, fmt.Sprintf("%s to %s %s (geometric mean of %d: %s)", percent(least), percent(most), g.of, count, percent(math.Exp(logs/float64(count)))))
			}
		}
		if len(parts) > 0 {
			list = append(list, fmt.Sprintf("On %s qkv reaches %s.", workers(n), strings.Join(parts, ", and ")))
		}
	}
	return list
}

// others says how the other systems of a record compare with qkv.
func (r *record) others() []string {
	own := make(map[runKey]*run)
	for i := range r.runs {
		if x := &r.runs[i]; x.ofSystem() == "" {
			own[runKey{x.Name, "", x.conditions(), x.Workers}] = x
		}
	}
	var others []*run
	for i := range r.runs {
		if x := &r.runs[i]; x.ofSystem() != "" && own[runKey{x.Name, "", x.conditions(), x.Workers}] != nil {
			others = append(others, x)
		}
	}
	systems, bySystem := byKey(others, func(x *run) string { return x.System })
	var parts []string
	for _, s := range systems {
		logs := 0.0
		for _, x := range bySystem[s] {
			logs += math.Log(x.SecondsMedian / own[runKey{x.Name, "", x.conditions(), x.Workers}].SecondsMedian)
		}
		parts = append(parts, fmt.Sprintf("%s %s times (%s)", s, times(math.Exp(logs/float64(len(bySystem[s])))), plural(len(bySystem[s]), "work")))
	}
	if parts == nil {
		return nil
	}
	return []string{"Beside qkv others take, in the geometric mean: " + strings.Join(parts, ", ") + "."}
}
