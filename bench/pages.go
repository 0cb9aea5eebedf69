package bench

import "math/rand/v2"

// pagesOf returns the pages of that many keys.
func (s Shape) pagesOf(keys int) int { return blocksOf(keys, s.KV.Page) }

// tables returns the pages of each sequence and how many there are of all: as an engine
// that has run for a while has them, in no order. It returns nil if there are no pages.
func (s Shape) tables() (tables [][]int32, pages int) {
	if s.KV.Page == 0 {
		return nil, 0
	}
	for _, n := range s.keys() {
		pages += s.pagesOf(n)
	}
	order := rand.New(rand.NewPCG(seedOfShape, 2)).Perm(pages)
	for _, n := range s.keys() {
		table := make([]int32, s.pagesOf(n))
		for j := range table {
			table[j] = int32(order[j])
		}
		tables, order = append(tables, table), order[len(table):]
	}
	return tables, pages
}
