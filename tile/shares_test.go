package tile

import (
	"slices"
	"sync"
	"testing"
)

// TestSharesOrder: a worker takes the items of its own run in order, and then those that others have left, from the
// ends of the longest runs.
func TestSharesOrder(t *testing.T) {
	var s shares
	for _, c := range []struct {
		items, workers int
		want           []int // by the worker that is the second one to join
	}{
		{7, 1, []int{0, 1, 2, 3, 4, 5, 6}},
		{7, 2, []int{3, 4, 5, 6, 2, 1, 0}},
		{7, 3, []int{2, 3, 6, 1, 5, 0, 4}},
		{2, 3, []int{0, 1}},
	} {
		s.begin(c.items, c.workers)
		run := s.join()
		if c.workers > 1 {
			run = s.join()
		}
		var got []int
		for next := s.next(run); ; next = s.next(run) {
			i := s.take(run)
			if i < 0 {
				break
			}
			if next != i {
				t.Errorf("%d items, %d workers: %d was likely, %d came", c.items, c.workers, next, i)
			}
			got = append(got, i)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%d items, %d workers: items %v, want %v", c.items, c.workers, got, c.want)
		}
	}
}

// TestSharesAll: workers at once take each item once.
func TestSharesAll(t *testing.T) {
	var s shares
	for range 100 {
		const items, workers = 97, 4
		s.begin(items, workers)
		taken := make([][]int, workers)
		var done sync.WaitGroup
		for w := range workers {
			done.Go(func() {
				run := s.join()
				for i := s.take(run); i >= 0; i = s.take(run) {
					taken[w] = append(taken[w], i)
				}
			})
		}
		done.Wait()
		all := slices.Concat(taken...)
		slices.Sort(all)
		for i, item := range all {
			if item != i {
				t.Fatalf("items %v, want each of %d once", all, items)
			}
		}
		if len(all) != items {
			t.Fatalf("%d items, want %d", len(all), items)
		}
	}
}

// TestSharesSome: of what is left of its own run a worker takes one item in so many, at least one, and of others one.
func TestSharesSome(t *testing.T) {
	var s shares
	s.begin(32, 2)
	run := s.join()
	var got [][2]int
	for first, n := s.takeSome(run, 4); first >= 0; first, n = s.takeSome(run, 4) {
		got = append(got, [2]int{first, n})
		if first == 31 { // the other worker takes what is left of both
			run = s.join()
		}
	}
	want := [][2]int{{0, 4}, {4, 3}, {7, 2}, {9, 1}, {10, 1}, {11, 1}, {12, 1}, {13, 1}, {14, 1}, {15, 1}, {31, 1},
		{16, 3}, {19, 3}, {22, 2}, {24, 1}, {25, 1}, {26, 1}, {27, 1}, {28, 1}, {29, 1}, {30, 1}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestSharesStop: nothing is left for anyone.
func TestSharesStop(t *testing.T) {
	var s shares
	s.stop()
	s.begin(7, 3)
	run := s.join()
	if i := s.take(run); i != 0 {
		t.Fatalf("item %d is the first, want 0", i)
	}
	s.stop()
	for run := range 3 {
		if i := s.take(run); i != -1 {
			t.Errorf("run %d has item %d left", run, i)
		}
	}
}
