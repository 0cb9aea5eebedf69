package tile

import "github.com/qkv-go/qkv/kernel"

// A walk goes through the blocks of keys that some rows of a sequence attend by their bands. Blocks of
// which no row attends a key by its band are left out.
//
//	for k.open(p, &s, first, end); k.next(); {
//		... // the k.n keys from k.key0 on
//	}
type walk struct {
	key0, n int  // the block
	first   bool // there was none before
	ahead   int  // first key of the next block, at least end if there is none
	end     int  // of all keys that are attended

	prefix, lo, hi int // those are the keys before prefix and those of [lo, hi)
	keys           int // of the sequence
}

// open begins a walk through the keys of the rows [first, end) of a sequence.
func (k *walk) open(p *Problem, s *seq, first, end int) {
	n := p.headsPerKV()
	last := (end - 1) / n // position
	lo, _ := p.Mask.band(s, first/n)
	_, hi := p.Mask.band(s, last)
	k.n, k.prefix, k.lo, k.hi, k.keys = 0, s.prefix, lo, hi, s.lenKV
	if p.Mask.Behind {
		k.prefix = min(k.prefix, p.Mask.end(s, last))
	}
	if k.end = k.prefix; lo < hi {
		k.end = max(k.end, hi)
	}
	k.seek(0)
}

// openAll begins a walk through all of so many keys, whoever attends them.
func (k *walk) openAll(keys int) { *k = walk{end: keys, hi: keys, keys: keys} }

// seek has the first block from key0 on come next. There, a block begins.
func (k *walk) seek(key0 int) {
	if key0 >= k.prefix && key0 < k.lo && k.lo < k.hi {
		key0 = k.lo / kernel.KeyBlock * kernel.KeyBlock
	}
	k.ahead = key0
}

// next goes to the next block, and reports whether there is one. If there is none, the walk stays at
// the last.
func (k *walk) next() bool {
	if k.ahead >= k.end {
		return false
	}
	k.first = k.n == 0
	k.key0, k.n = k.ahead, min(kernel.KeyBlock, k.keys-k.ahead)
	k.seek(k.key0 + kernel.KeyBlock)
	return true
}

// chunk returns the index of the chunk that the block is in.
func (k *walk) chunk() int { return k.key0 / kernel.KeyChunk }

// leaves reports whether the next block is in another chunk, and in which.
func (k *walk) leaves() (next int, ok bool) {
	next = k.ahead / kernel.KeyChunk
	return next, k.ahead < k.end && next != k.chunk()
}

// leave goes on behind the chunk.
func (k *walk) leave() { k.seek((k.chunk() + 1) * kernel.KeyChunk) }

// only has the walk go through a chunk, and no other.
func (k *walk) only(chunk int) {
	k.seek(chunk * kernel.KeyChunk)
	k.end = min(k.end, (chunk+1)*kernel.KeyChunk)
}
