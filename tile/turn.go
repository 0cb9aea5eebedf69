package tile

import "github.com/qkv-go/qkv/kernel"

// Where the heads of a token lie side by side and take turns, the rows of a turn are one piece of memory, which each head reads
// some columns of. On CPUs that get the most of memory by one stream, the heads together ask for the next turn in the order of
// memory: the first head for the first rows of that piece, of whatever head, and the last head for the last ones.

// asksInTurn reports whether the heads of a problem ask together for the next turn.
func (e *Engine) asksInTurn(p *Problem) bool {
	return e.tuning.Near && e.direct(p) && !p.integers() && !p.integerValues() && p.Tables == nil && p.K.adjacent(p.DimQK) && p.V.adjacent(p.DimV)
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
// turn of the block those of the tensor that is read behind this one, from a token on. Rows lie at even distances, since there are no tables.
func (r *keyRows) askInTurn(from, to, head int, laneGroups []laneGroup, behind *KV, token int) {
	r.offsets(from)
	first, heads := headsOf(laneGroups)
	next, of := r.rowsOf(r.kv, first, r.token+from+r.order.step), r.kv.Stride[1]
	if from+r.order.step >= kernel.KeyBlock {
		next, of = r.rowsOf(behind, first, token), behind.Stride[1]
	}
	row := (head - first) * r.order.step
	at, i := next.behind+row/heads*next.stride, row%heads
	asks := r.off[kernel.KeyBlock+from:][:to-from]
	for k := range asks {
		asks[k] = at + i*of
		if i++; i == heads {
			at, i = at+next.stride, 0
		}
	}
}
