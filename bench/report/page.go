package report

import (
	_ "embed"
	"html/template"
	"io"
	"slices"
	"strconv"
	"strings"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// A pageFigure is a figure in both widths.
type pageFigure struct {
	Title, Caption string
	Legend         []pageEntry
	Wide, Narrow   template.HTML
}

// A pageEntry is an entry of a legend.
type pageEntry struct {
	Mark template.HTML
	Text string
}

// A pageRecord is a record as the page has it.
type pageRecord struct {
	Name      string // where there are several
	Facts     [][2]string
	Ceilings  [][]string
	Runs      pageTable
	Note      string
	Disturbed []string
	Skipped   pageTable
}

// A pageTable is a table, of whose columns some are text.
type pageTable struct {
	Header []pageCell
	Rows   [][]pageCell
}

// A pageCell is text that may be broken between its parts.
type pageCell struct {
	Parts []string
	Left  bool // aligned
}

// textColumns are the headers of columns that are no numbers.
var textColumns = []string{"work", "system", "bound by", "path", "verdict", "why"}

func newPageTable(rows [][]string) pageTable {
	var t pageTable
	cells := func(row []string) []pageCell {
		var list []pageCell
		for i, text := range row {
			list = append(list, pageCell{strings.SplitAfter(text, ","), slices.Contains(textColumns, rows[0][i])})
		}
		return list
	}
	t.Header = cells(rows[0])
	for _, r := range rows[1:] {
		t.Rows = append(t.Rows, cells(r))
	}
	return t
}

// WriteHTML writes a page that needs nothing else: no network, no scripts.
func (r *Report) WriteHTML(w io.Writer) error {
	data := struct {
		Title       string
		Light, Dark template.CSS
		Verdict     []string
		Joined      *pageTable
		Records     []pageRecord
		Figures     []pageFigure
	}{
		Title:   "qkv on " + r.records[0].Machine.CPU,
		Light:   template.CSS(light.variables()),
		Dark:    template.CSS(dark.variables()),
		Verdict: r.verdict(),
	}
	if r.several() {
		data.Title = "qkv, records side by side"
		joined := newPageTable(r.joined())
		data.Joined = &joined
	}
	for i := range r.records {
		rec := &r.records[i]
		p := pageRecord{Facts: rec.facts(), Ceilings: rec.ceilingRows(), Runs: newPageTable(rec.rows()), Note: rec.note(), Disturbed: rec.disturbed()}
		if r.several() {
			p.Name = rec.name
		}
		skipped := [][]string{{"work", "system", "workers", "why"}}
		for _, s := range rec.Skipped {
			reason := s.Reason
			if reason == "" {
				reason = "it would have taken too long"
			}
			skipped = append(skipped, []string{short(s.Name), s.System, strconv.Itoa(s.Workers), reason})
		}
		p.Skipped = newPageTable(skipped)
		data.Records = append(data.Records, p)
	}
	for _, f := range r.figures() {
		// Colours are variables, and text is escaped by vgsvg.
		p := pageFigure{Title: f.title, Caption: f.caption, Wide: template.HTML(f.inline(false)), Narrow: template.HTML(f.inline(true))}
		for _, e := range f.legend {
			p.Legend = append(p.Legend, pageEntry{template.HTML(e.mark.inline()), e.text})
		}
		data.Figures = append(data.Figures, p)
	}
	return page.Execute(w, data)
}
