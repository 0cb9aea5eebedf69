package tile

import (
	"testing"

	"github.com/qkv-go/qkv/kernel"
)

// A simulated machine has cores of 100 GFLOP/s, each of which reads 12.5 GB/s of memory, and
// all together so many.
type simulated struct {
	cores int
	gbps  float64
}

// microseconds returns what a product takes on n workers, the caller starting the others one
// after the other.
func (m *simulated) microseconds(rows, depth, columns, n int) float64 {
	flops := 2 * float64(rows) * float64(depth) * float64(columns)
	bytes := 4 * float64(depth) * float64(columns)
	const start = 0.65
	return start*float64(n-1) + max(flops/(100e3*float64(n)), bytes/(1e3*min(12.5*float64(n), m.gbps)))
}

// TestProductWorkers: on machines of any size a product is never slower than on one worker, and
// hardly slower than on the best number of them, whether it computes or reads.
func TestProductWorkers(t *testing.T) {
	set := &kernel.Set{Vec: 16, Lanes: 64, Rows: 6}
	e := New(set, Caches{48 << 10, 1 << 20, 32 << 20}, false, Tuning{})
	for _, m := range []simulated{{2, 25}, {4, 40}, {16, 80}, {64, 200}, {192, 400}} {
		for _, rows := range []int{1, 2, 6, 16, 64, 512} {
			for _, n := range []int{64, 256, 576, 1024, 1536, 2048, 4096, 8192} {
				p := &Product{Rows: rows, Depth: n, Seq: rows, N: 1, Parts: [MaxParts]Part{{Heads: 1, Width: n}}}
				plan := e.PlanProduct(p, m.cores)
				got, one := m.microseconds(rows, n, n, plan.Workers), m.microseconds(rows, n, n, 1)
				best := one
				for workers := range m.cores {
					if workers < plan.Items() { // more have nothing to do
						best = min(best, m.microseconds(rows, n, n, workers+1))
					}
				}
				if got > one {
					t.Errorf("%d cores, m=%d n=k=%d: %.1f µs on %d workers, %.1f on one", m.cores, rows, n, got, plan.Workers, one)
				}
				if got > 1.3*best+45 { // about what minWork stands for
					t.Errorf("%d cores, m=%d n=k=%d: %.1f µs on %d workers, %.1f at best", m.cores, rows, n, got, plan.Workers, best)
				}
				if plan.WorkersWhy == "" {
					t.Errorf("%d cores, m=%d n=k=%d: no reason for %d workers", m.cores, rows, n, plan.Workers)
				}
			}
		}
	}
	// Weights in place have an item for each worker at least, where columns are enough.
	for _, cores := range []int{2, 16, 64, 192} {
		for _, w := range []Matrix{{Row: 1, Col: 4096}, {Row: 14336, Col: 1}} {
			p := &Product{Rows: 1, Depth: 4096, Seq: 1, N: 1, Parts: [MaxParts]Part{{Heads: 1, Width: 14336, W: w}}}
			plan := e.PlanProduct(p, cores)
			if plan.Path == PathPanels || plan.Workers < min(cores, 16) || plan.Items() < plan.Workers {
				t.Errorf("%d cores, weights in place %v: path %d, %d items on %d workers", cores, w, plan.Path, plan.Items(), plan.Workers)
			}
		}
	}
	// What a decoder multiplies by: one row reads its weights on both of two cores.
	for _, n := range []int{576, 1024, 1536, 2048, 4096} {
		p := &Product{Rows: 1, Depth: n, Seq: 1, N: 1, Parts: [MaxParts]Part{{Heads: 1, Width: n}}}
		if plan := e.PlanProduct(p, 2); plan.Workers != 2 {
			t.Errorf("m=1 n=k=%d: %d workers of 2: %s", n, plan.Workers, plan.WorkersWhy)
		}
	}
}
