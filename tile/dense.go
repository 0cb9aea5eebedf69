package tile

import (
	"encoding/binary"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// thin takes from the mask words of the keys [from, to) of the block at key0 what the
// dense parts of the mask do not keep.
func (w *workspace) thin(p *Problem, s *seq, g *laneGroup, head, key0, from, to int) {
	m := &p.Mask
	if m.SegmentsQ != nil {
		w.thinSegments(p, s, g, key0, from, to)
	}
	if m.Blocks.Bits != nil {
		w.thinBlocks(m, s, g, head, key0, from, to)
	}
	if m.Keep.Given {
		w.thinKeep(p, s, g, head, key0, from, to)
	}
}

// thinSegments keeps the keys of the query's segment.
func (w *workspace) thinSegments(p *Problem, s *seq, g *laneGroup, key0, from, to int) {
	stride := [2]int{p.SeqQ, p.SeqKV} // from sequence to sequence, unless the batch is ragged
	q := p.Mask.SegmentsQ[s.batch*stride[0]+s.q0:]
	k := p.Mask.SegmentsKV[s.batch*stride[1]+s.k0:][key0+from : key0+to]
	// The lanes of each run of queries of one segment.
	var runs [kernel.MaxLanes]struct {
		segment int32
		lanes   uint64
	}
	n := 0
	for l := range g.rows {
		segment := q[(g.row+l)/w.share]
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
			for _, r := range runs[:n] {
				if r.segment == segment {
					word |= r.lanes
				}
			}
		}
		w.mask[from+i] &= word
	}
}

// thinBlocks keeps the blocks of the bitmap.
func (w *workspace) thinBlocks(m *Mask, s *seq, g *laneGroup, head, key0, from, to int) {
	b := &m.Blocks
	base := s.index*b.Stride[0] + head*w.share*b.Stride[1]
	for from < to {
		column := (key0 + from) / b.KeyBlock
		end := min(to, (column+1)*b.KeyBlock-key0)
		word := uint64(0)
		if b.Stride[1] == 0 || w.share == 1 {
			for l := 0; l < g.rows; {
				// Lanes up to the last position of the block of queries.
				row := (g.row + l) / w.share / b.QueryBlock
				next := min(g.rows, (row+1)*b.QueryBlock*w.share-g.row)
				if i := base + row*b.Stride[2] + column; b.Bits[i/64]>>(i%64)&1 == 1 {
					word |= ^uint64(0) >> (kernel.MaxLanes - (next - l)) << l
				}
				l = next
			}
		} else {
			for l := range g.rows {
				pos, h := (g.row+l)/w.share, (g.row+l)%w.share
				i := base + h*b.Stride[1] + pos/b.QueryBlock*b.Stride[2] + column
				word |= b.Bits[i/64] >> (i % 64) & 1 << l
			}
		}
		for ; from < end; from++ {
			w.mask[from] &= word
		}
	}
}

// thinKeep keeps the pairs that are true.
func (w *workspace) thinKeep(p *Problem, s *seq, g *laneGroup, head, key0, from, to int) {
	t := &p.Mask.Keep
	w.pairOffsets(g, t, head, s)
	base := unsafe.Add(t.Base, s.index*t.Stride[0]+(key0+from)*t.Stride[3])
	words := w.mask[from:to]
	if t.Stride[2] == 0 && (t.Stride[1] == 0 || w.share == 1) {
		for i := range words {
			if *(*byte)(unsafe.Add(base, w.pairOff[0]+i*t.Stride[3])) == 0 {
				words[i] = 0
			}
		}
		return
	}
	if t.Stride[3] != 1 {
		for i := range words {
			word := uint64(0)
			for l := range g.rows {
				if *(*byte)(unsafe.Add(base, w.pairOff[l]+i*t.Stride[3])) != 0 {
					word |= 1 << l
				}
			}
			words[i] &= word
		}
		return
	}
	// Squares of eight lanes by eight keys: byte i of kept has the lanes of key i.
	for i := 0; i < len(words); i += 8 {
		n := min(8, len(words)-i)
		var word [8]uint64
		for l := 0; l < g.rows; l += 8 {
			kept := uint64(0)
			for r, off := range w.pairOff[l:min(l+8, g.rows)] {
				kept |= eightBools(unsafe.Add(base, off+i), n) << r
			}
			for k := range word {
				word[k] |= kept >> (8 * k) & 0xff << l
			}
		}
		for k := range n {
			words[i+k] &= word[k]
		}
	}
}

// eightBools returns the n <= 8 bytes at p, each as 0 or 1.
func eightBools(p unsafe.Pointer, n int) uint64 {
	const low = 0x7f7f7f7f7f7f7f7f
	var x uint64
	if n == 8 {
		x = binary.LittleEndian.Uint64((*[8]byte)(p)[:])
	} else {
		for i, b := range unsafe.Slice((*byte)(p), n) {
			x |= uint64(b) << (8 * i)
		}
	}
	// The carry of each byte's low bits, and its high bit.
	return ((x&low + low) | x) >> 7 &^ (low << 1) & 0x0101010101010101
}

// pairOffsets sets the offsets of the group's rows in t, in elements from the first pair
// of their sequence.
func (w *workspace) pairOffsets(g *laneGroup, t *Pairs, head int, s *seq) {
	for l := range g.rows {
		pos, h := (g.row+l)/w.share, (g.row+l)%w.share
		w.pairOff[l] = (head*w.share+h)*t.Stride[1] + pos*t.Stride[2]
	}
}
