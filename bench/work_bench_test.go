package bench

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

// BenchmarkAttention, BenchmarkDecode and BenchmarkLinear run the works of the presets on the
// best kernel set, or the one that QKV_KERNEL names.
//
//	go test ./bench -run '^$' -bench Attention/preset=prefill/workers=1 -count 6
//
// Each iteration is some 20 ms of calls between bursts of what bounds them; ns/op is the median
// time of one call, and beside it stand the rates of that time and their shares of the peak, and
// of reading where that may bind. The names are those of qkv compare -format benchfmt, behind
// the preset.
func BenchmarkAttention(b *testing.B) {
	benchmarkPresets(b, "prefill", "lengths", "dims", "small", "masks", "values")
}

func BenchmarkDecode(b *testing.B) { benchmarkPresets(b, "decode", "batch") }

func BenchmarkLinear(b *testing.B) { benchmarkPresets(b, "linear") }

func benchmarkPresets(b *testing.B, names ...string) {
	r, err := NewRunner(Options{})
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range names {
		preset, err := FindPreset(name)
		if err != nil {
			b.Fatal(err)
		}
		preset.Workers = []int{1, 0}
		for _, j := range preset.Jobs(0) {
			work := strings.ReplaceAll(j.Work.String(), ",", "/")
			b.Run(fmt.Sprintf("preset=%s/workers=%d/%s", name, j.Workers, work), func(b *testing.B) { benchmarkWork(b, r, j) })
		}
	}
}

func benchmarkWork(b *testing.B, r *Runner, j Job) {
	call, _, err := r.prepare(b.Context(), engine{}, j.Work, j.Workers, &r.inputs)
	if err != nil {
		b.Fatal(err)
	}
	stream, bytes := r.streamOf(j.Work, j.Workers)
	var peaks, reads []float64
	for b.Loop() {
		peaks = append(peaks, r.peakOf(j.Work).Burst(j.Workers, r.opts.Burst))
		if stream != nil {
			reads = append(reads, stream.burst(r.opts.Burst))
			if err := call.warm(); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := call.round(b.Context(), between); err != nil {
			b.Fatal(err)
		}
	}
	seconds := median(call.samples)
	b.ReportMetric(1e9*seconds, "ns/op")
	limit := 0.0
	if call.flops > 0 {
		b.ReportMetric(1e-9*call.flops/seconds, "GFLOP/s")
		limit = call.flops / seconds / median(peaks)
		b.ReportMetric(100*limit, "%peak")
	}
	if stream != nil {
		read := float64(bytes) / seconds / median(reads)
		b.ReportMetric(1e-9*float64(bytes)/seconds, "GB/s")
		b.ReportMetric(100*read, "%read")
		limit = max(limit, read)
	}
	b.ReportMetric(100*limit, "%limit")
}

// BenchmarkPeak is the ceiling alone.
func BenchmarkPeak(b *testing.B) {
	for _, k := range qkv.Kernels() {
		if k.Missing != 0 {
			continue
		}
		for _, workers := range []int{1, runtime.GOMAXPROCS(0)} {
			b.Run(fmt.Sprintf("kernel=%s/workers=%d", k.Set.Name, workers), func(b *testing.B) {
				peak := NewPeak(k.Set)
				var rates []float64
				for b.Loop() {
					rates = append(rates, peak.Burst(workers, defaultBurst))
				}
				b.ReportMetric(1e-9*median(rates), "GFLOP/s")
			})
		}
	}
}
