package heatmap

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

var nan = float32(math.NaN())

// attention returns the maps named after their heads.
func attention(t testing.TB, queries, keys int, maps ...[]float32) *Attention {
	t.Helper()
	a, err := New(queries, keys)
	if err != nil {
		t.Fatal(err)
	}
	for h, probs := range maps {
		if err := a.Add(fmt.Sprintf("head %d", h), probs); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func ExampleAttention_WriteText() {
	a, err := New(3, 3)
	if err != nil {
		panic(err)
	}
	if err := a.Add("head 0", []float32{
		1, Masked, Masked,
		0.5, 0.5, Masked,
		0.1, 0.25, 0.65,
	}); err != nil {
		panic(err)
	}
	a.KeyLabels = []string{"A", "B", "C"}
	a.QueryLabels = a.KeyLabels
	if err := a.WriteText(os.Stdout, Options{Title: "causal"}, Terminal{}); err != nil {
		panic(err)
	}
	// Output:
	// causal
	//
	//     head 0
	//     A B C
	// 0 A ██····
	// 1 B ▒▒▒▒··
	// 2 C   ░░▓▓
	//
	// probability: ␣ below 0.2, ░ below 0.4, ▒ below 0.6, ▓ below 0.8, █ up to 1; · masked
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		queries, keys int
		want          string
	}{
		{0, 3, "0 queries cannot be drawn"},
		{3, 0, "0 keys cannot be drawn"},
		{-1, 3, "-1 queries"},
		{3, math.MaxInt32, "2147483647 keys cannot be drawn, 1 to 2147482623 can"},
	} {
		if _, err := New(c.queries, c.keys); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d queries, %d keys: error %v, want %q", c.queries, c.keys, err, c.want)
		}
	}
	for _, c := range []struct {
		probs []float32
		want  string
	}{
		{make([]float32, 5), "x has 5 probabilities, 2 queries of 3 keys have 6"},
		{make([]float32, 7), "x has 7 probabilities"},
		{nil, "x has 0 probabilities"},
		{[]float32{0, 0, 0, 0, 1.5, 0}, "x has 1.5 for query 1 and key 1"},
		{[]float32{0, 0, -0.5, 0, 0, 0}, "x has -0.5 for query 0 and key 2"},
		{[]float32{0, 0, 0, float32(math.Inf(1)), 0, 0}, "x has +Inf for query 1 and key 0"},
	} {
		a := attention(t, 2, 3)
		if err := a.Add("x", c.probs); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want %q", c.probs, err, c.want)
		}
		if a.Maps() != 0 {
			t.Errorf("%v: added", c.probs)
		}
	}
	many := attention(t, 1, 1)
	for range maxMaps {
		if err := many.Add("x", []float32{1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := many.Add("more", []float32{1}); err == nil || !strings.Contains(err.Error(), "more is one too many to draw: at most 1024 are") {
		t.Errorf("too many: error %v", err)
	}

	one := []float32{1}
	for _, c := range []struct {
		a    *Attention
		set  func(a *Attention)
		want string
	}{
		{attention(t, 1, 1), func(*Attention) {}, "there are 0 heads to draw"},
		{attention(t, 1, 1, one), func(a *Attention) { a.QueryLabels = []string{} }, "there are 0 query labels, 1 queries"},
		{attention(t, 1, 1, one), func(a *Attention) { a.KeyLabels = []string{"a", "b"} }, "there are 2 key labels, 1 keys"},
		{attention(t, 1, 1, one), func(a *Attention) { a.Columns = -1 }, "a sheet of -1 columns"},
	} {
		c.set(c.a)
		for name, err := range map[string]error{
			"text": c.a.WriteText(nil, Options{}, Terminal{}),
			"PNG":  c.a.WritePNG(nil, Options{}),
			"SVG":  c.a.WriteSVG(nil, Options{}),
		} {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: error %v, want %q", name, err, c.want)
			}
		}
	}
}

func TestReduce(t *testing.T) {
	got := reduce([]float32{
		0.1, 0.2, Masked, Masked, 0.3,
		0.4, 0.0, Masked, Masked, nan,
		0.5, Masked, 0.0, 0.1, Masked,
	}, 3, 5, block{2, 2})
	want := []float32{0.4, Masked, nan, 0.5, 0.1, Masked}
	if !slices.EqualFunc(got, want, func(a, b float32) bool { return a == b || a != a && b != b }) {
		t.Errorf("%v, want %v", got, want)
	}

	// Long sequences are kept by their maxima, and reduced further as by one step.
	const queries, keys = 3, 2500
	probs := make([]float32, queries*keys)
	probs[2*keys+2499] = 1
	a := attention(t, queries, keys, probs)
	if a.block != (block{1, 3}) || len(a.maps[0].cells) != 3*834 || a.maps[0].cells[3*834-1] != 1 {
		t.Errorf("block %d, %d cells", a.block, len(a.maps[0].cells))
	}
	g := a.fit(100, 100)
	if g != (grid{block{1, 27}, 3, 93}) {
		t.Errorf("grid %v", g)
	}
	cells := a.cells(0, g)
	if len(cells) != 3*93 || cells[3*93-1] != 1 || cells[0] != 0 {
		t.Errorf("cells %v", cells)
	}
}

// TestFewByMany: a query, or a key, of few has cells of its own, in every rendering.
func TestFewByMany(t *testing.T) {
	for _, c := range []struct {
		queries, keys int
		block         block // of the finest cells that are kept
	}{
		{13, 3000, block{1, 3}}, {3000, 13, block{3, 1}}, {1, 100000, block{1, 98}}, {2000, 1, block{2, 1}}, {13, 1000, block{1, 1}}, {24, 4096, block{1, 4}}, {2000, 5000, block{2, 5}},
	} {
		a := attention(t, c.queries, c.keys)
		if a.block != c.block {
			t.Errorf("%+v: kept in blocks of %+v", c, a.block)
		}
		probs := make([]float32, c.queries*c.keys)
		for i := range c.queries { // a query attends keys at a place of its own
			probs[i*c.keys+i*c.keys/c.queries] = 1
		}
		if err := a.Add("head", probs); err != nil {
			t.Fatal(err)
		}
		check := func(name string, g grid) {
			t.Helper()
			if c.queries <= 24 && g.block.queries != 1 || c.keys <= 24 && g.block.keys != 1 {
				t.Errorf("%+v: %s has cells of %+v", c, name, g.block)
			}
			for i, p := range a.cells(0, g) {
				q, k := i/g.columns*g.block.queries, i%g.columns*g.block.keys
				want := float32(0)
				for last := min(q+g.block.queries, c.queries); q < last; q++ {
					if at := q * c.keys / c.queries; at >= k && at < k+g.block.keys {
						want = 1
					}
				}
				if p != want {
					t.Fatalf("%+v: %s: cell %d of %+v is %v, want %v", c, name, i, g, p, want)
				}
			}
		}
		check("a picture", a.sheet(Options{}, shown{}).grid)
		for _, colors := range []Colors{NoColors, Colors256} {
			for _, width := range []int{40, 80, 200} {
				check("text", a.textLayout(Options{}, Terminal{width, colors}).grid)
			}
		}
	}
}

func TestScale(t *testing.T) {
	for _, c := range []struct {
		top         float32
		keys        int
		log         bool
		least, most float64
	}{
		{1, 8, false, 0, 1},
		{1.0001, 8, false, 0, 1},
		{0.51, 8, false, 0, 1},
		{0.5, 8, false, 0, 0.5},
		{0.11, 8, false, 0, 0.2},
		{0.004, 512, false, 0, 0.005},
		{0, 8, false, 0, 1},
		{1, 10, true, 1e-3, 1},
		{0.004, 512, true, 1e-5, 0.01},
		{1e-9, 8, true, 1e-10, 1e-9},
	} {
		a := Attention{keys: c.keys, top: c.top}
		s := a.scale(c.log)
		near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-6*b }
		if !near(s.least, c.least) || !near(s.most, c.most) {
			t.Errorf("top %v, %d keys, log %v: %v to %v, want %v to %v", c.top, c.keys, c.log, s.least, s.most, c.least, c.most)
		}
		last := -1.0
		for i := range 101 {
			x := float64(i) / 100
			at := s.at(float32(s.of(x)))
			if math.Abs(at-x) > 1e-4 || at < last {
				t.Fatalf("%+v: %v is at %v", s, x, at)
			}
			last = at
		}
		if s.at(0) != 0 || s.at(2) != 1 {
			t.Errorf("%+v: 0 is at %v, 2 at %v", s, s.at(0), s.at(2))
		}
	}
}

func TestTableColumns(t *testing.T) {
	for _, c := range []struct {
		n      int
		aspect float64
		want   int
	}{
		{1, 1, 1}, {2, 1, 2}, {3, 1, 3}, {4, 1, 2}, {6, 1, 3}, {8, 1, 4}, {12, 1, 4}, {16, 1, 4}, {32, 1, 8},
		{12, 512, 1}, {12, 1.0 / 512, 12}, {1024, 1, 38},
	} {
		if got := tableColumns(c.n, c.aspect); got != c.want {
			t.Errorf("%d maps of aspect %v: %d columns, want %d", c.n, c.aspect, got, c.want)
		}
	}
}

func TestTickStep(t *testing.T) {
	for _, c := range []struct {
		spacing, pair float64
		want          int
	}{{10, 28, 1}, {10, 10, 1}, {10, 9, 2}, {10, 4, 5}, {10, 1, 10}, {10, 0.9, 20}, {10, 0.1, 100}} {
		if got := tickStep(c.spacing, c.pair); got != c.want {
			t.Errorf("%v apart, %v each: %d, want %d", c.spacing, c.pair, got, c.want)
		}
	}
	if got := tickStep(10, 0); got < 1 {
		t.Errorf("of no length: %d", got)
	}
}

func TestLabels(t *testing.T) {
	for _, c := range []struct{ label, terminal, png string }{
		{"cat", "cat", "cat"},
		{" the", "␣the", "_the"},
		{"\n\t", "⏎⇥", `\n\t`},
		{"\r\n", "⏎", `\r\n`},
		{"\x1b[31m\x00\x7f\u0085", `\x1b[31m\x00\x7f…`, `\x1b[31m\x00\x7f…`},
		{"a\u202eb", `a\u202eb`, `a\u202eb`}, // would turn what follows
		{"日本", "日本", `\u65e5\u672c`},
		{"日本語日本語日本語", "日本語日本語日本…", `\u65e5\u672c…`},
		{"سلام", "سلام", `\u0633\u0644…`},
		// Liberation Sans has Hebrew, which a PNG draws from left to right.
		{"שלום", "שלום", "\u05dd\u05d5\u05dc\u05e9"},
		{"שלום!", "שלום!", "!\u05dd\u05d5\u05dc\u05e9"},
		{"ok שלום", "ok␣שלום", "ok_\u05dd\u05d5\u05dc\u05e9"},
		{"😀", "😀", `\U0001f600`},
		{"👨\u200d👧", `👨\u200d👧`, `\U0001f468\u200d…`}, // terminals do not agree on its width
		{"e\u0301te\u0301", "e\u0301te\u0301", "e\u0301te\u0301"},
		{"\u0301", "◌\u0301", "◌\u0301"},
		{"\xff\xfe", `\xff\xfe`, `\xff\xfe`},
		{"\ufffd", "\ufffd", `\ufffd`},
		{"", "", ""},
		{"abcdefghijklmnop", "abcdefghijklmnop", "abcdefghijklmnop"},
		{"abcdefghijklmnopq", "abcdefghijklmnop…", "abcdefghijklmnop…"},
		{strings.Repeat("é", 100), strings.Repeat("é", 16) + "…", strings.Repeat("é", 16) + "…"},
		{strings.Repeat("e\u0301", 100), strings.Repeat("e\u0301", 16) + "…", strings.Repeat("e\u0301", 16) + "…"},
	} {
		if got := (shown{}).text(c.label); got != c.terminal {
			t.Errorf("%q: %q, want %q", c.label, got, c.terminal)
		}
		got := shown{glyphs: true}.text(c.label)
		if got != c.png {
			t.Errorf("%q: %q in a PNG, want %q", c.label, got, c.png)
		}
		if lacks(got) {
			t.Errorf("%q: the font lacks some of %q", c.label, got)
		}
	}
	for label, want := range map[string]string{
		"cat": "cat", "日本": "日本", "سلام": "\u2068سلام\u2069", "שלום!": "\u2068שלום!\u2069", "ok שלום": "\u2068ok␣שלום\u2069",
	} {
		if got := (shown{isolates: true}).text(label); got != want {
			t.Errorf("%q: %q in an SVG, want %q", label, got, want)
		}
	}
	a := attention(t, 1, 5)
	a.KeyLabels = []string{"日", " the", "\n", "سلام", "\x1b"}
	if n := a.Escaped(); n != 2 {
		t.Errorf("%d labels are escaped, want 2", n)
	}
}
