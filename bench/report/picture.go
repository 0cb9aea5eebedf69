package report

import (
	"fmt"
	"html"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

const dpi = 144 // of a PNG

// figures returns all that the records have data for.
func (r *Report) figures() []figure {
	return slices.Concat(r.roofline(), r.lengths(), r.decode(), r.scaling(), r.peers(), r.machines())
}

// A PlotKind is a kind of plots.
type PlotKind struct {
	Name  string // of its plots, with what they are of in capitals
	About string // what they draw
}

// PlotKinds are the kinds of plots that records may have data for.
var PlotKinds = [...]PlotKind{
	{"roofline-WORKERS", "every run under the ceilings of the machine"},
	{"lengths-WORK-WORKERS", "rates over sequence length, as lengths-d=64-causal-1"},
	{"decode-WORKERS", "how fast keys and values of each type are read"},
	{"scaling", "rates over the number of workers"},
	{"peers-WORKERS", "times of other systems beside qkv's"},
	{"records-WORKERS", "times of several records beside the first's"},
}

// Plots returns the names of the plots that the records have data for. Of several records, those of rooflines and peers
// end in the name of the record, too.
func (r *Report) Plots() []string {
	var names []string
	for _, f := range r.figures() {
		names = append(names, f.name)
	}
	return names
}

// slug returns a name without what a command line would take for more.
func slug(name string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsLetter(c) || unicode.IsDigit(c) || strings.ContainsRune("._=+-", c) {
			return c
		}
		return '-'
	}, name)
}

// choose returns the plot of a name, or all of them if it is empty.
func (r *Report) choose(name string) ([]figure, error) {
	all := r.figures()
	if name != "" {
		names := r.Plots()
		all = slices.DeleteFunc(all, func(f figure) bool { return f.name != name })
		if len(all) == 0 {
			return nil, fmt.Errorf("there is no plot %q, the records have data for %s", name, strings.Join(names, ", "))
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("the records have no data for a plot")
	}
	return all, nil
}

// sheet draws figures one above the other on what makes a canvas of their size, and returns the
// titles of what is there.
func sheet(figures []figure, canvas func(width, height vg.Length) vg.CanvasSizer) string {
	var width, height vg.Length
	for _, f := range figures {
		w, h := f.size(false, true)
		width, height = max(width, w), height+h
	}
	t := &titles{height: height}
	c := draw.New(canvas(width, height))
	top := height
	for _, f := range figures {
		_, h := f.size(false, true)
		f.draw(draw.Crop(c, 0, 0, top-h, top-height), false, true, t)
		top -= h
	}
	return t.text.String()
}

// WriteSVG writes the plot of that name, or all if it is empty, one above the other.
func (r *Report) WriteSVG(w io.Writer, name string) error {
	figures, err := r.choose(name)
	if err != nil {
		return err
	}
	var c *vgsvg.Canvas
	titles := sheet(figures, func(width, height vg.Length) vg.CanvasSizer {
		c = vgsvg.New(width, height)
		return c
	})
	_, err = io.WriteString(w, withTitles(svgText(c), titles))
	return err
}

// WritePNG writes the plot of that name, or all if it is empty, one above the other. It is an
// error if they have more than 100 million pixels.
func (r *Report) WritePNG(w io.Writer, name string) error {
	figures, err := r.choose(name)
	if err != nil {
		return err
	}
	const most = 100e6
	pixels := 0.0
	for _, f := range figures {
		w, h := f.size(false, true)
		pixels += w.Dots(dpi) * h.Dots(dpi)
	}
	if pixels > most {
		return fmt.Errorf("a picture of %.0f million pixels is too large, at most %.0f million are drawn: choose a plot, or SVG", pixels/1e6, most/1e6)
	}
	var c *vgimg.Canvas
	sheet(figures, func(width, height vg.Length) vg.CanvasSizer {
		c = vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(dpi))
		return c
	})
	_, err = vgimg.PngCanvas{Canvas: c}.WriteTo(w)
	return err
}

var textElement = regexp.MustCompile(`font-size:([0-9.]+)px([^>]*")>([^<]*)</text>`)

// svgText returns what is drawn on a canvas. For readers who lack Liberation Sans it names
// other fonts, and gives each text the length that it was laid out for.
func svgText(c *vgsvg.Canvas) string {
	var b strings.Builder
	if _, err := c.WriteTo(&b); err != nil {
		panic("report: " + err.Error()) // a strings.Builder takes everything
	}
	s := strings.ReplaceAll(b.String(), "font-family:Liberation Sans;", "font-family:Liberation Sans,Arial,Helvetica,sans-serif;")
	return textElement.ReplaceAllStringFunc(s, func(e string) string {
		m := textElement.FindStringSubmatch(e)
		size, err := strconv.ParseFloat(m[1], 64)
		if err != nil || m[3] == "" {
			return e
		}
		length := textStyle(vg.Length(size)).Width(html.UnescapeString(m[3]))
		return fmt.Sprintf(`font-size:%spx%s textLength="%.1f" lengthAdjust="spacingAndGlyphs">%s</text>`, m[1], m[2], float64(length), m[3])
	})
}

// inline returns a figure as an element of a page, coloured by variables of CSS. The page has
// its title and its legend.
func (f *figure) inline(narrow bool) string {
	width, height := f.size(narrow, false)
	t := &titles{height: height}
	s := inline(width, height, func(c draw.Canvas) { f.draw(c, narrow, false, t) })
	return withTitles(s, t.text.String())
}

// withTitles puts titles over all else of an SVG.
func withTitles(svg, titles string) string {
	end := strings.LastIndex(svg, "</svg>")
	return svg[:end] + titles + svg[end:]
}

// inline returns the mark as an element of a page.
func (m *mark) inline() string {
	const height = 12
	return inline(swatchWidth, height, func(c draw.Canvas) { m.draw(&c, 0, height/2) })
}

func inline(width, height vg.Length, paint func(draw.Canvas)) string {
	c := vgsvg.New(width, height)
	paint(draw.New(c))
	s := svgText(c)
	s = s[strings.Index(s, "<svg"):] // after the declaration and comments
	// The page says how wide it is.
	end := strings.Index(s, ">")
	head := fmt.Sprintf(`<svg viewBox="0 0 %v %v" role="img" xmlns="http://www.w3.org/2000/svg"`, float64(width), float64(height))
	return head + byVariable.Replace(s[end:])
}
