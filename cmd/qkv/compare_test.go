package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qkv-go/qkv/bench"
)

// record writes a record of a work that takes so many seconds, give or take a thousandth.
func record(t *testing.T, dir, name, cpu string, seconds float64) string {
	t.Helper()
	return recordOf(t, dir, name, cpu, "", seconds, 10, 0)
}

// recordOf writes a record of so many passes, beside others who take so many processors.
func recordOf(t *testing.T, dir, name, cpu, label string, seconds float64, passes int, others float64) string {
	t.Helper()
	d := bench.NewDocument()
	d.Label = label
	d.Machine.CPU, d.Ceilings.Kernel = cpu, "avx2"
	d.Build.Commit = name + "0123456789"
	run := bench.Run{
		Name: "b=1,h=2,hkv=2,sq=64,skv=64,d=32,dv=32,mask=causal", Kind: bench.KindAttention, System: bench.SystemName, Kernel: "avx2",
		Workers: 3, FLOPs: 1e6, SecondsMedian: seconds, SecondsMin: seconds, PeakGFLOPS: 1,
	}
	for i := range passes {
		run.Rounds = []bench.Round{{Seconds: seconds * (1 + 0.001*float64(i)), PeakGFLOPS: 1}}
		run.SecondsMedian = run.Rounds[0].Seconds
		run.Load = &bench.Load{Seconds: 1, Processors: 4, Others: others}
		d.Add(run)
	}
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCompare(t *testing.T) {
	dir := t.TempDir()
	a, same, slow := record(t, dir, "a.json", "x", 0.1), record(t, dir, "same.json", "x", 0.1), record(t, dir, "slow.json", "x", 0.11)
	once := recordOf(t, dir, "once.json", "x", "measured once", 0.15, 1, 0)
	busy := recordOf(t, dir, "busy.json", "x", "", 0.15, 8, 2)
	other := record(t, dir, "other.json", "y", 0.2)
	foreign := record(t, dir, "foreign.json", "x", 0.1)
	text, err := os.ReadFile(foreign)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(foreign, []byte(strings.ReplaceAll(string(text), "sq=64", "sq=65")), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(dir, "bad.json")
	if err := os.WriteFile(bad, []byte(`{"machine": {}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
		want []string // in the output, or the error
	}{
		{a + " " + same, exitOK, []string{"h=2,sq=64,d=32,mask=causal", "100.5 ms ±0%", "+0.0%", "same", "geometric mean", "a: x", "qkv a.json01", "builds a.json01 and same.jso"}},
		{a + " " + slow, exitFailed, []string{"+10.0%", "REGRESSION", "qkv compare: 1 regression"}},
		{a + " -threshold 15% " + slow, exitOK, []string{"+10.0%", "slower"}},
		{a + " -threshold 0.15 " + slow, exitOK, []string{"slower"}},
		{slow + " " + a, exitOK, []string{"-9.1%", "faster"}},
		{a + " " + same + " " + slow, exitFailed, []string{"same", "REGRESSION"}},
		{a + " " + other, exitOK, []string{"CPUs x and y", "+100.0%", "slower"}},
		{a + " " + other + " -threshold 50%", exitFailed, []string{"REGRESSION"}},
		{a + " " + slow + " -format md", exitFailed, []string{"| work | workers |", "|---|---|", "| REGRESSION |"}},
		{a + " -format benchfmt", exitOK, []string{"cpu: x\n", "BenchmarkAttention/workers=3/b=1/h=2/hkv=2/sq=64/skv=64/d=32/dv=32/mask=causal 0 "}},
		{a + " " + once, exitFailed, []string{"+49.", "too few passes", "Of 1 work 1 cannot tell a difference from noise: measured 10 times in a and once in measured once, where 6 times are needed",
			"qkv compare: a and measured once cannot be compared: no work was measured 6 times in both"}},
		{once + " " + once + " -format md", exitFailed, []string{"| work | workers | " + once + " | " + once + " (2) |", "measured once in "}},
		{a + " " + busy, exitOK, []string{"150.5 ms ±0%!", "! was disturbed whenever it was measured, and is not to be trusted.", "disturbed, cannot tell", "Of 1 work 1 cannot tell since something disturbed them."}},
		{a, exitUsage, []string{"1 record given, want a base and at least one other record"}},
		{a + " " + same + " -format html", exitUsage, []string{`-format is "html", want table, md or benchfmt`}},
		{a + " " + same + " -threshold x", exitUsage, []string{`"x" is not a share such as 5% or 0.05`}},
		{a + " " + same + " -threshold 5", exitUsage, []string{`"5" is not a share such as 5% or 0.05; above 1 it needs a percent sign`}},
		{a + " -format benchfmt -threshold 5%", exitUsage, []string{"so -threshold has no use"}},
		{a + " " + foreign, exitFailed, []string{"only in one", "qkv compare: foreign has no work of a"}},
		{"-format md -- " + a + " " + same, exitOK, []string{"| work | workers |"}},
		{"-- " + a + " -threshold", exitFailed, []string{"-threshold: no such file"}},
		{a + " " + bad, exitFailed, []string{`bad.json: not a record of qkv bench: there is no "format"`}},
		{a + " " + bad + ".none", exitFailed, []string{"no such file"}},
	} {
		var out, errs strings.Builder
		code := command(t.Context(), append([]string{"compare"}, strings.Fields(c.args)...), &out, &errs)
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d; %s", c.args, code, c.code, errs.String())
		}
		for _, want := range c.want {
			if !strings.Contains(out.String()+errs.String(), want) {
				t.Errorf("%s: no %q in\n%s%s", c.args, want, out.String(), errs.String())
			}
		}
	}
}
