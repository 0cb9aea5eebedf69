package tile

import (
	"slices"
	"testing"

	"github.com/qkv-go/qkv/kernel"
)

// A walk comes by each block with a key that the band of some row holds, by no other beyond the
// prefix, and chunk by chunk by the same ones.
func TestWalk(t *testing.T) {
	var several, gaps int
	for _, p := range append(batches(), problems()...) {
		for b := range p.Batch {
			s := p.seq(b)
			rows := p.headsPerKV() * s.lenQ
			if rows == 0 {
				continue
			}
			var whole, parted, chunks, left []int
			var k, one walk
			for k.open(&p, &s, 0, rows); k.next(); {
				if k.first != (len(whole) == 0) || k.n != min(kernel.KeyBlock, s.lenKV-k.key0) {
					t.Fatalf("%+v: block %d has %d keys from %d on", p, len(whole), k.n, k.key0)
				}
				whole = append(whole, k.key0)
				if next, ok := k.leaves(); ok {
					left = append(left, k.chunk(), next)
				}
			}
			for k.open(&p, &s, 0, rows); k.next(); k.leave() {
				chunks = append(chunks, k.chunk())
				one.open(&p, &s, 0, rows)
				for one.only(k.chunk()); one.next(); {
					if _, ok := one.leaves(); ok || one.chunk() != k.chunk() {
						t.Fatalf("%+v: a walk through chunk %d is at %d", p, k.chunk(), one.key0)
					}
					parted = append(parted, one.key0)
				}
			}
			if !slices.Equal(whole, parted) {
				t.Fatalf("%+v: blocks at %v, and chunk by chunk at %v", p, whole, parted)
			}
			for i := range len(chunks) - 1 {
				if len(left) < 2*i+2 || left[2*i] != chunks[i] || left[2*i+1] != chunks[i+1] {
					t.Fatalf("%+v: chunks %v, and steps from one to the next %v", p, chunks, left)
				}
			}
			if len(chunks) > 1 {
				several++
			}
			for key0 := 0; key0 < s.lenKV; key0 += kernel.KeyBlock {
				lo, _ := p.Mask.band(&s, 0)
				_, hi := p.Mask.band(&s, s.lenQ-1)
				from, to := key0, min(s.lenKV, key0+kernel.KeyBlock)
				band, prefix := max(from, lo) < min(to, hi), from < s.prefix
				switch seen := slices.Contains(whole, key0); {
				case band && !seen, seen && !band && !prefix:
					t.Fatalf("%+v: block at %d of %v, keys %d to %d", p, key0, whole, lo, hi)
				case !seen && len(whole) > 0 && key0 > whole[0]:
					gaps++
				}
			}
		}
	}
	if several == 0 || gaps == 0 {
		t.Errorf("%d walks through several chunks, %d blocks left out on the way", several, gaps)
	}
}
