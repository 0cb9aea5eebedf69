package tile

import (
	"github.com/qkv-go/qkv/kernel"
)

// A Ranked is an element of a list, by its value and its index.
type Ranked struct {
	Value float32
	Index int
}

// below reports whether r ranks below o: it is less, or equal and later.
func (r Ranked) below(o Ranked) bool {
	return r.Value < o.Value || r.Value == o.Value && r.Index > o.Index
}

// ArgMax returns the index of the first of the greatest elements that are not NaN, -1 if there are none.
func (e *Engine) ArgMax(x []float32) int {
	at := 0
	for ; at < len(x) && x[at] != x[at]; at++ {
	}
	if at == len(x) {
		return -1
	}
	a := e.searches.Get().(*kernel.AboveArgs)
	a.Bound = x[at]
	e.above(a, x, at+1, func(i int, v float32) {
		at, a.Bound = i, v
	})
	e.searches.Put(a)
	return at
}

// TopK puts the first elements of x by rank into top, the greatest first, and returns how many there are:
// at most as many as x has that are not NaN.
//
// Until the end top is a heap, with the last of them by rank at its root. What goes on beyond it is above
// the root's value.
func (e *Engine) TopK(top []Ranked, x []float32) int {
	n, i := 0, 0
	for ; n < len(top) && i < len(x); i++ {
		if v := x[i]; v == v {
			top[n] = Ranked{v, i}
			n++
		}
	}
	top = top[:n]
	for i := n/2 - 1; i >= 0; i-- {
		siftDown(top, i)
	}
	if n > 0 && i < len(x) {
		a := e.searches.Get().(*kernel.AboveArgs)
		a.Bound = top[0].Value
		e.above(a, x, i, func(i int, v float32) {
			top[0] = Ranked{v, i}
			siftDown(top, 0)
			a.Bound = top[0].Value
		})
		e.searches.Put(a)
	}
	for last := n - 1; last > 0; last-- {
		top[0], top[last] = top[last], top[0]
		siftDown(top[:last], 0)
	}
	return n
}

// siftDown moves an element of a heap down to its place.
func siftDown(heap []Ranked, i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(heap); child++ {
			if heap[child].below(heap[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		heap[i], heap[least] = heap[least], heap[i]
		i = least
	}
}

// above calls found with each element of x from one on that is above a.Bound, which found may raise.
func (e *Engine) above(a *kernel.AboveArgs, x []float32, from int, found func(i int, v float32)) {
	scan := func(end int) {
		for ; from < end; from++ {
			if v := x[from]; v > a.Bound {
				found(from, v)
			}
		}
	}
	for len(x)-from >= kernel.AboveBlock {
		a.X, a.N = &x[from], (len(x)-from)/kernel.AboveBlock*kernel.AboveBlock
		e.set.Above(a)
		if from += a.At; a.At < a.N {
			scan(from + kernel.AboveBlock)
		}
	}
	a.X = nil
	scan(len(x))
}
