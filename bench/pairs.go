package bench

import (
	"cmp"
	"slices"

	"github.com/qkv-go/qkv"
)

// A span is the keys [from, to).
type span struct{ from, to int }

// pairs says which keys each query of a shape attends. It is written for its own sake,
// apart from what package tile does with a mask.
type pairs struct {
	shape   Shape
	queries []int   // of each sequence, or nil
	keys    []int   // likewise
	columns [][]int // kept blocks of each row of blocks, ascending, or nil
	spans   []span  // scratch
}

func newPairs(s Shape) *pairs {
	p := &pairs{shape: s}
	p.queries, p.keys = s.lengths()
	if b := s.Mask.Blocks; b.Size != 0 {
		rows, columns := blocksOf(s.SeqQ, b.Size), blocksOf(s.SeqKV, b.Size)
		keep := max(1, int(b.Keep*float64(columns)+0.5))
		for row := range rows {
			list := make([]int, columns)
			for i := range list {
				list[i] = i
			}
			slices.SortFunc(list, func(a, b int) int { return cmp.Compare(hash(row, a), hash(row, b)) })
			list = list[:keep]
			slices.Sort(list)
			p.columns = append(p.columns, list)
		}
	}
	return p
}

func blocksOf(length, size int) int { return (length-1)/size + 1 }

// hash is a random number for each pair (SplitMix64; Steele et al., 2014).
func hash(i, j int) uint64 {
	x := (uint64(i)<<32 | uint64(j)) + seedOfShape
	x *= 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// kept reports whether the mask without structure keeps a pair.
func (m *Mask) kept(query, key int) bool {
	return m.Keep == 0 || float64(hash(query, key)>>11)*0x1p-53 < m.Keep
}

// length returns the queries and keys of a sequence.
func (p *pairs) length(batch int) (queries, keys int) {
	if p.queries == nil {
		return p.shape.SeqQ, p.shape.SeqKV
	}
	return p.queries[batch], p.keys[batch]
}

// position returns where a query stands among the keys. Beyond maxOffset nothing changes.
func (p *pairs) position(batch, query int) int64 {
	const maxOffset = 1 << 40
	m := &p.shape.Mask
	switch m.Align {
	case qkv.BottomRight:
		queries, keys := p.length(batch)
		return int64(query) + int64(keys) - int64(queries)
	case qkv.AlignOffset:
		return int64(query) + max(-maxOffset, min(int64(m.Offset), maxOffset))
	}
	return int64(query)
}

// of returns the spans of the keys that a query attends, ascending, but for those that
// the mask without structure takes away. They are overwritten by the next call.
func (p *pairs) of(batch, query int) []span {
	s, m := &p.shape, &p.shape.Mask
	spans := p.spans[:0]
	queries, keys := p.length(batch)
	if query >= queries {
		return nil
	}
	at := p.position(batch, query)
	band := span{0, keys}
	if w := m.Window; w.Given && w.Left != qkv.Unbounded {
		band.from = int(max(0, min(at-int64(w.Left), int64(keys))))
	}
	if w := m.Window; w.Given && w.Right != qkv.Unbounded {
		band.to = int(max(0, min(at+int64(w.Right)+1, int64(keys))))
	}
	if m.Causal {
		band.to = int(max(0, min(at+1, int64(band.to))))
	}
	prefix := min(m.Prefix, keys)
	segment := span{0, keys}
	if n := m.Segments; n != 0 {
		g := segmentOf(query, n, s.SeqQ)
		segment = span{segmentStart(g, n, s.SeqKV), min(keys, segmentStart(g+1, n, s.SeqKV))}
	}
	add := func(block span) {
		for _, x := range [2]span{{0, prefix}, {max(band.from, prefix), band.to}} {
			x.from = max(x.from, segment.from, block.from)
			x.to = min(x.to, segment.to, block.to)
			if x.from < x.to {
				spans = append(spans, x)
			}
		}
	}
	if p.columns == nil {
		add(segment)
	} else {
		size := m.Blocks.Size
		for _, column := range p.columns[query/size] {
			add(span{column * size, min(keys, (column+1)*size)})
		}
	}
	p.spans = spans
	return spans
}

// segmentOf returns the segment of a token of a sequence that has n of them.
func segmentOf(token, n, length int) int { return token * n / length }

// segmentStart returns the first token of a segment.
func segmentStart(segment, n, length int) int { return (segment*length + n - 1) / n }

// each calls f with every span of the keys of every query, of one sequence if all are
// alike, and returns how many sequences each call stands for.
func (p *pairs) each(f func(batch, query int, x span)) int64 {
	batch, same := p.shape.Batch, 1
	if p.queries == nil {
		batch, same = 1, p.shape.Batch
	}
	for b := range batch {
		queries, _ := p.length(b)
		for i := range queries {
			for _, x := range p.of(b, i) {
				f(b, i, x)
			}
		}
	}
	return int64(same)
}

// Pairs returns the number of (query, key) pairs that the mask keeps, over all heads. A
// bias takes none away.
func (s Shape) Pairs() int64 {
	var n int64
	same := newPairs(s).each(func(_, query int, x span) {
		if s.Mask.Keep == 0 {
			n += int64(x.to - x.from)
			return
		}
		for j := x.from; j < x.to; j++ {
			if s.Mask.kept(query, j) {
				n++
			}
		}
	})
	return n * same * int64(s.Heads)
}

// Keys returns the number of keys that some query of their sequence attends, over all KV
// heads.
func (s Shape) Keys() int64 {
	var n int64
	// Of the sequence at hand, the nearest key from each on that was not attended so far, as
	// the root of a path.
	next, of := make([]int32, s.SeqKV+1), -1
	rest := func(j int) int {
		for next[j] != int32(j) {
			next[j] = next[next[j]]
			j = int(next[j])
		}
		return j
	}
	same := newPairs(s).each(func(batch, query int, x span) {
		if batch != of {
			for j := range next {
				next[j] = int32(j)
			}
			of = batch
		}
		for j := rest(x.from); j < x.to; j = rest(j + 1) {
			if s.Mask.kept(query, j) {
				next[j] = int32(j + 1)
				n++
			}
		}
	})
	return n * same * int64(s.KVHeads)
}

// KVBytes returns the bytes of keys and values that have to be read, scales included: of
// each key of [Shape.Keys] once.
func (s Shape) KVBytes() int64 { return s.Keys() * int64(s.kvRowBytes()) }
