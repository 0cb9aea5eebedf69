package asmgen

import (
	"fmt"
	"slices"

	"github.com/qkv-go/qkv/kernel"
)

// A unitScorer is the part of a vectorScorer for 16 keys, types of 16 bits and up to four rows,
// whose accumulators stay in registers over all dims: a unit of 16 dims is transposed and
// multiplied, and then the next one. There is no loop in a unit, so that the CPU transposes while
// it still multiplies the one before.
type unitScorer struct {
	*vectorScorer
	rows int
	acc  [2][]Vec
}

const (
	unitDims = 16
	unitRows = 4
)

// fewRows writes the loops over units, which leave accumulators in local memory and go to done,
// or where there are dims left to rest, as with other types and rows: it is the label that follows.
func (g *vectorScorer) fewRows(rest, done string) {
	g.unlessTwo(rest)
	g.load("Rows", g.rowsLeft)
	g.Branch(g.Func, g.rowsLeft, "GT", imm(unitRows), rest)
	g.Branch(g.Func, g.dims, "LT", imm(unitDims), rest)
	g.load("Elem", g.n)
	types := []kernel.Elem{kernel.Float16, kernel.BFloat16}
	for _, e := range types {
		g.Branch(g.Func, g.n, "EQ", imm(int(e)), e.String()+"Units")
	}
	g.Jump(rest)
	for _, e := range types {
		g.elem = e
		g.Label(g.name("Units"))
		for rows := 1; rows < unitRows; rows++ {
			g.Branch(g.Func, g.rowsLeft, "EQ", imm(rows), g.name("Units%d", rows))
		}
		for rows := unitRows; rows > 0; rows-- {
			g.Label(g.name("Units%d", rows))
			u := &unitScorer{vectorScorer: g, rows: rows}
			u.emit()
			g.Branch(g.Func, g.dims, "GT", "$0", rest)
			g.Jump(done)
		}
	}
}

// emit writes the loop over units for a number of rows.
func (u *unitScorer) emit() {
	notes := u.notes
	m := u.vectors("units:")
	for vector := range u.acc {
		u.acc[vector] = m.take(u.rows, "accumulators")
	}
	if u.rows < unitRows || u.elem != kernel.Float16 {
		u.notes = notes
	}
	u.each(func(vector, row int, acc Vec) { u.Op(u.Load, u.local0(vector, row), acc) })
	u.asks.step = cacheLine
	u.asks.setLines(cacheLine/width(u.elem), u.tmp)
	u.asks.begin(u.row, u.t)
	loop := u.name("Unit%d", u.rows)
	u.Loop(loop)
	// The transposition needs all registers but seven.
	last := unitRows - 1
	if u.rows == unitRows {
		u.Op(u.Store, u.acc[1][last], u.local0(1, last))
	}
	for vector := range 2 {
		u.square(vector, u.Vectors[2*unitRows-1:][:vectorKeys+1])
	}
	if u.rows == unitRows {
		u.Op(u.Load, u.local0(1, last), u.acc[1][last])
	}
	u.multiply()
	u.Op(u.Add, unitDims*width(u.elem), u.key)
	u.Op(u.Sub, unitDims, u.dims)
	u.Branch(u.Func, u.dims, "GE", imm(unitDims), loop)
	u.asks.end(u.row, u.t)
	u.each(func(vector, row int, acc Vec) { u.Op(u.Store, acc, u.local0(vector, row)) })
}

// each calls f for each accumulator.
func (u *unitScorer) each(f func(vector, row int, acc Vec)) {
	for vector, list := range u.acc {
		for row, acc := range list {
			f(vector, row, acc)
		}
	}
}

// local0 is where an accumulator is in local memory.
func (u *unitScorer) local0(vector, row int) string { return mem(u.local, u.localAcc(vector, row)) }

// square transposes a unit of a vector of keys into local memory.
func (u *unitScorer) square(vector int, v []Vec) {
	rows, tmp := slices.Clone(v[:vectorKeys]), v[vectorKeys]
	for i := range vectorKeys {
		u.Op(u.Mov, mem(u.off, 8*(vector*vectorKeys+i)), u.tmp)
		if u.elem == kernel.Float16 {
			u.Op(u.Load, u.AddressOf(u.Func, u.key, u.tmp, 0), rows[i])
			continue
		}
		for at := range 2 {
			x, addr := rows[4*at+i%4], u.AddressOf(u.Func, u.key, u.tmp, 16*at)
			if i < 4 {
				u.Op("VMOVUPS", addr, low(x, "X"))
			} else {
				u.Op("VINSERTF128", 1, addr, x, x)
			}
		}
	}
	if u.elem == kernel.Float16 {
		// A dim of all keys, and the dim eight further on.
		unpackParts(u.Func, []interleave{unpackWD, unpackDQ, unpackQDQ}, rows, &tmp)
	} else {
		// Two dims of all keys, each pair as it is stored.
		transpose4x4(u.Func, unpackPS, unpackPD, rows, &tmp)
	}
	for i, v := range rows {
		u.Op(u.Store, v, mem(u.local, u.localT(vector)+32*i))
	}
}

// multiply adds the products of a unit, in the order of dims, and moves q on.
func (u *unitScorer) multiply() {
	free := u.Vectors[2*unitRows:]
	v, pairs, mask := [2]Vec(free[:2]), [2]Vec(free[2:4]), free[4]
	x := free[5:8]
	if u.elem == kernel.BFloat16 {
		u.Broadcast(u.Func, u.symbol("upperHalf", 0xffff0000, 0xffff0000)+"(SB)", mask)
	}
	for d := range unitDims {
		if d%2 == 0 { // two units are a line of 16 keys
			u.asks.ask(u.row, u.t, u.tmp)
		}
		for vector := range v {
			switch {
			case u.elem == kernel.Float16:
				u.LoadElem(u.Func, u.elem, mem(u.local, u.localT(vector)+d%8*32+d/8*16), v[vector])
			case d%2 == 0:
				u.Op(u.Load, mem(u.local, u.localT(vector)+d/2*32), pairs[vector])
				u.Op(u.ShlV, 16, pairs[vector], v[vector])
			default:
				u.Op("VANDPS", mask, pairs[vector], v[vector])
			}
		}
		for r := range u.rows {
			x := x[r%len(x)]
			addr := mem(u.q, 4*r)
			if d%2 == 1 {
				addr = u.AddressOf(u.Func, u.q, u.qStride, 4*r)
			}
			u.Broadcast(u.Func, addr, x)
			for vector, v := range v {
				u.FMA(u.Func, x, v, u.acc[vector][r])
			}
		}
		if d%2 == 1 {
			u.Op("LEAQ", fmt.Sprintf("(%s)(%s*2)", u.q, u.qStride), u.q)
		}
	}
}
