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
		return decodeGroups(arch)
	}
	f := newFunc(arch, "decodeScores", reflect.TypeFor[kernel.DecodeScoresArgs](), decodeScoresFormula)
	d := &keyScorer{
		Func: f, off: f.int("Off, next keys"), scale: f.int("Scale, next keys"), s: f.int("S, next keys"),
		keys: f.int("keys left"), key: f.int("K, next dims"), q: f.int("Q, next dims"),
		qStride: f.int("Q, bytes from dim to dim"), dims: f.int("dims left"), local: f.int("local memory"),
		t: f.int("transposed square"), n: f.int("steps left"), tmp: f.int("scratch"),
	}
	f.locals = f.localOff() + 8*f.Lanes + cacheLine
	f.LocalBase(f, d.local)
	f.load("Off", d.off)
	f.load("Scale", d.scale)
	f.load("S", d.s)
	f.load("Keys", d.keys)
	f.loadBytes("QStride", d.qStride)

	f.Loop("keys")
	d.openKeys()
	f.Loop("square")
	f.byElem(d.n, func(e kernel.Elem) {
		d.square(e)
		if e != kernel.Elems[len(kernel.Elems)-1] {
			f.Jump("multiply")
		}
	})
	d.multiply()
	d.closeKeys()
	f.Return(f)
	return f
}

// openKeys sets up for a vector of keys. The last one begins where it is whole, among keys
// that were done before; if there are fewer keys in all, the last of them stands for
// the missing ones.
func (d *keyScorer) openKeys() {
	n := d.Lanes
	d.Branch(d.Func, d.keys, "GE", imm(n), "whole")
	d.load("Keys", d.tmp)
	d.Branch(d.Func, d.tmp, "LT", imm(n), "few")
	d.Op(d.Sub, n, d.keys) // less than 0
	d.Op(d.Mov, d.keys, d.tmp)
	d.Op(d.Shl, 2, d.tmp)
	d.Op(d.Add, d.tmp, d.scale)
	d.Op(d.Shl, 1, d.tmp)
	d.Op(d.Add, d.tmp, d.off)
	d.loadBytes("Stride", d.tmp)
	d.Op(d.MulInt, d.keys, d.tmp)
	d.Op(d.Add, d.tmp, d.s)
	d.Op(d.Mov, n, d.keys)
	d.Jump("whole")

	d.Label("few")
	d.Op(d.Mov, d.local, d.t)
	d.Op(d.Mov, n, d.n)
	d.Loop("copy")
	d.Op(d.Mov, mem(d.off, 0), d.tmp)
	d.Op(d.Mov, d.tmp, mem(d.t, d.localOff()))
	d.Op(d.Add, 8, d.t)
	d.Branch(d.Func, d.keys, "EQ", "$1", "last")
	d.Op(d.Add, 8, d.off)
	d.Op(d.Sub, 1, d.keys)
	d.Label("last")
	d.Countdown(d.n, "copy")
	d.Op(d.Mov, d.local, d.off)
	d.Op(d.Add, d.localOff(), d.off)
	d.load("Keys", d.keys)
	d.load("Elem", d.n)
	d.Branch(d.Func, d.n, "NE", imm(int(kernel.Int8)), "whole")
	d.Op(d.Mov, d.local, d.t)
	d.Op(d.Mov, n, d.n)
	one := d.Vectors[0]
	d.Loop("copyScale")
	d.LoadOne(d.Func, kernel.Float32, mem(d.scale, 0), d.tmp, one)
	d.StoreElement(d.Func, one, mem(d.t, d.localScales()))
	d.Op(d.Add, 4, d.t)
	d.Branch(d.Func, d.keys, "EQ", "$1", "lastScale")
	d.Op(d.Add, 4, d.scale)
	d.Op(d.Sub, 1, d.keys)
	d.Label("lastScale")
	d.Countdown(d.n, "copyScale")
	d.Op(d.Mov, d.local, d.scale)
	d.Op(d.Add, d.localScales(), d.scale)
	d.load("Keys", d.keys)

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
	d.Label("multiply")
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

// closeKeys writes the scores of the vector of keys, four rows at a time.
func (d *keyScorer) closeKeys() {
	acc, rows, key, s := d.t, d.n, d.key, d.q
	m := d.vectors("scores:")
	v := m.take(4, "rows")
	tmp := m.one("scratch")
	d.Op(d.Mov, d.local, acc)
	d.Op(d.Mov, d.s, s)
	d.load("Rows", rows)
	d.loadBytes("Stride", d.tmp)

	d.Loop("quad")
	for i, v := range v {
		d.Op(d.Load, mem(acc, d.localAcc(i)), v)
	}
	quad := [4]Vec(v)
	transpose4x4(d.Func, d.Interleave[0], d.Interleave[1], quad[:], &tmp)
	d.Op(d.Mov, s, key)
	for n := 1; n < 4; n++ {
		d.Branch(d.Func, rows, "EQ", imm(n), fmt.Sprint("store", n))
	}
	for n := 4; n > 0; n-- {
		d.Label(fmt.Sprint("store", n))
		for i := range d.Lanes {
			d.StorePart(d.Func, quad[i%4], i/4, n, key, tmp)
			if i < d.Lanes-1 {
				d.Branch(d.Func, d.keys, "EQ", imm(i+1), fmt.Sprint("stored", n))
				d.Op(d.Add, d.tmp, key)
			}
		}
		d.Label(fmt.Sprint("stored", n))
		if n == 4 {
			d.Op(d.Add, 4*d.Bytes(), acc)
			d.Op(d.Add, 16, s)
			d.Op(d.Sub, 4, rows)
			d.Branch(d.Func, rows, "GT", "$0", "quad")
		}
		if n > 1 {
			d.Jump("nextKeys")
		}
	}
	d.Label("nextKeys")
	n := d.Lanes
	d.times(n, d.tmp)
	d.Op(d.Add, d.tmp, d.s)
	d.Op(d.Add, 8*n, d.off)
	d.Op(d.Add, 4*n, d.scale)
	d.Op(d.Sub, n, d.keys)
	d.Branch(d.Func, d.keys, "GT", "$0", "keys")
}
