package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// A KV is a strided tensor of keys or values [batch, KV heads, tokens, dim], or a pool of
// pages [pages, KV heads, tokens of a page, dim].
type KV struct {
	Elem   kernel.Elem
	Base   unsafe.Pointer // unit (0, 0, 0, 0), nil if there is none
	Stride [4]int         // in bytes, any sign, 0 included; that of dim is from unit to unit
	Scale  Operand        // [batch, KV heads, tokens, 1], of Int8
}

// at returns the address of the first unit of a row, nil if there is none.
func (t *KV) at(batch, head, token int) unsafe.Pointer {
	if t.Base == nil {
		return nil
	}
	return unsafe.Add(t.Base, batch*t.Stride[0]+head*t.Stride[1]+token*t.Stride[2])
}

// step returns the bytes from row to row, in either direction.
func (t *KV) step() int { return max(t.Stride[2], -t.Stride[2]) }

// dense reports whether the units of a row lie side by side.
func (t *KV) dense() bool { return t.Stride[3] == t.Elem.Unit() }

// direct reports whether decoding reads keys and values as they are.
func (e *Engine) direct(p *Problem) bool {
	return p.K.Elem.Direct() && p.V.Elem.Direct() && !e.copiesKeys(p) && !e.copiesValues(p)
}

// copiesKeys reports whether decoding makes a rounded copy of keys, copiesValues of values.
func (e *Engine) copiesKeys(p *Problem) bool   { return p.rounds() && !e.brains(&p.K) }
func (e *Engine) copiesValues(p *Problem) bool { return p.roundsValues() && !e.brainValues(p) }

// brains reports whether decoding reads rows as they are in class BFloat16: kernels leave out what is below the least number.
func (e *Engine) brains(t *KV) bool { return e.set.BrainRows && t.Elem == kernel.BFloat16 }

// brainValues is brains for the values.
func (e *Engine) brainValues(p *Problem) bool { return e.brains(&p.V) && e.wholeValues(p) }

// place returns where a key of a sequence is in K and V: the index on their batch axis and
// the token there, and how many keys from it on follow each other, up to two blocks.
func (p *Problem) place(s *seq, key int) (batch, token, run int) {
	if p.Tables == nil {
		return s.batchKV, s.k0 + key, 2 * kernel.KeyBlock
	}
	run = 2 * kernel.KeyBlock
	if p.Ring {
		prefix, size := p.Mask.Prefix, len(s.table)*p.PageTokens
		if key < prefix {
			run = prefix - key
		} else {
			key = (key - prefix) % (size - prefix)
			run = size - prefix - key
			key += prefix
		}
	}
	batch, token = int(s.table[key/p.PageTokens]), key%p.PageTokens
	return batch, token, min(run, p.PageTokens-token)
}

// A keyRows is the rows of a key block of K or of V for one KV head.
type keyRows struct {
	kv     *KV
	twin   *keyRows // the keys of these values, whose blocks are read before those of values; or nil
	base   unsafe.Pointer
	batch  int      // where base is
	token  int      // likewise
	stride int      // bytes from row to row, if whole
	whole  bool     // the rows are as far apart as stride says
	even   bool     // those of the next block, too, from base on
	scale  *float32 // of each row, for Int8

	rounds  bool // to bfloat16
	brain   bool // of bfloat16, and decoding reads them as they are although rounds is set
	anyElem bool // decoding reads them as they are, whatever their type
	form    form
	pairs   pairing  // of the copy
	floats  *float32 // a copy in float32, or in pairs
	copied  bool     // it holds the block

	// off has bytes from base to each row of the block, to the row that a kernel is to ask for
	// with each, and room for what a kernel that begins within the block may look at. rows has
	// those to the rows of the block rowsAt and of the one after, if they are not even.
	off       [3 * kernel.KeyBlock]int
	rows      [2 * kernel.KeyBlock]int
	rowsAt    offsetsOf
	order     order
	next      [kernel.KeyBlock]uint8 // the row to ask for with each
	offAt     offsetsOf
	scaleCopy [kernel.KeyBlock]float32

	heads, last nextRows // with rows of the next head, and of what is read behind the last one
}

// offsetsOf says what rows offsets are those of: rows as far apart as stride if even, and otherwise those of two blocks of a sequence.
type offsetsOf struct {
	even              bool
	stride, seq, key0 int // seq from 1 on
}

// forgetOffsets has offsets of a sequence looked up anew. Even ones are the same in every problem: where keys
// are few, to compute them takes longer than all else.
func (r *keyRows) forgetOffsets() {
	if r.rowsAt = (offsetsOf{}); !r.offAt.even {
		r.offAt = offsetsOf{}
	}
}

// setOrder has rows read in an order.
func (r *keyRows) setOrder(o order) {
	if r.order == o {
		return
	}
	r.order, r.offAt = o, offsetsOf{}
	for k := range r.next {
		r.next[k] = uint8(o.upcoming(k))
	}
}

// find looks up the rows of a key block of a KV head.
func (r *keyRows) find(at *cursor, head int) {
	s := &at.seq
	r.copied = false
	var run int
	r.batch, r.token, run = at.problem.place(s, at.key0)
	r.whole = run >= at.n
	r.stride, r.even = r.kv.Stride[2], run >= 2*kernel.KeyBlock
	if !r.even {
		r.batch, r.token = 0, 0
		if r.offAt != (offsetsOf{seq: s.index + 1, key0: at.key0}) {
			r.tableOffsets(at, r.twin)
		}
	}
	r.toHead(at, head, span{to: at.n})
}

// toHead goes to some rows of another KV head of the block that find was called for.
func (r *keyRows) toHead(at *cursor, head int, keys span) {
	r.toRows(head)
	if r.kv.Elem.Scale() == kernel.RowScale {
		r.findScales(at, head, keys)
	}
}

// toRows is toHead without the scales.
func (r *keyRows) toRows(head int) { r.base = r.kv.at(r.batch, head, r.token) }

// offsets returns the offsets from base of the rows from one on.
func (r *keyRows) offsets(from int) *[2 * kernel.KeyBlock]int {
	if r.even && !(r.offAt.even && r.offAt.stride == r.stride) {
		r.evenOffsets()
	}
	return (*[2 * kernel.KeyBlock]int)(r.off[from:])
}

// evenOffsets computes the offsets of rows as far apart as stride.
func (r *keyRows) evenOffsets() {
	for k := range kernel.KeyBlock {
		r.off[k], r.off[kernel.KeyBlock+k] = k*r.stride, int(r.next[k])*r.stride
	}
	r.offAt = offsetsOf{even: true, stride: r.stride}
}

// found returns the offsets of the rows of the block and of the next, from where a KV head begins, where tableOffsets looked them up.
func (r *keyRows) found() *[2 * kernel.KeyBlock]int {
	if r.rowsAt != r.offAt {
		return &r.twin.rows
	}
	return &r.rows
}

// tableOffsets looks up the offsets of the block and of the next, or copies those of other rows that lie likewise.
func (r *keyRows) tableOffsets(at *cursor, other *keyRows) {
	want := offsetsOf{seq: at.seq.index + 1, key0: at.key0}
	if other != nil && other.offAt == want && other.order == r.order && other.kv.Stride == r.kv.Stride {
		copy(r.off[:2*kernel.KeyBlock], other.off[:])
		r.offAt = want
		return
	}
	r.tableRows(at)
	copy(r.off[:kernel.KeyBlock], r.rows[:])
	if ahead := r.order.ahead; !r.order.windows && ahead <= kernel.KeyBlock {
		copy(r.off[kernel.KeyBlock:], r.rows[ahead:][:kernel.KeyBlock])
	} else {
		for k, row := range r.next {
			r.off[kernel.KeyBlock+k] = r.rows[row]
		}
	}
	r.offAt, r.rowsAt = want, want
}

// tableRows looks up the rows of the block and of the next. Those of the block may be there, if the one before it was
// looked up last.
func (r *keyRows) tableRows(at *cursor) {
	s, key0 := &at.seq, at.key0
	first := 0
	if r.rowsAt == (offsetsOf{seq: s.index + 1, key0: key0 - kernel.KeyBlock}) {
		first = copy(r.rows[:kernel.KeyBlock], r.rows[kernel.KeyBlock:])
	}
	end := min(2*kernel.KeyBlock, s.lenKV-key0)
	for k := first; k < end; {
		batch, token, run := at.problem.place(s, key0+k)
		k = r.setRows(k, min(end, k+run), batch, token)
		if at.problem.Ring {
			continue
		}
		// The pages after it, without the divisions of place: they took as long as a tenth of decoding.
		for page := (key0 + k) / at.problem.PageTokens; k < end; page++ {
			k = r.setRows(k, min(end, k+at.problem.PageTokens), int(s.table[page]), 0)
		}
	}
	for k := max(end, first); k < 2*kernel.KeyBlock; k++ { // there are no more: nothing new to ask for
		r.rows[k] = r.rows[end-1]
	}
}

// following returns the offsets from where a KV head begins of the rows of the block after the present one, where
// the rows of both do not follow each other; nil if they are not known.
func (r *keyRows) following(at *cursor) []int {
	from := r
	if r.twin != nil && r.twin.kv.Stride == r.kv.Stride {
		from = r.twin // tableOffsets may have looked them up there alone
	}
	if r.even || from.rowsAt != (offsetsOf{seq: at.seq.index + 1, key0: at.key0}) {
		return nil
	}
	return from.rows[kernel.KeyBlock:]
}

// setRows sets the offsets of the rows [k, end), which follow each other from a token on, and returns end.
func (r *keyRows) setRows(k, end, batch, token int) int {
	step := r.kv.Stride[2]
	off, rows := batch*r.kv.Stride[0]+token*step, r.rows[k:end]
	for ; len(rows) >= 4; rows = rows[4:] { // most pages are multiples of 4 tokens
		rows[0], rows[1], rows[2], rows[3] = off, off+step, off+2*step, off+3*step
		off += 4 * step
	}
	for i := range rows {
		rows[i] = off + i*step
	}
	return end
}

// findScales finds the scales of some keys of the block of a KV head, side by side.
func (r *keyRows) findScales(at *cursor, head int, keys span) {
	p, s, scale := &at.problem, &at.seq, &r.kv.Scale
	batch, token, run := p.place(s, at.key0)
	if run >= at.n && scale.Stride[2] == 1 {
		r.scale = (*float32)(scale.at(batch, head, token))
		return
	}
	r.scale = &r.scaleCopy[0]
	for k := keys.from; k < keys.to; {
		batch, token, run = p.place(s, at.key0+k)
		k = r.copyScales(k, min(keys.to, k+run), batch, head, token)
		if p.Tables == nil || p.Ring {
			continue
		}
		for page := (at.key0 + k) / p.PageTokens; k < keys.to; page++ { // as in tableRows
			k = r.copyScales(k, min(keys.to, k+p.PageTokens), int(s.table[page]), head, 0)
		}
	}
}

// copyScales copies the scales of the rows [k, end), which follow each other from a token on, and returns end.
func (r *keyRows) copyScales(k, end, batch, head, token int) int {
	scale := &r.kv.Scale
	from := scale.at(batch, head, token)
	for i := range r.scaleCopy[k:end] {
		r.scaleCopy[k+i] = *(*float32)(unsafe.Add(from, 4*i*scale.Stride[2]))
	}
	return end
}

// forget drops the references to the caller's memory.
func (r *keyRows) forget() { r.kv, r.base, r.scale = nil, nil, nil }

// keysApart reports whether the elements of a key lie so far apart that a micro-tile of
// them would take long to read.
func (p *Problem) keysApart(set *kernel.Set) bool {
	a := kernel.ScoresArgs{Keys: set.Rows, Dim: p.DimQK, DimStride: p.K.Stride[3] / 4}
	return p.K.Elem == kernel.Float32 && a.Work() > kernel.MaxWork
}
