package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestReadDocument(t *testing.T) {
	d := steady(3, 1, 1)
	d.Skipped = []Skip{{Name: "a", System: "b", Workers: 1, Reason: "c"}}
	d.Runs[0].SecondsMedian, d.Runs[0].SecondsMin, d.Runs[0].PeakGFLOPS = 1, 1, 1
	d.Time = time.Date(2024, 2, 29, 1, 2, 3, 0, time.UTC)
	d.Ceilings.Read = []Bandwidth{{Level: "L1"}}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "record.json")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(string(text))
	got, err := ReadDocument(path)
	if err != nil || !reflect.DeepEqual(got, d) {
		t.Fatalf("%+v, error %v, want %+v", got, err, d)
	}

	for _, c := range []struct{ old, new, want string }{
		{"{", "[{", "not a record: "},
		{string(text), "", "not a record: unexpected end of JSON input at byte 0"},
		{string(text), "{}", `not a record of qkv bench: there is no "format"`},
		{Format, "qkv-bench-99", `a record of format "qkv-bench-99", this program reads ` + Format},
		{`"cpu":`, `"gpu":`, "machine.cpu: it is missing"},
		{`"workers": 2`, `"workers": 2.5`, "runs[0].workers: it is 2.5, an integer is needed"},
		{`"workers": 2`, `"workers": 65537`, "runs[0].workers is 65537, 1 to 65536 is needed"},
		{`"workers": 2`, `"workers": -2`, "runs[0].workers is -2, 1 to 65536 is needed"},
		{`"system": "qkv"`, `"system": ""`, "runs[0].system is empty"},
		{`"seconds_median": 1`, `"seconds_median": 0`, "runs[0].seconds_median is 0, 1e-12 to 1e+09 is needed"},
		{`"seconds": 1.001`, `"seconds": -1.001`, "runs[0].rounds[1].seconds is -1.001, 1e-12 to"},
		{`"seconds": 1.001`, `"seconds": 1e999`, "not a record: "},
		{`"kind": "attention"`, `"kind": "pie"`, `runs[0].kind is "pie", attention, product, projection, append is needed`},
		{`"seconds_q3": 0`, `"seconds_q3": -1`, "runs[0].seconds_q3 is -1, 0 to 1e+09 is needed"},
		{`"max_error": 0`, `"max_error": -1`, "runs[0].max_error is -1, 0 to"},
		{`"gbps_one": 0`, `"gbps_one": 1e20`, "ceilings.read[0].gbps_one is 1e+20, 0 to 1e+12 is needed"},
	} {
		changed := strings.Replace(string(text), c.old, c.new, 1)
		if changed == string(text) {
			t.Fatalf("%q is not in %s", c.old, text)
		}
		write(changed)
		_, err := ReadDocument(path)
		if !errors.As(err, new(*RecordError)) || !strings.HasPrefix(err.Error(), path+": "+c.want) {
			t.Errorf("%q in place of %q: error %v, want %s", c.new, c.old, err, c.want)
		}
	}
	// What is no text does not get to a terminal or a picture.
	write(strings.Replace(string(text), `"path": ""`, `"path": "a\u001b[31m\nb\u202e\uffff é"`, 1))
	if d, err := ReadDocument(path); err != nil || d.Runs[0].Path != "a [31m b   é" {
		t.Errorf("%+v, error %v", d, err)
	}
	if _, err := ReadDocument(path + ".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: error %v", err)
	}
	if _, err := ParseDocument(make([]byte, maxRecord+1)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("too large a file: error %v", err)
	}
}

func FuzzParseDocument(f *testing.F) {
	text, err := json.Marshal(noisy(newRand(), 1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"format":"` + Format + `"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ParseDocument(data)
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := WriteBenchfmt(&b, d); err != nil {
			t.Fatal(err)
		}
		for _, r := range Compare(d, d, 0.05).Rows {
			if r.Verdict == Regression {
				t.Fatalf("a record is slower than itself: %+v", r)
			}
		}
	})
}
