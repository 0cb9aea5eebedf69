package asmgen

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/qkv-go/qkv/kernel"
)

const decodeScoresInt8Formula = `
for k := range Keys, r := range Rows {
	acc = +0
	for blocks b of 32 dims {
		sum = the sum of numbers of key k * integers of row r, exactly
		acc = fma(float(sum), scale of key k * D, acc)
		if Elem == Q4_1 { acc = fma(Min, Sum, acc) }
	}
	S[k*Stride+r] = acc
}
`

// An int8Scorer is the body of DecodeScoresInt8. It takes Lanes keys at a time, a block of 32 dims after the
// other: the block is loaded and transposed in registers, so that a lane has four bytes of a key, and is multiplied
// by up to int8ScoreRows rows at a time.
type int8Scorer struct {
	*Func
	off      Int // of the keys
	keys     Int // left
	key      Int // K, at the block
	q        Int // Q, at the block
	stride   Int // Q, bytes from row to row
	dims     Int // left
	local    Int
	p, third Int // Q at the next rows, and at the fourth of them
	rows     Int // left
	acc      Int // sums of the next rows
	tmp      Int

	elem kernel.Elem

	k           []Vec // codes of four dims each
	spare       Vec
	sums        []Vec // of integers
	odd         []Vec // sums of every other four dims, or nil
	x           Vec
	factor, min Vec
}

const (
	// int8ScoreRows is how many rows are multiplied at a time.
	int8ScoreRows = 4
	// int8Groups is the groups of four dims of a block.
	int8Groups = kernel.Int8Block / 4
)

// Local memory of an int8Scorer: the sums of rows, the transposed block where its integers become 16 bits, scales of the
// keys' blocks, Off and Scale of less than a vector, dims that are less than a block, Scale and S of the keys.
func (g *int8Scorer) localSum(row int) int { return row * g.Bytes() }
func (g *int8Scorer) localKeys(group int) int {
	return g.localSum(kernel.MaxDecodeRows) + group*g.Bytes()
}
func (g *int8Scorer) localScaleBits() int { return g.localKeys(int8Groups) }
func (g *int8Scorer) localTail() int      { return g.localScaleBits() + g.Bytes() }
func (g *int8Scorer) localOff() int       { return g.localTail() + g.Lanes*kernel.Int8Block }
func (g *int8Scorer) localScales() int    { return g.localOff() + 8*(g.Lanes+kernel.Upcoming) }
func (g *int8Scorer) localScale() int     { return g.localScales() + 4*g.Lanes }
func (g *int8Scorer) localS() int         { return g.localScale() + 8 }
func (g *int8Scorer) localBegun() int     { return g.localS() + 8 }
func (g *int8Scorer) localLines() int     { return g.localBegun() + 8 }
func (g *int8Scorer) localAsk() int       { return g.localLines() + 8 }
func (g *int8Scorer) localAskEnd() int    { return g.localAsk() + 8 }
func (g *int8Scorer) localKept() int      { return g.localAskEnd() + 8 }

// decodeScoresInt8 writes DecodeScoresInt8.
func decodeScoresInt8(arch *Arch) *Func {
	if arch.DotBytes != nil {
		return scoreBytes(arch)
	}
	f := newFunc(arch, "decodeScoresInt8", reflect.TypeFor[kernel.DecodeScoresInt8Args](), decodeScoresInt8Formula)
	g := &int8Scorer{
		Func: f, off: f.int("Off, next keys"), keys: f.int("keys left"), key: f.int("K, at the block"),
		q: f.int("Q, at the block"), stride: f.int("Q, bytes from row to row"), dims: f.int("dims left"),
		local: f.int("local memory"), p: f.int("Q, next rows"), third: f.int("Q, the fourth of them"),
		rows: f.int("rows left"), acc: f.int("sums of the next rows"), tmp: f.int("scratch"),
	}
	f.locals = g.localKept() + 8 + cacheLine
	if g.fours() {
		f.locals = g.localFours() + foursSteps*foursBytes + cacheLine
	}
	f.LocalBase(f, g.local)
	f.load("Off", g.off)
	f.keep("Scale", g.tmp, g.local, g.localScale())
	f.keep("S", g.tmp, g.local, g.localS())
	f.load("Keys", g.keys)
	f.load("QBytes", g.stride)
	zero := f.Vectors[0]
	f.Zero(f, zero)
	for at := 0; at < f.Lanes*kernel.Int8Block; at += f.Bytes() {
		f.Op(f.Store, zero, mem(g.local, g.localTail()+at))
	}

	f.load("Dim", g.dims)
	elems := integerElems()
	f.byElemAs(elems, "lines", g.tmp, func(e kernel.Elem) {
		f.rowLines(e, g.dims)
		if e != elems[len(elems)-1] {
			f.Jump("lines")
		}
	})
	f.Label("lines")
	f.Op(f.Mov, g.dims, mem(g.local, g.localLines()))
	if g.fours() {
		g.scoreFours()
	}
	if g.pipelines() {
		f.Op(f.Mov, 0, mem(g.local, g.localBegun()))
	}
	f.Loop("keys")
	g.open()
	f.byElemThen(integerElems(), g.tmp, "scored", func(e kernel.Elem) {
		g.elem = e
		if g.pipelines() {
			plain := g.name("Plain")
			g.pipeline(plain, "scored")
			g.Label(plain)
		}
		g.blocks()
	})
	g.close()
	f.Return(f)
	return f
}

func (g *int8Scorer) name(format string, args ...any) string {
	return g.elem.String() + fmt.Sprintf(format, args...)
}

// words reports whether integers of rows have 16 bits.
func (g *int8Scorer) words() bool { return g.Dot4 == nil }

// fourBits reports whether keys have codes of 4 bits.
func (g *int8Scorer) fourBits() bool { return g.elem == kernel.Q4_0 || g.elem == kernel.Q4_1 }

// open sets up for the next keys.
func (g *int8Scorer) open() {
	scale, s := g.p, g.third
	o := keyOpener{
		Func: g.Func, off: g.off, scale: scale, s: s, keys: g.keys, local: g.local, t: g.acc, n: g.rows, tmp: g.tmp,
		localOff: g.localOff(), localScales: g.localScales(), moved: func() {
			g.Op(g.Mov, scale, mem(g.local, g.localScale()))
			g.Op(g.Mov, s, mem(g.local, g.localS()))
		},
	}
	g.Branch(g.Func, g.keys, "GE", imm(g.Lanes), "whole")
	g.Op(g.Mov, mem(g.local, g.localScale()), scale)
	g.Op(g.Mov, mem(g.local, g.localS()), s)
	o.open("whole")
	g.Label("whole")
	g.openAsks(g.Lanes)
	g.load("Elem", g.tmp)
	g.Branch(g.Func, g.tmp, "NE", imm(int(kernel.Int8)), "noScales")
	g.askScales()
	g.Label("noScales")
	zero := g.Vectors[0]
	g.Zero(g.Func, zero)
	g.load("Rows", g.tmp)
	for r := range g.DecodeRows {
		if r == int8ScoreRows {
			g.Branch(g.Func, g.tmp, "LE", imm(r), "zeroed")
		}
		g.Op(g.Store, zero, mem(g.local, g.localSum(r)))
	}
	g.Label("zeroed")
}

// registers shares out the vector registers.
func (g *int8Scorer) registers() {
	notes := g.notes
	m := g.vectors("block:")
	g.factor, g.min = m.one("scales of the keys"), m.one("minima")
	g.k = m.take(int8Groups, "integers of the keys")
	g.spare = m.one("scratch")
	g.sums = m.take(int8ScoreRows, "sums of integers")
	g.x = m.one("integers of a row")
	if g.Lanes == 16 && !g.words() {
		g.odd = m.take(int8ScoreRows, "sums of every other four dims")
	}
	if g.elem != kernel.Int8 {
		g.notes = notes
	}
}

// blocks writes the loop over the blocks of an element type.
func (g *int8Scorer) blocks() {
	g.registers()
	g.load("K", g.key)
	g.load("Q", g.q)
	g.load("Dim", g.dims)
	if g.elem != kernel.Int8 {
		g.collect(0)
	}
	loop, multiply := g.name("Block"), g.name("Multiply")
	g.Loop(loop)
	g.ask("First")
	g.scales()
	row := func(i, at int) string {
		g.Op(g.Mov, mem(g.off, 8*i), g.tmp)
		return g.AddressOf(g.Func, g.key, g.tmp, at+quantsOf(g.elem))
	}
	if g.elem == kernel.Int8 {
		whole := g.name("Whole")
		g.Branch(g.Func, g.dims, "GE", imm(kernel.Int8Block), whole)
		g.copyTail()
		k, spare := slices.Clone(g.k), g.spare
		g.transpose(func(i, at int) string { return mem(g.local, g.localTail()+i*kernel.Int8Block+at) })
		g.Jump(multiply)
		g.k, g.spare = k, spare
		g.Label(whole)
	}
	g.transpose(row)
	if g.elem == kernel.Int8 {
		g.Label(multiply)
	}
	g.codes()
	g.multiply()
	if g.Lanes > 2*askedRows {
		g.ask("Second")
	}
	g.Op(g.Add, kernel.Int8BlockBytes(g.words()), g.q)
	g.Op(g.Add, g.elem.RowBytes(kernel.Int8Block), g.key)
	g.Op(g.Sub, kernel.Int8Block, g.dims)
	g.Branch(g.Func, g.dims, "GT", "$0", loop)
}

// askRest asks for what is left of the rows.
func (g *int8Scorer) askRest() {
	g.Op(g.Mov, mem(g.local, g.localAsk()), g.rows)
	g.Op("CMPQ", g.rows, mem(g.local, g.localAskEnd()))
	g.Op("JGE", "noRest")
	g.Loop("rest")
	g.some(g.rows, 2, func(label string) string { return "rest" + label })
	g.Op("CMPQ", g.rows, mem(g.local, g.localAskEnd()))
	g.Op("JLT", "rest")
	g.Label("noRest")
}

// openAsks sets up what is asked for with the next keys.
func (g *int8Scorer) openAsks(keys int) {
	g.Op("LEAQ", mem(g.off, 8*kernel.Upcoming), g.tmp)
	g.Op(g.Mov, g.tmp, mem(g.local, g.localAsk()))
	g.Op(g.Add, 8*keys, g.tmp)
	g.Op(g.Mov, g.tmp, mem(g.local, g.localAskEnd()))
}

// askScales asks for a line of scales of each kind.
func (g *int8Scorer) askScales() {
	g.Op(g.Mov, mem(g.local, g.localScale()), g.tmp)
	g.PrefetchNear(g.Func, mem(g.tmp, 4*kernel.Upcoming))
	g.AddMem(g.Func, g.arg("ScaleAhead"), g.tmp)
	g.PrefetchNear(g.Func, mem(g.tmp, 0))
}

// some asks for the next rows from off on, of a row so many lines without a loop.
func (g *int8Scorer) some(off Int, most int, name func(label string) string) {
	r := integerAsker{
		Func: g.Func, off: off, end: mem(g.local, g.localAskEnd()), lines: mem(g.local, g.localLines()), base: g.arg("K"),
		most: most, tmp: g.tmp, kept: mem(g.local, g.localKept()), counter: g.dims,
	}
	r.some(name)
}

// ask asks for the next rows.
func (g *int8Scorer) ask(name string) {
	g.Op(g.Mov, mem(g.local, g.localAsk()), g.rows)
	g.some(g.rows, askedLines(g.elem), func(label string) string { return g.name("%s%s", name, label) })
	g.Op(g.Mov, g.rows, mem(g.local, g.localAsk()))
}

// collect copies the scales of the keys, and the minima, of the block at an offset to local memory. A load of what
// was just stored there in parts would wait, so those of a block are collected while the one before is multiplied.
func (g *int8Scorer) collect(at int) {
	for i := range g.Lanes {
		g.collectOne(g.off, g.key, at, i)
	}
}

// collectOne copies what a key has, of those at off, at an offset from where base is.
func (g *int8Scorer) collectOne(off, base Int, at, key int) {
	g.Op(g.Mov, mem(off, 8*key), g.tmp)
	addr := g.AddressOf(g.Func, base, g.tmp, at)
	if g.elem == kernel.Q4_1 {
		g.Op("MOVL", addr, g.tmp)
		g.Op("MOVL", g.tmp, mem(g.local, g.localScaleBits()+4*key))
	} else {
		g.LoadHalfInt(g.Func, addr, g.tmp)
		g.StoreHalfInt(g.Func, g.tmp, mem(g.local, g.localScaleBits()+2*key))
	}
}

// scales loads the scales of the keys, and the minima, and collects those of the next block.
func (g *int8Scorer) scales() {
	bits := mem(g.local, g.localScaleBits())
	switch g.elem {
	case kernel.Int8:
		g.Op(g.Mov, mem(g.local, g.localScale()), g.tmp)
		g.Op(g.Load, mem(g.tmp, 0), g.factor)
		return
	case kernel.Q4_1:
		index, pairs, tmp := g.k[0], g.k[1], g.k[2]
		g.Op(g.Load, g.patternAt(g.HalvesIndex...), index)
		g.Op(g.Load, bits, pairs)
		g.Halves(g.Func, string(index), pairs, g.factor, g.min, tmp)
	default:
		g.LoadElem(g.Func, kernel.Float16, bits, g.factor)
	}
	last := g.name("Last")
	g.Branch(g.Func, g.dims, "LE", imm(kernel.Int8Block), last)
	g.collect(g.elem.RowBytes(kernel.Int8Block))
	g.Label(last)
}

// copyTail copies the last dims of each key, less than a block, to where zeros stand behind them.
func (g *int8Scorer) copyTail() {
	from, to, n := g.p, g.third, g.rows
	g.Op(g.Mov, g.Lanes, n)
	g.Op(g.Mov, g.local, to)
	g.Op(g.Add, g.localTail(), to)
	g.Op(g.Mov, g.off, g.acc)
	loop := g.name("Tail")
	g.Loop(loop)
	g.Op(g.Mov, mem(g.acc, 0), from)
	g.Op(g.Add, g.key, from)
	g.Op(g.Mov, to, g.tmp)
	g.copyBits(g.dims, from, g.tmp, g.stride, low(g.x, "X"), g.name("Tail"))
	g.Op(g.Add, kernel.Int8Block, to)
	g.Op(g.Add, 8, g.acc)
	g.Countdown(n, loop)
	g.load("QBytes", g.stride)
}

// transpose loads the block of all keys and leaves four dims of each key in a lane, of codes of 4 bits eight. row
// returns the address of a byte of the integers of a key.
func (g *int8Scorer) transpose(row func(key, at int) string) {
	quads := func(v []Vec) {
		for i := 0; i < len(v); i += 4 {
			transpose4x4(g.Func, unpackPS, unpackPD, v[i:i+4], &g.spare)
		}
	}
	switch parts := g.Lanes / 4; {
	case g.fourBits() || g.Lanes == 8:
		// Four keys in the parts of a register, 16 bytes of each.
		v := g.k[:4]
		if !g.fourBits() {
			v = g.k
		}
		for i := range 4 {
			for part := range parts {
				for j := 0; j < len(v)/4; j++ {
					addr := row(4*part+i, 16*j)
					g.LoadPart(g.Func, addr, part, v[4*j+i])
				}
			}
		}
		quads(v)
	default:
		// Two keys in the halves of a register.
		for i, v := range g.k {
			first := i%4 + i/4*8
			g.Op("VMOVDQU", row(first, 0), low(v, "Y"))
			g.Op("VINSERTI64X4", 1, row(first+4, 0), v, v)
		}
		quads(g.k)
		even, odd := []any{"VSHUFF32X4", 0x88}, []any{"VSHUFF32X4", 0xdd}
		for c := range 4 {
			butterfly(g.Func, even, odd, &g.k[c], &g.k[4+c], &g.spare)
		}
	}
}

// codes makes integers without a sign of what transpose left.
func (g *int8Scorer) codes() {
	and, xor := "VANDPS", "VXORPS"
	if g.fourBits() {
		g.Op(g.Load, g.patternAt(0x0f0f0f0f), g.x)
		for i, v := range g.k[:4] {
			g.Op("VPSRLD", 4, v, g.k[4+i])
			g.Op(and, g.x, v, v)
			g.Op(and, g.x, g.k[4+i], g.k[4+i])
		}
	} else {
		g.Op(g.Load, g.patternAt(0x80808080), g.x)
		for _, v := range g.k {
			g.Op(xor, g.x, v, v)
		}
	}
	if g.words() {
		for i, v := range g.k {
			g.Op(g.Store, v, mem(g.local, g.localKeys(i)))
		}
	}
}

// at returns the address of a byte of the block of one of the next rows.
func (g *int8Scorer) at(row, disp int) string {
	switch row {
	case 0:
		return mem(g.p, disp)
	case 3:
		return mem(g.third, disp)
	}
	return fmt.Sprintf("%d(%s)(%s*%d)", disp, g.p, g.stride, row)
}

// multiply adds the products of the block to the sums of all rows.
func (g *int8Scorer) multiply() {
	g.Op(g.Mov, g.q, g.p)
	g.Op(g.Mov, g.local, g.acc)
	g.load("Rows", g.rows)
	name := func(rows int) string { return g.name("Rows%d", rows) }
	next, done := g.name("Rows"), g.name("Multiplied")
	g.Label(next)
	for r := 1; r < int8ScoreRows; r++ {
		g.Branch(g.Func, g.rows, "EQ", imm(r), name(r))
	}
	for r := int8ScoreRows; r > 0; r-- {
		g.Label(name(r))
		if r == int8ScoreRows {
			g.Op("LEAQ", fmt.Sprintf("(%s)(%s*2)", g.p, g.stride), g.third)
			g.Op(g.Add, g.stride, g.third)
		}
		g.products(r)
		if r == int8ScoreRows {
			g.Op(g.Sub, r, g.rows)
			g.Branch(g.Func, g.rows, "LE", "$0", done)
			g.Op("LEAQ", fmt.Sprintf("(%s)(%s*1)", g.third, g.stride), g.p)
			g.Op(g.Add, r*g.Bytes(), g.acc)
			g.Jump(next)
		} else if r > 1 {
			g.Jump(done)
		}
	}
	g.Label(done)
}

// products adds the products of up to int8ScoreRows rows.
func (g *int8Scorer) products(rows int) {
	behind := kernel.Int8Integers(g.words())
	sums := g.sums[:rows]
	for r, v := range sums {
		switch g.elem {
		case kernel.Q4_1:
			g.Zero(g.Func, v)
		case kernel.Q4_0: // -8 times the sum of the integers
			g.Op("VPBROADCASTD", g.at(r, behind+kernel.Int8Whole), v)
			g.Op("VPSRAD", 4, v, v)
		default:
			g.Op("VPBROADCASTD", g.at(r, behind+kernel.Int8Whole), v)
		}
	}
	for r := range sums {
		if g.odd != nil {
			g.Zero(g.Func, g.odd[r])
		}
	}
	for i := range int8Groups {
		if g.odd != nil {
			// Two chains a row: one would wait for its own products.
			for r := range sums {
				acc := [2]Vec{sums[r], g.odd[r]}[i%2]
				g.Op("VPDPBUSD.BCST", g.at(r, 4*i), g.k[i], acc)
			}
			continue
		}
		if !g.words() {
			for r, v := range sums {
				g.Op("VPBROADCASTD", g.at(r, 4*i), g.x)
				g.Dot4(g.Func, g.k[i], g.x, v, g.spare)
			}
			continue
		}
		even, odd, mask := g.k[0], g.k[1], g.k[2]
		if i == 0 {
			g.Broadcast(g.Func, g.word(0x00ff00ff), mask)
		}
		g.Op(g.Load, mem(g.local, g.localKeys(i)), even)
		g.Op("VPSRLW", 8, even, odd)
		g.Op("VANDPS", mask, even, even)
		for r, v := range sums {
			for j, k := range []Vec{even, odd} {
				g.Op("VPBROADCASTD", g.at(r, 8*i+4*j), g.x)
				g.DotHalves(g.Func, k, g.x, v, g.x)
			}
		}
	}
	for r, v := range sums {
		sum := mem(g.acc, g.localSum(r))
		if g.odd != nil {
			g.Op(g.AddInts, g.odd[r], v, v)
		}
		g.IntToFloat(g.Func, v, v)
		g.Broadcast(g.Func, g.at(r, behind+kernel.Int8D), g.x)
		g.Op(g.MulV, g.factor, g.x, g.x)
		g.Op("VFMADD213PS", sum, g.x, v)
		if g.elem == kernel.Q4_1 {
			g.Broadcast(g.Func, g.at(r, behind+kernel.Int8Sum), g.x)
			g.Op("VFMADD231PS", g.min, g.x, v)
		}
		g.Op(g.Store, v, sum)
	}
}

// close writes the scores of the keys.
func (g *int8Scorer) close() {
	g.askRest()
	w := scoreWriter{Func: g.Func, acc: g.p, rows: g.rows, key: g.key, s: g.q, stride: g.tmp, keys: g.keys}
	g.loadBytes("Stride", w.stride)
	g.Op(g.Mov, mem(g.local, g.localS()), w.s)
	g.Op(g.Mov, g.local, w.acc)
	g.load("Rows", w.rows)
	w.write(g.localSum, "nextKeys", func(label string) string { return label })
	n := g.Lanes
	g.times(n, w.stride)
	g.Op(g.Add, w.stride, mem(g.local, g.localS()))
	g.Op(g.Add, 4*n, mem(g.local, g.localScale()))
	g.Op(g.Add, 8*n, g.off)
	g.Op(g.Sub, n, g.keys)
	g.Branch(g.Func, g.keys, "GT", "$0", "keys")
}
