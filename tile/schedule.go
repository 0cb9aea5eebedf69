package tile

import (
	"math"

	"github.com/qkv-go/qkv/kernel"
)

// Caches are the data cache sizes in bytes that one worker may count on, 0 where unknown.
type Caches struct {
	L1, L2, L3 int
}

const (
	// minWork is the least number of floating-point operations worth a
	// goroutine of its own: about ten times what starting one costs.
	minWork = 4 << 20

	// startWork is the floating-point operations that take as long as starting one.
	startWork = 1 << 16

	// itemsPerWorker is the most items a worker to aim for: the last ones to finish then leave
	// little idle time.
	itemsPerWorker = 24

	// itemRows is the query rows that take as long as what is done once an item: its keys and
	// values are read from where they lie, and may be copied.
	itemRows = 32

	// decodeWork is the number of query rows of a KV head from which on its keys and values
	// cost more arithmetic than memory; and of rows of a product, its weights.
	decodeWork = 16

	// maxLaneGroups bounds the lane groups of a query block.
	maxLaneGroups = 32
)

// A Schedule is the division of a Problem into work items. An item is a query
// block of one KV head of one batch: up to LaneGroups lane groups that go through the
// keys together, so that a key block is read into the cache once for all of them.
type Schedule struct {
	Lanes      int // lanes of a full lane group
	LaneGroups int // lane groups of a full query block
	Blocks     int // query blocks per KV head
	Heads      int // KV heads over all batches
	Items      int // Blocks * Heads, 0 if all sequences are decoded
	Decode     int // items of sequences with few queries, whose keys may be divided
	Workers    int

	// Prefetch says that operands are asked for ahead: they are larger than what a worker may
	// hope to find in the last-level cache, or in the second. Far rows share few sets of that, and
	// push out packed queries and outputs unless these leave most of it free; on a CPU for
	// [Tuning.Apart] that takes less than to wait for them.
	Prefetch bool

	// Why those: a clause each. OrderWhy says in which order decoding reads rows,
	// and is empty if nothing is decoded.
	LanesWhy, LaneGroupsWhy, DecodeWhy, OrderWhy, WorkersWhy string

	divided          int     // rows of sequences whose keys are divided although they are not decoded
	copying          copying // of items with all their rows
	decodeLaneGroups int     // most lane groups of a decode item
	section          int     // KV heads whose keys and values stay in the last-level cache together
}

// AskedFor is why there are as many workers as a caller asks for.
const AskedFor = "what was asked for"

// Rows is the number of query rows in a full block.
func (s *Schedule) Rows() int { return s.Lanes * s.LaneGroups }

// schedule divides p for at most workers goroutines.
func (e *Engine) schedule(p *Problem, workers int, d *decoding) Schedule {
	d.items = d.items[:0]
	s := Schedule{LaneGroups: 1, Heads: p.Batch * p.KVHeads, Workers: 1}
	s.Lanes, s.LanesWhy = e.lanes(p)
	if p.Batch == 0 || p.Heads == 0 || p.SeqQ == 0 {
		s.LaneGroupsWhy, s.WorkersWhy = "there are no rows", "there is no work"
		return s
	}
	rows := p.rows()
	s.WorkersWhy = AskedFor
	if workers > 1 {
		work := 2 * p.estimate() * float64(p.DimQK+p.DimV)
		if e.canDecode(p) {
			// Waiting for memory counts as the operations of a prefill that reads as much.
			work *= max(1, decodeWork*p.readShare()/float64(max(1, p.rows())))
		}
		if most := 1 + work/minWork; most < float64(workers) {
			workers = max(1, int(most))
			s.WorkersWhy = "more would not pay for so little work"
		}
	}

	// As many lane groups as fit three quarters of the second-level cache together with a
	// key block.
	perRow := 4 * (p.DimQK + p.DimV)
	fit := (e.caches.L2/4*3/(e.packedRow(p)+4*p.DimV) - kernel.KeyBlock) / s.Lanes
	s.LaneGroupsWhy = "what three quarters of the second-level cache hold beside a key block"
	if n := e.rule(p).QueryRows; n > 0 {
		fit, s.LaneGroupsWhy = n/s.Lanes, asTuned
	}
	s.LaneGroups = clamp(fit, 1, maxLaneGroups)
	all := (rows + s.Lanes - 1) / s.Lanes
	if s.LaneGroups >= all {
		s.LaneGroups = all
		s.LaneGroupsWhy = "a KV head has no more rows"
	}
	if workers > 1 {
		if n := s.even(all, workers); n < s.LaneGroups {
			s.LaneGroups, s.LaneGroupsWhy = n, "small enough to keep every worker busy to the end"
		}
	}
	s.Blocks = (all + s.LaneGroups - 1) / s.LaneGroups
	s.LaneGroups = (all + s.Blocks - 1) / s.Blocks // as even as can be
	s.Items = s.Blocks * s.Heads
	s.copying = e.copying(p, s.Rows())
	if workers > 1 && s.Heads < minDecodeItems*workers {
		s.divided = s.Lanes
	}
	d.list(e, p, workers, s.divided)
	s.Decode, s.DecodeWhy = len(d.items), d.why
	s.OrderWhy, s.decodeLaneGroups = d.orderWhy, d.most
	if s.Decode > 0 && e.allDivided(p, s.divided) {
		s.Items = 0
	}
	s.Workers = workers
	if n := s.Items + s.Decode; n < workers {
		s.Workers = n
		s.WorkersWhy = "there are no more items"
	}
	bytes := float64(perRow) * (float64(p.Heads)*float64(p.TokensQ) + float64(p.KVHeads)*float64(p.TokensKV))
	far := p.K.step() >= farValues || p.V.step() >= farValues
	s.Prefetch = bytes > float64(e.caches.L3/4) || bytes > float64(e.caches.L2) && (!far || e.tuning.Apart || s.Rows()*perRow <= e.caches.L2/4)
	s.section = clamp(e.caches.L3/2/max(1, p.SeqKV*perRow), 1, s.Heads)
	if p.Mask.Right == Unbounded {
		s.section = 1
	}
	return s
}

// readShare returns how long keys and values take to read in place of as many of float32: as many bytes. What becomes float32 takes half at
// least, which is arithmetic.
func (p *Problem) readShare() float64 {
	bytes := func(t *KV, dim int, integers bool) float64 {
		n := float64(t.rowBytes(dim))
		if !integers {
			n = max(n, float64(2*dim))
		}
		return n
	}
	return (bytes(&p.K, p.DimQK, p.integers()) + bytes(&p.V, p.DimV, p.integerValues())) / float64(4*(p.DimQK+p.DimV))
}

// even returns the lane groups of an item, at most s.LaneGroups of those of a KV head, with which so
// many workers are done first. Each takes as many items as another, and one may be late by a part
// of an item.
func (s *Schedule) even(all, workers int) int {
	best, least := s.LaneGroups, math.MaxInt
	for n := s.LaneGroups; n > 0; n-- {
		blocks := (all + n - 1) / n
		rows := (all + blocks - 1) / blocks * s.Lanes
		items := s.Heads * blocks
		if cost := (items+workers-1)/workers*(rows+itemRows) + rows/4; cost < least {
			best, least = n, cost
		}
		if items >= itemsPerWorker*workers {
			break
		}
	}
	return best
}

// estimate returns about how many pairs the bands of the queries keep, from a sample of
// them.
func (p *Problem) estimate() float64 {
	const sample = 32
	sequences, step := p.Batch, 1
	if p.alike() {
		sequences = 1
	} else if sequences > sample {
		step = sequences / sample
	}
	pairs, seen := 0.0, 0
	for i := 0; i < sequences; i += step {
		s := p.seq(i)
		seen++
		keys, n := 0.0, min(s.lenQ, sample)
		for q := range n {
			lo, hi := p.Mask.band(&s, int(int64(q)*int64(s.lenQ)/int64(n)))
			keys += float64(max(hi-lo, s.prefix))
		}
		if n > 0 {
			pairs += keys / float64(n) * float64(s.lenQ)
		}
	}
	return pairs / float64(max(1, seen)) * float64(p.Batch) * float64(p.Heads)
}

// lanes returns the lanes of a full lane group: the Set's, or fewer where a block of
// packed queries would then fill the first-level cache and evict itself, or where a lane group
// would lie across blocks of a block mask.
func (e *Engine) lanes(p *Problem) (lanes int, why string) {
	lanes = e.set.Lanes
	if b := &p.Mask.Blocks; b.Bits != nil && p.KVHeads > 0 {
		for n := lanes; n >= lanes/2; n -= e.set.Vec {
			if b.QueryBlock*p.headsPerKV()%n == 0 {
				return n, "they divide the blocks of the mask"
			}
		}
	}
	if n := e.rule(p).Lanes; n > 0 {
		return n, asTuned
	}
	packed := 4 * p.DimQK // bytes of a lane
	if e.pairsKeys(p) {
		packed = 4 * ((p.DimQK + 1) / 2)
	}
	if n := lanes / 4 * 3; n%e.set.Vec == 0 && lanes*packed >= e.caches.L1 && n*packed < e.caches.L1 {
		return n, "more packed queries would fill the first-level cache"
	}
	return lanes, "what the kernel set's registers hold"
}

// packedRow returns the bytes that scores read of a packed query.
func (e *Engine) packedRow(p *Problem) int {
	switch {
	case p.integers():
		return 4 * panelFloats(p.DimQK)
	case e.pairsKeys(p):
		return 4 * ((p.DimQK + 1) / 2)
	}
	return 4 * p.DimQK
}

// item returns the KV head (counted over all batches) and the query block of the
// i-th item. Later query blocks attend more keys under a causal mask: the longest
// come first, section by section.
func (s *Schedule) item(i int) (head, block int) {
	first := i / (s.section * s.Blocks) * s.section
	heads := min(s.section, s.Heads-first)
	i -= first * s.Blocks
	return first + i%heads, s.Blocks - 1 - i/heads
}
