package report

import (
	"cmp"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/qkv-go/qkv/bench"
)

var update = flag.Bool("update", false, "write the tables of records in docs anew")

// docsTable is what stands between two comments of a document: the tables of records, whose files
// the first names.
var docsTable = regexp.MustCompile(`(?s)(<!-- qkv report -format md ([^\n]*?) -->\n\n)(.*?)(<!-- end -->)`)

var docsBegin = regexp.MustCompile(`(?m)^<!-- qkv report `)

// TestDocs: the tables of records in docs are what the records give, and each record has one.
func TestDocs(t *testing.T) {
	const root = "../.."
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages, error %v", err)
	}
	used := make(map[string]bool)
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if opened, closed := len(docsBegin.FindAll(text, -1)), len(docsTable.FindAll(text, -1)); opened != closed {
			t.Errorf("%s: of %d tables of records %d have an end", page, opened, closed)
		}
		want := docsTable.ReplaceAllStringFunc(string(text), func(all string) string {
			m := docsTable.FindStringSubmatch(all)
			var docs []*bench.Document
			for _, name := range strings.Fields(m[2]) {
				d, err := bench.ReadDocument(filepath.Join(root, name))
				if err != nil {
					t.Fatalf("%s: %v", page, err)
				}
				if d.Build.Short() == "unknown" || d.Build.Commit == "" || d.Build.Modified || d.Machine.CPU == "" {
					t.Errorf("%s: it does not say which machine and commit it is of: %s, %+v", name, d.Machine.CPU, d.Build)
				}
				used[filepath.Base(name)] = true
				d.Label = cmp.Or(d.Label, strings.TrimSuffix(filepath.Base(name), ".json"))
				docs = append(docs, d)
			}
			r, err := New(docs...)
			if err != nil {
				t.Fatalf("%s: %v", page, err)
			}
			var b strings.Builder
			if err := r.WriteMarkdown(&b); err != nil {
				t.Fatal(err)
			}
			return m[1] + b.String() + "\n" + m[4]
		})
		switch {
		case want == string(text):
		case *update:
			if err := os.WriteFile(page, []byte(want), 0o666); err != nil {
				t.Fatal(err)
			}
		default:
			t.Errorf("%s: the tables are not those of the records; go test ./bench/report -run TestDocs -update writes them", page)
		}
	}
	records, err := filepath.Glob(filepath.Join(root, "docs", "records", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if name := filepath.Base(r); !used[name] {
			t.Errorf("docs/records/%s is in no page", name)
		}
	}
}
