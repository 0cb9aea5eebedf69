package heatmap

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"image"
	"image/color"
	"image/png"
	"math"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/plot/vg"
)

func decode(t *testing.T, data []byte) image.Image {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func toRGBA(c color.Color) color.RGBA { return color.RGBAModel.Convert(c).(color.RGBA) }

// checkCells holds each pixel of the cells of a map, whose corner at the upper left is at x
// and y, against the colour of its cell. The outline of the map covers edge pixels.
func checkCells(t *testing.T, img image.Image, x, y int, cells []float32, g grid, kx, ky int, s scale, edge int) {
	t.Helper()
	for r := range g.rows * ky {
		for c := range g.columns * kx {
			if r < edge || c < edge || r >= g.rows*ky-edge || c >= g.columns*kx-edge {
				continue
			}
			got := toRGBA(img.At(x+c, y+r))
			row, column := r/ky, c/kx
			p := cells[row*g.columns+column]
			ok := false
			switch {
			case p != p:
				ok = got == nanColor
			case p == Masked:
				ok = got == maskedColor || got == hatchColor
			default:
				ok = got == colorAt(s.at(p))
			}
			if !ok {
				t.Fatalf("query %d, key %d, %v: pixel (%d, %d) of the cell is %v", row, column, p, c%kx, r%ky, got)
			}
		}
	}
}

func dotsOf(x vg.Length) int { return int(math.Round(float64(x / dot))) }

func writePNG(t *testing.T, a *Attention, o Options) image.Image {
	t.Helper()
	var b bytes.Buffer
	if err := a.WritePNG(&b, o); err != nil {
		t.Fatal(err)
	}
	return decode(t, b.Bytes())
}

var small = []float32{
	1, Masked, 0, Masked,
	0.25, 0.75, 0, Masked,
	0.5, nan, 0.1, 0.4,
}

func TestPNG(t *testing.T) {
	a := attention(t, 3, 4, small)
	img := writePNG(t, a, Options{Title: "a title"})
	s := a.sheet(Options{Title: "a title"}, shown{glyphs: true})
	if got, want := img.Bounds().Size(), (image.Point{dotsOf(s.width), dotsOf(s.height)}); got != want {
		t.Fatalf("size %v, want %v", got, want)
	}
	x, y := dotsOf(s.left), dotsOf(s.top)
	checkCells(t, img, x, y, small, s.grid, s.kx, s.ky, s.scale, 1)

	// The first query is at the top, the first key at the left; masked is not 0.
	at := func(query, key int) color.RGBA { return toRGBA(img.At(x+key*s.kx+s.kx/2, y+query*s.ky+s.ky/2)) }
	yellow, purple := color.RGBA{0xfd, 0xe7, 0x25, 255}, color.RGBA{0x44, 0x01, 0x54, 255}
	near := func(a, b color.RGBA) bool {
		d := func(a, b uint8) bool { return a-b <= 2 || b-a <= 2 }
		return d(a.R, b.R) && d(a.G, b.G) && d(a.B, b.B)
	}
	if got := at(0, 0); !near(got, yellow) {
		t.Errorf("probability 1 is %v, want about %v", got, yellow)
	}
	if got := at(0, 2); !near(got, purple) {
		t.Errorf("probability 0 is %v, want about %v", got, purple)
	}
	if got := at(2, 1); got != nanColor {
		t.Errorf("NaN is %v, want %v", got, nanColor)
	}
	seen := map[color.RGBA]int{}
	for i := range s.kx {
		for j := range s.ky {
			seen[toRGBA(img.At(x+3*s.kx+i, y+j))]++
		}
	}
	if seen[maskedColor] == 0 || seen[hatchColor] == 0 {
		t.Errorf("a masked cell has the colours %v", seen)
	}
	if got := toRGBA(img.At(0, 0)); got != (color.RGBA{255, 255, 255, 255}) {
		t.Errorf("the background is %v", got)
	}

	// A map alone has the colours that it has among others.
	quarter := make([]float32, 12)
	quarter[0] = 0.25
	two := attention(t, 3, 4, quarter, small).Only(0)
	s = two.sheet(Options{}, shown{glyphs: true})
	checkCells(t, writePNG(t, two, Options{}), dotsOf(s.left), dotsOf(s.top), quarter, s.grid, s.kx, s.ky, scale{most: 1}, 1)
	if n := two.Maps(); n != 1 || two.Name(0) != "head 0" {
		t.Errorf("%d maps, %q", n, two.Name(0))
	}
}

// TestSheet finds each map in its place, for shapes from a single pair to more than are
// drawn.
func TestSheet(t *testing.T) {
	for _, c := range []struct{ maps, columns, queries, keys int }{
		{1, 0, 1, 1}, {5, 0, 3, 4}, {5, 2, 3, 4}, {6, 3, 1, 200}, {3, 0, 200, 1}, {12, 0, 10, 10}, {2, 9, 700, 500}, {1, 0, 3, 2500}, {1, 0, 13, 3000}, {3, 0, 3000, 13}, {1, 0, 1, 100000},
	} {
		var maps [][]float32
		for h := range c.maps {
			m := make([]float32, c.queries*c.keys)
			for i := range m {
				m[i] = float32((i*7+h*3)%50) / 50
				if i%c.keys > i/c.keys+c.keys/2 {
					m[i] = Masked
				}
			}
			maps = append(maps, m)
		}
		a := attention(t, c.queries, c.keys, maps...)
		a.Columns = c.columns
		o := Options{Title: "title", Log: c.keys > 100}
		s := a.sheet(o, shown{glyphs: true})
		img := writePNG(t, a, o)
		if n := img.Bounds().Size(); n.X > 3000 || n.Y > 3000 {
			t.Errorf("%+v: %v pixels", c, n)
		}
		if want := min(c.columns, c.maps); want > 0 && s.columns != want {
			t.Errorf("%+v: %d columns", c, s.columns)
		}
		for h := range c.maps {
			x := dotsOf(s.left + vg.Length(h%s.columns)*(s.data.X+gap))
			y := dotsOf(s.top + vg.Length(h/s.columns)*(s.data.Y+s.between()))
			checkCells(t, img, x, y, a.cells(h, s.grid), s.grid, s.kx, s.ky, s.scale, 1)
		}
	}
}

func TestSVG(t *testing.T) {
	a := attention(t, 3, 4, small, small)
	a.KeyLabels = []string{"the", `a<b&"c"`, "日本", "\x1b سلام"}
	a.QueryLabels = []string{"one", "two", "three"}
	var b bytes.Buffer
	if err := a.WriteSVG(&b, Options{Title: "x < y"}); err != nil {
		t.Fatal(err)
	}
	var texts []string
	var images []image.Image
	for d := xml.NewDecoder(&b); ; {
		token, err := d.Token()
		if token == nil {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		switch e.Name.Local {
		case "text":
			var text string
			if err := d.DecodeElement(&text, &e); err != nil {
				t.Fatal(err)
			}
			texts = append(texts, strings.TrimSpace(text))
		case "image":
			for _, attr := range e.Attr {
				data, ok := strings.CutPrefix(attr.Value, "data:image/png;base64,")
				if !ok {
					continue
				}
				raw, err := base64.StdEncoding.DecodeString(data)
				if err != nil {
					t.Fatal(err)
				}
				images = append(images, decode(t, raw))
			}
		}
	}
	for _, want := range []string{"x < y", "head 0", "head 1", "query", "key", "probability", "0.25", "masked", "NaN",
		"the", `a<b&"c"`, "日本", "\u2068\\x1b␣سلام\u2069", "one", "two", "three"} {
		if !slices.Contains(texts, want) {
			t.Errorf("no text %q in %q", want, texts)
		}
	}
	if len(images) != 5 { // two maps, the colour bar, what is masked and NaN
		t.Fatalf("%d images", len(images))
	}
	s := a.sheet(Options{}, shown{})
	for _, img := range images[:2] {
		checkCells(t, img, 0, 0, small, s.grid, s.kx, s.ky, s.scale, 0)
	}
}

// TestTicks: labels have room, and stand at their cells.
func TestTicks(t *testing.T) {
	a := attention(t, 11, 2500, make([]float32, 11*2500))
	s := a.sheet(Options{}, shown{})
	ticks := s.ticks(nil, 2500, s.kx, false)
	for i, tick := range ticks[1:] {
		if room := (tick.Value - ticks[i].Value) * float64(s.kx) * float64(dot); room < 20 {
			t.Errorf("%s and %s are %v points apart", ticks[i].Label, tick.Label, room)
		}
	}
	if last := ticks[len(ticks)-1]; last.Value > float64(s.grid.columns) || last.Value < float64(s.grid.columns)*0.8 {
		t.Errorf("the last tick, %s, is at %v of %d cells", last.Label, last.Value, s.grid.columns)
	}
	down := s.ticks(strings.Fields("a b c d e f g h i j k"), 11, 40, true)
	if len(down) != 11 || down[0].Label != "a" || down[10].Label != "k" || s.grid.rows != 11 || down[0].Value != 10 {
		t.Errorf("ticks %v of %v", down, s.grid)
	}
}

type failingWriter struct{}

var errFull = errors.New("no space")

func (failingWriter) Write([]byte) (int, error) { return 0, errFull }

func TestWriteErrors(t *testing.T) {
	a := attention(t, 3, 4, small)
	for name, err := range map[string]error{
		"PNG":  a.WritePNG(failingWriter{}, Options{}),
		"SVG":  a.WriteSVG(failingWriter{}, Options{}),
		"text": a.WriteText(failingWriter{}, Options{}, Terminal{}),
	} {
		if !errors.Is(err, errFull) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
