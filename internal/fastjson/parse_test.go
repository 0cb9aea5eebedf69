package fastjson

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/minio/simdjson-go"

	"github.com/qkv-go/qkv/internal/jsontree"
	"github.com/qkv-go/qkv/internal/shareddata"
)

// maxDepth is that of the tests.
const maxDepth = 3

// Real files.
const (
	modelFile    = "gpt-nano-sort-model.json"
	partialsFile = "gpt-nano-sort-t0-partials.json"
)

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(shareddata.Path(t, "nano-gpt", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// sameParse holds Parse, and simdjson where it may read data, against encoding/json.
func sameParse(t *testing.T, data []byte) {
	t.Helper()
	want, wantErr := jsontree.Parse(data, maxDepth)
	got, err := Parse(data, maxDepth)
	if fmt.Sprint(err) != fmt.Sprint(wantErr) || !reflect.DeepEqual(got, want) {
		t.Fatalf("%.200q: Parse gives %.200v, %v; encoding/json %.200v, %v", data, got, err, want, wantErr)
	}
	if !simdjson.SupportedCPU() || !plain(data) {
		return
	}
	if _, err := parseSIMD(data, maxDepth); (err == nil) != (wantErr == nil) {
		t.Fatalf("%.200q: simdjson gives error %v, encoding/json %v", data, err, wantErr)
	}
}

// TestParseFiles reads the real files, and what is left of them when they are cut off.
func TestParseFiles(t *testing.T) {
	for _, path := range []string{modelFile, partialsFile} {
		data := readFile(t, path)
		sameParse(t, data)
		if !plain(data) {
			t.Errorf("%s is not plain, simdjson does not read it", path)
		}
		for n := len(data) - 1; n > 0; n = n * 3 / 4 {
			sameParse(t, data[:n])
			if _, err := Parse(data[:n], maxDepth); err == nil {
				t.Errorf("the first %d of %d bytes are read without an error", n, len(data))
			}
		}
	}
}

func TestParseMalformed(t *testing.T) {
	for _, c := range []struct{ data, want string }{
		{``, "unexpected end of JSON input at byte 0"},
		{`{"a": {"b": "c`, "unexpected end of JSON input at byte 14"},
		{`{"a": {"b": 1}`, "unexpected end of JSON input at byte 14"},
		{`{"a": 1,}`, "invalid character '}' looking for beginning of object key string at byte 9"},
		{`{"a": 01}`, "invalid character '1' after object key:value pair at byte 8"},
		{`{"a": tru}`, "invalid character '}' in literal true (expecting 'e') at byte 10"},
		{`{} {}`, "invalid character '{' after top-level value at byte 4"},
		{"{\"a\": \"b\nc\"}", `invalid character '\n' in string literal at byte 9`},
		{`{"a": "\u 000"}`, `invalid character ' ' in \u hexadecimal character escape at byte 10`},
		{`[]`, "an object is needed"},
		{`null`, "an object is needed"},
		{`"a"`, "an object is needed"},
		{`{"a": 1, "b": {"a": 2}, "a": 3}`, `"a" stands twice in an object, the second time at byte 27`},
		{`{"a": [{"b": 1, "b": null}]}`, `"b" stands twice in an object, the second time at byte 19`},
		{`{"a": 1, "\u0061": 3}`, `"a" stands twice in an object, the second time at byte 17`},
		{`{"a": {"b": [{}]}}`, "more than 3 objects and arrays lie in each other"},
		{`{"a": ` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, "invalid character '[' exceeded max depth at byte 10006"},
	} {
		sameParse(t, []byte(c.data))
		if _, err := Parse([]byte(c.data), maxDepth); err == nil || err.Error() != c.want {
			t.Errorf("%.40q: error %v, want %s", c.data, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"config": {"n_layer": 3, "x": [1, 2.5, -3e2, 18446744073709551615, true, false, null, "a\u0041\n"]}}`,
		`{}`, `[]`, ``, `null`, `{"a": {"shape": [3, 4], "data": "AAAA"}}`, "{\"a\": \"b\nc\"}", "{\"\": \"\x95\"}",
		`{"a": {"b": [{}]}, "a": 1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want, wantErr := jsontree.Parse(data, maxDepth)
		got, err := Parse(data, maxDepth)
		if fmt.Sprint(err) != fmt.Sprint(wantErr) || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: Parse gives %v, %v; encoding/json %v, %v", data, got, err, want, wantErr)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	data := readFile(b, modelFile)
	for _, p := range []struct {
		name  string
		parse func([]byte, int) (jsontree.Object, error)
	}{{"parser=fast", Parse}, {"parser=standard", jsontree.Parse}} {
		b.Run(p.name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := p.parse(data, maxDepth); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
