package qkv_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/qkv-go/qkv"

// allowed lists what the packages of each tree, named from the root, may import
// besides the standard library: trees of this module and of others. The longest
// name that fits a package counts; it may always import its own tree.
var allowed = map[string][]string{
	"kernel":              {"internal/ptr"},
	"kernel/fp":           {"internal/ptr"},
	"tile":                {"kernel", "internal/ptr"},
	".":                   {"kernel", "tile", "internal/jsontree", "internal/memory", "internal/ptr", "github.com/klauspost/cpuid/v2", "golang.org/x/sys"},
	"onnx":                {".", "google.golang.org/protobuf"},
	"internal":            {},
	"internal/ptr":        {},
	"internal/asmgen":     {"kernel"},
	"internal/kerneltest": {"kernel", "internal/ptr", "golang.org/x/sys"},
	"internal/memory":     {"golang.org/x/sys"},
	"internal/jsontree":   {},
	"internal/fastjson":   {"internal/jsontree", "github.com/minio/simdjson-go"},
	"bench": {".", "kernel", "tile", "onnx", "internal", "github.com/klauspost/cpuid/v2", "golang.org/x/sys",
		"golang.org/x/perf", "gonum.org/v1/plot"},
	"cmd": {".", "kernel", "tile", "onnx", "bench", "internal", "github.com/klauspost/cpuid/v2", "golang.org/x/sys",
		"github.com/schollz/progressbar/v3", "golang.org/x/term",
		"gonum.org/v1/plot", "golang.org/x/image", "golang.org/x/text", "github.com/rivo/uniseg", "examples/nanogpt/gpt"},
	"examples":                    {".", "internal", "golang.org/x/sys"},
	"examples/embed":              {".", "examples/internal", "golang.org/x/text"},
	"examples/internal/tokenizer": {"examples/internal", "golang.org/x/text"},
}

// inTree reports whether a package is below a tree. The root is a tree of one.
func inTree(pkg, tree string) bool {
	return pkg == tree || tree != "." && strings.HasPrefix(pkg, tree+"/")
}

// treeOf returns the entry of a package.
func treeOf(pkg string) string {
	best := ""
	for tree := range allowed {
		if inTree(pkg, tree) && len(tree) > len(best) {
			best = tree
		}
	}
	return best
}

func TestImports(t *testing.T) {
	for _, build := range []struct{ name, arch, tags string }{
		{"amd64", "amd64", ""},
		{"arm64", "arm64", ""},
		{"386", "386", ""},
		{"purego", "amd64", "purego"},
	} {
		t.Run(build.name, func(t *testing.T) {
			for _, p := range list(t, build.arch, build.tags) {
				pkg := relative(p.ImportPath)
				tree := treeOf(pkg)
				if tree == "" {
					t.Errorf("package %s has no entry in the list of allowed imports", pkg)
					continue
				}
				for _, path := range p.Imports {
					if path == "C" {
						t.Errorf("%s uses cgo", pkg)
					} else if !standard(path) && !mayImport(tree, relative(path)) {
						t.Errorf("%s imports %s", pkg, path)
					}
				}
				if pkg != "internal/kerneltest" && slices.Contains(p.Imports, "testing") {
					t.Errorf("%s imports testing outside a test", pkg)
				}
			}
		})
	}
}

func mayImport(tree, pkg string) bool {
	return inTree(pkg, tree) || slices.ContainsFunc(allowed[tree], func(a string) bool { return inTree(pkg, a) })
}

// relative names a package of this module from its root.
func relative(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}

// standard reports whether a package is in the standard library, which has no domain.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

type listed struct {
	ImportPath string
	Imports    []string
}

// list returns the packages of this module.
func list(t *testing.T, arch, tags string) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", "-tags", tags, "./...")
	cmd.Env = append(os.Environ(), "GOARCH="+arch)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); errors.Is(err, exec.ErrNotFound) {
		t.Skip("no go command")
	} else if err != nil {
		t.Fatal(err)
	}
	var pkgs []listed
	for dec := json.NewDecoder(out); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(pkgs) == 0 {
		t.Fatal("go list lists no package")
	}
	return pkgs
}

func TestImportRules(t *testing.T) {
	for _, c := range []struct {
		from, to string
		ok       bool
	}{
		{"kernel", "tile", false},
		{"kernel", "kernel/fp", true},
		{"kernel/fp", "kernel", false},
		{"kernel", "golang.org/x/sys/cpu", false},
		{"internal/kerneltest", "golang.org/x/sys/unix", true},
		{"internal/asmgen", "kernel", true},
		{"internal/asmgen", ".", false},
		{"tile", "kernel", true},
		{"tile", "internal/kerneltest", false},
		{"tile", ".", false},
		{".", "tile", true},
		{".", "bench", false},
		{".", "internal/kerneltest", false},
		{"bench/report", "bench", true},
		{"bench", "cmd/qkv", false},
		{"cmd/qkv", "bench/report", true},
		{"onnx", "google.golang.org/protobuf/encoding/protowire", true},
		{"examples/nanogpt", "examples/nanogpt/gpt", true},
		{"examples/nanogpt/gpt", ".", true},
		{"examples/nanogpt/gpt", "kernel", false},
		{"examples/llama", "examples/llama/model", true},
		{"examples/llama/model", ".", true},
		{"examples/llama/model", "tile", false},
		{"examples/embed/bert", "tile", false},
		{"cmd/qkv", "examples/nanogpt/gpt", true},
		{"cmd/qkv", "examples/llama/model", false},
		{".", "examples/nanogpt/gpt", false},
	} {
		if got := mayImport(treeOf(c.from), c.to); got != c.ok {
			t.Errorf("%s may import %s: %v, want %v", c.from, c.to, got, c.ok)
		}
	}
}
