package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func writeText(text string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, text); return err }
}

// TestOutputKeeps: a file that was there keeps its mode, owner and names.
func TestOutputKeeps(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes are of Unix")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	for _, mode := range []fs.FileMode{0o600, 0o640, 0o664, 0o777} {
		if err := os.WriteFile(path, []byte("a longer text of before"), 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := writeFiles(context.Background(), nil, content{path, func(w io.Writer) error {
			// Nobody else reads it in the meantime either.
			info, err := w.(*os.File).Stat()
			if err != nil || info.Mode().Perm()&^mode != 0 {
				t.Errorf("mode %o: %v while it is written, error %v", mode, info.Mode(), err)
			}
			return writeText("new")(w)
		}}); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if text, _ := os.ReadFile(path); err != nil || info.Mode() != mode || string(text) != "new" {
			t.Errorf("mode %o became %v, %q, error %v", mode, info.Mode(), text, err)
		}
	}

	if os.Geteuid() == 0 {
		if err := os.Chown(path, 12345, 23456); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Stat(path)
		if err := writeFiles(context.Background(), nil, content{path, writeText("newer")}); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(dir, "mine"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		now, _ := os.Stat(path)
		if err := keepOwner(f, before); err != nil || now.Mode() != before.Mode() {
			t.Errorf("mode %v, error %v", now.Mode(), err)
		}
		if mine, _ := f.Stat(); !sameOwner(mine, now) || !sameOwner(before, now) {
			t.Error("the owner has changed")
		}
	}

	other := filepath.Join(dir, "other")
	if err := os.Link(path, other); err != nil {
		t.Skip(err)
	}
	if err := writeFiles(context.Background(), nil, content{path, writeText("for both")}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(other); err != nil || string(text) != "for both" {
		t.Errorf("by its other name the file has %q, error %v", text, err)
	}

	// A link to what is not there yet stays one too.
	link, to := filepath.Join(dir, "link"), filepath.Join(dir, "to")
	if err := os.Symlink("to", link); err != nil {
		t.Skip(err)
	}
	if err := writeFiles(context.Background(), nil, content{link, writeText("linked")}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(to); err != nil || string(text) != "linked" {
		t.Errorf("the link led to %q, error %v", text, err)
	}
	if names := listDir(t, dir); slices.ContainsFunc(names, func(s string) bool { return strings.HasPrefix(s, ".") }) {
		t.Errorf("files %v", names)
	}
}

// TestOutputUnwritable: what may not be written is not replaced, and what may be is, in a
// folder that takes no new file.
func TestOutputUnwritable(t *testing.T) {
	if os.Geteuid() == 0 || runtime.GOOS == "windows" {
		t.Skip("this user may write everything: root, or Windows")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	if err := os.WriteFile(path, []byte("before"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := writeFiles(context.Background(), nil, content{path, writeText("new")}); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("a file that may not be written: error %v", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	if err := writeFiles(context.Background(), nil, content{path, writeText("new")}); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "new" {
		t.Errorf("the file has %q, error %v", text, err)
	}
}

// TestOutputIsInput: whatever it is called, no command writes to what it reads.
func TestOutputIsInput(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	in := inputs(t, dir, ramp(5, 4), ramp(5, 4), ramp(5, 4))
	q := in[2]
	bias := writeArray(t, path("bias.npy"), ramp(5, 5))
	keep := path("keep.npy")
	text := path("tokens.svg")
	tuning := path("tuning.json")
	model := path("model.svg")
	for name, data := range map[string][]byte{
		keep: npyBytes(dict("'|b1'", "False", "(1, 5)"), make([]byte, 5)), text: []byte("a\nb\nc\nd\ne\n"), tuning: []byte("{}"), model: []byte("{}"),
	} {
		if err := os.WriteFile(name, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	rec := record(t, dir, "r.json", "x", 0.1)
	view := append([]string{"view"}, in[1:5]...)
	for _, c := range []struct {
		args         []string
		flag, target string
	}{
		{in, "-o", q},
		{in, "-o", in[4]},
		{in, "-o", in[6]},
		{append(slices.Clone(in), "-bias", bias), "-o", bias},
		{append(slices.Clone(in), "-alibi", bias), "-o", bias},
		{append(slices.Clone(in), "-sinks", bias), "-o", bias},
		{append(slices.Clone(in), "-mask", keep), "-o", keep},
		{append(slices.Clone(in), "-o", path("new.npy")), "-lse", q},
		{append(slices.Clone(view), "-format", "png"), "-o", q},
		{append(slices.Clone(view), "-format", "png", "-mask", keep), "-o", keep},
		{append(slices.Clone(view), "-tokens-file", text), "-o", text},
		{[]string{"view", "-model", model, "A"}, "-o", model},
		{[]string{"report", rec, "-format", "md"}, "-o", rec},
		{[]string{"bench", "-shape", "h=1,sq=1,d=8", "-tuning", tuning}, "-json", tuning},
		{[]string{"bench", "-shape", "h=1,sq=1,d=8", "-tuning", tuning}, "-cpuprofile", tuning},
		{[]string{"bench", "-shape", "h=1,sq=1,d=8", "-tuning", tuning}, "-memprofile", tuning},
		{[]string{"bench", "-shape", "h=1,sq=1,d=8", "-tuning", tuning}, "-trace", tuning},
	} {
		before, err := os.ReadFile(c.target)
		if err != nil {
			t.Fatal(err)
		}
		names := []string{c.target, dir + "/./" + filepath.Base(c.target)}
		ext := filepath.Ext(c.target)
		hard, soft := path("hard"+ext), path("soft"+ext)
		os.Remove(hard)
		os.Remove(soft)
		if os.Link(c.target, hard) == nil {
			names = append(names, hard)
		}
		if os.Symlink(filepath.Base(c.target), soft) == nil {
			names = append(names, soft)
		}
		for _, name := range names {
			code, out, errs := qkvRun(append(slices.Clone(c.args), c.flag, name)...)
			if code != exitUsage || out != "" || !strings.Contains(errs, c.flag+" is "+name+", which is what ") {
				t.Errorf("%q %s %s: exit %d, stdout %q, stderr %q", c.args, c.flag, name, code, out, errs)
			}
		}
		if after, err := os.ReadFile(c.target); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%q: %s is not what it was, error %v", c.args, c.target, err)
		}
	}

	// Two outputs that are not there yet, by two names of their folder.
	if err := os.Symlink(".", path("here")); err != nil {
		t.Skip(err)
	}
	if code, _, errs := qkvRun(append(slices.Clone(in), "-o", path("one.npy"), "-lse", path("here/one.npy"))...); code != exitUsage || !strings.Contains(errs, "-o and -lse name the same file") {
		t.Errorf("exit %d, stderr %q", code, errs)
	}
}

// withStdin makes a text standard input for a while.
func withStdin(t *testing.T, text []byte) {
	t.Helper()
	before := stdin
	stdin = bytes.NewReader(text)
	t.Cleanup(func() { stdin = before })
}

// TestStandardStreams: a file called - is standard input or output, wherever a file is read
// or written, and what is for people goes to standard error then.
func TestStandardStreams(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	read := func(name string) []byte {
		t.Helper()
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	in := inputs(t, dir, ramp(1, 5, 4), ramp(1, 5, 4), ramp(1, 5, 4))
	q := in[2]
	alibi := writeArray(t, path("alibi.npy"), ramp(1))
	keep := path("keep.npy")
	if err := os.WriteFile(keep, npyBytes(dict("'|b1'", "False", "(1, 5)"), []byte{1, 0, 1, 1, 0}), 0o666); err != nil {
		t.Fatal(err)
	}
	tokens := path("tokens.txt")
	if err := os.WriteFile(tokens, []byte("a\nb\nc\nd\ne\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	rec := recordOf(t, dir, "r.json", "x", "before", 0.1, 10, 0)
	view := append([]string{"view"}, in[1:5]...)
	for _, c := range []struct {
		args []string
		from string // an argument that is - in its place
	}{
		{append(slices.Clone(in), "-o", "-"), q},
		{append(slices.Clone(in), "-o", "-"), in[4]},
		{append(slices.Clone(in), "-o", "-"), in[6]},
		{append(slices.Clone(in), "-o", path("out.npy"), "-lse", "-"), q},
		{append(slices.Clone(in), "-o", "-", "-alibi", alibi), alibi},
		{append(slices.Clone(in), "-o", "-", "-sinks", alibi), alibi},
		{append(slices.Clone(in), "-o", "-", "-mask", keep), keep},
		{view, q},
		{append(slices.Clone(view), "-tokens-file", tokens), tokens},
		{append(slices.Clone(view), "-o", "-", "-format", "svg"), q},
		{append(slices.Clone(view), "-o", "-", "-format", "png"), q},
		{[]string{"report", "-format", "md", rec}, rec},
		{[]string{"report", "-format", "html", rec, "-o", "-"}, rec},
		{[]string{"report", "-format", "md", rec, "-o", "-"}, rec},
		{[]string{"compare", rec, record(t, dir, "s.json", "x", 0.1)}, rec},
		{[]string{"compare", "-format", "benchfmt", rec}, rec},
	} {
		code, want, errs := qkvRun(c.args...)
		if code != exitOK || errs != "" || want == "" {
			t.Errorf("%q: exit %d, %d bytes, stderr %q", c.args, code, len(want), errs)
		}
		args := slices.Clone(c.args)
		for i := range args {
			if args[i] == c.from {
				args[i] = "-"
				break
			}
		}
		withStdin(t, read(c.from))
		code, got, errs := qkvRun(args...)
		if code != exitOK || errs != "" || got != want {
			t.Errorf("%q: exit %d, stderr %q, stdout\n%q\nwant\n%q", args, code, errs, got, want)
		}
	}

	// The text for people beside the data.
	code, out, errs := qkvRun(append(slices.Clone(in), "-o", "-", "-explain")...)
	if code != exitOK || !strings.HasPrefix(out, "\x93NUMPY") || !strings.HasPrefix(errs, "prefill on ") {
		t.Errorf("run: exit %d, stdout %.20q, stderr %q", code, out, errs)
	}
	code, out, errs = qkvRun("bench", "-shape", "h=1,sq=16,d=8", "-kernel", "generic", "-workers", "1", "-count", "1", "-json", "-")
	if code != exitOK || !strings.HasPrefix(out, "{\n") || !strings.Contains(errs, "ceilings of generic") {
		t.Errorf("bench: exit %d, stdout %.20q, stderr %.200q", code, out, errs)
	}
	withStdin(t, []byte(out))
	if code, out, errs = qkvRun("report", "-", "-format", "md"); code != exitOK || !strings.Contains(out, "h=1,sq=16,d=8") {
		t.Errorf("bench | report: exit %d, stderr %q, stdout %.200q", code, errs, out)
	}

	for _, c := range []struct {
		stdin string
		args  []string
		code  int
		want  string
	}{
		{"", []string{"run", "-q", "-", "-k", "-", "-v", q, "-o", "-"}, exitUsage, "-q and -k both read standard input"},
		{"", append(slices.Clone(in), "-o", "-", "-lse", "-"), exitUsage, "-o and -lse name the same file"},
		{"text", []string{"run", "-q", "-", "-k", q, "-v", q, "-o", path("x.npy")}, exitFailed, "standard input: not a .npy file"},
		{"", append(slices.Clone(view), "-o", "-"), exitUsage, `-o is "-", want a directory or a name that ends in .png or .svg, or -format`},
		{"", append(slices.Clone(view), "-format", "png"), exitUsage, "-format is for pictures, so -o is needed"},
		{"", append(slices.Clone(view), "-format", "gif", "-o", "-"), exitUsage, `-format is "gif", want png or svg`},
		{"{}", []string{"report", "-", "-format", "md"}, exitFailed, "standard input: not a record"},
		{"{}", []string{"compare", "-", "-"}, exitUsage, "both read standard input"},
		{"{}", []string{"bench", "-tuning", "-", "-shape", "h=1,sq=1,d=8"}, exitFailed, "standard input: not a tuning: format: it is missing"},
		{"{}", []string{"view", "-model", "-", "A"}, exitFailed, "standard input: config is missing, an object is needed"},
	} {
		withStdin(t, []byte(c.stdin))
		if code, out, errs := qkvRun(c.args...); code != c.code || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%q: exit %d, stdout %q, stderr %q, want %q", c.args, code, out, errs, c.want)
		}
	}
}

// A disk is a file on a file system with room for so many bytes.
type disk struct {
	data       []byte
	room       int
	late       bool // what has no room is found out by Sync
	overwrites int  // bytes that were there
}

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	if end := int(off) + len(p); end > len(d.data) {
		if end > d.room && !d.late {
			return 0, errors.New("no room")
		}
		d.data = append(d.data, make([]byte, end-len(d.data))...)
	} else {
		d.overwrites += len(p)
	}
	return copy(d.data[off:], p), nil
}

func (d *disk) Sync() error {
	if len(d.data) > d.room {
		return errors.New("no room")
	}
	return nil
}

func (d *disk) Truncate(size int64) error {
	d.data = d.data[:size]
	return nil
}

// TestOverwrite: a file whose new content has no room keeps what it had.
func TestOverwrite(t *testing.T) {
	text := func(n int, from byte) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = from + byte(i%26)
		}
		return string(b)
	}
	for _, c := range []struct{ before, size, room int }{
		{0, 0, 0}, {0, 100, 100}, {0, 100, 99}, {10, 0, 10}, {10, 10, 10}, {10, 11, 11}, {10, 11, 10},
		{100_000, 50, 100_000}, {50, 200_000, 200_000}, {50, 200_000, 150_000}, {70_000, 200_000, 70_001},
	} {
		for _, late := range []bool{false, true} {
			old, new := text(c.before, 'a'), text(c.size, 'A')
			d := &disk{data: []byte(old), room: c.room, late: late}
			err := overwrite(d, int64(c.before), strings.NewReader(new), int64(c.size))
			switch want := c.size <= c.room; {
			case want && (err != nil || string(d.data) != new):
				t.Errorf("%+v, late %v: %d bytes, error %v", c, late, len(d.data), err)
			case !want && (err == nil || string(d.data) != old || d.overwrites != 0):
				t.Errorf("%+v, late %v: %d bytes, the same %v, error %v", c, late, len(d.data), string(d.data) == old, err)
			}
		}
	}
}
