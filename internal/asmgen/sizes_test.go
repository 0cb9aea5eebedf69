package asmgen

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var writeSizes = flag.Bool("sizes", false, "write the sizes of functions that may not grow unnoticed")

// sizesFile lists the sizes that functions are held to.
const sizesFile = "testdata/sizes.txt"

// A size is that of a function: its instructions and labels in the file of assembly, and its
// bytes of machine code.
type size struct{ lines, bytes int }

// allowed reports whether a size needs no decision beside that listed. The bytes of a function
// differ a little between versions of Go's assembler.
func (s size) allowed(listed size) bool {
	near := func(n, listed int) bool { return n <= listed+max(8, listed/50) && n >= listed-max(8, listed/10) }
	return near(s.lines, listed.lines) && near(s.bytes, listed.bytes)
}

// TestSizes holds the functions to the sizes that are listed. Growth is a decision: machine code
// takes room in caches, and time of whoever reads it. A saving is listed too, or it would be
// room for growth.
func TestSizes(t *testing.T) {
	have := map[string]size{}
	for _, file := range Files {
		bytes := assembled(t, &file)
		for _, f := range file.functions() {
			have[f.name] = size{f.lines(), bytes[f.name]}
		}
	}
	if *writeSizes {
		var out bytes.Buffer
		for _, name := range slices.Sorted(maps.Keys(have)) {
			fmt.Fprintf(&out, "%s %d %d\n", name, have[name].lines, have[name].bytes)
		}
		if err := os.WriteFile(sizesFile, out.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	list, err := os.ReadFile(sizesFile)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]size{}
	for line := range strings.Lines(string(list)) {
		var name string
		var s size
		if _, err := fmt.Sscan(line, &name, &s.lines, &s.bytes); err != nil {
			t.Fatalf("%s: %q: %v", sizesFile, line, err)
		}
		listed[name] = s
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if h, l := have[name], listed[name]; !h.allowed(l) {
			t.Errorf("%s has %d lines and %d bytes, %d and %d are listed; if that is worth it: go test ./internal/asmgen -sizes",
				name, h.lines, h.bytes, l.lines, l.bytes)
		}
		delete(listed, name)
	}
	for name := range listed {
		t.Errorf("%s lists %s, which is not generated", sizesFile, name)
	}
}

func TestSizeAllowed(t *testing.T) {
	for _, c := range []struct {
		size size
		want bool
	}{
		{size{1000, 5000}, true},
		{size{1020, 5100}, true},
		{size{1021, 5000}, false},
		{size{1000, 5101}, false},
		{size{900, 4500}, true},
		{size{899, 5000}, false},
		{size{1000, 4499}, false},
	} {
		if got := c.size.allowed(size{1000, 5000}); got != c.want {
			t.Errorf("%v beside 1000 lines and 5000 bytes: allowed is %v", c.size, got)
		}
	}
}

// lines counts the instructions and labels of the function.
func (f *Func) lines() int {
	n := 0
	for line := range strings.Lines(f.body.String()) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			n++
		}
	}
	return n
}

// assembled returns the bytes of machine code of each function of the file.
func assembled(t *testing.T, file *File) map[string]int {
	t.Helper()
	_, arch, _ := strings.Cut(file.Name, "_")
	goTool := func(args ...string) []byte {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "GOARCH="+arch)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if errors.Is(err, exec.ErrNotFound) {
			t.Skip("no go command")
		} else if err != nil {
			t.Fatalf("%v: %v", cmd.Args, err)
		}
		return out
	}
	goRoot := strings.TrimSpace(string(goTool("env", "GOROOT")))
	object := filepath.Join(t.TempDir(), "object")
	source := filepath.Join(root, file.Name+".s")
	goTool("tool", "asm", "-p", "qkv", "-I", filepath.Join(goRoot, "pkg", "include"), "-o", object, source)

	// go tool nm has no GOARCH of its own to be built for.
	cmd := exec.Command("go", "tool", "nm", "-size", object)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	sizes := map[string]int{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var address, kind, name string
		var n int
		if _, err := fmt.Sscan(lines.Text(), &address, &n, &kind, &name); err == nil && kind == "T" {
			sizes[strings.TrimPrefix(name, "qkv.")] = n
		}
	}
	return sizes
}
