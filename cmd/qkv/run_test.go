package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/internal/shareddata"
)

// inputs writes q, k and v and returns the flags that name them.
func inputs(t *testing.T, dir string, q, k, v array) []string {
	t.Helper()
	return []string{"run",
		"-q", writeArray(t, filepath.Join(dir, "q.npy"), q),
		"-k", writeArray(t, filepath.Join(dir, "k.npy"), k),
		"-v", writeArray(t, filepath.Join(dir, "v.npy"), v)}
}

func TestRun(t *testing.T) {
	// One problem, [2, 4, 5, 3] and [2, 2, 7, 3 or 6], in each rank and layout that
	// can hold it or a part of it.
	const batch, heads, kvHeads, seqQ, seqKV, dim, dimV = 2, 4, 2, 5, 7, 3, 6
	q, k, v := ramp(batch, heads, seqQ, dim), ramp(batch, kvHeads, seqKV, dim), ramp(batch, kvHeads, seqKV, dimV)
	for _, c := range []struct {
		flags []string
		mask  qkv.Mask
		scale float32
	}{
		{nil, qkv.Mask{}, 0},
		{[]string{"-causal", "top-left", "-workers", "1"}, qkv.Mask{Causal: true, Align: qkv.TopLeft}, 0},
		{[]string{"-causal", "bottom-right", "-scale", "0.25"}, qkv.Mask{Causal: true, Align: qkv.BottomRight}, 0.25},
		{[]string{"-causal", "-2", "-kernel", "generic"}, qkv.Mask{Causal: true, Align: qkv.AlignOffset, Offset: -2}, 0},
		{[]string{"-causal", "bottom-right", "-window", "1:0", "-prefix", "2"}, qkv.Mask{
			Causal: true, Align: qkv.BottomRight, Window: qkv.Sliding(1, 0), Prefix: 2,
		}, 0},
		{[]string{"-window", "all:1", "-align", "3"}, qkv.Mask{
			Align: qkv.AlignOffset, Offset: 3, Window: qkv.Sliding(qkv.Unbounded, 1),
		}, 0},
		{[]string{"-align", "bottom-right", "-window", "0:all"}, qkv.Mask{
			Align: qkv.BottomRight, Window: qkv.Sliding(0, qkv.Unbounded),
		}, 0},
	} {
		want := ramp(batch, heads, seqQ, dimV)
		lse := make([]float32, batch*heads*seqQ)
		call := qkv.Call{
			Q: view(q, "bhsd"), K: view(k, "bhsd"), V: view(v, "bhsd"), Out: view(want, "bhsd"),
			LSE: lse, Mask: c.mask, Scale: c.scale,
		}
		if err := qkv.Run(&call); err != nil {
			t.Fatal(err)
		}
		check := func(name string, q, k, v array, want array, lseDims []int, lse []float32, flags ...string) {
			t.Helper()
			dir := t.TempDir()
			outPath, lsePath := filepath.Join(dir, "out.npy"), filepath.Join(dir, "lse.npy")
			args := append(inputs(t, dir, q, k, v), "-o", outPath, "-lse", lsePath)
			code, stdout, errs := qkvRun(append(append(args, c.flags...), flags...)...)
			if code != exitOK || stdout != "" || errs != "" {
				t.Fatalf("%s %q: exit %d, stdout %q, stderr %q", name, c.flags, code, stdout, errs)
			}
			got, gotLSE := readArray(t, outPath), readArray(t, lsePath)
			if !slices.Equal(got.dims, want.dims) || !slices.Equal(got.data, want.data) {
				t.Errorf("%s %q: out %v differs from %v", name, c.flags, got.dims, want.dims)
			}
			if !slices.Equal(gotLSE.dims, lseDims) || !slices.Equal(gotLSE.data, lse) {
				t.Errorf("%s %q: lse %v differs, want %v", name, c.flags, gotLSE.dims, lseDims)
			}
		}
		check("4-D", q, k, v, want, []int{batch, heads, seqQ}, lse)
		check("4-D bshd", swap(q), swap(k), swap(v), swap(want), []int{batch, heads, seqQ}, lse, "-layout", "bshd")

		q3, k3, v3, want3 := first(q), first(k), first(v), first(want)
		check("3-D", q3, k3, v3, want3, []int{heads, seqQ}, lse[:heads*seqQ])
		check("3-D bshd", swap(q3), swap(k3), swap(v3), swap(want3), []int{heads, seqQ}, lse[:heads*seqQ], "-layout", "bshd")

		for _, layout := range []string{"bhsd", "bshd"} {
			check("2-D "+layout, first(q3), first(k3), first(v3), first(want3), []int{seqQ}, lse[:seqQ], "-layout", layout)
		}
	}
}

// TestRunPairs gives what goes with heads and pairs in files.
func TestRunPairs(t *testing.T) {
	const batch, heads, kvHeads, seqQ, seqKV, dim = 2, 4, 2, 5, 7, 3
	q, k, v := ramp(batch, heads, seqQ, dim), ramp(batch, kvHeads, seqKV, dim), ramp(batch, kvHeads, seqKV, dim)
	slopes, sinks := ramp(heads), ramp(heads)
	bias := ramp(heads, seqQ, seqKV)
	full := ramp(batch, heads, seqQ, seqKV)
	var keep []byte
	var bools []bool
	for i := range seqQ * seqKV {
		keep = append(keep, byte(i*i%3)) // 0 and 1
		bools = append(bools, i*i%3 != 0)
	}
	files := t.TempDir()
	file := func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(files, name)
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	alibiPath := writeArray(t, filepath.Join(files, "alibi.npy"), slopes)
	sinksPath := writeArray(t, filepath.Join(files, "sinks.npy"), sinks)
	biasPath := writeArray(t, filepath.Join(files, "bias.npy"), bias)
	fullPath := writeArray(t, filepath.Join(files, "full.npy"), full)
	boolPath := file("bool.npy", npyBytes(dict("'|b1'", "False", "(5, 7)"), keep))
	bytePath := file("byte.npy", npyBytes(dict("'|u1'", "False", "(1, 5, 7)"), keep))
	rowPath := file("row.npy", npyBytes(dict("'|b1'", "False", "(1, 7)"), keep[:seqKV]))
	for _, c := range []struct {
		flags []string
		set   func(c *qkv.Call)
	}{
		{[]string{"-softcap", "0.5"}, func(c *qkv.Call) { c.Softcap = 0.5 }},
		{[]string{"-alibi", alibiPath, "-align", "bottom-right"}, func(c *qkv.Call) {
			c.ALiBi, c.Mask.Align = slopes.data, qkv.BottomRight
		}},
		{[]string{"-sinks", sinksPath}, func(c *qkv.Call) { c.Sinks = sinks.data }},
		{[]string{"-bias", biasPath}, func(c *qkv.Call) { c.Bias = qkv.Pairs(bias.data, 1, heads, seqQ, seqKV) }},
		{[]string{"-bias", fullPath}, func(c *qkv.Call) { c.Bias = qkv.Pairs(full.data, batch, heads, seqQ, seqKV) }},
		{[]string{"-mask", boolPath}, func(c *qkv.Call) { c.Mask.Keep = qkv.Pairs(bools, 1, 1, seqQ, seqKV) }},
		{[]string{"-mask", bytePath}, func(c *qkv.Call) { c.Mask.Keep = qkv.Pairs(bools, 1, 1, seqQ, seqKV) }},
		{[]string{"-mask", rowPath, "-causal", "top-left"}, func(c *qkv.Call) {
			c.Mask = qkv.Mask{Causal: true, Align: qkv.TopLeft, Keep: qkv.Pairs(bools[:seqKV], 1, 1, 1, seqKV)}
		}},
		{[]string{"-mask", boolPath, "-sinks", sinksPath, "-bias", biasPath, "-alibi", alibiPath, "-softcap", "2", "-scale", "3", "-causal", "1"}, func(c *qkv.Call) {
			c.Mask = qkv.Mask{Causal: true, Align: qkv.AlignOffset, Offset: 1, Keep: qkv.Pairs(bools, 1, 1, seqQ, seqKV)}
			c.Sinks, c.ALiBi, c.Bias = sinks.data, slopes.data, qkv.Pairs(bias.data, 1, heads, seqQ, seqKV)
			c.Softcap, c.Scale = 2, 3
		}},
	} {
		want := ramp(batch, heads, seqQ, dim)
		call := qkv.Call{Q: view(q, "bhsd"), K: view(k, "bhsd"), V: view(v, "bhsd"), Out: view(want, "bhsd")}
		c.set(&call)
		if err := qkv.Run(&call); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		out := filepath.Join(dir, "out.npy")
		code, stdout, errs := qkvRun(append(append(inputs(t, dir, q, k, v), "-o", out), c.flags...)...)
		if code != exitOK || stdout != "" || errs != "" {
			t.Fatalf("%q: exit %d, stdout %q, stderr %q", c.flags, code, stdout, errs)
		}
		if got := readArray(t, out); !slices.Equal(got.data, want.data) {
			t.Errorf("%q: the output differs", c.flags)
		}
	}

	for _, c := range []struct {
		flags []string
		want  string
	}{
		{[]string{"-alibi", writeArray(t, filepath.Join(files, "three.npy"), ramp(3))}, "alibi has length 3, q has 4 heads"},
		{[]string{"-alibi", alibiPath}, "mask has ALiBi beside it and align is not said: sequence 0 has 5 queries and 7 keys"},
		{[]string{"-window", "1:1"}, "mask has a window and align is not said: sequence 0 has 5 queries and 7 keys"},
		{[]string{"-sinks", biasPath}, "bias.npy: its shape (4, 5, 7) has 3 axes, 1 is needed"},
		{[]string{"-bias", alibiPath}, "alibi.npy: its shape (4,) has 1 axes, 2 to 4 are needed"},
		{[]string{"-bias", writeArray(t, filepath.Join(files, "long.npy"), ramp(5, 8))}, "bias has key length 8, which does not broadcast to 7"},
		{[]string{"-bias", boolPath}, "bool.npy: its dtype is |b1, float32, float64 or float16 is needed"},
		{[]string{"-mask", biasPath}, "bias.npy: its dtype is <f4, bool or uint8 is needed"},
		{[]string{"-mask", filepath.Join(files, "none.npy")}, "no such file"},
		{[]string{"-softcap", "1e-39"}, "softcap is 1e-39, 0 or at least 2.3509887e-38 is needed"},
	} {
		dir := t.TempDir()
		code, _, errs := qkvRun(append(append(inputs(t, dir, q, k, v), "-o", filepath.Join(dir, "out.npy")), c.flags...)...)
		if code != exitFailed || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%q: exit %d, stderr %q, want exit 1 and %q", c.flags, code, errs, c.want)
		}
	}
}

func TestRunExplain(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out.npy")
	a := ramp(2, 5, 4)
	code, stdout, errs := qkvRun(append(inputs(t, dir, a, a, a), "-o", out, "-explain", "-kernel", "generic", "-causal", "top-left")...)
	if code != exitOK || errs != "" || !strings.HasPrefix(stdout, "prefill on generic: ") || !strings.Contains(stdout, "\n  kernel set generic: ") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, errs)
	}
	if got := readArray(t, out); !slices.Equal(got.dims, a.dims) {
		t.Errorf("the output has shape %v", got.dims)
	}
}

// first returns the first part of an array along its first axis.
func first(a array) array {
	n := len(a.data) / a.dims[0]
	return array{dims: a.dims[1:], data: a.data[:n]}
}

// swap exchanges the axes heads and seq.
func swap(a array) array {
	at := len(a.dims) - 3
	batch := 1
	for _, d := range a.dims[:at] {
		batch *= d
	}
	n, m, dim := a.dims[at], a.dims[at+1], a.dims[at+2]
	s := array{dims: slices.Clone(a.dims), data: make([]float32, 0, len(a.data))}
	s.dims[at], s.dims[at+1] = m, n
	for b := range batch {
		for j := range m {
			for i := range n {
				s.data = append(s.data, a.data[((b*n+i)*m+j)*dim:][:dim]...)
			}
		}
	}
	return s
}

func TestRunErrors(t *testing.T) {
	good := ramp(2, 5, 4)
	for _, c := range []struct {
		name    string
		q, k, v array
		flags   []string
		want    string
	}{
		{"head dim", good, ramp(2, 5, 3), good, nil, "k has head dim 3, q has 4"},
		{"heads", ramp(3, 5, 4), good, good, nil, "q has 3 heads, not a multiple of k's 2"},
		{"lengths", good, good, ramp(2, 6, 4), nil, "v has sequence length 6, k has 5"},
		{"rank", good, ramp(5, 4), good, nil, "k has shape (5, 4), q has (2, 5, 4): the number of axes differs"},
		{"vector", ramp(5), good, good, nil, "has 1 axes, 2 to 4 are needed"},
		{"five axes", ramp(1, 1, 1, 5, 4), good, good, nil, "has 5 axes"},
		{"no dim", array{dims: []int{16000, 16000, 0}}, good, good, nil, "q has head dim 0"},
		{"large dim", good, good, array{dims: []int{2, 0, 1 << 30}}, nil, "v has head dim 1073741824"},
		{"no heads", good, array{dims: []int{0, 5, 4}}, array{dims: []int{0, 5, 4}}, nil, "not a multiple of k's 0"},
	} {
		dir := t.TempDir()
		args := append(inputs(t, dir, c.q, c.k, c.v), "-o", filepath.Join(dir, "out.npy"), "-lse", filepath.Join(dir, "lse.npy"))
		code, _, errs := qkvRun(append(args, c.flags...)...)
		if code != exitFailed || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: exit %d, stderr %q, want exit 1 and %q", c.name, code, errs, c.want)
		}
		if names := listDir(t, dir); !slices.Equal(names, []string{"k.npy", "q.npy", "v.npy"}) {
			t.Errorf("%s: files %v, want the inputs only", c.name, names)
		}
	}
}

// Lengths of 0 are no error.
func TestRunEmpty(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out.npy")
	args := append(inputs(t, dir, ramp(2, 3, 4), ramp(2, 0, 4), ramp(2, 0, 5)), "-o", out)
	if code, _, errs := qkvRun(args...); code != exitOK {
		t.Fatalf("no keys: exit %d, %s", code, errs)
	}
	if got := readArray(t, out); !slices.Equal(got.dims, []int{2, 3, 5}) || slices.ContainsFunc(got.data, func(x float32) bool { return x != 0 }) {
		t.Errorf("no keys: %v %v, want zeros", got.dims, got.data)
	}
	args = append(inputs(t, dir, ramp(2, 0, 4), ramp(2, 3, 4), ramp(2, 3, 5)), "-o", out)
	if code, _, errs := qkvRun(args...); code != exitOK {
		t.Fatalf("no queries: exit %d, %s", code, errs)
	}
	if got := readArray(t, out); !slices.Equal(got.dims, []int{2, 0, 5}) {
		t.Errorf("no queries: %v", got.dims)
	}
}

func TestRunFiles(t *testing.T) {
	dir := t.TempDir()
	a := ramp(5, 4)
	in := inputs(t, dir, a, a, a)
	before := listDir(t, dir)
	out := filepath.Join(dir, "out.npy")
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no input", []string{"run", "-q", filepath.Join(dir, "none.npy"), "-k", in[4], "-v", in[6], "-o", out}, "no such file"},
		{"input is a directory", []string{"run", "-q", dir, "-k", in[4], "-v", in[6], "-o", out}, "is a directory"},
		{"no directory for out", append(slices.Clone(in), "-o", filepath.Join(dir, "none", "out.npy")), "no such file"},
		{"out is a directory", append(slices.Clone(in), "-o", dir), "is a directory"},
		{"lse is a directory", append(slices.Clone(in), "-o", out, "-lse", dir), "is a directory"},
		{"no directory for lse", append(slices.Clone(in), "-o", out, "-lse", filepath.Join(dir, "none", "lse.npy")), "no such file"},
		{"lse below a file", append(slices.Clone(in), "-o", out, "-lse", filepath.Join(in[2], "lse.npy")), "not a directory"},
	} {
		code, _, errs := qkvRun(c.args...)
		if code != exitFailed || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: exit %d, stderr %q, want exit 1 and %q", c.name, code, errs, c.want)
		}
		if names := listDir(t, dir); !slices.Equal(names, before) {
			t.Errorf("%s: files %v, want %v", c.name, names, before)
		}
	}

	// Through a link, and into what is no file.
	old := writeArray(t, filepath.Join(dir, "old.npy"), a)
	link := filepath.Join(dir, "link.npy")
	if err := os.Symlink("old.npy", link); err != nil {
		t.Skip(err)
	}
	if code, _, errs := qkvRun(append(slices.Clone(in), "-o", link, "-lse", os.DevNull)...); code != exitOK {
		t.Fatalf("exit %d, %s", code, errs)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", info, err)
	}
	if slices.Equal(readArray(t, old).data, a.data) {
		t.Error("the file that the link points to is as it was")
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Errorf("%s became a file", os.DevNull)
	}
}

// TestWriteFiles: a failure at any point leaves nothing behind.
func TestWriteFiles(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	text := func(w io.Writer) error { _, err := io.WriteString(w, "text"); return err }
	failed := errors.New("failed")
	broken := func(w io.Writer) error { io.WriteString(w, "half"); return failed }

	if err := writeFiles(context.Background(), nil, content{one, text}, content{two, broken}); !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	if err := writeFiles(canceled, nil, content{one, text}, content{two, text}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if names := listDir(t, dir); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
	if err := writeFiles(context.Background(), nil, content{one, text}, content{two, text}); err != nil {
		t.Error(err)
	}
	if names := listDir(t, dir); !slices.Equal(names, []string{"one", "two"}) {
		t.Errorf("files %v", names)
	}
	// A name that cannot be taken, after one that a file had before and one that is new.
	three := filepath.Join(dir, "three")
	err := writeFiles(context.Background(), nil, content{one, text}, content{three, text}, content{two, func(w io.Writer) error {
		return errors.Join(os.Remove(two), os.Mkdir(two, 0o777), text(w))
	}})
	if err == nil {
		t.Error("a file took the name of a directory")
	}
	if names := listDir(t, dir); !slices.Equal(names, []string{"one", "two"}) {
		t.Errorf("files %v", names)
	}
}

// TestRunNanoGPT reproduces the attention of a trained model as PyTorch computed it.
func TestRunNanoGPT(t *testing.T) {
	text, err := os.ReadFile(shareddata.Path(t, "nano-gpt", "gpt-nano-sort-t0-partials.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]json.RawMessage
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	tensor := func(name string) array {
		var j struct {
			Shape []int
			Data  []byte // base64
		}
		if err := json.Unmarshal(file[name], &j); err != nil {
			t.Fatal(err)
		}
		n, err := elements(j.Shape)
		if err != nil || len(j.Data) != 4*n {
			t.Fatalf("%s: shape %v, %d bytes (%v)", name, j.Shape, len(j.Data), err)
		}
		a := array{dims: j.Shape, data: make([]float32, n)}
		if _, err := binary.Decode(j.Data, binary.LittleEndian, a.data); err != nil {
			t.Fatal(err)
		}
		return a
	}
	q, k, v, y := tensor("q"), tensor("k"), tensor("v"), tensor("y")
	batch, heads, seq, dim := q.dims[0], q.dims[1], q.dims[2], q.dims[3]
	want := array{dims: []int{batch, seq, heads, dim}, data: y.data} // [batch, seq, channels]

	compare := func(t *testing.T, got array) {
		t.Helper()
		if !slices.Equal(got.dims, want.dims) {
			t.Fatalf("shape %v, want %v", got.dims, want.dims)
		}
		// Both sides round: a chain of dim products, exp, a chain of seq products.
		// Values are of the order of 1.
		const tolerance = 64 * 0x1p-24
		for i, x := range got.data {
			if off := math.Abs(float64(x - want.data[i])); !(off <= tolerance*max(1, math.Abs(float64(want.data[i])))) {
				t.Fatalf("element %d is %v, want %v", i, x, want.data[i])
			}
		}
	}
	for _, info := range qkv.Kernels() {
		if info.Missing != 0 || info.Set.Base != "" {
			continue
		}
		dir := t.TempDir()
		out := filepath.Join(dir, "out.npy")
		flags := []string{"-o", out, "-causal", "top-left", "-kernel", info.Set.Name}
		t.Run("kernel="+info.Set.Name+",layout=bhsd", func(t *testing.T) {
			if code, _, errs := qkvRun(append(inputs(t, dir, q, k, v), flags...)...); code != exitOK {
				t.Fatalf("exit %d, %s", code, errs)
			}
			compare(t, swap(readArray(t, out)))
		})
		t.Run("kernel="+info.Set.Name+",layout=bshd", func(t *testing.T) {
			args := append(inputs(t, dir, swap(q), swap(k), swap(v)), flags...)
			if code, _, errs := qkvRun(append(args, "-layout", "bshd", "-scale", strconv.FormatFloat(1/math.Sqrt(float64(dim)), 'g', -1, 64))...); code != exitOK {
				t.Fatalf("exit %d, %s", code, errs)
			}
			compare(t, readArray(t, out))
		})
	}
}
