package tile

import (
	"cmp"
	"slices"

	"github.com/qkv-go/qkv/kernel"
)

// A decodeItem is the decoding of a sequence with few queries by some of its KV heads: of
// all chunks of its keys, or of one.
type decodeItem struct {
	seq, head, heads int32
	each             int32 // KV heads of a lane group
	chunk            int32 // -1 for all
	part             int32 // index of the first lane group's partial of the chunk
	counter          int32 // index of what counts the chunks done
	first, chunks    int32 // partials of all chunks, of the first lane group and then the others
}

// laneGroups returns the lane groups of an item.
func (it *decodeItem) laneGroups() int { return int((it.heads + it.each - 1) / it.each) }

// headOf returns the first KV head of a lane group.
func (it *decodeItem) headOf(i int) int { return int(it.head) + i*int(it.each) }

// partOf returns the index of the partial of a lane group's chunk.
func (it *decodeItem) partOf(i int) int { return int(it.part) + i*int(it.chunks) }

// decodeRows returns the most rows of all KV heads that are decoded at once.
func (e *Engine) decodeRows() int { return min(kernel.MaxDecodeRows, e.set.Lanes) }

// canDecode reports whether sequences with few queries may be decoded.
func (e *Engine) canDecode(p *Problem) bool {
	return p.ProbMod == nil && p.Record.Base == nil && p.Heads > 0 && p.K.dense() && p.V.dense() &&
		p.DimQK >= e.set.Vec && (e.wholeValues(p) || p.DimV%e.set.DecodeDims == 0 && !p.integerValues())
}

// wholeValues reports whether the dims of values are a multiple of a vector, for which DecodeAccumulate has all that a set says.
func (e *Engine) wholeValues(p *Problem) bool { return p.DimV%e.set.Vec == 0 }

// decodes reports whether a sequence is decoded: few of its queries share a KV head, and
// there are enough keys.
func (e *Engine) decodes(p *Problem, s *seq) bool {
	return e.canDecode(p) && p.headsPerKV()*(s.lenQ+s.padQ) <= e.mostDecoded(p) &&
		p.KVHeads*max(s.lenKV, 8) >= minDecode
}

// divides reports whether the keys of a sequence are divided over items: if it is decoded,
// or has up to so many rows.
func (e *Engine) divides(p *Problem, s *seq, rows int) bool {
	return p.headsPerKV()*(s.lenQ+s.padQ) <= rows && p.ProbMod == nil && p.Record.Base == nil || e.decodes(p, s)
}

// allDivided reports whether the keys of every sequence are divided.
func (e *Engine) allDivided(p *Problem, rows int) bool {
	sequences := p.Batch
	if p.alike() {
		sequences = 1
	}
	for b := range sequences {
		s := p.seq(b)
		if !e.divides(p, &s, rows) {
			return false
		}
	}
	return true
}

const (
	// itemsToSpread is the least number of decode items a worker that leaves sequences
	// whole: their lengths then even out.
	itemsToSpread = 16

	// minDecode is the least number of keys of all KV heads that are decoded; a head counts
	// as eight.
	minDecode = 32

	// minDecodeItems is the least number of items a worker to divide a sequence into.
	minDecodeItems = 4

	// maxDecodeLaneGroups is the most lane groups of a decode item.
	maxDecodeLaneGroups = 8

	// maxParts is the most bytes of partials. Keys and values that are in memory have some hundred
	// times as many; those that repeat, by strides of 0, may be few and their partials any number.
	maxParts = 1 << 30
)

// A decoding is the list of decode items of a Problem.
type decoding struct {
	items    []decodeItem
	parts    int     // partials
	chunks   []int32 // that of each partial
	counters int     // of chunks done
	lanes    int     // of a partial
	most     int     // lane groups of an item
	why      string

	orderWhy string // of the rows that are decoded, "" if none are
}

// list lists the decode items of p for so many workers. Sequences of up to rows query rows
// have their keys divided, too.
func (d *decoding) list(e *Engine, p *Problem, workers, rows int) {
	d.items, d.chunks, d.parts, d.counters, d.lanes, d.most, d.why, d.orderWhy = d.items[:0], d.chunks[:0], 0, 0, 0, 0, "", ""
	if rows == 0 && !e.canDecode(p) || p.SeqQ == 0 || p.Heads == 0 {
		return
	}
	// As many KV heads at once as fill the lanes of the softmax, if there is nothing that
	// depends on the head.
	atOnce := 1
	if !p.Mask.dense() && !p.modifies() {
		atOnce = min(p.KVHeads, max(1, e.decodeRows()/max(1, p.headsPerKV())))
	}
	// And more of them, in further lane groups, if their rows lie among each other.
	most, least := atOnce, minDecodeItems*workers
	order := "a block of keys of a KV head, then of the next: a head's rows follow each other"
	if row := p.K.rowBytes(p.DimQK); p.scattered() {
		order = "a few keys of each KV head in turn: the heads' rows lie among each other"
		laneGroups := (pageBytes + row*atOnce - 1) / (row * atOnce)
		most, least = min(p.KVHeads, atOnce*min(laneGroups, maxDecodeLaneGroups)), 2*workers
	}
	if workers > 1 {
		for most > 1 && d.count(e, p, most, rows) < least {
			most = (most + 1) / 2
		}
	}
	whole := workers == 1
	for b := range p.Batch {
		s := p.seq(b)
		if !e.divides(p, &s, rows) {
			continue
		}
		each, heads := 1, 1
		if e.decodes(p, &s) {
			// Those with several queries have more rows to a KV head.
			each = max(1, min(most, e.decodeRows()/max(1, p.headsPerKV()*s.lenQ), atOnce))
			heads = min(most, each*maxDecodeLaneGroups)
			d.orderWhy = order
		}
		for head := 0; head < p.KVHeads; head += heads {
			d.items = append(d.items, decodeItem{
				seq: int32(b), head: int32(head), heads: int32(min(heads, p.KVHeads-head)), each: int32(each), chunk: -1,
			})
			d.most = max(d.most, d.items[len(d.items)-1].laneGroups())
		}
	}
	d.why = "one worker takes a sequence whole"
	if !whole {
		d.why = "sequences are whole, there are enough of them"
	}
	if !whole && len(d.items) < itemsToSpread*workers && d.partBytes(e, p, rows) <= maxParts {
		d.split(p)
		d.why = "chunks of keys, so that there are enough for every worker"
	} else if workers > 1 && p.lengthsDiffer() {
		slices.SortFunc(d.items, func(a, b decodeItem) int {
			x, y := p.seq(int(a.seq)), p.seq(int(b.seq))
			return cmp.Compare(y.lenKV, x.lenKV) // the longest first
		})
	}
}

// partBytes returns at least the bytes of the partials of all items if they are divided.
func (d *decoding) partBytes(e *Engine, p *Problem, rows int) float64 {
	chunks := (p.SeqKV + kernel.KeyChunk - 1) / kernel.KeyChunk
	return 4 * float64(len(d.items)) * float64(max(1, d.most)) * float64(chunks) * float64(max(rows, e.decodeRows())) * float64(p.DimV+2)
}

// lengthsDiffer reports whether sequences may have different numbers of keys.
func (p *Problem) lengthsDiffer() bool { return p.LensKV != nil || p.CuKV != nil }

// count returns about how many items there are if each has so many KV heads and a chunk.
func (d *decoding) count(e *Engine, p *Problem, heads, rows int) int {
	n, step := 0, 1
	if p.alike() {
		step = p.Batch
	}
	for b := 0; b < p.Batch; b += step {
		s := p.seq(b)
		if e.divides(p, &s, rows) {
			n += step * ((p.KVHeads + heads - 1) / heads) * max(1, (s.lenKV+kernel.KeyChunk-1)/kernel.KeyChunk)
		}
	}
	return n
}

// split divides the items into chunks.
func (d *decoding) split(p *Problem) {
	var k walk
	whole := len(d.items)
	for i := range whole {
		it := d.items[i]
		s := p.seq(int(it.seq))
		it.first, it.counter = int32(d.parts), int32(d.counters)
		first := len(d.items)
		for k.open(p, &s, 0, p.headsPerKV()*s.lenQ); k.next(); k.leave() {
			it.chunk, it.part = int32(k.chunk()), int32(d.parts)
			d.items, d.chunks = append(d.items, it), append(d.chunks, it.chunk)
			d.parts++
		}
		switch n := len(d.items) - first; {
		case n < 2: // nothing to divide
			d.items = append(d.items[:first], d.items[i])
			d.parts -= n
			d.chunks = d.chunks[:d.parts]
		default:
			for i := first; i < len(d.items); i++ {
				d.items[i].chunks = int32(n)
			}
			for range it.laneGroups() - 1 {
				d.chunks = append(d.chunks, d.chunks[it.first:int(it.first)+n]...)
				d.parts += n
			}
			d.counters++
			d.lanes = max(d.lanes, p.headsPerKV()*s.lenQ*int(min(it.each, it.heads)))
		}
	}
	d.items = append(d.items[:0], d.items[whole:]...)
}
