package bench

import (
	"fmt"
	"slices"
)

// A placement says which processors workers and a neighbour run on.
type placement struct {
	workers   []int // nil where they are not kept to any
	neighbour []int // each of them has a thread of it
	shared    bool  // whether the neighbour's is one of the workers'
}

// place puts so many workers on processors of different cores, as far as there are any, and the
// neighbour on a processor of another core, if one is free, and on one that shares a core with a
// worker, if there is one. Where the workers take every processor it shares the last. Of each
// processor siblings returns those of its core.
func place(allowed []int, siblings func(int) []int, workers int) (placement, error) {
	if len(allowed) < 2 {
		return placement{}, fmt.Errorf("a neighbour needs a second processor, and this process may use %d", len(allowed))
	}
	if workers >= len(allowed) {
		return placement{neighbour: allowed[len(allowed)-1:], shared: true}, nil
	}
	core := func(cpu int) int { return slices.Min(append(slices.Clone(siblings(cpu)), cpu)) }
	var first, others []int // of each core
	seen := make(map[int]bool)
	for _, cpu := range allowed {
		if c := core(cpu); !seen[c] {
			seen[c] = true
			first = append(first, cpu)
		} else {
			others = append(others, cpu)
		}
	}
	order := append(first, others...)
	p := placement{workers: order[:workers]}
	busy := make(map[int]bool)
	for _, cpu := range p.workers {
		busy[core(cpu)] = true
	}
	free := order[workers:]
	for _, besideWorker := range []bool{false, true} {
		if i := slices.IndexFunc(free, func(cpu int) bool { return busy[core(cpu)] == besideWorker }); i >= 0 {
			p.neighbour = append(p.neighbour, free[i])
		}
	}
	return p, nil
}
