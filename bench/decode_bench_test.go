package bench

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkDecode runs the shapes of few queries on the best kernel set, or the one that
// QKV_KERNEL names. It reports the rate at which keys and values are read and its share of
// that of reading alone, the rate of multiply-adds and its share of the peak, and the share
// of what binds, the greater of both.
func BenchmarkDecode(b *testing.B) {
	r, err := NewRunner(Options{})
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"decode", "batch"} {
		preset, err := FindPreset(name)
		if err != nil {
			b.Fatal(err)
		}
		for _, j := range preset.Jobs(0) {
			b.Run(fmt.Sprintf("preset=%s/%s/workers=%d", name, strings.ReplaceAll(j.Work.String(), ",", "/"), j.Workers), func(b *testing.B) {
				benchmarkDecode(b, r, j)
			})
		}
	}
}

func benchmarkDecode(b *testing.B, r *Runner, j Job) {
	call, _, err := r.prepare(b.Context(), engine{}, j.Work, j.Workers, &r.inputs)
	if err != nil {
		b.Fatal(err)
	}
	stream, bytes := r.streamOf(j.Work, j.Workers)
	var peaks, reads []float64
	for b.Loop() {
		peaks = append(peaks, r.peak.Burst(j.Workers, r.opts.Burst))
		reads = append(reads, stream.burst(r.opts.Burst))
		if err := call.warm(); err != nil {
			b.Fatal(err)
		}
		if _, err := call.round(b.Context(), between); err != nil {
			b.Fatal(err)
		}
	}
	seconds := median(call.samples)
	read, peak := float64(bytes)/seconds/median(reads), call.flops/seconds/median(peaks)
	b.ReportMetric(1e9*seconds, "ns/op")
	b.ReportMetric(1e-9*float64(bytes)/seconds, "GB/s")
	b.ReportMetric(100*read, "%read")
	b.ReportMetric(1e-9*call.flops/seconds, "GFLOP/s")
	b.ReportMetric(100*peak, "%peak")
	b.ReportMetric(100*max(read, peak), "%limit")
}
