package asmgen

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/qkv-go/qkv/kernel"
)

var generate = flag.Bool("generate", false, "write the generated files")

// root is the module's root directory.
const root = "../.."

// The offsets of arguments are those of a 64-bit machine.
func TestMain(m *testing.M) {
	flag.Parse()
	if strconv.IntSize != 64 {
		fmt.Println("skipped: the generator runs on 64-bit machines")
		return
	}
	os.Exit(m.Run())
}

// TestGenerate regenerates every file and compares it with that on disk.
func TestGenerate(t *testing.T) {
	for _, file := range Files {
		for _, f := range []struct {
			name string
			want []byte
		}{
			{file.Name + ".s", file.Assembly()},
			{file.Name + ".go", file.Go()},
		} {
			path := filepath.Join(root, f.name)
			if *generate {
				if err := os.WriteFile(path, f.want, 0o666); err != nil {
					t.Fatal(err)
				}
				continue
			}
			have, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := diff(string(have), string(f.want)); d != "" {
				t.Errorf("%s is not what the generator writes; run go test ./internal/asmgen -generate\n%s", f.name, d)
			}
		}
	}
}

// TestEmitters checks that each function of a set has a line in the list, in the order of
// kernel.Funcs.
func TestEmitters(t *testing.T) {
	var have, want []string
	for _, e := range emitters {
		have = append(have, e.field)
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[kernel.Funcs]()) {
		want = append(want, f.Name)
	}
	if !slices.Equal(have, want) {
		t.Errorf("emitters are of\n%v\nkernel.Funcs has\n%v", have, want)
	}
}

// diff returns the lines between the common beginning and the common end, at most
// a screenful.
func diff(have, want string) string {
	if have == want {
		return ""
	}
	h, w := strings.Split(have, "\n"), strings.Split(want, "\n")
	from := 0
	for from < min(len(h), len(w)) && h[from] == w[from] {
		from++
	}
	h, w = h[from:], w[from:]
	for len(h) > 0 && len(w) > 0 && h[len(h)-1] == w[len(w)-1] {
		h, w = h[:len(h)-1], w[:len(w)-1]
	}
	var out strings.Builder
	fmt.Fprintf(&out, "line %d\n", from+1)
	const most = 20
	for _, side := range []struct {
		sign  string
		lines []string
	}{{"-", h}, {"+", w}} {
		for i, line := range side.lines {
			if i == most {
				fmt.Fprintf(&out, "%s... %d more\n", side.sign, len(side.lines)-most)
				break
			}
			fmt.Fprintf(&out, "%s%s\n", side.sign, line)
		}
	}
	return out.String()
}

// TestFiles checks that every generated file of the root is listed, so that none
// is left behind by a change of names.
func TestFiles(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(root, "*.s"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if !slices.ContainsFunc(Files, func(f File) bool { return f.Name+".s" == filepath.Base(path) }) {
			t.Errorf("%s is not generated", path)
		}
	}
}

// TestBudget checks that a micro-tile which does not fit the registers is refused.
func TestBudget(t *testing.T) {
	for _, file := range Files {
		for _, arch := range file.Sets {
			t.Run(arch.Name, func(t *testing.T) {
				tall := *arch
				tall.Rows = slices.Clone(arch.Rows)
				tall.Rows[0] = len(arch.Vectors)
				defer func() {
					if recover() == nil {
						t.Errorf("%d rows of accumulators went into %d registers", tall.Rows[0], len(arch.Vectors))
					}
				}()
				scores(&tall)
			})
		}
	}
}

// TestLanes checks that the lane groups of every set have their bits in a mask word.
func TestLanes(t *testing.T) {
	for _, file := range Files {
		for _, arch := range file.Sets {
			if n := arch.MaxVectors() * arch.Lanes; n > kernel.MaxLanes {
				t.Errorf("%s: %d lanes, more than %d", arch.Name, n, kernel.MaxLanes)
			}
		}
	}
}

// TestHeading checks that every function says what it needs.
func TestHeading(t *testing.T) {
	for _, file := range Files {
		out := file.Assembly()
		texts := bytes.Count(out, []byte("\nTEXT ·"))
		for _, part := range []string{"// func ", "// Needs: ", "// Registers:\n"} {
			if n := bytes.Count(out, []byte("\n"+part)); n != texts {
				t.Errorf("%s: %d of %q for %d functions", file.Name, n, part, texts)
			}
		}
	}
}
