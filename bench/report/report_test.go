package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"html"
	"image/png"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"

	"github.com/qkv-go/qkv/bench"
)

// hostile is text that would break out of a page, a picture or a table.
const hostile = `<script>alert("x")</script> | & ' ]]>`

// document makes a record of a machine with runs of everything that is drawn.
func document(cpu string, speed float64) *bench.Document {
	d := bench.NewDocument()
	d.Machine.CPU = cpu
	d.Ceilings = bench.Ceilings{Kernel: "avx2", Workers: 2, PeakGFLOPSOne: 100, PeakGFLOPSAll: 200, Read: []bench.Bandwidth{
		{Level: "L1", GBpsOne: 300, GBpsAll: 600}, {Level: "memory", GBpsOne: 20, GBpsAll: 30},
	}}
	for _, text := range []string{
		"h=2,sq=128,d=64", "h=2,sq=512,d=64", "h=2,sq=128,d=64,mask=causal", "h=2,sq=256,d=64,mask=causal",
		"h=4,sq=1,skv=1000,d=64", "h=4,sq=1,skv=1000,d=64,kv=float16", "m=20,n=30,k=40",
	} {
		w, err := bench.ParseWork(text)
		if err != nil {
			panic(err)
		}
		for workers := 1; workers <= 2; workers++ {
			for i, system := range []string{bench.SystemName, "other"} {
				x := bench.Run{
					Name: w.String(), Kind: bench.KindAttention, System: system, Version: "1", Kernel: "avx2", Workers: workers,
					FLOPs: w.FLOPs(), SecondsMedian: w.FLOPs() / float64(80*workers) / speed * float64(1+i) * 1e-9, PeakGFLOPS: float64(100 * workers),
				}
				if s, ok := w.(bench.Shape); ok {
					x.SeqQ, x.DimQK, x.Mask, x.KDType = s.SeqQ, s.DimQK, bench.MaskName(s.Mask), "float32"
					if strings.Contains(text, "float16") {
						x.KDType = "float16"
					}
				} else {
					x.Kind = bench.KindProduct
				}
				x.SecondsMin, x.SecondsQ1, x.SecondsQ3 = x.SecondsMedian, x.SecondsMedian, x.SecondsMedian
				x.GFLOPS = 1e-9 * x.FLOPs / x.SecondsMedian
				if x.ReadBytes = w.ReadBytes(); x.ReadBytes > 0 {
					x.GBps, x.ReadGBps, x.Limit = 1e-9*float64(x.ReadBytes)/x.SecondsMedian, 50, bench.LimitBandwidth
				}
				d.Runs = append(d.Runs, x)
			}
		}
	}
	return &d
}

func newReport(t *testing.T, docs ...*bench.Document) *Report {
	t.Helper()
	r, err := New(docs...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPlots(t *testing.T) {
	want := []string{
		"roofline-1", "roofline-2", "lengths-d=64-causal-1", "lengths-d=64-full-1", "lengths-d=64-causal-2", "lengths-d=64-full-2",
		"decode-1", "decode-2", "scaling", "peers-1", "peers-2",
	}
	if got := newReport(t, document("x", 1)).Plots(); !slices.Equal(got, want) {
		t.Errorf("a record has %v, want %v", got, want)
	}
	named := document("y", 2)
	named.Label = "after: <b>"
	both := newReport(t, document("x", 1), named).Plots()
	for _, name := range []string{"roofline-1-record-1", "roofline-2-after---b-", "records-1", "records-2", "peers-2-after---b-"} {
		if !slices.Contains(both, name) {
			t.Errorf("two records have %v, without %s", both, name)
		}
	}
	of := make(map[string]int)
	for _, name := range both {
		kind, _, _ := strings.Cut(name, "-")
		of[kind]++
	}
	for _, k := range PlotKinds {
		kind, _, _ := strings.Cut(k.Name, "-")
		if of[kind] == 0 {
			t.Errorf("two records have %v, none a %s", both, k.Name)
		}
		delete(of, kind)
	}
	if len(of) > 0 {
		t.Errorf("PlotKinds lacks %v", of)
	}
	// What a record lacks is left out.
	d := document("x", 1)
	d.Runs = d.Runs[:1]
	if got := newReport(t, d).Plots(); !slices.Equal(got, []string{"roofline-1"}) {
		t.Errorf("a single run has %v", got)
	}
	d.Runs[0].Name = "of a later version"
	if got := newReport(t, d).Plots(); len(got) != 0 {
		t.Errorf("an unknown work has %v", got)
	}
}

// TestOdd: figures that make no sense end neither in a panic nor never.
func TestOdd(t *testing.T) {
	for name, edit := range map[string]func(*bench.Document){
		"ceilings of 0":         func(d *bench.Document) { d.Ceilings = bench.Ceilings{Read: []bench.Bandwidth{{}}} },
		"negative ceilings":     func(d *bench.Document) { d.Ceilings.PeakGFLOPSOne, d.Ceilings.Read[0].GBpsAll = -1, -1 },
		"enormous ceilings":     func(d *bench.Document) { d.Ceilings.PeakGFLOPSOne, d.Ceilings.Read[0].GBpsAll = 1e300, 1e300 },
		"no level":              func(d *bench.Document) { d.Ceilings.Read = nil },
		"lengths and dims of 0": func(d *bench.Document) { d.Runs[0].SeqQ, d.Runs[0].DimQK, d.Runs[0].Mask = 0, -1, "x" },
		"no rates":              func(d *bench.Document) { d.Runs[0].GFLOPS, d.Runs[0].PeakGFLOPS = 0, 0 },
		"many workers":          func(d *bench.Document) { d.Runs[0].Workers = 1 << 16 },
		"a speed of 1e21": func(d *bench.Document) {
			d.Runs[0].SecondsMedian, d.Runs[2].SecondsMedian = 9e8, 1e-12
		},
		"a speed without end": func(d *bench.Document) { d.Runs[2].SecondsMedian = 0 },
		"nothing but zeros": func(d *bench.Document) {
			for i := range d.Runs {
				d.Runs[i].GFLOPS, d.Runs[i].PeakGFLOPS, d.Runs[i].GBps, d.Runs[i].ReadGBps = 0, 0, 0, 0
			}
		},
		"quick and slow": func(d *bench.Document) {
			d.Runs[0].SecondsMedian, d.Runs[1].SecondsMedian, d.Runs[0].FLOPs = 1e-12, 1e9, 1e30
		},
	} {
		d := document("x", 1)
		edit(d)
		if err := newReport(t, d, document("y", 1)).WriteHTML(io.Discard); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHTML: the page is well-formed but for what HTML leaves open, refers to nothing outside,
// and what a record says stays text.
func TestHTML(t *testing.T) {
	d := document(hostile, 1)
	d.Runs[0].Path, d.Runs[1].System, d.Runs[2].Version, d.Runs[3].KDType = hostile, hostile, hostile, hostile
	d.Skipped = []bench.Skip{{Name: hostile, System: hostile, Workers: 1, Reason: hostile}, {Name: "h=1,sq=1,d=8", System: "qkv", Workers: 2}}
	var page bytes.Buffer
	if err := newReport(t, d, document("y", 2)).WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	text := page.String()
	for _, bad := range []string{"<script", "http://", "https://", "src=", "@import", "url(", "href="} {
		if at := strings.Index(strings.ReplaceAll(text, "http://www.w3.org/", ""), bad); at >= 0 {
			t.Errorf("the page has %q: %.80q", bad, text[at:])
		}
	}
	for _, want := range []string{"<h2>record 1</h2>", "Roofline, 2 workers, record 2", "<title>1: h=2,sq=128,d=64, 80 GFLOP/s, 0.0% of limit</title>", "operations per byte, FLOP/B", "2 left out", "prefers-color-scheme: dark", "--series-3: "} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	dec := xml.NewDecoder(&page)
	dec.Strict, dec.AutoClose, dec.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	figures := 0
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "figure" {
			figures++
		}
	}
	if want := len(newReport(t, d, document("y", 2)).Plots()); figures != want {
		t.Errorf("%d figures, want %d", figures, want)
	}
	if light := strings.Count(strings.ToLower(text), css(light.ink)); light != 1 {
		t.Errorf("a colour of the light theme stands in the page %d times, once in its variable is right", light)
	}
}

func TestPictures(t *testing.T) {
	r := newReport(t, document(hostile, 1))
	for _, name := range append(r.Plots(), "") {
		var b bytes.Buffer
		if err := r.WriteSVG(&b, name); err != nil {
			t.Fatal(err)
		}
		if err := xml.Unmarshal(b.Bytes(), new(struct{})); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		b.Reset()
		if err := r.WritePNG(&b, name); err != nil {
			t.Fatal(err)
		}
		if _, err := png.Decode(&b); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := r.WriteSVG(io.Discard, "pie"); err == nil || !strings.Contains(err.Error(), `no plot "pie"`) || !strings.Contains(err.Error(), "scaling") {
		t.Errorf("an unknown plot: error %v", err)
	}
}

func TestMarkdown(t *testing.T) {
	var b strings.Builder
	if err := newReport(t, document("x | y", 1)).WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`x \| y`, "| peak multiply-adds, GFLOP/s | 100.0 | 200.0 |", "| 6 | h=4,sq=1,skv=1000,d=64,kv=float16 | other, 1 | 2 |"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestNewErrors(t *testing.T) {
	empty := bench.NewDocument()
	if _, err := New(&empty); err == nil {
		t.Error("a record without a run is taken")
	}
	if _, err := New(slices.Repeat([]*bench.Document{document("x", 1)}, maxRecords+1)...); err == nil {
		t.Errorf("%d records are taken", maxRecords+1)
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		least, most float64
		want        string
	}{{0, 260, "0 50 100 150 200 250"}, {0, 1, "0 0.2 0.4 0.6 0.8 1"}, {0, 5.4, "0 1 2 3 4 5"}} {
		var labels []string
		for _, tick := range (linearScale{}).Ticks(c.least, c.most) {
			labels = append(labels, tick.Label)
		}
		if got := strings.Join(labels, " "); got != c.want {
			t.Errorf("from %g to %g: %s, want %s", c.least, c.most, got, c.want)
		}
	}
	for x, want := range map[float64]string{1e4: "10000", 0.1: "0.1", 1234.56: "1235", 2048: "2k"} {
		got := number(x)
		if x == 2048 {
			got = length(x)
		}
		if got != want {
			t.Errorf("%v is written %s, want %s", x, got, want)
		}
	}
}

func TestScales(t *testing.T) {
	for _, c := range []struct {
		scale       plot.Ticker
		least, most float64
		want        string
	}{
		{logScale{10, number}, 0.5, 2000, "1 10 100 1000"},
		{logScale{2, number}, 0.9, 9, "1 2 4 8"},
		{logScale{2, number}, 0.9, 1.3, "0.9 1 1.1 1.2 1.3"},
		{logScale{2, number}, 1, 1 << 24, "1 4 16 64 256 1024 4096 16384 65536 262144 1048576 4194304 16777216"},
		{lengthScale{100, 300, 512, 520, 4096}, 90, 4500, "100 300 512 4k"},
		{lengthScale{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096}, 0.9, 4500, "1 2 4 8 16 32 64 128 256 512 1k 2k 4k"},
		{wholeTicks{}, 0.9, 4.2, "1 2 3 4"},
		{wholeTicks{}, 0.9, 67, "1 10 20 30 40 50 60"},
		{wholeTicks{}, 0.9, 1e12, "1 1e+11 2e+11 3e+11 4e+11 5e+11 6e+11 7e+11 8e+11 9e+11 1e+12"},
	} {
		var labels []string
		for _, tick := range c.scale.Ticks(c.least, c.most) {
			if tick.Label != "" {
				labels = append(labels, tick.Label)
			}
		}
		if got := strings.Join(labels, " "); got != c.want {
			t.Errorf("%T from %g to %g: %s, want %s", c.scale, c.least, c.most, got, c.want)
		}
	}
}

// TestRowNames: every work of a preset is named, at either width.
func TestRowNames(t *testing.T) {
	for _, p := range bench.Presets() {
		d := document("x", 1)
		d.Runs = nil
		for _, w := range p.Works {
			for i, system := range []string{bench.SystemName, "other"} {
				d.Runs = append(d.Runs, bench.Run{Name: w.String(), Kind: bench.KindAttention, System: system, Workers: 1, SecondsMedian: float64(1 + i)})
			}
		}
		for _, f := range newReport(t, d).peers() {
			for _, narrow := range []bool{false, true} {
				var all strings.Builder // a name may be in two lines
				for _, m := range regexp.MustCompile(">([^<]*)</text>").FindAllStringSubmatch(f.inline(narrow), -1) {
					all.WriteString(html.UnescapeString(m[1]))
				}
				for _, w := range p.Works {
					if !strings.Contains(all.String(), w.Short()) {
						t.Errorf("preset %s, narrow %v: %s is not there", p.Name, narrow, w.Short())
					}
				}
			}
		}
	}
	style := textStyle(10)
	long := strings.Repeat("sehr ", 100)
	if got := elide(style, long, 100); !strings.HasPrefix(got, "sehr ") || !strings.HasSuffix(got, "…") || style.Width(got) > 100 {
		t.Errorf("elided to %q", got)
	}
	if got := elide(style, "kurz", 100); got != "kurz" {
		t.Errorf("a short text became %q", got)
	}
}

// TestSeveral: what was measured on another machine is no limit of this one.
func TestSeveral(t *testing.T) {
	fast := document("y", 2)
	for i := range fast.Runs {
		fast.Runs[i].PeakGFLOPS *= 4
	}
	r := newReport(t, document("x", 1), fast)
	var names []string
	for _, f := range r.lengths() {
		if f.name != "lengths-d=64-full-1" {
			continue
		}
		for _, e := range f.legend {
			names = append(names, e.text)
		}
	}
	if want := []string{"ceiling, record 1", "ceiling, record 2", "qkv, record 1", "qkv, record 2", "other, record 1", "other, record 2"}; !slices.Equal(names, want) {
		t.Errorf("the legend is %q, want %q", names, want)
	}
	lines := []line{{record: "A", peaks: plotter.XYs{{X: 1, Y: 10}, {X: 2, Y: 11}}}, {record: "B", peaks: plotter.XYs{{X: 1, Y: 40}}}}
	if got := roofOf(lines, "A"); !slices.Equal(got, plotter.XYs{{X: 1, Y: 10}, {X: 2, Y: 11}}) {
		t.Errorf("the ceiling of A is %v", got)
	}
}

// TestScalingLimits: a work may be bound by something else on more workers.
func TestScalingLimits(t *testing.T) {
	d := document("x", 1)
	d.Runs = slices.DeleteFunc(d.Runs, func(x bench.Run) bool { return x.ReadBytes == 0 || x.System != bench.SystemName })
	for i := range d.Runs {
		if d.Runs[i].Workers == 2 {
			d.Runs[i].Limit = bench.LimitFMA
		}
	}
	figures := newReport(t, d).scaling()
	if len(figures) != 1 || len(figures[0].legend) != 2 || figures[0].legend[1].text != "few queries or rows" {
		t.Errorf("%+v", figures)
	}
}

// TestRooflineTop: a run above the peak is in the picture.
func TestRooflineTop(t *testing.T) {
	d := document("x", 1)
	d.Runs[0].GFLOPS = 5e4
	p := plot.New()
	newReport(t, d).roofline()[0].plot(p, false)
	if p.Y.Max < 5e4 {
		t.Errorf("the axis ends at %g", p.Y.Max)
	}
}

func TestBarMarks(t *testing.T) {
	seen := make(map[string]int)
	for i := range 3 * len(light.series) {
		m := barMark(i)
		look := fmt.Sprint(m.color, m.shape)
		if other, ok := seen[look]; ok {
			t.Errorf("series %d looks as %d does", i, other)
		}
		seen[look] = i
	}
}

// TestPasses: of several measurements of a work one is shown, and that is said.
func TestPasses(t *testing.T) {
	d := document("x", 1)
	if note := newReport(t, d).records[0].note(); note != "" {
		t.Errorf("one pass: %q", note)
	}
	again := d.Runs[0]
	again.SecondsMedian /= 2
	d.Runs = append(d.Runs, again)
	// Another work, whose name and number run together to the same.
	d.Runs[1].System, d.Runs[1].Workers = "torch1", 1
	d.Runs[3].System, d.Runs[3].Workers, d.Runs[3].Name = "torch", 11, d.Runs[1].Name
	r := newReport(t, d).records[0]
	if len(r.runs) != len(d.Runs)-1 || r.runs[0].SecondsMedian != again.SecondsMedian || !strings.Contains(r.note(), "up to 2 times; shown is the one") {
		t.Errorf("%d runs of %d, the first of %g s, %q", len(r.runs), len(d.Runs), r.runs[0].SecondsMedian, r.note())
	}
	var b strings.Builder
	if err := newReport(t, d).WriteMarkdown(&b); err != nil || !strings.Contains(b.String(), "shown is the one whose time is the median") {
		t.Errorf("no note in %s, error %v", b.String(), err)
	}
}

func TestPNGTooLarge(t *testing.T) {
	d := document("x", 1)
	for i := range 5000 {
		for j, system := range []string{bench.SystemName, "other"} {
			d.Runs = append(d.Runs, bench.Run{Name: fmt.Sprintf("m=%d,n=30,k=40", 100+i), Kind: bench.KindProduct, System: system, Workers: 1, SecondsMedian: float64(1 + j)})
		}
	}
	if err := newReport(t, d).WritePNG(io.Discard, "peers-1"); err == nil || !strings.Contains(err.Error(), "million pixels is too large") {
		t.Errorf("error %v", err)
	}
}

// TestJoined: one table holds all records against the first, and a sentence says what it shows.
func TestJoined(t *testing.T) {
	slow, foreign := document("x", 0.5), document("x", 1)
	slow.Label, foreign.Label = "slow", "foreign"
	for i := range slow.Runs {
		slow.Runs[i].Efficiency = 1.5
	}
	foreign.Runs = foreign.Runs[:1]
	foreign.Runs[0].Name = "b=1,h=1,hkv=1,sq=9,skv=9,d=8,dv=8,mask=none"
	r := newReport(t, document("x", 1), slow, foreign)
	rows := r.joined()
	if want := []string{"#", "work", "system", "workers", "record 1, ms", "of limit", "slow, ms", "of limit", "times", "verdict", "foreign, ms", "of limit", "times", "verdict"}; !slices.Equal(rows[0], want) {
		t.Errorf("the columns are %q, want %q", rows[0], want)
	}
	if want := 1 + 28 + 1 + 1; len(rows) != want {
		t.Errorf("%d rows, want %d", len(rows), want)
	}
	if got, want := strings.Join(rows[1], "|"), "1|h=2,sq=128,d=64|qkv|1|0.1049|0.0%|0.2097|150.0%!|2|too few passes|–|–|–|–"; got != want {
		t.Errorf("the first row is %s, want %s", got, want)
	}
	if got, want := strings.Join(rows[len(rows)-1], "|"), "|geometric mean|||||||2|||||"; got != want {
		t.Errorf("the last row is %s, want %s", got, want)
	}
	verdict := strings.Join(r.verdict(), "\n")
	for _, want := range []string{
		"slow takes 2 times as long as record 1, in the geometric mean of 28 (2 to 2): 28 too few passes. A work has to be measured 6 times",
		"foreign has no work of record 1.", "Of 57 results disturbed: 28, marked with !",
	} {
		if !strings.Contains(verdict, want) {
			t.Errorf("no %q in\n%s", want, verdict)
		}
	}
	if got := newReport(t, document("x", 1)).verdict(); len(got) != 1 || !strings.Contains(got[0], "other 2 times (14 works)") {
		t.Errorf("of one record: %q", got)
	}
}

// TestJoinedPasses: times of several passes, their ratios, the dots and the sentence agree.
func TestJoinedPasses(t *testing.T) {
	base, other := document("x", 1), document("x", 1)
	base.Runs, other.Runs = base.Runs[:1], other.Runs[:1]
	base.Runs[0].SecondsMedian, other.Runs[0].SecondsMedian = 1e-3, 4e-3
	again := other.Runs[0]
	again.SecondsMedian = 8e-3
	other.Runs = append(other.Runs, again)
	r := newReport(t, base, other)
	rows := r.joined()
	if got, want := strings.Join(rows[1], "|"), "1|h=2,sq=128,d=64|1|1.000|0.0%!|6.000|0.0%!|6|too few passes"; got != want {
		t.Errorf("the row is %s, want %s", got, want)
	}
	if got := strings.Join(rows[2], "|"); !strings.HasSuffix(got, "||6|") {
		t.Errorf("the geometric mean is %s, want 6", got)
	}
	if got := r.verdict()[0]; !strings.Contains(got, "takes 6 times as long") {
		t.Errorf("the sentence is %q", got)
	}
	all := r.runs(func(*run) bool { return true })
	dots, _ := dotRows(all, func(x *run) string { return x.r.name }, r.compared(), r.records[0].name)
	if len(dots) != 1 || dots[0].dots[r.records[1].name] != 6 {
		t.Errorf("the dots are %v, want 6", dots)
	}
}

// TestNumbers: every point of a roofline is named, and those that are disturbed have a ring.
func TestNumbers(t *testing.T) {
	d := document("x", 1)
	for i := range d.Runs {
		d.Runs[i].Efficiency = 0.8
	}
	d.Runs[0].Efficiency = 1.77
	f := newReport(t, d).roofline()[0]
	if len(f.points) != 14 || !f.points[0].disturbed || f.points[1].disturbed || f.points[0].name != "1" || !strings.Contains(f.points[13].title, "7: m=20,n=30,k=40, other, ") {
		t.Errorf("%+v", f.points)
	}
	page := f.inline(false)
	if n := strings.Count(page, "<title>"); n != 14 {
		t.Errorf("%d titles", n)
	}
	if !slices.ContainsFunc(f.legend, func(e entry) bool { return e.text == "disturbed" }) {
		t.Errorf("the legend is %+v", f.legend)
	}
}

// TestFarApart: where one set is far slower than another, both are seen.
func TestFarApart(t *testing.T) {
	slow := document("x", 0.02)
	for i := range slow.Runs {
		slow.Runs[i].PeakGFLOPS *= 0.02
	}
	for _, c := range []struct {
		docs []*bench.Document
		want bool
	}{{[]*bench.Document{document("x", 1)}, false}, {[]*bench.Document{document("x", 1), slow}, true}} {
		r := newReport(t, c.docs...)
		for _, f := range slices.Concat(r.lengths(), r.decode()) {
			p := plot.New()
			f.plot(p, false)
			if _, log := p.Y.Scale.(plot.LogScale); log != c.want {
				t.Errorf("%s of %d records: logarithmic %v", f.name, len(c.docs), log)
			}
		}
	}
}

// TestConditions: records say under which conditions they were measured, and works under different
// ones are different rows of one record.
func TestConditions(t *testing.T) {
	hot, cold := document("x", 1), document("x", 0.5)
	for i := range cold.Runs {
		cold.Runs[i].Cold = 3
		cold.Runs[i].Neighbour = &bench.Neighbour{Kind: bench.NeighbourMemory}
	}
	both := document("x", 1)
	both.Runs = append(both.Runs, cold.Runs...)
	const conditions = "cold, neighbour=memory"
	for _, c := range []struct {
		docs []*bench.Document
		want []string
	}{
		{[]*bench.Document{cold}, []string{"conditions: " + conditions}},
		{[]*bench.Document{hot, cold}, []string{"The conditions are different: the usual ones and " + conditions + "."}},
		{[]*bench.Document{both}, []string{"| 1 | h=2,sq=128,d=64, " + conditions + " | qkv"}},
		{[]*bench.Document{both, hot, cold}, []string{"| 1 | h=2,sq=128,d=64, " + conditions + " | qkv"}},
		{[]*bench.Document{hot, both, cold}, []string{"| 1 | h=2,sq=128,d=64, " + conditions + " | qkv"}},
	} {
		r, err := New(c.docs...)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := r.WriteMarkdown(&out); err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in\n%s", want, out.String())
			}
		}
		if err := r.WriteHTML(io.Discard); err != nil {
			t.Error(err)
		}
	}
}
