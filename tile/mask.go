package tile

import (
	"math"
	"unsafe"
)

// Unbounded is a side of a window without a bound.
const Unbounded = math.MaxInt64

// A Mask says which keys a query attends. Its position among the keys is its own plus
// the offset of its sequence.
type Mask struct {
	// Left and Right are how far the keys may lie before and behind the position of the
	// query, at least 0.
	Left, Right int64

	BottomRight bool  // the offset of a sequence is its keys less its queries, and otherwise
	Offset      int64 // this one,
	Offsets     []int // or one for each sequence

	Prefix   int   // keys that every query attends whatever Left and Right are,
	Prefixes []int // or one for each sequence
	// Behind says that Right holds for the keys of the prefix, too.
	Behind bool

	SegmentsQ, SegmentsKV []int32 // of each token, or nil
	Blocks                Blocks
	Bool                  Pairs // of bool: the pairs that are kept
}

// Blocks is a bitmap of kept blocks of pairs.
type Blocks struct {
	Bits                 []uint64 // nil if there is none
	QueryBlock, KeyBlock int
	Stride               [3]int // in bits: batch, head, block of queries
}

// Pairs is a strided tensor with an element for each pair of a query and a key: [batch,
// heads, seqQ, seqKV].
type Pairs struct {
	Given  bool
	Base   unsafe.Pointer
	Stride [4]int // in elements, any sign, 0 included
}

// dense reports whether the mask has parts other than the band of each query.
func (m *Mask) dense() bool {
	return m.SegmentsQ != nil || m.Blocks.Bits != nil || m.Bool.Given
}

// window returns the first and the last key that a query at a position attends.
func (m *Mask) window(at int64) (left, right int64) {
	return clampFar(addSat(at, -m.Left)), clampFar(addSat(at, m.Right))
}

// clampFar brings a position that no sequence reaches to where sums with others do not
// overflow.
func clampFar(at int64) int64 {
	const far = 1 << 40
	return max(-far, min(at, far))
}

// band returns the keys [lo, hi) that the position of a query allows. Both grow with the
// position.
func (m *Mask) band(s *seq, pos int) (lo, hi int) {
	lo = s.first
	if m.Left != Unbounded {
		lo = max(lo, int(clamp64(int64(pos)+s.left, int64(s.lenKV))))
	}
	return lo, max(lo, m.end(s, pos))
}

// end returns the end of the keys that Right allows to the position of a query: in a ring,
// all of them may be lost but for those of the prefix.
func (m *Mask) end(s *seq, pos int) int {
	if m.Right == Unbounded {
		return s.lenKV
	}
	return int(clamp64(int64(pos)+s.right+1, int64(s.lenKV)))
}

// addSat adds, saturating.
func addSat(a, b int64) int64 {
	s := a + b
	if (a^s)&(b^s) < 0 {
		if a < 0 {
			return math.MinInt64
		}
		return math.MaxInt64
	}
	return s
}

func clamp64(x, hi int64) int64 { return max(0, min(x, hi)) }

// A span is the keys [from, to) of a key block, counted from its first, that some of a
// range of queries attends by its band. Every one attends those before full.
type span struct{ from, full, to int }

// span returns the span of a key block for the positions first to last.
func (m *Mask) span(at *cursor, first, last int) span {
	s, key0 := &at.seq, at.key0
	lo, hi := m.band(s, first) // the first query's, whose lower bound is the least
	lo2, hi2 := m.band(s, last)
	end := key0 + at.n
	from, to := max(key0, lo), min(end, hi2)
	if from >= to {
		from, to = key0, key0
	}
	full := clamp(hi, from, to) // if from is within every band
	if from < lo2 {
		full = from
	}
	prefix := min(s.prefix, end)
	every := prefix // that of every position
	if m.Behind {
		prefix = min(prefix, m.end(s, last))
		every = clamp(m.end(s, first), key0, max(key0, prefix))
	}
	if prefix > key0 {
		if from == to || prefix < from {
			// The gap up to the band, if there is one, is masked.
			full = every
		} else {
			// The band begins within the prefix.
			if prefix < lo2 || every < prefix {
				full = every
			} else {
				full = max(prefix, clamp(hi, prefix, max(prefix, to)))
			}
		}
		from = key0
		to = max(to, prefix)
	}
	return span{from - key0, full - key0, to - key0}
}

// fill writes the mask words of the keys [from, to) of a block, a bit a lane, for rows of a KV head.
func (m *Mask) fill(words []uint64, at *cursor, r *queryRows, from, to int) {
	s := &at.seq
	for k := from; k < to; k++ {
		key := int64(at.key0 + k)
		if key < int64(s.prefix) {
			words[k] = ^uint64(0)
			if m.Behind && m.Right != Unbounded {
				words[k] <<= r.lanesBefore(key - s.right)
			}
			continue
		}
		if key < int64(s.first) {
			words[k] = 0
			continue
		}
		// The positions from key-right to key-left attend the key.
		word := ^uint64(0)
		if m.Right != Unbounded {
			word <<= r.lanesBefore(key - s.right)
		}
		if m.Left != Unbounded {
			word &^= ^uint64(0) << r.lanesBefore(key-s.left+1)
		}
		words[k] = word
	}
}

// lanesBefore returns how many lanes, up to 64, have a position less than pos.
func (r *queryRows) lanesBefore(pos int64) uint64 {
	first := int64(r.row / r.headsPerKV) // of lane 0
	if pos <= first {
		return 0
	}
	if pos > first+64 {
		return 64
	}
	return min(64, uint64(pos*int64(r.headsPerKV)-int64(r.row)))
}
