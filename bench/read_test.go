package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestReadDocument(t *testing.T) {
	d := steady(3, 1, 1)
	d.Skipped = []Skip{{Name: "a", System: "b", Workers: 1, Reason: "c"}}
	d.Runs[0].SecondsMedian, d.Runs[0].SecondsMin = 1, 1
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
		{`"seconds": 1.001`, `"seconds": -1.001`, "runs[1].rounds[0].seconds is -1.001, 1e-12 to"},
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

// whole returns a record that has every field.
func whole(t *testing.T) *Document {
	t.Helper()
	w := works("h=4,sq=1,skv=1024,d=64")[0]
	run := Run{
		Name: w.String(), System: SystemName, Kernel: "avx2", Workers: 1,
		FLOPs: w.FLOPs(), SecondsMedian: 1e-3, SecondsMin: 1e-3, SecondsQ1: 1e-3, SecondsQ3: 1e-3, Samples: 1, Calls: 1,
		Rounds: []Round{{1e-3, 100, 20}}, PeakGFLOPS: 100, Bursts: 2,
		UnmaskedGFLOPS: 1, OfUnmasked: 1, CheckedRows: 1, MaxError: 1e-7, ErrorOfBound: 0.1,
		Counters: &Counters{1, 1, 1, 1, 1, 1, 1, 1, 1}, Load: &Load{1, 2, 1, 0, 0, 0, 1},
		Cold: 3, Neighbour: &Neighbour{NeighbourCache, 1, 1, []int{1}, []int{0}, true},
	}
	w.describe(&run)
	run.GFLOPS = 1e-9 * run.FLOPs / run.SecondsMedian
	run.Efficiency = run.GFLOPS / run.PeakGFLOPS
	run.roofline(w.ReadBytes(), 20e9, "L3")
	d := NewDocument()
	d.Machine.Memory, d.Machine.Caches = 1<<34, []Cache{{"L1", 32 << 10}}
	d.Ceilings = Ceilings{"avx2", 2, 100, 200, 400, 800, 200, 400, []Bandwidth{{"L1", 1, 1, 1, 1}}, []Clock{{"integer", 3, 3}}}
	d.Runs = []Run{run}
	d.Skipped = []Skip{{Name: "a", System: "b", Workers: 1, Needs: 1, Budget: 1}}
	return &d
}

// TestImpossibleNumbers puts what no measurement gives in place of each number of a record, of
// whatever field there is.
func TestImpossibleNumbers(t *testing.T) {
	d := whole(t)
	parse := func() error {
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ParseDocument(text)
		return err
	}
	if err := parse(); err != nil {
		t.Fatal(err)
	}
	var walk func(path string, v reflect.Value)
	try := func(path string, set func(bad float64)) {
		for _, bad := range []float64{-5, 1e17, 1e35} {
			if bad > 0 && strings.HasSuffix(path, ".max_error") { // has any
				continue
			}
			if bad == 1e17 && regexp.MustCompile(`(flops|read_bytes)$|counters`).MatchString(path) { // may be
				continue
			}
			set(bad)
			if err := parse(); err == nil || !strings.Contains(err.Error(), path[strings.LastIndex(path, ".")+1:]) {
				t.Errorf("%s of %v: error %v", path, bad, err)
			}
		}
	}
	walk = func(path string, v reflect.Value) {
		switch kind := v.Kind(); {
		case kind == reflect.Pointer && v.IsNil(), kind == reflect.Slice && v.Len() == 0:
			t.Errorf("the whole record has no %s", path)
		case kind == reflect.Pointer:
			walk(path, v.Elem())
		case kind == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
			for i := range v.NumField() {
				name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
				walk(path+"."+name, v.Field(i))
			}
		case kind == reflect.Slice:
			walk(path+"[0]", v.Index(0))
		case v.CanFloat():
			before := v.Float()
			try(path, v.SetFloat)
			v.SetFloat(before)
		case v.CanInt():
			before := v.Int()
			try(path, func(bad float64) {
				x := int64(max(-5, min(bad, math.MaxInt32*float64(math.MaxInt32))))
				if v.OverflowInt(x) { // no int of 32 bits is too large
					x = -5
				}
				v.SetInt(x)
			})
			v.SetInt(before)
		}
	}
	walk("", reflect.ValueOf(d).Elem())
	if err := parse(); err != nil {
		t.Fatal(err)
	}
}

// TestContradictions: figures that follow from others agree with them.
func TestContradictions(t *testing.T) {
	for want, edit := range map[string]func(*Run){
		"gflops is ":          func(r *Run) { r.GFLOPS *= 1.1 },
		"efficiency is ":      func(r *Run) { r.Efficiency = 5 },
		"gbps is ":            func(r *Run) { r.GBps *= 0.9 },
		"of_read is ":         func(r *Run) { r.OfRead *= 1.1 },
		"of_limit is ":        func(r *Run) { r.OfLimit *= 1.1 },
		"seconds_min is ":     func(r *Run) { r.SecondsMin *= 2 },
		"seconds_q1 is ":      func(r *Run) { r.SecondsQ1 *= 2 },
		"seconds_median is ":  func(r *Run) { r.SecondsQ3 /= 2; r.SecondsQ1, r.SecondsMin = 0, r.SecondsMin/4 },
		"rounds[0].read_gbps": func(r *Run) { r.Rounds[0].ReadGBps = 0 },
	} {
		d := whole(t)
		edit(&d.Runs[0])
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseDocument(text); err == nil || !strings.HasPrefix(err.Error(), "runs[0]."+want) {
			t.Errorf("%s: error %v", want, err)
		}
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
