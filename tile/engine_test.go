package tile

import (
	"testing"

	"github.com/qkv-go/qkv/kernel"
)

// TestDecodeRuns: workers that decode chunks of keys go through runs of chunks that follow each other, and all other
// workers take items in turn.
func TestDecodeRuns(t *testing.T) {
	e := New(&kernel.Set{Vec: 16, Lanes: 64, DecodeRows: 16}, Caches{}, false, Tuning{})
	var runs, turns int
	for _, p := range batches() {
		for _, workers := range []int{1, 2, 16} {
			j := e.jobs.Get().(*job)
			s, d := e.divide(&p, workers, &j.own)
			if s.Items+s.Decode == 0 {
				continue
			}
			chunks := false
			for _, it := range d.items {
				chunks = chunks || it.chunk >= 0
			}
			j.begin(&p, s, d)
			want := chunks && s.Items == 0 && s.Workers > 1
			if j.inRuns != want {
				t.Fatalf("%+v: %d workers, %d items, %d of decoding, in chunks %v: in runs %v", p, s.Workers, s.Items, s.Decode, chunks, j.inRuns)
			}
			if !want {
				turns++
				if a, b := j.take(0), j.take(0); a != 0 || s.Items+s.Decode > 1 && b != 1 {
					t.Fatalf("%+v: items %d and %d, want those in turn", p, a, b)
				}
				continue
			}
			runs++
			for worker := range s.Workers {
				first, end := s.Decode*worker/s.Workers, s.Decode*(worker+1)/s.Workers
				run := j.shares.join()
				for i := first; i < end; i++ {
					if got := j.take(run); got != i {
						t.Fatalf("%+v: worker %d of %d takes item %d, want %d of [%d, %d)", p, worker, s.Workers, got, i, first, end)
					}
				}
			}
			if got := j.take(0); got != -1 {
				t.Fatalf("%+v: item %d is left", p, got)
			}
		}
	}
	if runs < 10 || turns < 10 {
		t.Errorf("%d problems in runs, %d in turn", runs, turns)
	}
}
