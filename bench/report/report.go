// Package report draws records of measurements: as a page, as pictures, as tables.
package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/qkv-go/qkv/bench"
)

// A Report is of one record or of several, the first of which the others are held against.
type Report struct {
	records []record
	works   []string // the names of all, each once; its place is the number of a work
	at      map[string]int
	mixed   bool // whether the runs of some record differ in their conditions
}

// A record is a document with what it is called.
type record struct {
	*bench.Document
	name   string
	runs   []run
	passes int // of the work that was measured most often

	conditions string // of all its runs, "" if they differ
	uniform    bool   // whether they do not
}

// A run is the result of one work on one system and number of workers in a record.
type run struct {
	bench.Result
	work   bench.Work // nil if this version does not know it
	number int        // of the work, from 1 on
	r      *record
	mixed  bool // see [Report]
}

// maxRecords are what can be told apart.
const maxRecords = 26

// New returns a report of documents, which are called by their labels. It is an error if there is
// no document, no run in any, or more than 26 documents.
func New(docs ...*bench.Document) (*Report, error) {
	if len(docs) > maxRecords {
		return nil, fmt.Errorf("%d records are too many, at most %d are drawn", len(docs), maxRecords)
	}
	r := &Report{records: make([]record, len(docs)), at: make(map[string]int)}
	for i, d := range docs {
		rec := &r.records[i]
		conditions, same := d.Conditions()
		rec.conditions, rec.uniform = conditions, same
		r.mixed = r.mixed || !same
		rec.Document, rec.name = d, cmp.Or(d.Label, fmt.Sprintf("record %d", i+1))
		for _, x := range d.Results() {
			rec.passes = max(rec.passes, len(x.Passes))
			w, err := bench.ParseWork(x.Name)
			if err != nil {
				w = nil
			}
			if r.at[x.Name] == 0 {
				r.works = append(r.works, x.Name)
				r.at[x.Name] = len(r.works)
			}
			rec.runs = append(rec.runs, run{x, w, r.at[x.Name], rec, false})
		}
	}
	for i := range r.records {
		for j := range r.records[i].runs {
			r.records[i].runs[j].mixed = r.mixed
		}
	}
	if len(r.works) == 0 {
		return nil, fmt.Errorf("there is no run to report")
	}
	return r, nil
}

// several reports whether things have to say which record they are of.
func (r *Report) several() bool { return len(r.records) > 1 }

// runs returns the runs of all records that a function keeps.
func (r *Report) runs(keep func(*run) bool) []*run {
	var list []*run
	for i := range r.records {
		for j := range r.records[i].runs {
			if x := &r.records[i].runs[j]; keep(x) {
				list = append(list, x)
			}
		}
	}
	return list
}

// label puts what names a thing together, leaving out what is empty.
func label(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}

// ofRecord names the record of a run where there are several.
func (x *run) ofRecord(r *Report) string {
	if r.several() {
		return x.r.name
	}
	return ""
}

// ofSystem names the system of a run if it is not qkv.
func (x *run) ofSystem() string {
	if x.System == bench.SystemName {
		return ""
	}
	return x.System
}

// short names the work of a run, and its conditions where a record has several.
func (x *run) short() string {
	return label(short(x.Name), x.conditions())
}

// conditions names those of a run where a record has several.
func (x *run) conditions() string {
	if x.mixed {
		return x.Conditions()
	}
	return ""
}

// short names a work without its defaults.
func short(name string) string {
	w, err := bench.ParseWork(name)
	if err != nil { // of a later version
		return name
	}
	return w.Short()
}

func workers(n int) string { return plural(n, "worker") }

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// ofLimit returns the share of the limit that binds a run.
func (x *run) ofLimit() float64 {
	if x.Limit != "" {
		return x.OfLimit
	}
	return x.Efficiency
}

// note says what of the runs is not shown.
func (r *record) note() string {
	if r.passes < 2 {
		return ""
	}
	return fmt.Sprintf("Works were measured up to %d times; shown is the one whose time is the median, of those that nothing disturbed.", r.passes)
}

// disturbed says which runs are not to be trusted, and why.
func (r *record) disturbed() []string {
	var list []string
	for i := range r.runs {
		if x := &r.runs[i]; x.Disturbed != nil {
			list = append(list, fmt.Sprintf("%d on %s: %s", x.number, label(workers(x.Workers), x.ofSystem()), strings.Join(x.Disturbed, ", ")))
		}
	}
	return list
}

// byKey groups runs by a key, in the order of the keys.
func byKey[K cmp.Ordered](runs []*run, key func(*run) K) (keys []K, lists map[K][]*run) {
	lists = make(map[K][]*run)
	for _, x := range runs {
		k := key(x)
		if lists[k] == nil {
			keys = append(keys, k)
		}
		lists[k] = append(lists[k], x)
	}
	slices.Sort(keys)
	return keys, lists
}
