package asmgen

import (
	"fmt"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

// A byteScorer is the body of DecodeScoresInt8 by DotBytes. It takes a vector of keys at a time, a block of 32 dims
// after the other: the integers of all of these keys are in registers, and each row multiplies them. The sums of a
// key's lanes are added in pairs, or the block is transposed first.
type byteScorer struct {
	*Func
	off       Int   // of the keys
	keys      Int   // left
	key       []Int // the block of each key
	q, stride Int   // Q at the block, and bytes from row to row
	dims      Int   // left
	local     Int
	p         Int // Q at the next row
	rows      Int // left
	acc       Int // sums of the next row
	tmp       Int
	scale, s  Int // of the keys

	elem kernel.Elem

	k             [][2]Vec // integers of the keys
	sums          []Vec    // of integers, of each key
	x             [2]Vec   // integers of a row
	tail, acc1, t Vec      // what is behind them, the sum of the row, scratch
	factor, min   Vec
	mask, zero    Vec
}

// Local memory of a byteScorer: sums of rows, Off and Scale of less than a vector, and dims that are less than a block.
func (g *byteScorer) localSum(row int) int { return row * g.Bytes() }
func (g *byteScorer) localOff() int        { return g.localSum(kernel.MaxDecodeRows) }
func (g *byteScorer) localScales() int     { return g.localOff() + 8*(g.Lanes+kernel.Upcoming) }
func (g *byteScorer) localTail() int       { return g.localScales() + 4*g.Lanes }

// scoreBytes writes DecodeScoresInt8.
func scoreBytes(arch *Arch) *Func {
	f := newFunc(arch, "decodeScoresInt8", reflect.TypeFor[kernel.DecodeScoresInt8Args](), decodeScoresInt8Formula)
	g := &byteScorer{
		Func: f, off: f.int("Off, next keys"), keys: f.int("keys left"), key: f.ints(arch.Lanes, "keys, at the block"),
		q: f.int("Q, at the block"), stride: f.int("Q, bytes from row to row"), dims: f.int("dims left"),
		local: f.int("local memory"), p: f.int("Q, next row"), rows: f.int("rows left"), acc: f.int("sums of the next row"),
		tmp: f.int("scratch"), scale: f.int("Scale, next keys"), s: f.int("S, next keys"),
	}
	f.locals = g.localTail() + f.Lanes*kernel.Int8Block + cacheLine
	m := f.vectors("all:")
	for range f.Lanes {
		g.k = append(g.k, [2]Vec(m.take(2, "integers of a key")))
	}
	g.sums, g.x = m.take(f.Lanes, "sums of integers"), [2]Vec(m.take(2, "integers of a row"))
	g.tail, g.acc1, g.t = m.one("D and Sum of the row"), m.one("sum of the row"), m.one("scratch")
	g.factor, g.min = m.one("scales of the keys"), m.one("minima")
	g.mask, g.zero = m.one("4 bits"), m.one("8 in each byte")
	f.LocalBase(f, g.local)
	f.load("Off", g.off)
	f.load("Scale", g.scale)
	f.load("S", g.s)
	f.load("Keys", g.keys)
	f.load("QBytes", g.stride)
	f.Op("VMOVI.B16", 15, g.mask)
	f.Op("VMOVI.B16", 8, g.zero)
	f.Zero(f, g.t)
	for at := 0; at < f.Lanes*kernel.Int8Block; at += f.Bytes() {
		f.Op(f.Store, g.t, mem(g.local, g.localTail()+at))
	}

	f.Loop("keys")
	g.open()
	f.byElemThen(integerElems(), g.tmp, "scored", func(e kernel.Elem) {
		g.elem = e
		g.blocks()
	})
	g.close()
	f.Return(f)
	return f
}

func (g *byteScorer) name(format string, args ...any) string {
	return g.elem.String() + fmt.Sprintf(format, args...)
}

// open sets up for the next keys.
func (g *byteScorer) open() {
	o := keyOpener{
		Func: g.Func, off: g.off, scale: g.scale, s: g.s, keys: g.keys, local: g.local, t: g.acc, n: g.rows, tmp: g.tmp,
		localOff: g.localOff(), localScales: g.localScales(), moved: func() {},
	}
	g.Branch(g.Func, g.keys, "GE", imm(g.Lanes), "whole")
	o.open("whole")
	g.Label("whole")
	g.Zero(g.Func, g.t)
	for r := range g.DecodeRows {
		g.Op(g.Store, g.t, mem(g.local, g.localSum(r)))
	}
	g.load("K", g.p)
	for i, key := range g.key {
		g.Op(g.Mov, mem(g.off, 8*i), key)
		g.Op(g.Add, g.p, key)
	}
}

// blocks writes the loop over the blocks of an element type.
func (g *byteScorer) blocks() {
	loop, multiply := g.name("Block"), g.name("Multiply")
	g.load("Q", g.q)
	g.load("Dim", g.dims)
	if g.elem == kernel.Int8 {
		g.Op(g.Load, mem(g.scale, 0), g.factor)
	}
	g.Loop(loop)
	g.ask()
	g.scales()
	if g.elem == kernel.Int8 {
		whole := g.name("Whole")
		g.Branch(g.Func, g.dims, "GE", imm(kernel.Int8Block), whole)
		g.last()
		g.Jump(multiply)
		g.Label(whole)
	}
	for i, key := range g.key {
		g.integers(g.elem, key, quantsOf(g.elem), g.k[i], g.mask, g.zero)
	}
	if g.elem == kernel.Int8 {
		g.Label(multiply)
	}
	g.products()
	g.Op(g.Add, kernel.Int8BlockBytes(false), g.q)
	for _, key := range g.key {
		g.Op(g.Add, g.elem.RowBytes(kernel.Int8Block), key)
	}
	g.Op(g.Sub, kernel.Int8Block, g.dims)
	g.Branch(g.Func, g.dims, "GT", "$0", loop)
}

// ask asks for rows that are wanted later, with each block for every other half of the keys: two blocks are a line.
func (g *byteScorer) ask() {
	half := g.Lanes / 2
	g.Op(g.And, kernel.Int8Block, g.dims, g.acc)
	g.Op("LSR", 1, g.acc) // 8 bytes for each key of a half
	g.Op(g.Add, g.off, g.acc)
	for i := range half {
		g.Op(g.Mov, mem(g.acc, 8*(kernel.Upcoming+i)), g.tmp)
		g.Op(g.Add, g.key[0], g.tmp)
		g.SubLoad(g.Func, mem(g.off, 0), g.tmp)
		g.Prefetch(g.Func, mem(g.tmp, 0))
	}
}

// scales loads the scales of the keys, and the minima, of a type of blocks.
func (g *byteScorer) scales() {
	element := "H"
	switch g.elem {
	case kernel.Int8:
		return
	case kernel.Q4_1:
		element = "S"
	}
	for i, key := range g.key {
		g.Op("VLD1", mem(key, 0), fmt.Sprintf("%s.%s[%d]", g.t, element, i))
	}
	if g.elem == kernel.Q4_1 {
		g.Halves(g.Func, "", g.t, g.factor, g.min, "")
	} else {
		g.Op("FCVTL.S4", g.t, g.factor)
	}
}

// last loads the last dims of each key, less than a block, by way of where zeros stand behind them.
func (g *byteScorer) last() {
	from, to := g.p, g.acc
	for i, key := range g.key {
		at := g.localTail() + i*kernel.Int8Block
		g.Op(g.Mov, key, from)
		g.Op(g.Add, at, g.local, to)
		g.copyBytes(g.dims, from, to, g.tmp, g.t, g.name("Tail"))
		g.integers(g.elem, g.local, at, g.k[i], g.mask, g.zero)
	}
}

// turnedRows is the least rows for which the block is transposed, where DotQuad is one instruction: then a row takes
// 6 instructions fewer, and the block 16 more.
const turnedRows = 3

// products adds the products of the block to the sums of all rows.
func (g *byteScorer) products() {
	row, turned, turnedRow, done := g.name("Row"), g.name("Turned"), g.name("TurnedRow"), g.name("Multiplied")
	g.Op(g.Mov, g.q, g.p)
	g.Op(g.Mov, g.local, g.acc)
	g.load("Rows", g.rows)
	if g.SumVectors == 1 {
		g.Branch(g.Func, g.rows, "GE", imm(turnedRows), turned)
	}
	g.row(row, func() Vec {
		for _, sum := range g.sums {
			g.Zero(g.Func, sum)
		}
		for i, x := range g.x {
			for j, sum := range g.sums {
				g.DotBytes(g.Func, g.k[j][i], x, sum, g.t)
			}
		}
		for n := g.Lanes; n > 1; n /= 2 {
			for i := 0; i < n; i += 2 {
				g.Op("VADDP.S4", g.sums[i+1], g.sums[i], g.sums[i/2])
			}
		}
		return g.sums[0]
	})
	if g.SumVectors > 1 {
		return
	}
	g.Jump(done)
	g.Label(turned)
	var quads []Vec // four dims of each key
	spare := g.sums[0]
	for i := range g.x {
		var keys []Vec
		for _, k := range g.k {
			keys = append(keys, k[i])
		}
		transpose4x4(g.Func, g.Interleave[0], g.Interleave[1], keys, &spare)
		quads = append(quads, keys...)
	}
	g.row(turnedRow, func() Vec {
		g.Zero(g.Func, spare)
		for i, k := range quads {
			g.DotQuad(g.Func, k, g.x[i/4], i%4, []Vec{spare}, g.t)
		}
		return spare
	})
	g.Label(done)
}

// row writes the loop over rows. dot writes the sums of products of a row by all keys, and returns where they are.
func (g *byteScorer) row(label string, dot func() Vec) {
	g.Loop(label)
	for i, x := range g.x {
		g.Op(g.Load, mem(g.p, i*g.Bytes()), x)
	}
	g.Op(g.Load, mem(g.p, kernel.Int8Integers(false)+kernel.Int8D), g.tail)
	g.Op(g.Add, g.stride, g.p)
	g.Op(g.Load, mem(g.acc, 0), g.acc1)
	sum := dot()
	g.IntToFloat(g.Func, sum, sum)
	g.Mul(g.Func, g.tail, g.factor, g.t)
	g.Op(g.FMAV, g.t, sum, g.acc1)
	if g.elem == kernel.Q4_1 {
		g.Op("FMLA.S[1]", g.tail, g.min, g.acc1)
	}
	g.Op(g.Store, g.acc1, mem(g.acc, 0))
	g.Op(g.Add, g.Bytes(), g.acc)
	g.Countdown(g.rows, label)
}

// close writes the scores of the keys.
func (g *byteScorer) close() {
	w := scoreWriter{Func: g.Func, acc: g.p, rows: g.rows, key: g.key[0], s: g.q, stride: g.tmp, keys: g.keys}
	g.loadBytes("Stride", w.stride)
	g.Op(g.Mov, g.s, w.s)
	g.Op(g.Mov, g.local, w.acc)
	g.load("Rows", w.rows)
	w.write(g.localSum, "nextKeys", func(label string) string { return label })
	n := g.Lanes
	g.times(n, w.stride)
	g.Op(g.Add, w.stride, g.s)
	g.Op(g.Add, 4*n, g.scale)
	g.Op(g.Add, 8*n, g.off)
	g.Op(g.Sub, n, g.keys)
	g.Branch(g.Func, g.keys, "GT", "$0", "keys")
}
