package main

import (
	"bytes"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/cmd/qkv/heatmap"
	"github.com/qkv-go/qkv/internal/shareddata"
)

// viewInputs writes q and k and returns the flags that name them.
func viewInputs(t *testing.T, dir string, q, k array) []string {
	t.Helper()
	return []string{"view",
		"-q", writeArray(t, filepath.Join(dir, "q.npy"), q),
		"-k", writeArray(t, filepath.Join(dir, "k.npy"), k)}
}

// sharp returns queries, or keys, of which each attends the one of its number, for up to 4.
func sharp(heads, seq int) array {
	a := array{dims: []int{heads, seq, 4}, data: make([]float32, heads*seq*4)}
	for i := range heads * seq {
		a.data[4*i+i%seq] = 10
	}
	return a
}

func TestView(t *testing.T) {
	for _, c := range []struct {
		q, k  array
		flags []string
		want  string
	}{
		{sharp(2, 3), sharp(1, 4), []string{"-causal", "top-left", "-tokens", " a  b c d"}, `3 queries × 4 keys, causal top-left

    head 0    head 1
    a b c d   a b c d
0 a ██······  ██······
1 b   ██····    ██····
2 c     ██··      ██··

probability: ␣ below 0.2, ░ below 0.4, ▒ below 0.6, ▓ below 0.8, █ up to 1; · masked
`},
		// The queries of a decoder are the last tokens.
		{sharp(1, 1), sharp(1, 4), []string{"-causal", "bottom-right", "-tokens", "a b c d", "-log"}, `1 query × 4 keys, causal bottom-right

    head 0
    a b c d
0 d ██

probability: ␣ below 0.01, ░ below 0.04, ▒ below 0.16, ▓ below 0.6, █ up to 1
`},
		// Nothing says where the queries stand: only the keys have names.
		{sharp(1, 2), sharp(1, 3), []string{"-tokens", "a b c"}, `2 queries × 3 keys

  head 0
  a b c
0 ██
1   ██

probability: ␣ below 0.2, ░ below 0.4, ▒ below 0.6, ▓ below 0.8, █ up to 1
`},
		{array{dims: []int{2, 1, 1, 1}, data: []float32{0, 0}}, array{dims: []int{2, 1, 2, 1}, data: []float32{0, 0, 0, 0}}, []string{"-batch", "1"}, `1 query × 2 keys, element 1 of a batch of 2

  head 0
  0 1
0 ████

probability: ␣ below 0.1, ░ below 0.2, ▒ below 0.3, ▓ below 0.4, █ up to 0.5
`},
	} {
		args := append(viewInputs(t, t.TempDir(), c.q, c.k), c.flags...)
		code, stdout, errs := qkvRun(args...)
		if code != exitOK || errs != "" {
			t.Errorf("%q: exit %d, stderr %q", c.flags, code, errs)
		}
		if c.flags[len(c.flags)-1] == "-log" { // but for the thresholds
			stdout = stdout[:strings.Index(stdout, "probability")]
			c.want = c.want[:strings.Index(c.want, "probability")]
		}
		if stdout != c.want {
			t.Errorf("%q: got\n%s\nwant\n%s", c.flags, stdout, c.want)
		}
	}
}

// TestViewProbs: what is drawn of each head is what the library computes of all of them.
func TestViewProbs(t *testing.T) {
	const batch, heads, kvHeads, seqQ, seqKV, dim = 2, 4, 2, 5, 7, 3
	q, k := ramp(batch, heads, seqQ, dim), ramp(batch, kvHeads, seqKV, dim)
	dir := t.TempDir()
	inf := float32(math.Inf(-1))
	bias := ramp(batch, heads, seqQ, seqKV)
	headBias := ramp(heads, 1, seqKV)
	for i := range bias.data {
		if i%5 == 0 {
			bias.data[i] = inf
		}
	}
	slopes, sinks := ramp(heads), ramp(heads)
	keep := make([]byte, batch*seqQ*seqKV)
	bools := make([]bool, len(keep))
	for i := range keep {
		keep[i] = byte(i * i % 3)
		bools[i] = keep[i] != 0
	}
	keepPath := filepath.Join(dir, "keep.npy")
	if err := os.WriteFile(keepPath, npyBytes(dict("'|b1'", "False", "(2, 1, 5, 7)"), keep), 0o666); err != nil {
		t.Fatal(err)
	}
	biasPath := writeArray(t, filepath.Join(dir, "bias.npy"), bias)
	headBiasPath := writeArray(t, filepath.Join(dir, "headbias.npy"), headBias)
	alibiPath := writeArray(t, filepath.Join(dir, "alibi.npy"), slopes)
	sinksPath := writeArray(t, filepath.Join(dir, "sinks.npy"), sinks)
	for _, c := range []struct {
		flags []string
		set   func(c *qkv.Call)
	}{
		{nil, func(*qkv.Call) {}},
		{[]string{"-causal", "bottom-right", "-scale", "2"}, func(c *qkv.Call) {
			c.Mask, c.Scale = qkv.Mask{Causal: true, Align: qkv.BottomRight}, 2
		}},
		{[]string{"-window", "1:1", "-align", "9"}, func(c *qkv.Call) { // no key at all, for some
			c.Mask = qkv.Mask{Window: qkv.Sliding(1, 1), Align: qkv.AlignOffset, Offset: 9}
		}},
		{[]string{"-window", "1:1", "-align", "top-left", "-prefix", "1", "-sinks", sinksPath, "-alibi", alibiPath, "-softcap", "1"}, func(c *qkv.Call) {
			c.Mask = qkv.Mask{Window: qkv.Sliding(1, 1), Align: qkv.TopLeft, Prefix: 1}
			c.Sinks, c.ALiBi, c.Softcap = sinks.data, slopes.data, 1
		}},
		{[]string{"-mask", keepPath}, func(c *qkv.Call) { c.Mask.Keep = qkv.Pairs(bools, batch, 1, seqQ, seqKV) }},
		{[]string{"-bias", biasPath}, func(c *qkv.Call) { c.Bias = qkv.Pairs(bias.data, batch, heads, seqQ, seqKV) }},
		{[]string{"-bias", headBiasPath, "-mask", keepPath}, func(c *qkv.Call) {
			c.Bias, c.Mask.Keep = qkv.Pairs(headBias.data, 1, heads, 1, seqKV), qkv.Pairs(bools, batch, 1, seqQ, seqKV)
		}},
	} {
		call := qkv.Call{
			Q: view(q, "bhsd"), K: view(k, "bhsd"), V: view(k, "bhsd"), Out: view(ramp(q.dims...), "bhsd"),
		}
		c.set(&call)
		stage := func(s qkv.Stage) []float32 {
			to := make([]float32, batch*heads*seqQ*seqKV)
			call.Scores, call.ScoresAt = qkv.Pairs(to, batch, heads, seqQ, seqKV), s
			if err := qkv.Run(&call); err != nil {
				t.Fatal(err)
			}
			return to
		}
		want := stage(qkv.StageProbs)
		for i, s := range stage(qkv.StageMasked) {
			if s == inf {
				want[i] = heatmap.Masked
			}
		}
		for _, layout := range []string{"bhsd", "bshd"} {
			files := [2]array{q, k}
			if layout == "bshd" {
				files = [2]array{swap(q), swap(k)}
			}
			args := append(viewInputs(t, t.TempDir(), files[0], files[1])[1:], c.flags...)
			checkHeads(t, append(args, "-layout", layout), want, heads, seqQ*seqKV)
		}
	}
}

func TestViewFiles(t *testing.T) {
	dir := t.TempDir()
	in := append(viewInputs(t, dir, sharp(3, 4), sharp(1, 4)), "-causal", "top-left")
	pictures := filepath.Join(dir, "pictures")
	if err := os.Mkdir(pictures, 0o777); err != nil {
		t.Fatal(err)
	}
	run := func(more ...string) {
		t.Helper()
		if code, stdout, errs := qkvRun(append(slices.Clone(in), more...)...); code != exitOK || stdout != "" || errs != "" {
			t.Fatalf("%q: exit %d, stdout %q, stderr %q", more, code, stdout, errs)
		}
	}
	run("-o", pictures)
	names := listDir(t, pictures)
	if want := []string{"head0.png", "head1.png", "head2.png", "heads.png"}; !slices.Equal(names, want) {
		t.Errorf("files %v, want %v", names, want)
	}
	run("-o", filepath.Join(dir, "all.PNG"))
	run("-o", filepath.Join(dir, "one.png"), "-head", "1")
	run("-o", filepath.Join(dir, "all.svg"), "-tokens", "one two three four")
	sizes := map[string]int{}
	for _, name := range []string{"all.PNG", "one.png", "pictures/head1.png", "pictures/heads.png"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		img, err := png.Decode(f)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		sizes[name] = img.Bounds().Dx()
	}
	if sizes["all.PNG"] != sizes["pictures/heads.png"] || sizes["one.png"] != sizes["pictures/head1.png"] || sizes["one.png"] >= sizes["all.PNG"] {
		t.Errorf("widths %v", sizes)
	}
	svg, err := os.ReadFile(filepath.Join(dir, "all.svg"))
	if err != nil || !bytes.HasPrefix(svg, []byte("<?xml")) || !bytes.Contains(svg, []byte(">three<")) {
		t.Errorf("no SVG with the tokens: %v", err)
	}
}

func TestViewErrors(t *testing.T) {
	good := ramp(2, 5, 4)
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens.txt")
	if err := os.WriteFile(tokens, []byte("one\r\ntwo words\n\nfour"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		q, k  array
		flags []string
		want  string
	}{
		{"head dim", good, ramp(2, 5, 3), nil, "k has head dim 3, q has 4"},
		{"heads", ramp(3, 5, 4), good, nil, "q has 3 heads, not a multiple of k's 2"},
		{"rank", good, ramp(5, 4), nil, "k has shape (5, 4), q has (2, 5, 4): the number of axes differs"},
		{"vector", ramp(5), good, nil, "has 1 axes, 2 to 4 are needed"},
		{"no queries", ramp(2, 0, 4), good, nil, "0 queries cannot be drawn"},
		{"no keys", good, ramp(2, 0, 4), nil, "0 keys cannot be drawn"},
		{"no heads", ramp(0, 5, 4), ramp(1, 5, 4), nil, "there are 0 heads to draw"},
		{"no batch", ramp(0, 1, 5, 4), ramp(0, 1, 5, 4), nil, "-batch is 0, q has batch 0"},
		{"batch", good, good, []string{"-batch", "1"}, "-batch is 1, q has batch 1"},
		{"head", good, good, []string{"-head", "2"}, "-head is 2, q has 2 heads"},
		{"tokens", good, good, []string{"-tokens", "a b"}, "there are 2 tokens, k has sequence length 5"},
		{"tokens file", good, good, []string{"-tokens-file", tokens}, "there are 4 tokens, k has sequence length 5"},
		{"no tokens file", good, good, []string{"-tokens-file", filepath.Join(dir, "none")}, "no such file"},
		{"mask", good, good, []string{"-mask", "none.npy"}, "no such file"},
		{"bias", good, good, []string{"-bias", writeArray(t, filepath.Join(dir, "b.npy"), ramp(3, 5, 5))}, "bias has heads 3, which does not broadcast to 2"},
		{"alibi", good, good, []string{"-alibi", writeArray(t, filepath.Join(dir, "a.npy"), ramp(3))}, "alibi has length 3, q has 2 heads"},
		{"long", ramp(1, 20000, 1), ramp(1, 20000, 1), nil, "the probabilities of a head, 20000 queries by 20000 keys, take 1600000000 bytes, at most 1073741824 are drawn"},
		{"no directory", good, good, []string{"-o", filepath.Join(dir, "none", "x.png")}, "no such file"},
	} {
		code, stdout, errs := qkvRun(append(viewInputs(t, t.TempDir(), c.q, c.k), c.flags...)...)
		if code != exitFailed || stdout != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: exit %d, stdout %q, stderr %q, want exit 1 and %q", c.name, code, stdout, errs, c.want)
		}
	}
	if code, _, errs := qkvRun(append(viewInputs(t, dir, ramp(2, 4, 4), ramp(2, 4, 4)), "-tokens-file", tokens)...); code != exitOK {
		t.Errorf("a tokens file: exit %d, %s", code, errs)
	}

	// Nothing is left behind where one of the files cannot be written.
	pictures := filepath.Join(dir, "pictures")
	if err := os.MkdirAll(filepath.Join(pictures, "head1.png"), 0o777); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := qkvRun(append(viewInputs(t, dir, good, good), "-o", pictures)...); code != exitFailed || !strings.Contains(errs, "is a directory") {
		t.Errorf("exit %d, stderr %q", code, errs)
	}
	if names := listDir(t, pictures); !slices.Equal(names, []string{"head1.png"}) {
		t.Errorf("files %v", names)
	}
}

func TestTerminalColors(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want heatmap.Colors
	}{
		{nil, heatmap.NoColors},
		{map[string]string{"TERM": "dumb", "COLORTERM": "truecolor"}, heatmap.NoColors},
		{map[string]string{"TERM": "xterm-256color"}, heatmap.Colors256},
		{map[string]string{"TERM": "xterm-256color", "COLORTERM": "truecolor"}, heatmap.TrueColor},
		{map[string]string{"TERM": "screen", "COLORTERM": "24bit"}, heatmap.TrueColor},
		{map[string]string{"TERM": "xterm-direct"}, heatmap.TrueColor},
		{map[string]string{"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1"}, heatmap.NoColors},
		{map[string]string{"TERM": "xterm-256color", "NO_COLOR": ""}, heatmap.Colors256},
	} {
		if got := terminalColors(func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("%v: %v, want %v", c.env, got, c.want)
		}
	}
}

// TestViewModel: a trained model, of which 6 letters are sorted.
func TestViewModel(t *testing.T) {
	model := shareddata.Path(t, "nano-gpt", "gpt-nano-sort-model.json")
	code, stdout, errs := qkvRun("view", "-model", model, "CBABBC")
	if code != exitOK || errs != "" || !strings.HasPrefix(stdout, "CBABBC, causal\n\n    layer 0, head 0  layer 0, head 1  layer 0, head 2\n    C B A B B C ") {
		t.Fatalf("exit %d, stderr %q, stdout\n%s", code, errs, stdout)
	}
	if n := strings.Count(stdout, "\n0 C ██··········"); n != 3 {
		t.Errorf("%d layers:\n%s", n, stdout)
	}
	dir := t.TempDir()
	if code, _, errs := qkvRun("view", "-model", model, "-o", dir, "-head", "1", "ABC"); code != exitOK {
		t.Fatalf("exit %d, %s", code, errs)
	}
	if names, want := listDir(t, dir), []string{"heads.png", "layer0-head1.png", "layer1-head1.png", "layer2-head1.png"}; !slices.Equal(names, want) {
		t.Errorf("files %v, want %v", names, want)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{model, "ABX"}, `qkv view: "ABX" has 'X', the model knows A to C`},
		{[]string{model, ""}, "there are 0 tokens, the model takes 1 to 11"},
		{[]string{model, "A", "-head", "3"}, "-head is 3, the model has 3 heads"},
		{[]string{"none.json", "A"}, "no such file"},
	} {
		if code, _, errs := qkvRun(append([]string{"view", "-model"}, c.args...)...); code != exitFailed || !strings.Contains(errs, c.want) {
			t.Errorf("%q: exit %d, stderr %q, want %q", c.args, code, errs, c.want)
		}
	}
}
