package asmgen

import (
	"fmt"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

// A byteAdder is the body of DecodeAccumulateInt8 by DotBytes. It takes 32 keys at a time, of these 16 dims after the
// others, and of those up to int8AddRows rows at a time. Where DotQuad is one instruction, the bytes of four keys are
// interleaved, so that a lane has a dim of four keys; otherwise integers become 16 bits, and each is multiplied by a
// code. Sums of floats are in local memory between blocks of keys, for all rows and up to blockDims dims.
type byteAdder struct {
	*Func
	off           Int    // of the block
	v             Int    // V, at the integers of the dims
	codes, scales Int    // of the group, at the block
	sums          Int    // at the dims
	dims          Int    // left of the chunk
	keys          Int    // left
	quads         Int    // four keys each, of the block
	stride        Int    // bytes from codes of four keys to the next, and from scales of a block to the next
	rows          Int    // left
	rowCodes      Int    // codes of the rows
	rowScales     Int    // scales of the rows
	rowSums       Int    // sums of the rows
	at, code      Int    // Off and codes, next keys
	ask           Int    // Off of the next row to ask for
	n             Int    // four keys each, left
	k             [4]Int // keys
	tmp, local    Int

	elem kernel.Elem
	half int // of the dims of a block of a type

	acc        [][]Vec // sums of integers, by row and vector
	x          []Vec   // integers of four keys
	c          Vec     // codes of four keys
	words      []Vec   // codes of 16 bits, of two rows each
	low, high  Vec     // scratch
	mask, zero Vec
}

// Local memory of a byteAdder: variables, sums of rows, offsets of keys and of upcoming ones.
const (
	bytesOff         = 8 * iota // Off, of the call
	bytesV                      // V, at the integers of the chunk
	bytesDims                   // dims left
	bytesOut                    // bytes to the dims
	bytesCodes                  // Codes of the chunk
	bytesScales                 // Scales of the chunk
	bytesNextV                  // bytes to V of the next chunk
	bytesNextCodes              // to its codes
	bytesNextScales             // and to its scales
	bytesBlockCodes             // Codes of the chunk, at the block
	bytesBlockScales            // Scales of the chunk, at the block
	bytesEnd
)

func (a *byteAdder) localSums() int { return (bytesEnd + cacheLine - 1) / cacheLine * cacheLine }
func (a *byteAdder) localOff() int  { return a.localSums() + a.DecodeRows*4*blockDims }

func (a *byteAdder) slot(at int) string { return mem(a.local, at) }

// keepAt copies a register to local memory, and fetch back.
func (a *byteAdder) keepAt(from Int, at int) { a.Op(a.Mov, from, a.slot(at)) }
func (a *byteAdder) fetch(at int, to Int)    { a.Op(a.Mov, a.slot(at), to) }

// advance adds a variable in local memory to another.
func (a *byteAdder) advance(by, at int) {
	a.fetch(by, a.tmp)
	a.fetch(at, a.n)
	a.Op(a.Add, a.tmp, a.n)
	a.keepAt(a.n, at)
}

// addBytes writes DecodeAccumulateInt8.
func addBytes(arch *Arch) *Func {
	f := newFunc(arch, "decodeAccumulateInt8", reflect.TypeFor[kernel.DecodeAccumulateInt8Args](), decodeAccumulateInt8Formula)
	a := &byteAdder{
		Func: f, off: f.int("Off, of the block"), v: f.int("V, at the dims"), codes: f.int("Codes, at the block"),
		scales: f.int("Scales, at the block"), sums: f.int("sums, at the dims"), dims: f.int("dims left"), keys: f.int("keys left"),
		quads: f.int("four keys each, of the block"), stride: f.int("bytes of lanes"), rows: f.int("rows left"),
		rowCodes: f.int("Codes, at the rows"), rowScales: f.int("Scales, at the rows"), rowSums: f.int("sums, at the rows"),
		at: f.int("Off, next keys"), code: f.int("Codes, next keys"), ask: f.int("Off, upcoming"), n: f.int("four keys each, left"),
	}
	for i := range a.k {
		a.k[i] = f.int("a key")
	}
	a.tmp, a.local = f.int("scratch"), f.int("local memory")
	f.locals = a.localOff() + 8*2*kernel.KeyBlock + cacheLine
	f.LocalBase(f, a.local)
	a.wholeQuads()
	f.loadBytes("Lanes", a.stride)
	for _, x := range []struct {
		field string
		local int
	}{{"Codes", bytesCodes}, {"Scales", bytesScales}, {"Dim", bytesDims}} {
		f.keep(x.field, a.tmp, a.local, x.local)
	}
	f.Op(f.Mov, 0, a.tmp)
	a.keepAt(a.tmp, bytesOut)
	f.byElemAs(integerElems(), "begin", a.n, func(e kernel.Elem) {
		f.load("V", a.v)
		if e == kernel.Int8 {
			f.Op(f.Mov, 0, a.codes)
			f.Op(f.Mov, 0, a.scales)
		} else {
			f.Op(f.Add, quantsOf(e), a.v)
			f.load("GroupCodes", a.codes)
			f.times(blockDims/kernel.Int8Block, a.codes)
			f.loadBytes("GroupScales", a.scales)
			f.times(blockDims/kernel.Int8Block, a.scales)
		}
		f.Op(f.Mov, e.RowBytes(blockDims), a.tmp)
		if e != kernel.Q4_1 {
			f.Jump("begun")
		}
	})
	f.Label("begun")
	a.keepAt(a.v, bytesV)
	a.keepAt(a.tmp, bytesNextV)
	a.keepAt(a.codes, bytesNextCodes)
	a.keepAt(a.scales, bytesNextScales)

	f.Label("chunk")
	a.begin()
	for _, x := range [][2]int{{bytesCodes, bytesBlockCodes}, {bytesScales, bytesBlockScales}} {
		a.fetch(x[0], a.tmp)
		a.keepAt(a.tmp, x[1])
	}
	a.fetch(bytesOff, a.off)
	f.load("Keys", a.keys)
	f.Label("block")
	f.Op(f.Add, 3, a.keys, a.quads)
	f.Op("LSR", 2, a.quads)
	f.Branch(f, a.quads, "LE", imm(kernel.Int8Block/4), "quads")
	f.Op(f.Mov, kernel.Int8Block/4, a.quads)
	f.Label("quads")
	a.fetch(bytesV, a.v)
	a.fetch(bytesBlockCodes, a.codes)
	a.fetch(bytesBlockScales, a.scales)
	f.Op(f.Add, a.localSums(), a.local, a.sums)
	a.chunkDims(a.dims, "blockDims")
	f.byElemThen(integerElems(), a.n, "nextBlock", func(e kernel.Elem) {
		a.elem = e
		a.pass()
	})
	f.Op(f.Add, 8*kernel.Int8Block, a.off)
	f.Op(f.Mov, a.stride, a.tmp)
	f.times(kernel.Int8Block/4, a.tmp)
	a.fetch(bytesBlockCodes, a.n)
	f.Op(f.Add, a.tmp, a.n)
	a.keepAt(a.n, bytesBlockCodes)
	a.fetch(bytesBlockScales, a.n)
	f.Op(f.Add, a.stride, a.n)
	a.keepAt(a.n, bytesBlockScales)
	f.Op(f.Sub, kernel.Int8Block, a.keys)
	f.Branch(f, a.keys, "GT", "$0", "block")
	a.finish()

	for _, x := range [][2]int{{bytesNextV, bytesV}, {bytesNextCodes, bytesCodes}, {bytesNextScales, bytesScales}} {
		a.advance(x[0], x[1])
	}
	a.fetch(bytesOut, a.tmp)
	f.Op(f.Add, 4*blockDims, a.tmp)
	a.keepAt(a.tmp, bytesOut)
	a.fetch(bytesDims, a.tmp)
	f.Op(f.Sub, blockDims, a.tmp)
	a.keepAt(a.tmp, bytesDims)
	f.Branch(f, a.tmp, "GT", "$0", "chunk")
	f.Return(f)
	return f
}

func (a *byteAdder) name(format string, args ...any) string {
	return a.elem.String() + fmt.Sprintf(format, args...)
}

// wholeQuads leaves offsets of keys in bytesOff that end with four keys: the last key stands for missing ones.
func (a *byteAdder) wholeQuads() {
	from, to, off, ahead := a.off, a.at, a.k[0], a.k[1]
	a.load("Off", from)
	a.load("Keys", a.n)
	a.Op(a.And, 3, a.n, a.keys)
	a.Branch(a.Func, a.keys, "EQ", "$0", "whole")
	copied := func() {
		a.Op(a.Mov, off, mem(to, 0))
		a.Op(a.Mov, ahead, mem(to, 8*kernel.Upcoming))
		a.Op(a.Add, 8, to)
	}
	a.Op(a.Add, a.localOff(), a.local, to)
	a.Loop("copy")
	a.Op(a.Mov, mem(from, 0), off)
	a.Op(a.Mov, mem(from, 8*kernel.Upcoming), ahead)
	a.Op(a.Add, 8, from)
	copied()
	a.Countdown(a.n, "copy")
	a.Loop("last")
	copied()
	a.Op(a.Add, 1, a.keys)
	a.Branch(a.Func, a.keys, "NE", "$4", "last")
	a.Op(a.Add, a.localOff(), a.local, from)
	a.Label("whole")
	a.keepAt(from, bytesOff)
}

// chunkDims loads the dims of the chunk.
func (a *byteAdder) chunkDims(dst Int, label string) {
	a.fetch(bytesDims, dst)
	a.Branch(a.Func, dst, "LE", imm(blockDims), label)
	a.Op(a.Mov, blockDims, dst)
	a.Label(label)
}

// pass writes the loop over the dims of a block of keys.
func (a *byteAdder) pass() {
	const sixteen = 16
	pass, part := a.name("Pass"), a.name("Part")
	if a.elem == kernel.Int8 {
		a.Branch(a.Func, a.dims, "LT", imm(sixteen), part)
		a.Label(pass)
		a.overRows("", a.Lanes)
		a.Op(a.Add, sixteen, a.v)
		a.Op(a.Add, 4*sixteen, a.sums)
		a.Op(a.Sub, sixteen, a.dims)
		a.Branch(a.Func, a.dims, "GE", imm(sixteen), pass)
		a.Branch(a.Func, a.dims, "EQ", "$0", a.name("Passed"))
		a.Label(part)
		a.overRows("Part", 1)
		a.Op(a.Add, a.Lanes, a.v)
		a.Op(a.Add, a.Bytes(), a.sums)
		a.Op(a.Sub, a.Lanes, a.dims)
		a.Branch(a.Func, a.dims, "GT", "$0", part)
		a.Label(a.name("Passed"))
		return
	}
	a.Label(pass)
	moved := 0
	for a.half = range 2 {
		a.overRows(fmt.Sprint("Half", a.half), a.Lanes)
		if a.half == 0 && a.elem == kernel.Q8_0 {
			moved = sixteen
			a.Op(a.Add, moved, a.v)
		}
		a.Op(a.Add, 4*sixteen, a.sums)
	}
	a.half = 0
	a.Op(a.Add, a.elem.Unit()-moved, a.v)
	a.load("GroupCodes", a.tmp)
	a.Op(a.Add, a.tmp, a.codes)
	a.loadBytes("GroupScales", a.tmp)
	a.Op(a.Add, a.tmp, a.scales)
	a.Op(a.Sub, kernel.Int8Block, a.dims)
	a.Branch(a.Func, a.dims, "GT", "$0", pass)
}

// overRows writes the loop over rows, of so many vectors of dims. Rows that are less than int8AddRows are two, and one.
func (a *byteAdder) overRows(what string, vecs int) {
	label := func(rows int) string { return a.name("%sRows%d", what, rows) }
	again, done := a.name("%sRows", what), a.name("%sRowsDone", what)
	a.load("Rows", a.rows)
	a.Op(a.Mov, a.codes, a.rowCodes)
	a.Op(a.Mov, a.scales, a.rowScales)
	a.Op(a.Mov, a.sums, a.rowSums)
	a.Label(again)
	for rows := int8AddRows; rows > 0; rows /= 2 {
		a.Label(label(rows))
		if rows > 1 {
			a.Branch(a.Func, a.rows, "LT", imm(rows), label(rows/2))
		}
		a.tile(label(rows), rows, vecs)
		if rows == 1 {
			break
		}
		a.Op(a.Add, 4*rows, a.rowCodes)
		a.Op(a.Add, 4*rows, a.rowScales)
		a.Op(a.Add, 4*rows*blockDims, a.rowSums)
		a.Op(a.Sub, rows, a.rows)
		a.Branch(a.Func, a.rows, "GT", "$0", again)
		a.Jump(done)
	}
	a.Label(done)
}

// dotted reports whether DotQuad is one instruction.
func (a *byteAdder) dotted() bool { return a.SumVectors == 1 }

// tile adds the products of a block of keys, some vectors of dims and some rows.
func (a *byteAdder) tile(name string, rows, vecs int) {
	notes := a.notes
	m := a.vectors("tile:")
	a.words = nil
	if !a.dotted() {
		a.words = m.take((rows+1)/2, "codes of 16 bits") // elements are those of the first 16 registers
	}
	all := m.take(rows*vecs, "sums of integers")
	a.acc = nil
	for r := range rows {
		a.acc = append(a.acc, all[r*vecs:][:vecs])
	}
	a.x, a.c = m.take(4, "integers of keys"), m.one("codes, scales")
	a.low, a.high = m.one("scratch"), m.one("scratch")
	if a.fourBits() {
		a.mask, a.zero = m.one("4 bits"), m.one("8 in each byte")
		a.Op("VMOVI.B16", 15, a.mask)
		a.Op("VMOVI.B16", 8, a.zero)
	}
	if a.elem != kernel.Q4_0 || rows < int8AddRows || a.half > 0 {
		a.notes = notes // that of the largest is enough
	}
	// With each four keys of 16 dims a row is asked for: a line of it, of every four times 16 dims.
	a.Op(a.And, 48, a.dims, a.ask)
	a.Op("LSR", 1, a.ask)
	a.Op(a.Add, a.off, a.ask)
	a.Op(a.Mov, a.off, a.at)
	a.Op(a.Mov, a.rowCodes, a.code)
	a.Op(a.Mov, a.quads, a.n)
	for _, sum := range all {
		a.Zero(a.Func, sum)
	}
	loop := name + "Keys"
	a.Loop(loop)
	for i := 0; i < len(a.k); i += 2 {
		a.Op("LDP", mem(a.at, 8*i), fmt.Sprintf("(%s, %s)", a.k[i], a.k[i+1]))
	}
	a.Op(a.Mov, mem(a.ask, 8*(kernel.Upcoming+a.half)), a.tmp)
	for _, k := range append(a.k[:], a.tmp) {
		a.Op(a.Add, a.v, k)
	}
	for i, x := range a.x {
		a.loadSome(4*vecs, mem(a.k[i], 0), x)
	}
	a.loadSome(4*rows, mem(a.code, 0), a.c)
	a.Prefetch(a.Func, mem(a.tmp, 0))
	a.Op(a.Add, 8*len(a.k), a.at)
	a.Op(a.Add, 8*len(a.k), a.ask)
	a.Op(a.Add, a.stride, a.code)
	if a.fourBits() {
		for _, x := range a.x {
			if a.half == 0 {
				a.Op(a.AndV, a.mask, x, x)
			} else {
				a.Op("VUSHR.B16", 4, x, x)
			}
			if a.elem == kernel.Q4_0 {
				a.Op("VSUB.B16", a.zero, x, x)
			}
		}
	}
	if a.dotted() {
		a.dotQuads(vecs)
	} else {
		a.multiplyKeys(vecs)
	}
	a.Countdown(a.n, loop)
	a.addSums()
}

// loadSome loads 16, 8 or 4 bytes.
func (a *byteAdder) loadSome(bytes int, addr string, v Vec) {
	a.Op(map[int]string{16: a.Load, 8: "FMOVD", 4: "FMOVS"}[bytes], addr, v)
}

func (a *byteAdder) fourBits() bool { return a.elem == kernel.Q4_0 || a.elem == kernel.Q4_1 }

// dotQuads interleaves the integers of four keys, and adds their products.
func (a *byteAdder) dotQuads(vecs int) {
	x, spare := append([]Vec(nil), a.x...), a.low
	if vecs == 1 {
		a.Op("VZIP1.B16", x[1], x[0], x[0])
		a.Op("VZIP1.B16", x[3], x[2], x[2])
		a.Op("VZIP1.H8", x[2], x[0], x[0])
	} else {
		for _, p := range []struct {
			op   string
			i, j int
		}{{"B16", 0, 1}, {"B16", 2, 3}, {"H8", 0, 2}, {"H8", 1, 3}} {
			butterfly(a.Func, []any{"VZIP1." + p.op}, []any{"VZIP2." + p.op}, &x[p.i], &x[p.j], &spare)
		}
		x[1], x[2] = x[2], x[1]
	}
	for r, acc := range a.acc {
		for j, sum := range acc {
			a.DotQuad(a.Func, x[j], a.c, r, []Vec{sum}, "")
		}
	}
}

// multiplyKeys adds the products of four keys, one after the other.
func (a *byteAdder) multiplyKeys(vecs int) {
	for i, word := range a.words {
		a.Op([]string{"SXTL.H8", "SXTL2.H8"}[i], a.c, word)
	}
	for i, x := range a.x {
		a.Op("SXTL.H8", x, a.low)
		if vecs > 1 {
			a.Op("SXTL2.H8", x, a.high)
		}
		for r, acc := range a.acc {
			for j, sum := range acc {
				op := []string{"SMLAL", "SMLAL2"}[j%2]
				a.Op(fmt.Sprintf("%s.H[%d]", op, r%2*4+i), a.words[r/2], []Vec{a.low, a.high}[j/2], sum)
			}
		}
	}
}

// addSums adds the sums of integers of the block, by their scales, to those in local memory.
func (a *byteAdder) addSums() {
	rows := len(a.acc)
	scales, min, mins := a.c, a.x[1], a.x[2]
	sums := []Vec{a.low, a.high}
	a.loadSome(4*rows, mem(a.rowScales, 0), scales)
	if a.elem.HasMin() {
		a.load("Mins", a.tmp)
		a.SubLoad(a.Func, a.arg("Scales"), a.tmp)
		a.loadSome(4*rows, a.AddressOf(a.Func, a.rowScales, a.tmp, 0), mins)
	}
	for r, acc := range a.acc {
		if a.elem.HasMin() {
			a.Op("VDUP", fmt.Sprintf("%s.S[%d]", mins, r), string(min)+".S4")
		}
		for j, v := range acc {
			at, sum := mem(a.rowSums, 4*blockDims*r+a.Bytes()*j), sums[j%2]
			a.Op(a.Load, at, sum)
			a.IntToFloat(a.Func, v, v)
			a.Op(fmt.Sprintf("FMLA.S[%d]", r), scales, v, sum)
			if a.elem.HasMin() {
				a.Op(a.AddV, min, sum, sum)
			}
			a.Op(a.Store, sum, at)
		}
	}
}

// overDims writes a loop over the dims of a row, four vectors at a time as long as there are. body is that of the vector j
// behind the pointers. dims is lost.
func (a *byteAdder) overDims(name string, dims Int, ptrs []Int, body func(j int)) {
	const most = 4
	turn := func(name string, vecs int, cond string, least int) {
		a.Loop(name)
		for j := range vecs {
			body(j)
		}
		for _, p := range ptrs {
			a.Op(a.Add, vecs*a.Bytes(), p)
		}
		a.Op(a.Sub, vecs*a.Lanes, dims)
		a.Branch(a.Func, dims, cond, imm(least), name)
	}
	few, done := name+"Few", name+"Done"
	a.Branch(a.Func, dims, "LT", imm(most*a.Lanes), few)
	turn(name+"Four", most, "GE", most*a.Lanes)
	a.Label(few)
	a.Branch(a.Func, dims, "LE", "$0", done)
	turn(name+"One", 1, "GT", 0)
	a.Label(done)
}

// begin sets the sums of the rows.
func (a *byteAdder) begin() {
	m := a.vectors("begin:")
	x := m.one("sums")
	from, stride, row, dims, to, next := a.v, a.codes, a.at, a.dims, a.sums, a.code
	a.Op(a.Add, a.localSums(), a.local, to)
	a.load("Rows", a.rows)
	a.load("From", from)
	a.Branch(a.Func, from, "EQ", "$0", "fresh")
	a.fetch(bytesOut, a.tmp)
	a.Op(a.Add, a.tmp, from)
	a.loadBytes("OStride", stride)
	a.Loop("fromRow")
	a.chunkDims(dims, "fromDims")
	a.Op(a.Mov, from, row)
	a.Op(a.Mov, to, next)
	a.overDims("from", dims, []Int{row, next}, func(j int) {
		a.Op(a.Load, mem(row, j*a.Bytes()), x)
		a.Op(a.Store, x, mem(next, j*a.Bytes()))
	})
	a.Op(a.Add, stride, from)
	a.Op(a.Add, 4*blockDims, to)
	a.Countdown(a.rows, "fromRow")
	a.Jump("summed")
	a.Label("fresh")
	a.Zero(a.Func, x)
	a.Loop("clear")
	for at := 0; at < 4*blockDims; at += a.Bytes() {
		a.Op(a.Store, x, mem(to, at))
	}
	a.Op(a.Add, 4*blockDims, to)
	a.Countdown(a.rows, "clear")
	a.Label("summed")
}

// finish writes the sums of the rows to To, or adds them to O.
func (a *byteAdder) finish() {
	m := a.vectors("end:")
	v, x, alpha := m.one("sums"), m.one("O"), m.one("Alpha")
	sums, to, stride, dims := a.sums, a.v, a.codes, a.dims
	old, oldStride, weight := a.scales, a.ask, a.keys
	atSums, atTo, atOld := a.at, a.code, a.rowCodes
	a.Op(a.Add, a.localSums(), a.local, sums)
	a.load("Rows", a.rows)
	a.loadBytes("OStride", stride)
	a.fetch(bytesOut, a.tmp)
	a.load("To", to)
	a.Branch(a.Func, to, "EQ", "$0", "output")
	a.Op(a.Add, a.tmp, to)
	a.Loop("toRow")
	a.chunkDims(dims, "toDims")
	a.Op(a.Mov, sums, atSums)
	a.Op(a.Mov, to, atTo)
	a.overDims("to", dims, []Int{atSums, atTo}, func(j int) {
		a.Op(a.Load, mem(atSums, j*a.Bytes()), v)
		a.Op(a.Store, v, mem(atTo, j*a.Bytes()))
	})
	a.Op(a.Add, 4*blockDims, sums)
	a.Op(a.Add, stride, to)
	a.Countdown(a.rows, "toRow")
	a.Jump("updated")

	a.Label("output")
	a.load("O", to)
	a.Op(a.Add, a.tmp, to)
	a.Op(a.Mov, to, old)
	a.Op(a.Mov, stride, oldStride)
	a.load("Alpha", weight)
	a.load("Mode", a.tmp)
	a.byMode(a.tmp, weight, old, oldStride, a.zeroRow(), "ready")
	a.Op(a.Mov, sums, atSums) // an instruction between labels
	a.Loop("row")
	a.Broadcast(a.Func, mem(weight, 0), alpha)
	a.Op(a.Add, 4, weight)
	a.chunkDims(dims, "rowDims")
	a.Op(a.Mov, sums, atSums)
	a.Op(a.Mov, to, atTo)
	a.Op(a.Mov, old, atOld)
	a.overDims("row", dims, []Int{atSums, atTo, atOld}, func(j int) {
		a.Op(a.Load, mem(atOld, j*a.Bytes()), x)
		a.Op(a.Load, mem(atSums, j*a.Bytes()), v)
		a.Op(a.MulV, alpha, x, x)
		a.Op(a.AddV, v, x, x)
		a.Op(a.Store, x, mem(atTo, j*a.Bytes()))
	})
	a.Op(a.Add, 4*blockDims, sums)
	a.Op(a.Add, stride, to)
	a.Op(a.Add, oldStride, old)
	a.Countdown(a.rows, "row")
	a.Label("updated")
}
