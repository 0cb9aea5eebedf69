package tokenizer

import "container/heap"

// A symbol is a part of a word, in a list.
type symbol struct {
	text       string
	prev, next int // -1 at the ends; a symbol that was merged into the one before has no text
}

// A pair is two neighbours that may be merged.
type pair struct {
	left, right int
	size        int     // of both together, when they were found
	rank        float64 // the least comes first
}

// pairs are a heap: the least rank first, and of equal ones the leftmost.
type pairs []pair

func (p pairs) Len() int      { return len(p) }
func (p pairs) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *pairs) Push(x any)   { *p = append(*p, x.(pair)) }
func (p *pairs) Pop() any {
	last := len(*p) - 1
	x := (*p)[last]
	*p = (*p)[:last]
	return x
}
func (p pairs) Less(i, j int) bool {
	return p[i].rank < p[j].rank || p[i].rank == p[j].rank && p[i].left < p[j].left
}

// merge merges neighbours of a word, of the best rank first, until no two have one. The parts are of the same
// string, one behind the other.
func merge(word string, symbols []symbol, rank func(left, right string) (float64, bool)) []symbol {
	var queue pairs
	add := func(left, right int) {
		if left < 0 || right < 0 {
			return
		}
		a, b := symbols[left].text, symbols[right].text
		if r, ok := rank(a, b); ok {
			heap.Push(&queue, pair{left, right, len(a) + len(b), r})
		}
	}
	at := make([]int, len(symbols)) // where a symbol begins
	for i := range symbols {
		symbols[i].prev, symbols[i].next = i-1, i+1
		if i > 0 {
			at[i] = at[i-1] + len(symbols[i-1].text)
			add(i-1, i)
		}
	}
	if len(symbols) > 0 {
		symbols[len(symbols)-1].next = -1
	}
	for queue.Len() > 0 {
		p := heap.Pop(&queue).(pair)
		left, right := &symbols[p.left], &symbols[p.right]
		if left.text == "" || right.text == "" || len(left.text)+len(right.text) != p.size {
			continue // one of them has become part of another
		}
		left.text = word[at[p.left]:][:p.size]
		right.text = ""
		if left.next = right.next; left.next >= 0 {
			symbols[left.next].prev = p.left
		}
		add(left.prev, p.left)
		add(p.left, left.next)
	}
	kept := symbols[:0]
	for _, s := range symbols {
		if s.text != "" {
			kept = append(kept, s)
		}
	}
	return kept
}
