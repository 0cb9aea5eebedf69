package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/bench"
)

func TestBench(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	code, out, errs := qkvRun("bench", "-shape", "h=2,hkv=1,sq=64,d=32,mask=causal", "-shape", "h=1,sq=1,skv=40,d=16", "-workers", "2",
		"-count", "2", "-label", "of a test", "-json", path("r.json"), "-cpuprofile", path("cpu"), "-memprofile", path("mem"), "-trace", path("trace"))
	if code != exitOK || errs != "" {
		t.Fatalf("exit %d, stderr %q: no progress is wanted but on a terminal", code, errs)
	}
	for _, want := range []string{"ceilings of", "peak FMA, GFLOP/s", "read memory, GB/s", "median ms", "read GB/s", "bound by", "h=2,hkv=1,sq=64,d=32,mask=causal", "h=1,sq=1,skv=40,d=16", "checked against float64"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	for _, name := range []string{"cpu", "mem", "trace"} {
		if info, err := os.Stat(path(name)); err != nil || info.Size() == 0 {
			t.Errorf("profile %s: %v", name, err)
		}
	}
	text, err := os.ReadFile(path("r.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Label    string
		Machine  struct{ CPU, OS string }
		Ceilings struct {
			Workers int
			Peak    float64 `json:"peak_gflops_one"`
			Read    []struct {
				Level string
				Rate  float64 `json:"gbps_one"`
			}
		}
		Runs []struct {
			Name       string
			Mask       string
			DType      string
			Kernel     string
			Workers    int
			Median     float64 `json:"seconds_median"`
			GFLOPS     float64
			Peak       float64 `json:"peak_gflops"`
			Efficiency float64
			Path       string
			KDType     string  `json:"k_dtype"`
			Bytes      int     `json:"read_bytes"`
			Read       float64 `json:"read_gbps"`
			Limit      string
			OfLimit    float64 `json:"of_limit"`
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Machine.CPU == "" || doc.Ceilings.Workers != 2 || doc.Ceilings.Peak <= 0 || len(doc.Ceilings.Read) == 0 || doc.Ceilings.Read[0].Rate <= 0 {
		t.Errorf("machine and ceilings: %+v %+v", doc.Machine, doc.Ceilings)
	}
	if len(doc.Runs) != 4 || doc.Label != "of a test" {
		t.Fatalf("%d runs of %q", len(doc.Runs), doc.Label)
	}
	if n := strings.Count(out, "h=2,hkv=1,sq=64,d=32,mask=causal\n"); n != 1 || !strings.Contains(out, "of 2 passes the one") {
		t.Errorf("two passes are shown %d times:\n%s", n, out)
	}
	r := doc.Runs[0]
	if r.Name != "b=1,h=2,hkv=1,sq=64,skv=64,d=32,dv=32,mask=causal" || r.Mask != "causal" || r.DType != "float32" || r.Workers != 2 ||
		r.Kernel == "" || r.Median <= 0 || r.GFLOPS <= 0 || r.Peak <= 0 || r.Efficiency <= 0 {
		t.Errorf("run %+v", r)
	}
	if r.Path != "prefill" || r.KDType != "float32" || r.Bytes != 0 || r.Read != 0 || r.Limit != "" {
		t.Errorf("run %+v, want no rate of reading", r)
	}
	if r := doc.Runs[1]; r.Path != "decode" || r.Bytes != 40*2*16*4 || r.Read <= 0 || r.Limit == "" || r.OfLimit <= 0 {
		t.Errorf("run %+v, want a rate of reading", r)
	}
}

// TestBenchCount: a record can be compared, and what is only printed takes no longer than it has to.
func TestBenchCount(t *testing.T) {
	for _, c := range []struct {
		args string
		want int
	}{{"", 1}, {"-json r.json", recordCount}, {"-json r.json -count 3", 3}, {"-count 2", 2}} {
		var b benchFlags
		if err := b.parse(strings.Fields(c.args), io.Discard); err != nil || b.count != c.want {
			t.Errorf("%q: %d passes, error %v, want %d", c.args, b.count, err, c.want)
		}
	}
	if recordCount < bench.LeastPasses {
		t.Errorf("a record of %d passes cannot be compared", recordCount)
	}
}

// TestBenchCold: the table and the record say that keys came from memory.
func TestBenchCold(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	path := filepath.Join(t.TempDir(), "r.json")
	code, out, errs := qkvRun("bench", "-cold", "-shape", "h=8,sq=1,skv=2048,d=64", "-shape", "h=1,sq=1,d=8", "-workers", "1", "-count", "1", "-json", path)
	if code != exitOK || errs != "" {
		t.Fatalf("exit %d, stderr %q", code, errs)
	}
	for _, want := range []string{"h=8,sq=1,skv=2048,d=64, cold\n", "  memory  ", "cold: keys, values and weights come from memory", "left out: its keys and values"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	d, err := bench.ReadDocument(path)
	if err != nil || len(d.Runs) != 1 || d.Runs[0].Cold < 2 || d.Runs[0].ReadLevel != "memory" || len(d.Skipped) != 1 {
		t.Errorf("the record is %+v, error %v", d, err)
	}
}

// TestBenchNeighbour: the table and the record say that there was one, and where.
func TestBenchNeighbour(t *testing.T) {
	if code, _, errs := qkvRun("bench", "-neighbour", "loud"); code != exitUsage || !strings.Contains(errs, `-neighbour is "loud", want cache or memory`) {
		t.Errorf("exit %d, stderr %q", code, errs)
	}
	if testing.Short() {
		t.Skip("takes seconds")
	}
	path := filepath.Join(t.TempDir(), "r.json")
	code, out, errs := qkvRun("bench", "-cold", "-neighbour", "memory", "-shape", "m=1,n=1024,k=1024", "-workers", "1", "-count", "1", "-json", path)
	if runtime.NumCPU() < 2 {
		if code != exitFailed || !strings.Contains(errs, "a neighbour needs a second processor") {
			t.Errorf("on one processor: exit %d, stderr %q", code, errs)
		}
		return
	}
	if code != exitOK || errs != "" {
		t.Fatalf("exit %d, stderr %q", code, errs)
	}
	for _, want := range []string{"m=1,n=1024,k=1024, cold, neighbour=memory\n", "neighbour: another process works through memory all the while"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	d, err := bench.ReadDocument(path)
	if err != nil || len(d.Runs) != 1 || d.Runs[0].Neighbour == nil || d.Runs[0].Conditions() != "cold, neighbour=memory" {
		t.Errorf("the record is %+v, error %v", d, err)
	}
	for _, args := range [][]string{{"report", path, "-format", "md"}, {"compare", path, path}} {
		if _, out, errs := qkvRun(args...); !strings.Contains(out, "cold, neighbour=memory") {
			t.Errorf("%q does not say so: %s%s", args, out, errs)
		}
	}
}

// TestBenchAppend: passes of several commands are of one record, if they are of one build under the
// same conditions.
func TestBenchAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	if code, _, errs := qkvRun("bench", "-append"); code != exitUsage || !strings.Contains(errs, "there is no -json") {
		t.Errorf("exit %d, stderr %q", code, errs)
	}
	if testing.Short() {
		t.Skip("takes seconds")
	}
	args := []string{"bench", "-append", "-shape", "m=1,n=1024,k=1024", "-workers", "1", "-json", path}
	for want := 1; want <= 2; want++ {
		if code, _, errs := qkvRun(append(args, "-label", "of turns")...); code != exitOK {
			t.Fatalf("exit %d, stderr %q", code, errs)
		}
		d, err := bench.ReadDocument(path)
		if err != nil || len(d.Runs) != want || len(d.Results()) != 1 || d.Label != "of turns" {
			t.Fatalf("the record is %+v, error %v", d, err)
		}
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, errs := qkvRun(append(args, "-cold")...); code != exitFailed || !strings.Contains(errs, "they differ: conditions") {
		t.Errorf("other conditions: exit %d, stderr %q", code, errs)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the record has changed, error %v", err)
	}
	other := bytes.Replace(before, []byte(`"go_version": "`), []byte(`"go_version": "not `), 1)
	if err := os.WriteFile(path, other, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := qkvRun(args...); code != exitFailed || !strings.Contains(errs, "is of build") {
		t.Errorf("another build: exit %d, stderr %q", code, errs)
	}
}

func TestBenchUnmasked(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	path := filepath.Join(t.TempDir(), "r.json")
	code, out, errs := qkvRun("bench", "-unmasked", "-shape", "h=1,sq=32,d=8,window=3:0", "-shape", "h=1,sq=32,d=8", "-workers", "1", "-count", "1", "-json", path)
	if code != exitOK || errs != "" {
		t.Fatalf("exit %d, stderr %q", code, errs)
	}
	for _, want := range []string{"of peak  of unmasked\n", "h=1,sq=32,d=8,window=3:0 ", "of unmasked: the share"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Runs []struct {
			Options, Unmasked string
			OfUnmasked        float64 `json:"of_unmasked"`
			GFLOPS            float64 `json:"unmasked_gflops"`
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Runs) != 2 {
		t.Fatalf("%d runs", len(doc.Runs))
	}
	r := doc.Runs[0]
	if r.Options != "window=3:0" || r.Unmasked != "b=1,h=1,hkv=1,sq=32,skv=32,d=8,dv=8,mask=none" || !(r.OfUnmasked > 0 && r.GFLOPS > 0) {
		t.Errorf("%+v", r)
	}
	if r := doc.Runs[1]; r.Unmasked != "" || r.Options != "" {
		t.Errorf("%+v", r)
	}
}

func TestBenchFails(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-json", filepath.Join(dir, "none", "r.json")}, "no such file"},
		{[]string{"-json", dir}, "is a directory"},
		{[]string{"-memprofile", filepath.Join(dir, "mem"), "-cpuprofile", filepath.Join(dir, "none", "cpu")}, "no such file"},
	} {
		code, out, errs := qkvRun(append([]string{"bench", "-shape", "h=1,sq=1,d=8"}, c.args...)...)
		if code != exitFailed || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%q: exit %d, stdout %q, stderr %q, want exit 1 at once and %q", c.args, code, out, errs, c.want)
		}
	}

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var out, errs bytes.Buffer
	profile := filepath.Join(dir, "cpu")
	if err := os.WriteFile(profile, []byte("of before"), 0o600); err != nil {
		t.Fatal(err)
	}
	code := command(ctx, []string{"bench", "-shape", "h=1,sq=1,d=8", "-workers", "1", "-kernel", "generic", "-json", filepath.Join(dir, "r.json"), "-cpuprofile", profile}, &out, &errs)
	if code != exitFailed || errs.String() != "qkv bench: interrupted\n" {
		t.Errorf("interrupted: exit %d, %q", code, errs.String())
	}
	if text, err := os.ReadFile(profile); err != nil || string(text) != "of before" {
		t.Errorf("the profile of before is %q, error %v", text, err)
	}
	if names := listDir(t, dir); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
}

func TestInfo(t *testing.T) {
	t.Setenv(qkv.KernelEnv, "")
	code, out, errs := qkvRun("info")
	if code != exitOK || errs != "" {
		t.Fatalf("exit %d, %q", code, errs)
	}
	for _, want := range []string{"CPU", "processors", "features", "kernel set", "generic", "*"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	read := func() infoDocument {
		t.Helper()
		var doc infoDocument
		if code, out, errs := qkvRun("info", "-json"); code != exitOK {
			t.Fatalf("exit %d, %q", code, errs)
		} else if err := json.Unmarshal([]byte(out), &doc); err != nil {
			t.Fatal(err)
		}
		return doc
	}
	chosen := func(doc infoDocument) (names []string) {
		for _, k := range doc.Kernels {
			if k.Why == "" || k.Needs == nil || k.Missing == nil {
				t.Errorf("%+v", k)
			}
			if k.Chosen {
				names = append(names, k.Name)
			}
		}
		return names
	}
	a, err := qkv.New(qkv.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if got := chosen(read()); !slices.Equal(got, []string{a.Kernel().Name}) {
		t.Errorf("chosen: %v, want %s", got, a.Kernel().Name)
	}
	t.Setenv(qkv.KernelEnv, "generic")
	if got := chosen(read()); !slices.Equal(got, []string{"generic"}) {
		t.Errorf("chosen: %v, want generic", got)
	}
	t.Setenv(qkv.KernelEnv, "quantum")
	code, out, errs = qkvRun("info")
	if code != exitFailed || !strings.HasPrefix(errs, `qkv info: the environment variable QKV_KERNEL: unknown kernel set "quantum"; this machine can run `) {
		t.Errorf("%s=quantum: exit %d, %q", qkv.KernelEnv, code, errs)
	}
	if !strings.Contains(out, "processors") || !strings.Contains(out, "generic") || strings.Contains(out, "*") || !strings.Contains(out, "can run") {
		t.Errorf("%s=quantum: the sets are not listed:\n%s", qkv.KernelEnv, out)
	}
	var doc infoDocument
	if code, out, _ := qkvRun("info", "-json"); code != exitFailed || json.Unmarshal([]byte(out), &doc) != nil || !strings.Contains(doc.Error, "quantum") || len(chosen(doc)) != 0 || len(doc.Kernels) != len(qkv.Kernels()) {
		t.Errorf("%s=quantum: exit %d, %+v", qkv.KernelEnv, code, doc)
	}
	if code, _, errs := qkvRun("conform", "."); code != exitFailed || !strings.Contains(errs, "environment variable QKV_KERNEL") {
		t.Errorf("conform with %s=quantum: exit %d, %q", qkv.KernelEnv, code, errs)
	}
}

func TestSignificant(t *testing.T) {
	for _, c := range []struct {
		x    float64
		want string
	}{{0, "0"}, {312.44, "312.4"}, {40.213, "40.21"}, {0.48231, "0.4823"}, {0.0018231, "0.001823"}, {12345.6, "12346"}, {1, "1.000"}} {
		if got := significant(c.x); got != c.want {
			t.Errorf("significant(%v) = %s, want %s", c.x, got, c.want)
		}
	}
}

func TestSize(t *testing.T) {
	for bytes, want := range map[int]string{48 << 10: "48 KiB", 32 << 20: "32 MiB", 1 << 20: "1 MiB", 3 << 19: "1536 KiB", 100: "100 B", 0: "0 B", 1 << 30: "1 GiB", 3 << 29: "1536 MiB"} {
		if got := size(bytes); got != want {
			t.Errorf("size(%d) = %s, want %s", bytes, got, want)
		}
	}
}
