package asmgen

import (
	"fmt"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const decodeScoresFormula = `
for k := range Keys, r := range Rows {
	S[k*Stride+r] = +0
	for d := range Dim {
		S[k*Stride+r] = fma(key k [d], Q[d*QStride+r], S[k*Stride+r])
	}
}
`

// A keyScorer is the body of DecodeScores. It takes Lanes keys at a time, a square of
// Lanes dims after the other: the square is loaded in rows, transposed into local memory,
// and multiplied with keys in the lanes, for each row of queries in turn.
type keyScorer struct {
	*Func
	off, scale Int // of the next keys
	s          Int
	keys       Int // left
	key        Int // units of the square, without Off
	q          Int
	qStride    Int
	dims       Int // left
	local      Int
	t          Int // transposed square
	n, tmp     Int
}

// Local memory of a keyScorer, in vectors: the transposed square, the accumulators, scales
// of the keys, halves of these, and Off and Scale of less than a vector of keys.
func (f *Func) localAcc(row int) int { return (f.Lanes + row) * f.Bytes() }
func (f *Func) localScale() int      { return f.localAcc(kernel.MaxDecodeRows) }
func (f *Func) localHalves() int     { return f.localScale() + f.Bytes() }
func (f *Func) localScales() int     { return f.localHalves() + f.Bytes() }
func (f *Func) localOff() int        { return f.localScales() + f.Bytes() }

// decodeScores writes DecodeScores.
func decodeScores(arch *Arch) *Func {
	switch {
	case arch.DecodePipeline:
		return decodePipeline(arch)
	case arch.DecodeLocal:
		return decodeVectors(arch)
	}
	f := newFunc(arch, "decodeScores", reflect.TypeFor[kernel.DecodeScoresArgs](), decodeScoresFormula)
	d := &keyScorer{
		Func: f, off: f.int("Off, next keys"), scale: f.int("Scale, next keys"), s: f.int("S, next keys"),
		keys: f.int("keys left"), key: f.int("K, next dims"), q: f.int("Q, next dims"),
		qStride: f.int("Q, bytes from dim to dim"), dims: f.int("dims left"), local: f.int("local memory"),
		t: f.int("transposed square"), n: f.int("steps left"), tmp: f.int("scratch"),
	}
	f.locals = f.localOff() + 8*(f.Lanes+scoredSlots) + cacheLine
	f.LocalBase(f, d.local)
	f.load("Off", d.off)
	f.load("S", d.s)
	f.load("Keys", d.keys)
	f.loadBytes("QStride", d.qStride)
	if f.FMAElement != nil {
		d.scoreRows("oneByOne", "scored")
	}
	f.Label("oneByOne")
	f.load("Scale", d.scale)
	f.Loop("keys")
	d.openKeys()
	f.Loop("square")
	f.byElemThen(directElems(), d.n, "multiply", d.square)
	d.multiply()
	d.closeKeys()
	f.Label("scored")
	f.Return(f)
	return f
}

// openKeys sets up for a vector of keys.
func (d *keyScorer) openKeys() {
	o := keyOpener{
		Func: d.Func, off: d.off, scale: d.scale, s: d.s, keys: d.keys, local: d.local, t: d.t, n: d.n, tmp: d.tmp,
		localOff: d.localOff(), localScales: d.localScales(), moved: func() {},
	}
	d.Branch(d.Func, d.keys, "GE", imm(d.Lanes), "whole")
	o.open("whole")
	d.Label("whole")
	zero := d.Vectors[0]
	d.Zero(d.Func, zero)
	for r := range d.DecodeRows {
		d.Op(d.Store, zero, mem(d.local, d.localAcc(r)))
	}
	d.load("K", d.key)
	d.load("Q", d.q)
	d.load("Dim", d.dims)
}

// A keyOpener makes a whole vector of fewer keys.
type keyOpener struct {
	*Func
	off, scale, s Int // of the next keys
	keys          Int // left
	local         Int
	t, n, tmp     Int // free

	localOff, localScales int // room for the offsets and scales of a vector of keys

	moved func() // writes what is to be done when scale or s have changed
}

// open has the last vector begin where it is whole, among keys that were done before; if there
// are fewer keys in all, the last of them stands for the missing ones. It jumps to whole, or
// falls through.
func (o *keyOpener) open(whole string) {
	n := o.Lanes
	o.load("Keys", o.tmp)
	o.Branch(o.Func, o.tmp, "LT", imm(n), "few")
	o.Op(o.Sub, n, o.keys) // less than 0
	o.Op(o.Mov, o.keys, o.tmp)
	o.Op(o.Shl, 2, o.tmp)
	o.Op(o.Add, o.tmp, o.scale)
	o.Op(o.Shl, 1, o.tmp)
	o.Op(o.Add, o.tmp, o.off)
	o.loadBytes("Stride", o.tmp)
	o.Op(o.MulInt, o.keys, o.tmp)
	o.Op(o.Add, o.tmp, o.s)
	o.moved()
	o.Op(o.Mov, n, o.keys)
	o.Jump(whole)

	o.Label("few")
	o.Op(o.Mov, o.local, o.t)
	o.Op(o.Mov, n, o.n)
	o.Loop("copy")
	o.Op(o.Mov, mem(o.off, 0), o.tmp)
	o.Op(o.Mov, o.tmp, mem(o.t, o.localOff))
	o.Op(o.Add, 8, o.t)
	o.Branch(o.Func, o.keys, "EQ", "$1", "last")
	o.Op(o.Add, 8, o.off)
	o.Op(o.Sub, 1, o.keys)
	o.Label("last")
	o.Countdown(o.n, "copy")
	o.Op(o.Mov, o.local, o.off)
	o.Op(o.Add, o.localOff, o.off)
	o.load("Keys", o.keys)
	o.load("Elem", o.n)
	o.Branch(o.Func, o.n, "NE", imm(int(kernel.Int8)), whole)
	o.Op(o.Mov, o.local, o.t)
	o.Op(o.Mov, n, o.n)
	one := o.Vectors[0]
	o.Loop("copyScale")
	o.LoadOne(o.Func, kernel.Float32, mem(o.scale, 0), o.tmp, one)
	o.StoreElement(o.Func, one, mem(o.t, o.localScales))
	o.Op(o.Add, 4, o.t)
	o.Branch(o.Func, o.keys, "EQ", "$1", "lastScale")
	o.Op(o.Add, 4, o.scale)
	o.Op(o.Sub, 1, o.keys)
	o.Label("lastScale")
	o.Countdown(o.n, "copyScale")
	o.Op(o.Mov, o.local, o.scale)
	o.Op(o.Add, o.localScales, o.scale)
	o.moved()
	o.load("Keys", o.keys)
}

// square loads and transposes the next square of dims. The last one begins where it is
// whole.
func (d *keyScorer) square(e kernel.Elem) {
	m := d.vectors(e.String() + " square:")
	rows := m.take(d.Lanes, "rows")
	tmp := m.one("scratch")
	factor := Vec("")
	n, unit := d.Lanes, e.Unit()
	if e == kernel.Q8_0 {
		factor = m.one("scales")
		d.blockScales(rows[0], factor)
		unit = 1
	} else {
		full := "full" + e.String()
		d.Branch(d.Func, d.dims, "GE", imm(n), full)
		d.Op(d.Mov, d.dims, d.tmp)
		d.Op(d.Sub, n, d.tmp)
		d.times(unit, d.tmp)
		d.Op(d.Add, d.tmp, d.key)
		d.Label(full)
		if e == kernel.Int8 {
			factor = m.one("scales")
			d.Op(d.Load, mem(d.scale, 0), factor)
		}
	}
	for i, v := range rows {
		d.Op(d.Mov, mem(d.off, 8*i), d.tmp)
		d.LoadElem(d.Func, e, d.AddressAt(d.Func, d.key, d.tmp, 0), v)
	}
	d.Op(d.Add, n*unit, d.key)
	for i, v := range d.Transpose(d.Func, rows, tmp) {
		if factor != "" {
			d.Op(d.MulV, factor, v, v)
		}
		d.Op(d.Store, v, mem(d.local, i*d.Bytes()))
	}
}

// blockScales leaves the scales of the keys' blocks in factor. At the first square of a block
// it collects them.
func (d *keyScorer) blockScales(v, factor Vec) {
	if d.Lanes < kernel.BlockValues {
		d.Op(d.Mov, d.dims, d.tmp)
		d.Op(d.And, kernel.BlockValues-1, d.tmp)
		d.Branch(d.Func, d.tmp, "NE", "$0", "within")
	}
	d.Op(d.Add, quants, d.key)
	for i := range d.Lanes {
		d.Op(d.Mov, mem(d.off, 8*i), d.tmp)
		d.LoadHalfInt(d.Func, d.AddressAt(d.Func, d.key, d.tmp, -quants), d.tmp)
		d.StoreHalfInt(d.Func, d.tmp, mem(d.local, d.localHalves()+2*i))
	}
	d.LoadElem(d.Func, kernel.Float16, mem(d.local, d.localHalves()), v)
	d.Op(d.Store, v, mem(d.local, d.localScale()))
	d.Label("within")
	d.Op(d.Load, mem(d.local, d.localScale()), factor)
}

// multiply adds the products of the square to the accumulators.
func (d *keyScorer) multiply() {
	n := d.Lanes
	d.Op(d.Mov, d.local, d.t)
	d.Op(d.Mov, n, d.n)
	d.Branch(d.Func, d.dims, "GE", imm(n), "steps")
	d.Op(d.Mov, n, d.tmp)
	d.Op(d.Sub, d.dims, d.tmp)
	d.times(d.Bytes(), d.tmp)
	d.Op(d.Add, d.tmp, d.t)
	d.Op(d.Mov, d.dims, d.n)
	d.Label("steps")
	name := func(rows int) string { return fmt.Sprint("rows", rows) }
	d.load("Rows", d.tmp)
	for r := 1; r < d.DecodeRows; r++ {
		d.Branch(d.Func, d.tmp, "EQ", imm(r), name(r))
	}
	for r := d.DecodeRows; r > 0; r-- {
		notes := d.notes
		m := d.vectors("multiply:")
		acc := m.take(r, "accumulators")
		t, tmp := m.one("dim of the square"), m.one("query")
		if r < d.DecodeRows {
			d.notes = notes
		}
		d.Label(name(r))
		for i, v := range acc {
			d.Op(d.Load, mem(d.local, d.localAcc(i)), v)
		}
		loop := "loop" + name(r)
		d.Loop(loop)
		d.Op(d.Load, mem(d.t, 0), t)
		for i, v := range acc {
			d.FMABroadcast(d.Func, mem(d.q, 4*i), t, v, tmp)
		}
		d.Op(d.Add, d.Bytes(), d.t)
		d.Op(d.Add, d.qStride, d.q)
		d.Countdown(d.n, loop)
		for i, v := range acc {
			d.Op(d.Store, v, mem(d.local, d.localAcc(i)))
		}
		if r > 1 {
			d.Jump("next")
		}
	}
	d.Label("next")
	d.Op(d.Sub, n, d.dims)
	d.Branch(d.Func, d.dims, "GT", "$0", "square")
}

// closeKeys writes the scores of the vector of keys.
func (d *keyScorer) closeKeys() {
	w := scoreWriter{Func: d.Func, acc: d.t, rows: d.n, key: d.key, s: d.q, stride: d.tmp, keys: d.keys}
	d.Op(d.Mov, d.local, w.acc)
	d.Op(d.Mov, d.s, w.s)
	d.load("Rows", w.rows)
	d.loadBytes("Stride", w.stride)
	w.write(d.localAcc, "nextKeys", func(label string) string { return label })
	n := d.Lanes
	d.times(n, d.tmp)
	d.Op(d.Add, d.tmp, d.s)
	d.Op(d.Add, 8*n, d.off)
	d.Op(d.Add, 4*n, d.scale)
	d.Op(d.Sub, n, d.keys)
	d.Branch(d.Func, d.keys, "GT", "$0", "keys")
}

// A scoreWriter writes the scores of a vector of keys, four rows at a time.
type scoreWriter struct {
	*Func
	acc    Int // the accumulators
	rows   Int // left
	s      Int // S, next rows
	key    Int // S, next key
	stride Int // bytes from key to key
	keys   Int // in the vector, if fewer than it has lanes
}

// write writes them from the accumulators at the offsets of rows. name makes labels of their
// own, and done is the last.
func (w *scoreWriter) write(accOf func(row int) int, done string, name func(label string) string) {
	m := w.vectors("scores:")
	v := m.take(4, "rows")
	tmp := m.one("scratch")
	quadLabel := name("quad")
	w.Loop(quadLabel)
	for i, v := range v {
		w.Op(w.Load, mem(w.acc, accOf(i)), v)
	}
	quad := [4]Vec(v)
	transpose4x4(w.Func, w.Interleave[0], w.Interleave[1], quad[:], &tmp)
	w.Op(w.Mov, w.s, w.key)
	store := func(n int) string { return name(fmt.Sprint("store", n)) }
	stored := func(n int) string { return name(fmt.Sprint("stored", n)) }
	for n := 1; n < 4; n++ {
		w.Branch(w.Func, w.rows, "EQ", imm(n), store(n))
	}
	for n := 4; n > 0; n-- {
		w.Label(store(n))
		for _, whole := range []bool{true, false} {
			if whole && n < 4 {
				continue
			}
			if whole {
				w.Branch(w.Func, w.keys, "LT", imm(w.Lanes), name("part"))
			} else if n == 4 {
				w.Label(name("part"))
			}
			for i := range w.Lanes {
				w.StorePart(w.Func, quad[i%4], i/4, n, w.key, tmp)
				if i == w.Lanes-1 {
					break
				}
				if !whole {
					w.Branch(w.Func, w.keys, "EQ", imm(i+1), stored(n))
				}
				w.Op(w.Add, w.stride, w.key)
			}
			if whole {
				w.Jump(stored(n))
			}
		}
		w.Label(stored(n))
		if n == 4 {
			w.Op(w.Add, 4*w.Bytes(), w.acc)
			w.Op(w.Add, 16, w.s)
			w.Op(w.Sub, 4, w.rows)
			w.Branch(w.Func, w.rows, "GT", "$0", quadLabel)
		}
		if n > 1 {
			w.Jump(done)
		}
	}
	w.Label(done)
}
