package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// Where kernels of class Int8 ask into the first-level cache, they ask for what is read next: where blocks are read head by head and
// rows are even, with a row of a KV head the same one of the next head, with those of the last head the values of
// the first one, and with these, at last, the keys of the next block.

// nextRows are offsets of rows of a block, and of as many that lie some bytes behind each.
type nextRows struct {
	stride, behind int
	off            [3 * kernel.KeyBlock]int // as keyRows.off
}

// of returns the offsets of rows so far apart, from one on, with those of rows behind them.
func (n *nextRows) of(stride, behind, from int) *[2 * kernel.KeyBlock]int {
	if n.stride != stride || n.behind != behind {
		n.stride, n.behind = stride, behind
		for k := range kernel.KeyBlock {
			n.off[k], n.off[kernel.KeyBlock+k] = k*stride, k*stride+behind
		}
	}
	return (*[2 * kernel.KeyBlock]int)(n.off[from:])
}

// offsetsNext is offsets with rows to ask for that lie behind those of next, of a head of the block, in the same order. It is
// offsets if such rows are not even, or there are none.
func (r *keyRows) offsetsNext(from int, next unsafe.Pointer, last bool) *[2 * kernel.KeyBlock]int {
	if next == nil || !r.even || !r.order.windows || !r.order.near {
		return r.offsets(from)
	}
	n := &r.heads
	if last {
		n = &r.last
	}
	return n.of(r.stride, int(uintptr(next)-uintptr(r.base)), from)
}

// nextHead returns the first row of the block of the KV head that is read behind another one of the i-th lane group, and
// false if there is none.
func (r *keyRows) nextHead(laneGroups []laneGroup, i, head int) (unsafe.Pointer, bool) {
	g := &laneGroups[i]
	if head+1 < g.head+(g.rows+g.rowsPerKV-1)/g.rowsPerKV {
		return r.kv.at(r.batch, head+1, r.token), true
	}
	if i+1 < len(laneGroups) {
		return r.kv.at(r.batch, laneGroups[i+1].head, r.token), true
	}
	return nil, false
}

// nextOfKeys returns what is read behind the keys of a head: if no other head's, the values of the first one, or the next
// block of its keys if values ask for themselves.
func (w *workspace) nextOfKeys(at *cursor, laneGroups []laneGroup, i, head int) (next unsafe.Pointer, last bool) {
	k, v := &w.kv.k, &w.kv.v
	if next, ok := k.nextHead(laneGroups, i, head); ok {
		return next, false
	}
	if at.problem.integerValues() {
		return v.kv.at(k.batch, laneGroups[0].head, k.token), true
	}
	return k.kv.at(k.batch, laneGroups[0].head, k.token+kernel.KeyBlock), true
}

// nextOfValues returns what is read behind the values of a head: if no other head's, the next block of keys.
func (w *workspace) nextOfValues(at *cursor, laneGroups []laneGroup, i, head int) (next unsafe.Pointer, last bool) {
	k, v := &w.kv.k, &w.kv.v
	if next, ok := v.nextHead(laneGroups, i, head); ok {
		return next, false
	}
	return k.kv.at(v.batch, laneGroups[0].head, v.token+kernel.KeyBlock), true
}
