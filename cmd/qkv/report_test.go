package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qkv-go/qkv/bench/report"
)

// TestReportPlots: the usage says which plots there may be, and an error which there are.
func TestReportPlots(t *testing.T) {
	_, usage, _ := qkvRun("report", "-h")
	for _, k := range report.PlotKinds {
		if !strings.Contains(usage, k.Name) {
			t.Errorf("the usage lacks %s:\n%s", k.Name, usage)
		}
	}
	dir := t.TempDir()
	a, b := record(t, dir, "a.json", "x", 0.1), record(t, dir, "b.json", "y", 0.2)
	code, _, errs := qkvRun("report", "-plot", "records-4", "-o", filepath.Join(dir, "r.svg"), a, b)
	if want := `there is no plot "records-4", the records have data for records-3`; code != exitFailed || !strings.Contains(errs, want) {
		t.Errorf("exit code %d, stderr %q, want %q", code, errs, want)
	}
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	a, b := record(t, dir, "a.json", "x", 0.1), record(t, dir, "b.json", "y", 0.2)
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, c := range []struct {
		args string
		code int
		file string // written
		want string // in it, in the output or the error
	}{
		{a + " -o " + path("r.html"), exitOK, "r.html", "<!DOCTYPE html>"},
		{a + " " + b + " -o " + path("r"), exitOK, "r", "b takes 2 times as long as a, in the geometric mean of 1 (2 to 2): 1 slower. The machines or kernel sets are different."},
		{a + " -o " + path("r.svg"), exitFailed, "", "no data for a plot"}, // 3 workers, ceilings unknown
		{a + " -format md", exitOK, "", "| 1 | h=2,sq=64,d=32,mask=causal |"},
		{a + " -o " + path("r.md"), exitOK, "r.md", "| 1 | h=2,sq=64,d=32,mask=causal |"},
		{a + " " + b + " -o " + path("r.png"), exitOK, "r.png", "PNG"},
		{a + " " + b + " -o " + path("R.PNG"), exitOK, "R.PNG", "PNG"},
		{a + " -o " + a, exitUsage, "a.json", `"seconds"`},
		{a + " -o " + a + " -format md", exitUsage, "a.json", `"seconds"`},
		{a + " -o " + path("x.jpg"), exitUsage, "", `x.jpg", want a name that ends in .html, .md, .svg, .png, or -format`},
		{a, exitUsage, "", "-o is needed to write html"},
		{"-o " + path("x"), exitUsage, "", "no record given"},
		{a + " -format pdf", exitUsage, "", `-format is "pdf"`},
		{a + " -plot scaling -o " + path("x.html"), exitUsage, "", "-plot is for svg and png"},
		{path("none.json") + " -o " + path("x"), exitFailed, "", "no such file"},
	} {
		code, out, errs := qkvRun(append([]string{"report"}, strings.Fields(c.args)...)...)
		text := out + errs
		if c.file != "" {
			data, err := os.ReadFile(path(c.file))
			if err != nil {
				t.Errorf("%s: %v", c.args, err)
			}
			text = string(data)
		}
		if code != c.code || !strings.Contains(text, c.want) {
			t.Errorf("%s: exit code %d, want %d and %q: %.300s%s", c.args, code, c.code, c.want, text, errs)
		}
	}
}
