package report

import (
	_ "embed"
	"html/template"
	"io"
	"strconv"
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
	Letter, Machine, Build string
	Facts                  [][2]string
	Ceilings               [][]string
	Rows                   [][]string
	Note                   string
	Skipped                [][4]string
}

// WriteHTML writes a page that needs nothing else: no network, no scripts.
func (r *Report) WriteHTML(w io.Writer) error {
	data := struct {
		Title       string
		Light, Dark template.CSS
		Records     []pageRecord
		Figures     []pageFigure
		Header      []string
	}{
		Title:  "qkv on " + r.records[0].Machine.CPU,
		Light:  template.CSS(light.variables()),
		Dark:   template.CSS(dark.variables()),
		Header: header,
	}
	if r.several() {
		data.Title = "qkv, records side by side"
	}
	for i := range r.records {
		rec := &r.records[i]
		p := pageRecord{Machine: rec.machine(), Build: rec.build(), Facts: rec.facts(), Ceilings: rec.ceilingRows(), Note: rec.note()}
		if r.several() {
			p.Letter = rec.letter
		}
		for j := range rec.runs {
			p.Rows = append(p.Rows, rec.runs[j].row())
		}
		for _, s := range rec.Skipped {
			reason := s.Reason
			if reason == "" {
				reason = "it would have taken too long"
			}
			p.Skipped = append(p.Skipped, [4]string{short(s.Name), s.System, strconv.Itoa(s.Workers), reason})
		}
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
