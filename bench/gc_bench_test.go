package bench

import (
	"math"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/qkv-go/qkv"
)

// BenchmarkGCPause collects garbage again and again while every processor is busy, and
// reports how long a collection waits for the last processor to stop ("stopping")
// and how long all stand still ("pause"). A kernel that runs for long shows in the
// first. The load "go" can be stopped at any time: what it shows is the doing of the
// operating system, and of whoever else uses the machine.
func BenchmarkGCPause(b *testing.B) {
	b.Run("load=go", func(b *testing.B) {
		benchmarkGCPause(b, runtime.GOMAXPROCS(0), func(int) {
			for range 100_000 {
			}
		})
	})
	// One caller on all processors, and as many callers as processors, each on all.
	for _, load := range []struct {
		name    string
		callers int
	}{{"load=attention", 1}, {"load=callers", runtime.GOMAXPROCS(0)}} {
		b.Run(load.name, func(b *testing.B) {
			a, err := qkv.New(qkv.Config{})
			if err != nil {
				b.Fatal(err)
			}
			calls := make([]*qkv.Call, load.callers)
			for i := range calls {
				calls[i] = NewOperands(parse(b, "h=8,sq=2048,d=256,mask=causal"), uint64(i)).Call()
			}
			benchmarkGCPause(b, len(calls), func(caller int) {
				if err := a.Run(calls[caller]); err != nil {
					b.Error(err)
				}
			})
		})
	}
}

// benchmarkGCPause repeats work on callers goroutines.
func benchmarkGCPause(b *testing.B, callers int, work func(caller int)) {
	var stop atomic.Bool
	var done sync.WaitGroup
	for caller := range callers {
		done.Go(func() {
			for !stop.Load() {
				work(caller)
			}
		})
	}
	before := pauses()
	for b.Loop() {
		runtime.GC()
	}
	after := pauses()
	stop.Store(true)
	done.Wait()
	for i, name := range []string{"stopping", "pause"} {
		for _, q := range []struct {
			name string
			q    float64
		}{{"p50", 0.5}, {"p90", 0.9}, {"max", 1}} {
			b.ReportMetric(1e6*gained(before[i], after[i], q.q), q.name+"-"+name+"-µs")
		}
	}
}

// pauses returns the distributions of the time to stop the world, and of the time
// that it stood still, for collections.
func pauses() [2]*metrics.Float64Histogram {
	samples := []metrics.Sample{{Name: "/sched/pauses/stopping/gc:seconds"}, {Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(samples)
	return [2]*metrics.Float64Histogram{samples[0].Value.Float64Histogram(), samples[1].Value.Float64Histogram()}
}

// gained returns a quantile of what a histogram gained: the upper end of its bucket.
func gained(before, after *metrics.Float64Histogram, q float64) float64 {
	var total, seen uint64
	for i := range after.Counts {
		total += after.Counts[i] - before.Counts[i]
	}
	for i := range after.Counts {
		seen += after.Counts[i] - before.Counts[i]
		if float64(seen) >= q*float64(total) {
			if end := after.Buckets[i+1]; !math.IsInf(end, 1) {
				return end
			}
			return after.Buckets[i]
		}
	}
	return 0
}
