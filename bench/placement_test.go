package bench

import (
	"reflect"
	"testing"
)

func TestPlace(t *testing.T) {
	alone := func(int) []int { return nil }                            // what Linux does not tell
	pairs := func(cpu int) []int { return []int{cpu &^ 1, cpu | 1} }   // 0 and 1 are a core
	halves := func(cpu int) []int { return []int{cpu % 4, cpu%4 + 4} } // 0 and 4 are a core
	list := func(first, last int) (cpus []int) {
		for cpu := first; cpu <= last; cpu++ {
			cpus = append(cpus, cpu)
		}
		return cpus
	}
	for _, c := range []struct {
		what     string
		allowed  []int
		siblings func(int) []int
		workers  int
		want     placement
	}{
		{"two cores", list(0, 1), alone, 1, placement{[]int{0}, []int{1}, false}},
		{"two cores, both in use", list(0, 1), alone, 2, placement{nil, []int{1}, true}},
		{"more workers than processors", list(0, 1), alone, 9, placement{nil, []int{1}, true}},
		{"one core of two threads", list(0, 1), pairs, 1, placement{[]int{0}, []int{1}, false}},
		{"two cores of two threads", list(0, 3), pairs, 1, placement{[]int{0}, []int{2, 1}, false}},
		{"two cores of two threads, a worker on each", list(0, 3), pairs, 2, placement{[]int{0, 2}, []int{1}, false}},
		{"two cores of two threads, three workers", list(0, 3), pairs, 3, placement{[]int{0, 2, 1}, []int{3}, false}},
		{"four cores of two threads", list(0, 7), halves, 2, placement{[]int{0, 1}, []int{2, 4}, false}},
		{"some of the processors", []int{2, 3, 7}, halves, 1, placement{[]int{2}, []int{3}, false}},
		{"a core whose first thread is not allowed", []int{3, 5}, pairs, 1, placement{[]int{3}, []int{5}, false}},
	} {
		got, err := place(c.allowed, c.siblings, c.workers)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, error %v, want %+v", c.what, got, err, c.want)
		}
	}
	for _, allowed := range [][]int{nil, {3}} {
		if p, err := place(allowed, alone, 1); err == nil {
			t.Errorf("processors %d: %+v, want an error", allowed, p)
		}
	}
}
