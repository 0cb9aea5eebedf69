package bench

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/qkv-go/qkv"
)

// BenchmarkAttention runs the shapes of the presets on the best kernel set, or the one
// that QKV_KERNEL names, and reports their rate and its share of the peak beside them.
func BenchmarkAttention(b *testing.B) {
	for _, name := range []string{"prefill", "dims", "small", "masks", "values"} {
		preset, err := FindPreset(name)
		if err != nil {
			b.Fatal(err)
		}
		preset.Workers = []int{1, 0}
		for _, j := range preset.Jobs(0) {
			b.Run(fmt.Sprintf("preset=%s/%s/workers=%d", name, strings.ReplaceAll(j.Work.String(), ",", "/"), j.Workers), func(b *testing.B) {
				benchmarkAttention(b, j)
			})
		}
	}
}

func benchmarkAttention(b *testing.B, j Job) {
	e, err := qkv.New(qkv.Config{Workers: j.Workers})
	if err != nil {
		b.Fatal(err)
	}
	t, _, err := new(Runner).prepare(b.Context(), engine{}, j.Work, j.Workers, new(Inputs))
	if err != nil {
		b.Fatal(err)
	}
	peak := NewPeak(e.Kernel())
	bursts := []float64{peak.Burst(j.Workers, defaultBurst)}
	burst := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if err := t.path.Run(); err != nil {
			b.Fatal(err)
		}
		if time.Since(burst) > 100*time.Millisecond {
			b.StopTimer()
			bursts = append(bursts, peak.Burst(j.Workers, defaultBurst))
			burst = time.Now()
			b.StartTimer()
		}
	}
	rate := j.Work.FLOPs() * float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(1e-9*rate, "GFLOP/s")
	b.ReportMetric(100*rate/median(bursts), "%peak")
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
