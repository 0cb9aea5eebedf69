package tile

import "github.com/qkv-go/qkv/kernel"

// Where the heads of a token lie side by side and take turns, the rows of a turn are one piece of memory, or one a page, which each head reads
// some columns of. On CPUs that get the most of memory by one stream, the heads together ask for the next turn in the order of
// memory: the first head for the first rows of that piece, of whatever head, and the last head for the last ones.

// turnPage is the tokens from which on heads ask together in pages. In smaller ones, which are pieces of memory of their own, that is no faster.
const turnPage = 8

// asksInTurn reports whether the heads of a problem ask together for the next turn.
func (e *Engine) asksInTurn(p *Problem) bool {
	if p.Tables != nil && !p.Ring && p.PageTokens < turnPage {
		return false
	}
	if p.integers() && p.K.Elem.UnitValues() > 1 || p.integerValues() && p.V.Elem.UnitValues() > 1 {
		return false // rows of blocks begin within lines, and two heads would ask for one
	}
	return e.tuning.Near && e.direct(p) && p.K.adjacent(p.DimQK) && p.V.adjacent(p.DimV)
}

// adjacent reports whether the rows of the heads of a token lie side by side.
func (t *KV) adjacent(dim int) bool {
	return t.Stride[1] == t.rowBytes(dim) && t.Stride[2] > t.Stride[1]
}

// headsOf returns the first KV head of lane groups, and their number.
func headsOf(laneGroups []laneGroup) (first, n int) {
	last := &laneGroups[len(laneGroups)-1]
	first = laneGroups[0].head
	return first, last.head + (last.rows+last.rowsPerKV-1)/last.rowsPerKV - first
}

// askInTurn sets the rows that a head asks for with its keys [from, to) of a block: those of the next turn, and in the last
// turn of the block those of the tensor that is read behind this one: of the same block, or of the next.
func (r *keyRows) askInTurn(from, to, head int, laneGroups []laneGroup, behind *KV, nextBlock bool) {
	r.offsets(from)
	first, heads := headsOf(laneGroups)
	kv, token := r.kv, from+r.order.step
	if token >= kernel.KeyBlock && (r.even || behind.Stride == kv.Stride) {
		if kv, token = behind, 0; nextBlock {
			token = kernel.KeyBlock
		}
	}
	row := (head - first) * r.order.step
	token += row / heads
	at, apart, i := r.rowsOf(kv, first, r.token).behind, kv.Stride[1], row%heads
	asks := r.off[kernel.KeyBlock+from:][:to-from]
	if r.even {
		at, token = at+token*kv.Stride[2], 0
		for len(asks) > 0 {
			asks = askForHeads(asks, at+i*apart, apart, heads-i)
			at, i = at+kv.Stride[2], 0
		}
		return
	}
	rows := r.found()
	for len(asks) > 0 {
		asks = askForHeads(asks, at+rows[min(token, len(rows)-1)]+i*apart, apart, heads-i)
		token, i = token+1, 0
	}
}

// askForHeads sets the first asks, at most so many, to rows so far apart, and returns the others.
func askForHeads(asks []int, at, apart, heads int) []int {
	n := min(heads, len(asks))
	for k := range asks[:n] {
		asks[k] = at
		at += apart
	}
	return asks[n:]
}
