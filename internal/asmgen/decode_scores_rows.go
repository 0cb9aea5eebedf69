package asmgen

import (
	"fmt"

	"github.com/qkv-go/qkv/kernel"
)

// A rowScorer is DecodeScores of fours of rows by 16 keys at a time, of floating-point types and whole fours of pairs of
// dims. Four rows are in the lanes, as Q and S have them, and a multiply-add takes a dim of a key from a register: nothing
// is transposed. Each key is a chain.
type rowScorer struct {
	*keyScorer
	elem kernel.Elem
	p    []Int // keys
	base Int   // bytes from Off to the dims
	ask  Int   // Off of the next rows to ask for
	acc  []Vec // of keys
	qs   []Vec // of dims
	x    []Vec // dims of two keys
}

// scoredKeys is the keys of a rowScorer, and scoredDims the dims of a turn.
const scoredKeys, scoredDims = 16, 8

// Local variables of a rowScorer, behind those of the keyScorer: S of the keys, keys left, fours of rows left, and Q and S of
// these.
func (r *rowScorer) slot(i int) string { return r.LocalAt(r.localOff() + 8*(r.Lanes+i)) }

const (
	scoredS = iota
	scoredLeft
	scoredRows
	scoredQ
	scoredRowS
	scoredSlots
)

// scoreRows writes what takes all keys but the last ones, which are left for the loop at a label. It jumps to done if there
// are none.
func (d *keyScorer) scoreRows(keys, done string) {
	d.load("Rows", d.tmp)
	d.Op(d.And, 3, d.tmp)
	d.Branch(d.Func, d.tmp, "NE", "$0", keys)
	d.load("Dim", d.dims)
	d.Op(d.And, scoredDims-1, d.dims)
	d.Branch(d.Func, d.dims, "NE", "$0", keys)
	d.load("Elem", d.tmp)
	elems := []kernel.Elem{kernel.Float32, kernel.Float16, kernel.BFloat16}
	label := func(e kernel.Elem) string { return e.String() + "Keys" }
	for _, e := range elems {
		d.Branch(d.Func, d.tmp, "EQ", imm(int(e)), label(e))
	}
	d.Jump(keys)
	r := &rowScorer{keyScorer: d, base: d.s, ask: d.keys}
	r.p = append([]Int{d.scale, d.key, d.t, d.n}, d.ints(scoredKeys-4, "keys")...)
	for _, e := range elems {
		r.elem = e
		d.Label(label(e))
		r.keysOf(label(e), keys, done)
	}
}

// keysOf writes the loop over the keys of a type.
func (r *rowScorer) keysOf(again, keys, done string) {
	name := func(what string) string { return r.elem.String() + what }
	notes := r.notes
	m := r.vectors("rows in lanes:")
	r.acc, r.qs, r.x = m.take(scoredKeys, "scores of keys"), m.take(scoredDims, "queries"), m.take(4, "dims of two keys")
	if r.elem != kernel.Float32 {
		r.notes = notes
	}
	r.Branch(r.Func, r.keyScorer.keys, "EQ", "$0", done)
	r.Branch(r.Func, r.keyScorer.keys, "LT", imm(scoredKeys), keys)
	r.Op(r.Mov, r.s, r.slot(scoredS))
	r.Op(r.Mov, r.s, r.slot(scoredRowS))
	r.Op(r.Mov, r.keyScorer.keys, r.slot(scoredLeft))
	r.load("Rows", r.tmp)
	r.Op(r.Mov, r.tmp, r.slot(scoredRows))
	r.load("Q", r.q)
	r.Op(r.Mov, r.q, r.slot(scoredQ))
	rows := name("Rows")
	r.Label(rows)
	r.load("K", r.tmp)
	for i, p := range r.p {
		r.Op(r.Mov, mem(r.off, 8*i), p)
		r.Op(r.Add, r.tmp, p)
	}
	r.load("Dim", r.dims)
	for _, v := range r.acc {
		r.Zero(r.Func, v)
	}
	loop := name("Dims")
	r.Loop(loop)
	r.turn()
	r.Op(r.Sub, scoredDims, r.dims)
	r.Branch(r.Func, r.dims, "NE", "$0", loop)

	s, stride := r.base, r.ask
	r.Op(r.Mov, r.slot(scoredRowS), s)
	r.loadBytes("Stride", stride)
	r.Op(r.Add, 16, s, r.tmp)
	r.Op(r.Mov, r.tmp, r.slot(scoredRowS))
	for i, v := range r.acc {
		if i > 0 {
			r.Op(r.Add, stride, s)
		}
		r.Op(r.Store, v, mem(s, 0))
	}
	r.Op(r.Mov, r.slot(scoredQ), r.q)
	r.Op(r.Add, 16, r.q)
	r.Op(r.Mov, r.q, r.slot(scoredQ))
	r.Op(r.Mov, r.slot(scoredRows), r.tmp)
	r.Op(r.Sub, 4, r.tmp)
	r.Op(r.Mov, r.tmp, r.slot(scoredRows))
	r.Branch(r.Func, r.tmp, "NE", "$0", rows)

	r.times(scoredKeys, stride)
	r.Op(r.Mov, r.slot(scoredS), r.s)
	r.Op(r.Add, stride, r.s)
	r.Op(r.Mov, r.slot(scoredLeft), r.keyScorer.keys)
	r.Op(r.Sub, scoredKeys, r.keyScorer.keys)
	r.Op(r.Add, 8*scoredKeys, r.off)
	r.Jump(again)
}

// turn adds the products of some dims of all keys.
func (r *rowScorer) turn() {
	r.askRows()
	for _, q := range r.qs {
		r.Op(r.Load, mem(r.q, 0), q)
		r.Op(r.Add, r.qStride, r.q)
	}
	for i := 0; i < scoredKeys; i += 2 {
		for k := range 2 {
			r.loadDims(r.p[i+k], r.x[2*k], r.x[2*k+1])
			r.Op(r.Add, scoredDims*r.elem.Unit(), r.p[i+k])
		}
		for j, q := range r.qs {
			for k := range 2 {
				r.FMAElement(r.Func, r.x[2*k+j/4], j%4, q, r.acc[i+k])
			}
		}
	}
}

// loadDims loads the dims of a key.
func (r *rowScorer) loadDims(p Int, low, high Vec) {
	switch r.elem {
	case kernel.Float32:
		r.Op(r.Load, mem(p, 0), low)
		r.Op(r.Load, mem(p, r.Bytes()), high)
		return
	case kernel.Float16:
		r.Op(r.Load, mem(p, 0), high)
		r.Op("FCVTL.S4", high, low)
		r.Op("FCVTL2.S4", high, high)
	case kernel.BFloat16:
		r.Op(r.Load, mem(p, 0), high)
		r.Op("SHLL.S4", high, low)
		r.Op("SHLL2.S4", high, high)
	default:
		panic(fmt.Sprintf("asmgen: no rows of %v", r.elem))
	}
}

// askRows asks for a line of some of the rows that are wanted later: of all keys with the turns that a line has.
func (r *rowScorer) askRows() {
	bytes := scoredDims * r.elem.Unit()
	turns := cacheLine / bytes
	each := scoredKeys / turns
	// The dims left say which of the turns this is.
	r.Op(r.And, (turns-1)*scoredDims, r.dims, r.ask)
	r.times(8*each/scoredDims, r.ask)
	r.Op(r.Add, r.off, r.ask)
	r.Op(r.Mov, r.p[0], r.base)
	r.SubLoad(r.Func, mem(r.off, 0), r.base)
	for i := range each {
		r.Op(r.Mov, mem(r.ask, 8*(kernel.Upcoming+i)), r.tmp)
		r.Op(r.Add, r.base, r.tmp)
		r.Prefetch(r.Func, mem(r.tmp, 0))
	}
}
