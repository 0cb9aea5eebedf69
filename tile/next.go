package tile

import "github.com/qkv-go/qkv/kernel"

// Where kernels of class Int8 ask into the first-level cache, and those of floating-point numbers on AVX-512, they ask for what is read next: where
// blocks are read head by head and rows are even, behind the rows of a KV head those of the next head, behind those of the last head
// the values of the first one, and behind these, at last, the keys of the next block. So the requests go on where one head's rows end.

// rowsAhead returns how many rows ahead are asked for. Half a block leaves more of the first-level cache to what else is read. It is a whole one
// where scales are among the values of a block: they are read before it.
func (p *Problem) rowsAhead() int {
	if p.integerValues() && p.V.Elem.UnitValues() > 1 {
		return kernel.KeyBlock
	}
	return kernel.KeyBlock / 2
}

// A following is rows of a block that are read behind those of a head. It has no pointer to them: behind the last block there may
// be nothing.
type following struct {
	behind int  // bytes from the head's first row to the first of these
	stride int  // and from one of these to the next
	last   bool // they are no other head's of the same tensor
}

// nextRows are offsets of rows of a block, and of rows to ask for: those so many rows ahead, of the block or of what follows.
type nextRows struct {
	stride, ahead int
	next          following
	off           [3 * kernel.KeyBlock]int // as keyRows.off
}

// of returns the offsets of rows so far apart, from one on, with those of rows to ask for.
func (n *nextRows) of(stride, ahead int, next following, from int) *[2 * kernel.KeyBlock]int {
	if n.stride != stride || n.ahead != ahead || n.next != next {
		n.stride, n.ahead, n.next = stride, ahead, next
		asks := n.off[kernel.KeyBlock:]
		for k := range kernel.KeyBlock {
			n.off[k] = k * stride
			if row := k + ahead; row < kernel.KeyBlock {
				asks[k] = row * stride
			} else {
				asks[k] = next.behind + (row-kernel.KeyBlock)*next.stride
			}
		}
	}
	return (*[2 * kernel.KeyBlock]int)(n.off[from:])
}

// offsetsNext is offsets with rows to ask for that follow. It is offsets if rows are not even.
func (r *keyRows) offsetsNext(from int, next following) *[2 * kernel.KeyBlock]int {
	if !r.even || r.order.rows == 0 {
		return r.offsets(from)
	}
	n := &r.heads
	if next.last {
		n = &r.last
	}
	return n.of(r.stride, r.order.rows, next, from)
}

// rowsOf returns the rows of a head of a tensor from a token on, as what follows.
func (r *keyRows) rowsOf(t *KV, head, token int) following {
	first := uintptr(t.Base) + uintptr(r.batch*t.Stride[0]+head*t.Stride[1]+token*t.Stride[2])
	return following{behind: int(first - uintptr(r.base)), stride: t.Stride[2]}
}

// nextHead returns what is read behind a head of the i-th lane group, and false if that is no other head.
func (r *keyRows) nextHead(laneGroups []laneGroup, i, head int) (following, bool) {
	g := &laneGroups[i]
	if head+1 < g.head+(g.rows+g.rowsPerKV-1)/g.rowsPerKV {
		return r.rowsOf(r.kv, head+1, r.token), true
	}
	if i+1 < len(laneGroups) {
		return r.rowsOf(r.kv, laneGroups[i+1].head, r.token), true
	}
	return following{}, false
}

// nextOfKeys returns what is read behind the keys of a head: if no other head's, the values of the first one, or the next
// block of its keys if values ask for their own rows.
func (w *workspace) nextOfKeys(at *cursor, laneGroups []laneGroup, i, head int) following {
	k, v := &w.kv.k, &w.kv.v
	next, ok := k.nextHead(laneGroups, i, head)
	switch {
	case ok:
		return next
	case at.problem.integerValues() || v.order.rows > 0:
		next = k.rowsOf(v.kv, laneGroups[0].head, k.token)
	default:
		next = k.rowsOf(k.kv, laneGroups[0].head, k.token+kernel.KeyBlock)
	}
	next.last = true
	return next
}

// nextOfValues returns what is read behind the values of a head: if no other head's, the next block of keys, or of its values if
// keys ask for their own rows.
func (w *workspace) nextOfValues(at *cursor, laneGroups []laneGroup, i, head int) following {
	k, v := &w.kv.k, &w.kv.v
	next, ok := v.nextHead(laneGroups, i, head)
	if !ok {
		next = v.rowsOf(v.kv, laneGroups[0].head, v.token+kernel.KeyBlock)
		if k.order.rows > 0 {
			next = v.rowsOf(k.kv, laneGroups[0].head, v.token+kernel.KeyBlock)
		}
		next.last = true
	}
	return next
}
