package tile

import (
	"slices"
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// batches returns problems of sequences of few queries and many, and keys of several chunks.
func batches() []Problem {
	const c = kernel.KeyChunk
	key := new(float32)
	var ps []Problem
	for _, heads := range [][2]int{{1, 1}, {8, 2}, {8, 8}, {6, 2}, {30, 1}} {
		for i, lens := range [][2][]int{
			{{1}, {5 * c}}, {{1}, {0}}, {{0, 1}, {3, c}}, {{1, 300, 4}, {2*c + 1, c + 7, 9 * c}},
			{{8, 8}, {4 * c, 4 * c}}, {{1, 1, 1, 1, 1, 1, 1, 1}, {1, c - 1, c, c + 1, 2 * c, 3*c + 5, 40, 4000}},
		} {
			for _, mask := range []Mask{
				{Left: Unbounded, Right: Unbounded}, {Left: Unbounded, Right: 0, BottomRight: true},
				{Left: 100, Right: 0, BottomRight: true}, {Left: 100, Right: 0, BottomRight: true, Prefix: 3},
				{Left: 100, Right: 0, BottomRight: true, Prefix: 2 * c, Behind: true}, {Left: 0, Right: 0, Offset: -9 * c},
			} {
				p := Problem{
					Batch: len(lens[0]), Heads: heads[0], KVHeads: heads[1], DimQK: 64, DimV: 64, Mask: mask,
					K: KV{Base: unsafe.Pointer(key), Stride: [4]int{0, 0, 0, 4}}, V: KV{Base: unsafe.Pointer(key), Stride: [4]int{0, 0, 0, 4}},
					SeqQ: slices.Max(lens[0]), SeqKV: slices.Max(lens[1]), LensKV: lens[1], CuQ: []int{0},
				}
				if i >= 3 { // tokens first
					p.K.Stride = [4]int{0, 4 * 64, 4 * 64 * heads[1], 4}
					p.V.Stride = p.K.Stride
				}
				for _, n := range lens[0] {
					p.CuQ = append(p.CuQ, p.CuQ[len(p.CuQ)-1]+n)
				}
				if i%2 == 1 {
					p.Softcap = 1
				}
				ps = append(ps, p)
			}
		}
	}
	return ps
}

// Every chunk of keys of every KV head is in one item, for as long as its partial is its own.
func TestDecodeItems(t *testing.T) {
	e := New(&kernel.Set{Vec: 16, Lanes: 64, DecodeRows: 16}, Caches{}, false, Tuning{})
	var whole, divided, bundled, severalLaneGroups int
	for _, p := range batches() {
		for _, workers := range []int{1, 2, 16, 100} {
			var d decoding
			s := e.schedule(&p, workers, &d)
			if s.Decode != len(d.items) || s.Workers > max(1, s.Items+s.Decode) {
				t.Fatalf("%+v: %d workers, %d decode items of %d", p, s.Workers, s.Decode, len(d.items))
			}
			type chunk struct{ seq, head, chunk int32 }
			seen := map[chunk]bool{}
			parts := map[int32]bool{}
			counted := map[int32]int32{}
			for _, it := range d.items {
				q := p.seq(int(it.seq))
				rows := p.headsPerKV() * q.lenQ
				if rows > max(e.set.DecodeRows, s.divided) || int(it.each)*rows > kernel.MaxDecodeRows && it.each > 1 || it.laneGroups() > maxDecodeLaneGroups {
					t.Fatalf("%+v: an item of %d heads of %d rows", p, it.heads, rows)
				}
				if it.heads > 1 {
					bundled++
				}
				if it.laneGroups() > 1 {
					severalLaneGroups++
				}
				if it.chunk >= 0 {
					divided++
					if int(it.counter) >= d.counters || it.part < it.first || it.part >= it.first+it.chunks {
						t.Fatalf("%+v: partial %d, counter %d of %d, %+v", p, it.part, it.counter, d.counters, it)
					}
					if rows := int(min(it.each, it.heads)) * rows; d.lanes < rows {
						t.Fatalf("%+v: partials of %d lanes for %d rows", p, d.lanes, rows)
					}
					for i := range it.laneGroups() {
						part := int32(it.partOf(i))
						if parts[part] || int(part) >= d.parts || d.chunks[part] != it.chunk {
							t.Fatalf("%+v: partial %d of %d, of chunk %d, %+v", p, part, d.parts, d.chunks[part], it)
						}
						parts[part] = true
					}
					counted[it.counter]++
					if counted[it.counter] > it.chunks {
						t.Fatalf("%+v: counter %d has more than %d chunks", p, it.counter, it.chunks)
					}
				} else {
					whole++
				}
				for h := it.head; h < it.head+it.heads; h++ {
					if seen[chunk{it.seq, h, -1}] || seen[chunk{it.seq, h, it.chunk}] {
						t.Fatalf("%+v: head %d of sequence %d again: chunk %d", p, h, it.seq, it.chunk)
					}
					seen[chunk{it.seq, h, it.chunk}] = true
				}
			}
			if len(parts) != d.parts {
				t.Fatalf("%+v: %d of %d partials", p, len(parts), d.parts)
			}
			for b := range p.Batch {
				q := p.seq(b)
				if !e.divides(&p, &q, s.divided) {
					continue
				}
				for h := range p.KVHeads {
					if seen[chunk{int32(b), int32(h), -1}] {
						continue
					}
					for at := 0; at < q.lenKV; at += kernel.KeyChunk {
						attended := false
						for j := at; j < min(at+kernel.KeyChunk, q.lenKV) && !attended; j++ {
							for i := range q.lenQ {
								attended = attended || p.keeps(&q, i, j)
							}
						}
						if attended && !seen[chunk{int32(b), int32(h), int32(at / kernel.KeyChunk)}] {
							t.Fatalf("%+v: workers=%d: chunk at %d of head %d of sequence %d is missing", p, workers, at, h, b)
						}
					}
				}
			}
		}
	}
	if whole == 0 || divided == 0 || bundled == 0 || severalLaneGroups == 0 {
		t.Errorf("%d whole items, %d chunks, %d of several heads, %d of several lane groups", whole, divided, bundled, severalLaneGroups)
	}
}

// Keys that repeat, by strides of 0, are as many as an int holds: their partials are not.
func TestPartialsBounded(t *testing.T) {
	e := New(&kernel.Set{Vec: 16, Lanes: 64, DecodeRows: 16}, Caches{}, false, Tuning{})
	for _, keys := range []int{1 << 20, 1 << 30} {
		p := Problem{
			Batch: 1, Heads: 1, KVHeads: 1, SeqQ: 1, SeqKV: keys, TokensQ: 1, TokensKV: keys, DimQK: 128, DimV: 128,
			K: KV{Stride: [4]int{0, 0, 0, 4}}, V: KV{Stride: [4]int{0, 0, 0, 4}},
			Mask: Mask{Left: Unbounded, Right: Unbounded},
		}
		var d decoding
		e.schedule(&p, 8, &d)
		if bytes := 4 * d.parts * d.lanes * (p.DimV + 2); bytes > maxParts {
			t.Errorf("%d keys: partials of %d bytes", keys, bytes)
		}
		if divided := d.parts > 0; divided != (keys == 1<<20) {
			t.Errorf("%d keys: %d partials", keys, d.parts)
		}
	}
}
