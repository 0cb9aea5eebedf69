package tile

import (
	"encoding/binary"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// thin takes from the mask words of the keys [from, to) of the block what the
// dense parts of the mask do not keep.
func (w *maskWords) thin(at *cursor, r *queryRows, from, to int) {
	m := &at.problem.Mask
	if m.SegmentsQ != nil {
		w.thinSegments(at, r, from, to)
	}
	if m.Blocks.Bits != nil {
		w.thinBlocks(at, r, from, to)
	}
	if m.Bool.Given {
		w.thinBool(at, r, from, to)
	}
}

// A runSpan is the least and the largest segment of some tokens.
type runSpan struct{ least, most int32 }

func spanOf(segments []int32) runSpan {
	r := runSpan{segments[0], segments[0]}
	for _, x := range segments[1:] {
		r.least, r.most = min(r.least, x), max(r.most, x)
	}
	return r
}

// segmentsQ and segmentsKV return the segments of a sequence's tokens [from, to).
func (p *Problem) segmentsQ(s *seq, from, to int) []int32 {
	return p.Mask.SegmentsQ[s.batch*p.SeqQ+s.q0:][from:to] // batch is 0 if SeqQ is not its stride
}

func (p *Problem) segmentsKV(s *seq, from, to int) []int32 {
	return p.Mask.SegmentsKV[s.batchKV*p.SeqKV+s.k0:][from:to]
}

// openKeys notes what lane groups are told of a key block.
func (w *maskWords) openKeys(at *cursor) {
	p := &at.problem
	if p.Mask.SegmentsQ != nil {
		w.segments = spanOf(p.segmentsKV(&at.seq, at.key0, at.key0+at.n))
	}
}

// glance tells whether the dense parts of the mask keep none or all of a score block, where that
// is cheap.
func (w *maskWords) glance(at *cursor, r *queryRows) (none, all bool) {
	m := &at.problem.Mask
	all = !m.Bool.Given
	if m.SegmentsQ != nil {
		q, k := r.segments, w.segments
		if q.most < k.least || q.least > k.most {
			return true, false
		}
		all = all && q == k && q.least == q.most
	}
	if b := &m.Blocks; b.Bits != nil {
		if column := at.key0 / b.KeyBlock; column == (at.key0+at.n-1)/b.KeyBlock {
			word := r.blockWord(at, column)
			if word == 0 {
				return true, false
			}
			all = all && word == r.all()
		} else {
			all = false
		}
	}
	return false, all
}

// thinSegments keeps the keys of the query's segment.
func (w *maskWords) thinSegments(at *cursor, r *queryRows, from, to int) {
	p := &at.problem
	first, last := r.positions(0, r.lanes)
	q, k := p.segmentsQ(&at.seq, first, last+1), p.segmentsKV(&at.seq, at.key0+from, at.key0+to)
	// The lanes of each run of queries of one segment.
	var runs [kernel.MaxLanes]struct {
		segment int32
		lanes   uint64
	}
	n := 0
	for l := range r.rows {
		segment := q[(r.row+l)/r.headsPerKV-first]
		if n == 0 || runs[n-1].segment != segment {
			runs[n].segment, runs[n].lanes = segment, 0
			n++
		}
		runs[n-1].lanes |= 1 << l
	}
	word := uint64(0)
	for i, segment := range k {
		if i == 0 || segment != k[i-1] {
			word = 0
			for _, run := range runs[:n] {
				if run.segment == segment {
					word |= run.lanes
				}
			}
		}
		w.words[from+i] &= word
	}
}

// thinBlocks keeps the blocks of the bitmap.
func (w *maskWords) thinBlocks(at *cursor, r *queryRows, from, to int) {
	b := &at.problem.Mask.Blocks
	for from < to {
		column := (at.key0 + from) / b.KeyBlock
		end := min(to, (column+1)*b.KeyBlock-at.key0)
		word := r.blockWord(at, column)
		for ; from < end; from++ {
			w.words[from] &= word
		}
	}
}

// blockWord returns the lanes whose block of queries is kept with a block of keys.
func (r *queryRows) blockWord(at *cursor, column int) (word uint64) {
	b, n := &at.problem.Mask.Blocks, r.headsPerKV
	base := at.seq.index*b.Stride[0] + r.firstHead()*b.Stride[1] + column
	if b.Stride[1] != 0 && n > 1 {
		for l := range r.rows {
			pos, h := (r.row+l)/n, (r.row+l)%n
			i := base + h*b.Stride[1] + pos/b.QueryBlock*b.Stride[2]
			word |= b.Bits[i/64] >> (i % 64) & 1 << l
		}
		return word
	}
	for l := 0; l < r.rows; {
		// Lanes up to the last position of the block of queries.
		row := (r.row + l) / n / b.QueryBlock
		next := min(r.rows, (row+1)*b.QueryBlock*n-r.row)
		if i := base + row*b.Stride[2]; b.Bits[i/64]>>(i%64)&1 == 1 {
			word |= ^uint64(0) >> (kernel.MaxLanes - (next - l)) << l
		}
		l = next
	}
	return word
}

// thinBool keeps the pairs that are true.
func (w *maskWords) thinBool(at *cursor, r *queryRows, from, to int) {
	p := &at.problem
	t := &p.Mask.Bool
	r.offsets(&w.off, t.Stride[1], t.Stride[2])
	base := unsafe.Add(t.Base, t.first(at, r)+from*t.Stride[3])
	words := w.words[from:to]
	if t.Stride[2] == 0 && (t.Stride[1] == 0 || r.headsPerKV == 1) {
		for i := range words {
			if *(*byte)(unsafe.Add(base, w.off[0]+i*t.Stride[3])) == 0 {
				words[i] = 0
			}
		}
		return
	}
	if t.Stride[3] != 1 {
		for i := range words {
			word := uint64(0)
			for l := range r.rows {
				if *(*byte)(unsafe.Add(base, w.off[l]+i*t.Stride[3])) != 0 {
					word |= 1 << l
				}
			}
			words[i] &= word
		}
		return
	}
	// Squares of eight rows by eight keys: byte k of a square has the rows of key k, and
	// byte r of the mask word of a key the rows of square r.
	for i := 0; i < len(words); i += 8 {
		n := min(8, len(words)-i)
		var square [8]uint64
		for l := 0; l < r.rows; l += 8 {
			off := w.off[l:min(l+8, r.rows)]
			if n < 8 || len(off) < 8 {
				for row, off := range off {
					for k, b := range unsafe.Slice((*byte)(unsafe.Add(base, off+i)), n) {
						if b != 0 {
							square[l/8] |= 1 << (8*k + row)
						}
					}
				}
				continue
			}
			square[l/8] = squareOf(unsafe.Add(base, i), (*[8]int)(off))
		}
		transposeBytes(&square)
		for k := range n {
			words[i+k] &= square[k]
		}
	}
}

// squareOf returns a bit for each of eight bytes of eight rows, set where it is not 0: bit
// 8*k+r is that of byte k of row r. (The compiler keeps variables in registers, not arrays.)
func squareOf(base unsafe.Pointer, off *[8]int) uint64 {
	x0, x1, x2, x3 := eightBools(base, off[0]), eightBools(base, off[1]), eightBools(base, off[2]), eightBools(base, off[3])
	x4, x5, x6, x7 := eightBools(base, off[4]), eightBools(base, off[5]), eightBools(base, off[6]), eightBools(base, off[7])
	if (x0|x1|x2|x3|x4|x5|x6|x7)&^lowBits != 0 { // no bool that Go makes
		x0, x1, x2, x3 = nonzero(x0), nonzero(x1), nonzero(x2), nonzero(x3)
		x4, x5, x6, x7 = nonzero(x4), nonzero(x5), nonzero(x6), nonzero(x7)
	}
	return x0 | x1<<1 | x2<<2 | x3<<3 | x4<<4 | x5<<5 | x6<<6 | x7<<7
}

// eightBools returns the eight bytes at an offset, the first one lowest.
func eightBools(base unsafe.Pointer, off int) uint64 {
	return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(base, off))[:])
}

// lowBits has the lowest bit of each byte.
const lowBits = 0x0101010101010101

// nonzero returns 1 in each byte of x that is not 0.
func nonzero(x uint64) uint64 {
	// The carry out of the low bits of each byte, and its high bit.
	return (x&(0x7f*lowBits) + 0x7f*lowBits | x) >> 7 & lowBits
}

// transposeBytes transposes a matrix of eight rows of eight bytes.
func transposeBytes(x *[8]uint64) {
	x0, x4 := swapBits(x[0], x[4], 32, 0x00000000ffffffff)
	x1, x5 := swapBits(x[1], x[5], 32, 0x00000000ffffffff)
	x2, x6 := swapBits(x[2], x[6], 32, 0x00000000ffffffff)
	x3, x7 := swapBits(x[3], x[7], 32, 0x00000000ffffffff)
	x0, x2 = swapBits(x0, x2, 16, 0x0000ffff0000ffff)
	x1, x3 = swapBits(x1, x3, 16, 0x0000ffff0000ffff)
	x4, x6 = swapBits(x4, x6, 16, 0x0000ffff0000ffff)
	x5, x7 = swapBits(x5, x7, 16, 0x0000ffff0000ffff)
	x[0], x[1] = swapBits(x0, x1, 8, 0x00ff00ff00ff00ff)
	x[2], x[3] = swapBits(x2, x3, 8, 0x00ff00ff00ff00ff)
	x[4], x[5] = swapBits(x4, x5, 8, 0x00ff00ff00ff00ff)
	x[6], x[7] = swapBits(x6, x7, 8, 0x00ff00ff00ff00ff)
}

// swapBits exchanges the bits of x above the mask with those of y in it.
func swapBits(x, y uint64, shift int, mask uint64) (uint64, uint64) {
	t := (x>>shift ^ y) & mask
	return x ^ t<<shift, y ^ t
}

// first returns the offset in elements of the pair of position 0 of the rows' first head and the first
// key of the block.
func (t *Pairs) first(at *cursor, r *queryRows) int {
	return at.seq.index*t.Stride[0] + r.firstHead()*t.Stride[1] + at.key0*t.Stride[3]
}
