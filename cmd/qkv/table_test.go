package main

import (
	"strings"
	"testing"

	"github.com/qkv-go/qkv/bench"
)

// writeReport writes runs of shapes, on the numbers of workers that the runs have.
func writeReport(t *testing.T, unmasked bool, texts []string, runs []bench.Run) string {
	t.Helper()
	var jobs []bench.Job
	for i, text := range texts {
		s, err := bench.ParseShape(text)
		if err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, bench.Job{Work: s, Workers: runs[i].Workers})
	}
	var out strings.Builder
	r := newTable(&out, jobs, unmasked, "")
	r.header()
	for i := range runs {
		if runs[i].SecondsMedian == 0 {
			r.skip(jobs[i], &bench.Skip{Needs: 9, Budget: 1.25})
			continue
		}
		result := &bench.Result{Run: runs[i]}
		if runs[i].Efficiency > 1 {
			result.Disturbed = []string{"too fast"}
		}
		r.run(jobs[i], result)
	}
	if r.err != nil {
		t.Fatal(r.err)
	}
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSuffix(line, "\n")
		if !unmasked && len(line) > 100 || strings.HasSuffix(line, " ") {
			t.Errorf("%d characters, or a blank at the end: %q", len(line), line)
		}
	}
	return strings.TrimPrefix(out.String(), "\n")
}

func TestTable(t *testing.T) {
	const cache = "h=32,hkv=8,sq=1,skv=8192,d=128,kv=float16"
	const few8 = "h=32,hkv=8,sq=8,skv=8192,d=128,mask=causal"
	const mixed = "b=64,h=32,hkv=8,sq=512,skv=2560,d=128,mask=causal,prefill=4,kvlens=100,page=16,kv=float16"
	decoded := bench.Run{
		Workers: 1, Path: "decode", SecondsMedian: 2.512e-3, SecondsMin: 2.4e-3, GFLOPS: 53.42, PeakGFLOPS: 117.1, Efficiency: 0.4562,
		ReadBytes: 33554432, GBps: 13.357, ReadGBps: 14.2, ReadLevel: "memory", OfRead: 0.9406, Limit: bench.LimitBandwidth, OfLimit: 0.9406,
	}
	both := decoded
	both.Workers = 2
	mixedRun := both
	mixedRun.Path = "prefill and decode"
	above := bench.Run{Workers: 1, Path: "prefill", SecondsMedian: 0.01, SecondsMin: 0.009, GFLOPS: 100, PeakGFLOPS: 50, Efficiency: 2}
	few := bench.Run{
		Workers: 16, Path: "prefill", SecondsMedian: 1.0004, GFLOPS: 1234.56, Efficiency: 0.9,
		ReadBytes: 12345678901, GBps: 0.123, ReadGBps: 212.9, ReadLevel: "L3", OfRead: 0.001, Limit: bench.LimitFMA, OfLimit: 0.9,
	}
	other := bench.Run{Workers: 1, Path: "prefill", SecondsMedian: 0.01, SecondsMin: 0.009, GFLOPS: 100, PeakGFLOPS: 110, Efficiency: 0.909}
	ofUnmasked := other
	ofUnmasked.Unmasked, ofUnmasked.OfUnmasked = "b=1", 0.875
	for _, c := range []struct {
		name     string
		unmasked bool
		shapes   []string
		runs     []bench.Run
		want     string
	}{
		{"prefill", false, []string{"h=12,sq=64,d=64", "h=12,sq=128,d=64"}, []bench.Run{other, {Workers: 2}}, `
work              workers  median ms     min ms  GFLOP/s  peak GFLOP/s  of peak
h=12,sq=64,d=64         1      10.00      9.000    100.0         110.0    90.9%
h=12,sq=128,d=64        2  left out: needs about 9.0 s, has 1.2 s
`},
		{"disturbed", false, []string{"h=12,sq=64,d=64", "h=32,hkv=8,sq=2048,d=128,mask=causal"}, []bench.Run{other, above}, `
work                                  workers  median ms     min ms  GFLOP/s  peak GFLOP/s  of peak
h=12,sq=64,d=64                             1      10.00      9.000    100.0         110.0    90.9%
h=32,hkv=8,sq=2048,d=128,mask=causal        1      10.00      9.000    100.0          50.0   200.0%!
`},
		{"decode", false, []string{cache, cache, mixed, few8, "h=12,sq=64,d=64", "h=12,sq=64,d=64"}, []bench.Run{decoded, both, mixedRun, few, other, {Workers: 2}}, `
workers  median ms       MB   GB/s  read GB/s  level   of read  GFLOP/s  of peak  bound by
h=32,hkv=8,sq=1,skv=8192,d=128,kv=float16
      1      2.512     33.6   13.4       14.2  memory    94.1%     53.4    45.6%  bandwidth
      2      2.512     33.6   13.4       14.2  memory    94.1%     53.4    45.6%  bandwidth
b=64,h=32,hkv=8,sq=512,skv=2560,d=128,mask=causal,kvlens=100,prefill=4,kv=float16,page=16
      2      2.512     33.6   13.4       14.2  memory    94.1%     53.4    45.6%  bandwidth
h=32,hkv=8,sq=8,skv=8192,d=128,mask=causal (path: prefill)
     16       1000    12346   0.12        213  L3         0.1%   1234.6    90.0%  FMA
h=12,sq=64,d=64
      1      10.00        -      -          -  -             -    100.0    90.9%  FMA
      2  left out: needs about 9.0 s, has 1.2 s
`},
		{"unmasked", true, []string{cache, "h=12,sq=64,d=64", "h=12,sq=32,d=64"}, []bench.Run{decoded, ofUnmasked, other}, `
workers  median ms       MB   GB/s  read GB/s  level   of read  GFLOP/s  of peak  bound by   of unmasked
h=32,hkv=8,sq=1,skv=8192,d=128,kv=float16
      1      2.512     33.6   13.4       14.2  memory    94.1%     53.4    45.6%  bandwidth
h=12,sq=64,d=64
      1      10.00        -      -          -  -             -    100.0    90.9%  FMA              87.5%
h=12,sq=32,d=64
      1      10.00        -      -          -  -             -    100.0    90.9%  FMA
`},
	} {
		if got := writeReport(t, c.unmasked, c.shapes, c.runs); got != c.want[1:] {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want[1:])
		}
	}
}

func TestThreeDigits(t *testing.T) {
	for _, c := range []struct {
		x    float64
		want string
	}{{0, "0.00"}, {0.004, "0.00"}, {0.123, "0.12"}, {9.994, "9.99"}, {9.996, "10.0"}, {99.94, "99.9"}, {99.96, "100"}, {12345.6, "12346"}} {
		if got := threeDigits(c.x); got != c.want {
			t.Errorf("threeDigits(%v) = %s, want %s", c.x, got, c.want)
		}
	}
}
