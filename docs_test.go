package qkv_test

import (
	"bufio"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documented returns the documentation of a package, and of its examples.
func documented(t *testing.T, dir string) *doc.Package {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(names), err)
	}
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		f, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	p, err := doc.NewFromFiles(set, files, "github.com/qkv-go/qkv/"+dir, doc.PreserveAST)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// undocumented calls f with each exported name of a package that has no comment. That of a constant may be
// its type's, and that of a field, which counts if fields are asked for, may be the sentence of its type's
// that names it. String and Error are what everybody knows.
func undocumented(p *doc.Package, fields bool, f func(name string)) {
	check := func(name, text string) {
		if strings.TrimSpace(text) == "" {
			f(name)
		}
	}
	values := func(of string, values []*doc.Value) {
		for _, v := range values {
			for _, spec := range v.Decl.Specs {
				s := spec.(*ast.ValueSpec)
				for _, name := range s.Names {
					if name.IsExported() {
						check(name.Name, of+v.Doc+s.Doc.Text()+s.Comment.Text())
					}
				}
			}
		}
	}
	funcs := func(of string, funcs []*doc.Func) {
		for _, fn := range funcs {
			if of == "" || fn.Name != "String" && fn.Name != "Error" {
				check(of+fn.Name, fn.Doc)
			}
		}
	}
	values("", append(p.Consts, p.Vars...))
	funcs("", p.Funcs)
	for _, typ := range p.Types {
		check(typ.Name, typ.Doc)
		values(typ.Doc, append(typ.Consts, typ.Vars...))
		funcs("", typ.Funcs)
		funcs(typ.Name+".", typ.Methods)
		for _, spec := range typ.Decl.Specs {
			s, ok := spec.(*ast.TypeSpec).Type.(*ast.StructType)
			if !ok || !fields {
				continue
			}
			// A comment above a field is that of those that follow without a blank line, too.
			last, above := token.Pos(0), ""
			for _, field := range s.Fields.List {
				if text := field.Doc.Text(); text != "" || field.Pos() > last+3 {
					above = text
				}
				if last = field.End(); field.Comment != nil {
					last = field.Comment.End()
				}
				for _, name := range field.Names {
					if name.IsExported() && !strings.Contains(typ.Doc, name.Name) {
						check(typ.Name+"."+name.Name, above+field.Comment.Text())
					}
				}
			}
		}
	}
}

// TestDocumented: each exported name has a comment.
func TestDocumented(t *testing.T) {
	for _, dir := range []string{".", "kernel", "tile", "onnx", "bench", "bench/report"} {
		p := documented(t, dir)
		if p.Doc == "" {
			t.Errorf("%s: the package has no comment", dir)
		}
		undocumented(p, dir == ".", func(name string) { t.Errorf("%s: %s has no comment", dir, name) })
	}
}

// operands are the types whose shapes a comment has to say.
var operands = regexp.MustCompile(`^(View|Matrix|\[\](float32|int|int32|Float16|int8|bool|Float8E4M3|Float8E5M2|BlockQ8_0|BlockQ4_0|BlockQ4_1))$`)

// TestDocumentedCalls: the comment of a function says what errors there are where it returns one, and
// shapes where it takes tensors.
func TestDocumentedCalls(t *testing.T) {
	p := documented(t, ".")
	var all []*doc.Func
	all = append(all, p.Funcs...)
	for _, typ := range p.Types {
		all = append(append(all, typ.Funcs...), typ.Methods...)
	}
	like := regexp.MustCompile(`\bis (\w+\.)?[A-Z]\w+\b|\[[\w.]+\]`) // the comment of another says it
	for _, fn := range all {
		name := strings.TrimPrefix(fn.Recv+"."+fn.Name, ".")
		refers := like.MatchString(fn.Doc)
		if results := fn.Decl.Type.Results; results != nil {
			last := types.ExprString(results.List[len(results.List)-1].Type)
			if last == "error" && fn.Name != "Unwrap" && !strings.Contains(fn.Doc, "error") && !refers {
				t.Errorf("%s does not say which errors it returns", name)
			}
		}
		for _, param := range fn.Decl.Type.Params.List {
			if operands.MatchString(types.ExprString(param.Type)) && !strings.Contains(fn.Doc, "[") && !strings.Contains(fn.Doc, "len(") && !refers {
				t.Errorf("%s does not say shapes", name)
			}
		}
	}
}

// TestExamples: what makes the objects of the package, and their methods, are in an example. Those that
// return a number alone need none.
func TestExamples(t *testing.T) {
	example := regexp.MustCompile(`(?s)\nfunc Example\w*\(\) \{.*?\n\}\n`)
	names, err := filepath.Glob("*_test.go")
	must(err)
	code := ""
	for _, name := range names {
		text, err := os.ReadFile(name)
		must(err)
		if strings.HasPrefix(name, "example_") { // with what examples share
			code += string(text)
			continue
		}
		code += strings.Join(example.FindAllString(string(text), -1), "")
	}
	for _, typ := range documented(t, ".").Types {
		makes := false
		for _, fn := range typ.Funcs {
			if !strings.HasPrefix(fn.Name, "New") {
				continue
			}
			if makes = true; !strings.Contains(code, "."+fn.Name+"(") {
				t.Errorf("%s is in no example", fn.Name)
			}
		}
		switch typ.Name {
		case "Sequence", "Step", "Layer", "Projection", "PackedMatrix": // objects make them
			makes = true
		}
		for _, fn := range typ.Methods {
			results := fn.Decl.Type.Results
			number := results != nil && len(results.List) == 1 && types.ExprString(results.List[0].Type) == "int"
			if makes && !number && !strings.HasSuffix(fn.Name, "Context") && !strings.Contains(code, "."+fn.Name+"(") {
				t.Errorf("%s.%s is in no example", typ.Name, fn.Name)
			}
		}
	}
}

// sources returns the Go files of the module, by directory.
func sources(t *testing.T) map[string][]string {
	t.Helper()
	files := map[string][]string{}
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".go") {
			dir := filepath.ToSlash(filepath.Dir(path))
			files[dir] = append(files[dir], filepath.Base(path))
		}
		return err
	})
	must(err)
	return files
}

// TestDocumentedFiles: files and tests that the documents name are there.
func TestDocumentedFiles(t *testing.T) {
	files := sources(t)
	var tests strings.Builder
	for dir, names := range files {
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				text, err := os.ReadFile(filepath.Join(dir, name))
				must(err)
				tests.Write(text)
			}
		}
	}
	names, err := filepath.Glob("docs/*.md")
	must(err)
	file, test := regexp.MustCompile("`([\\w./-]+\\.go)`"), regexp.MustCompile("`(Test|Fuzz|Benchmark)(\\w+)")
	for _, name := range append(names, "README.md", "CONTRIBUTING.md", "CHANGELOG.md") {
		text, err := os.ReadFile(name)
		must(err)
		for _, m := range file.FindAllStringSubmatch(string(text), -1) {
			want := m[1]
			there := strings.Contains(want, "NAME") // of what is to be written
			for dir, names := range files {
				for _, f := range names {
					path := "/" + dir + "/" + f
					there = there || strings.HasSuffix(path, "/"+want)
				}
			}
			if !there {
				t.Errorf("%s names %s, which is not there", name, want)
			}
		}
		for _, m := range test.FindAllStringSubmatch(string(text), -1) {
			if want := m[1] + m[2]; !strings.Contains(tests.String(), "func "+want) && !strings.Contains(want, "NAME") {
				t.Errorf("%s names %s, which is not there", name, want)
			}
		}
	}
}

// TestMap: docs/architecture.md names each file of the packages that it lists file by file, in the part of
// its package, and no other.
func TestMap(t *testing.T) {
	rooms := map[string][]string{"### kernel": {"kernel", "kernel/fp"}, "### tile": {"tile"}, "### qkv, the root": {"."}}
	text, err := os.Open("docs/architecture.md")
	must(err)
	defer text.Close()
	named, room := map[string][]string{}, ""
	cell := regexp.MustCompile("`([\\w*]+\\.go)`")
	for lines := bufio.NewScanner(text); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			room = line
		}
		if first, _, ok := strings.Cut(strings.TrimPrefix(line, "|"), " | "); ok {
			for _, m := range cell.FindAllStringSubmatch(first, -1) {
				named[room] = append(named[room], m[1])
			}
		}
	}
	files := sources(t)
	for room, dirs := range rooms {
		var have []string
		for _, dir := range dirs {
			for _, name := range files[dir] {
				// A package comment by itself needs no word.
				if !strings.HasSuffix(name, "_test.go") && name != "doc.go" && name != filepath.Base(dir)+".go" {
					have = append(have, name)
				}
			}
		}
		matches := func(pattern, name string) bool {
			ok, err := filepath.Match(pattern, name)
			must(err)
			return ok
		}
		for _, name := range have {
			if !slices.ContainsFunc(named[room], func(p string) bool { return matches(p, name) }) {
				t.Errorf("%s: %s is not named", room, name)
			}
		}
		for _, p := range named[room] {
			if !slices.ContainsFunc(have, func(name string) bool { return matches(p, name) }) {
				t.Errorf("%s: there is no %s", room, p)
			}
		}
	}
}
