package heatmap

import (
	"image/color"
	"slices"
	"strings"
	"testing"
)

func writeText(t *testing.T, a *Attention, o Options, term Terminal) string {
	t.Helper()
	var b strings.Builder
	if err := a.WriteText(&b, o, term); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestText(t *testing.T) {
	a := attention(t, 3, 4, small, small)
	got := writeText(t, a, Options{Title: "title"}, Terminal{})
	want := `title

  head 0    head 1
  0 1 2 3   0 1 2 3
0 ██··  ··  ██··  ··
1 ░░▓▓  ··  ░░▓▓  ··
2 ▒▒??  ▒▒  ▒▒??  ▒▒

probability: ␣ below 0.2, ░ below 0.4, ▒ below 0.6, ▓ below 0.8, █ up to 1; · masked; ? NaN
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	// In the rows of a sheet.
	three := attention(t, 3, 4, small, small, small)
	three.Columns = 2
	got = writeText(t, three, Options{}, Terminal{})
	if !strings.Contains(got, "\n  head 0    head 1\n") || !strings.Contains(got, "\n  head 2\n") {
		t.Errorf("rows of two maps:\n%s", got)
	}

	// In lines too short for two.
	got = writeText(t, a, Options{}, Terminal{Width: 19})
	if n := strings.Count(got, "\n0 ██··  ··\n"); n != 2 || strings.Contains(got, "head 0    head 1") {
		t.Errorf("19 characters wide:\n%s", got)
	}

	// Keys that stand nowhere else are listed.
	a = attention(t, 2, 3, []float32{1, 0, 0, 0, 0, 1})
	a.KeyLabels = []string{"the", "quick", "brown fox"}
	got = writeText(t, a, Options{}, Terminal{Width: 24})
	want = `
  head 0
  0 1 2
0 ██
1     ██

keys:  0 the  1 quick
       2 brown␣fox
probability: ␣ below 0.2,
░ below 0.4,
▒ below 0.6,
▓ below 0.8, █ up to 1
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTextReduced(t *testing.T) {
	const n = 100
	probs := make([]float32, n*n)
	for i := range n {
		probs[i*n+i] = 1
	}
	probs[3] = nan
	a := attention(t, n, n, probs)
	got := strings.Split(writeText(t, a, Options{}, Terminal{}), "\n")
	want := []string{
		"each cell is the maximum of 4×4 pairs",
		"",
		"   head 0",
		"   0   10    20  30    40  50    60  70    80  90",
		" 0 ??",
		"     ██",
	}
	if !slices.Equal(got[:len(want)], want) || got[3+25] != strings.Repeat(" ", 3+48)+"██" {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

// TestTextWidth: no line is longer than the terminal, if it has room for a map at all.
func TestTextWidth(t *testing.T) {
	for _, n := range []int{1, 7, 11, 24, 25, 64, 200, 3000} {
		probs := make([]float32, 3*n)
		for i := range probs {
			probs[i] = float32(i%5) / 5
		}
		if n == 7 {
			probs[1], probs[2] = Masked, nan
		}
		a := attention(t, 3, n, probs, probs, probs)
		if n == 11 {
			a.KeyLabels = strings.Fields("a b c d e f g h i j k")
		}
		for _, colors := range []Colors{NoColors, Colors256, TrueColor} {
			for _, width := range []int{0, 1, 30, 40, 60, 80, 200} {
				text := writeText(t, a, Options{}, Terminal{width, colors})
				if colors == NoColors && strings.Contains(text, "\x1b") {
					t.Fatalf("%d keys: control sequences in plain text", n)
				}
				lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
				legend := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "probability") })
				for i, line := range lines {
					least := 60 // for labels and maps
					if i >= legend {
						least = 30
					}
					if w := textWidth(sequences.ReplaceAllString(line, "")); width >= least && w > width {
						t.Fatalf("%d keys, %d characters wide: a line has %d: %q", n, width, w, line)
					}
				}
			}
		}
	}
}

func TestTextColors(t *testing.T) {
	a := attention(t, 3, 2, []float32{1, Masked, 0, Masked, Masked, 1})
	// Two characters a cell; what is masked has the colour of the terminal.
	got := writeText(t, a, Options{}, Terminal{Colors: TrueColor})
	lines := strings.Split(got, "\n")[3:6]
	want := []string{
		"0 \x1b[48;2;253;231;37m  \x1b[49m",
		"1 \x1b[48;2;68;1;84m  \x1b[49m",
		"2   \x1b[48;2;253;231;37m  \x1b[49m",
	}
	for i, line := range lines {
		if strings.TrimRight(line, " ") != want[i] {
			t.Errorf("line %d is %q, want %q", i, line, want[i])
		}
	}
	if !strings.Contains(got, "; blank masked\n") {
		t.Errorf("the legend is missing: %q", got)
	}

	// Two rows a line.
	x := &textLayout{a: a, colors: Colors256, scale: a.scale(false), grid: grid{block{1, 1}, 3, 2}, half: true, narrow: true}
	for r, want := range []string{
		"\x1b[38;5;220m\x1b[48;5;53m▀\x1b[39m\x1b[49m ",
		" \x1b[38;5;220m▀\x1b[39m",
	} {
		got := x.line(a.maps[0].cells, r)
		// The colours of the ends are those nearest in the cube.
		want = strings.NewReplacer("5;220m", code(x, 1), "5;53m", code(x, 0)).Replace(want)
		if got != want {
			t.Errorf("line %d is %q, want %q", r, got, want)
		}
	}
	lower := attention(t, 2, 1, []float32{Masked, 0})
	x.a, x.grid = lower, grid{block{1, 1}, 2, 1}
	if got, want := x.line(lower.maps[0].cells, 0), "\x1b[38;"+code(x, 0)+"▄\x1b[39m"; got != want {
		t.Errorf("a lower cell is %q, want %q", got, want)
	}
}

// code returns the end of the sequence for the colour of a probability.
func code(x *textLayout, p float32) string {
	s := x.change(paint{}, paint{fore: x.color(p)})
	return strings.TrimPrefix(s, "\x1b[38;")
}

func TestXterm(t *testing.T) {
	levels := []int{0, 95, 135, 175, 215, 255}
	for v := range 256 {
		best := 0
		for i, l := range levels {
			if abs(l-v) < abs(levels[best]-v) {
				best = i
			}
		}
		got := xterm(color.RGBA{R: uint8(v)})
		if off := abs(levels[(got-16)/36] - v); off != abs(levels[best]-v) {
			t.Errorf("%d becomes %d, want %d", v, levels[(got-16)/36], levels[best])
		}
	}
	if got := xterm(color.RGBA{255, 135, 0, 255}); got != 208 {
		t.Errorf("orange is %d, want 208", got)
	}
}

func abs(x int) int { return max(x, -x) }
