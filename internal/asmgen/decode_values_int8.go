package asmgen

import (
	"fmt"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const decodeAccumulateInt8Formula = `
for r := range Rows, d := range Dim {
	acc = From == nil ? +0 : From[r*OStride+d]
	for blocks b of 32 keys {
		sum = the sum of integers d of values * Codes of row r, exactly
		acc = fma(float(sum), Scales[b][r], acc)
	}
	if To != nil {
		To[r*OStride+d] = acc
		continue
	}
	O[r*OStride+d] = (Mode == First ? +0 : O[r*OStride+d]) * (Mode == Rescale ? Alpha[r] : 1) + acc
}
`

// An int8Adder is the body of DecodeAccumulateInt8. It takes 32 keys at a time, of these a vector of bytes of dims
// after the other, and of that up to int8AddRows rows at a time. The bytes of four keys are interleaved, so that a
// lane has a dim of four keys, which is multiplied by a row's codes of these keys. Sums of floats are in local memory
// between blocks of keys, for all rows and up to blockDims dims, with parts of 128 bits in the order that interleaving
// leaves.
type int8Adder struct {
	*Func
	off    Int    // of the next keys
	v      Int    // V, at the dims
	upper  Int    // V, at the dims of the second block of a vector
	codes  Int    // at the next keys, of the rows
	group  Int    // bytes from there to those of the second block
	stride Int    // bytes from four keys to the next
	n      Int    // four keys each, left
	local  Int    // memory
	k      [4]Int // offsets of keys
	tmp    Int

	elem   kernel.Elem
	rows   int
	vecs   int  // vectors of sums of a row: 4, or 2 of a half of the dims
	signed bool // codes may be negative
	part   bool // there are fewer dims than a vector has bytes

	dims             []Vec // of four keys in each lane
	spare            Vec
	acc              [][]Vec
	x, y, ones, tail Vec
	bits, left       Vec // of codes of 4 bits: their bits, and how far they are to the left, "" where they are in memory
}

// int8AddRows is the most rows that are multiplied at a time.
const int8AddRows = 4

// Local memory of an int8Adder: variables, sums of rows, offsets of keys and of upcoming ones.
const (
	addSigned      = 8 * iota // whether a code is negative
	addOff                    // Off, of the call
	addChunkV                 // V, at the dims
	addChunkDims              // dims left
	addChunkOut               // bytes to the dims
	addChunkCodes             // Codes of the dims
	addChunkScales            // Scales of the dims
	addKeys                   // keys left
	addQuads                  // four keys each, of the block
	addBlockOff               // Off, at the block
	addBlockCodes             // Codes, at the block
	addBlockScales            // Scales, at the block
	addDims                   // dims left
	addPassCodes              // Codes, at the dims and the block
	addPassScales             // Scales, at the dims and the block
	addPassSums               // sums, at the dims
	addRows                   // rows left
	addCodes                  // Codes, at the rows
	addScales                 // Scales, at the rows
	addSums                   // sums, at the rows
	addGroupScales            // bytes from scales to those of the second block
	addHasEights              // whether there are sums of codes for all rows and groups
	addEights                 // bytes from codes of the block to these sums
	addAskLines               // lines to ask for of a row
	addAskOff                 // Off of the next row to ask for
	addAskEnd                 // behind those of the block
	addEnd
)

func (a *int8Adder) localSums() int { return (addEnd + cacheLine - 1) / cacheLine * cacheLine }
func (a *int8Adder) localEights() int {
	return a.localSums() + a.DecodeRows*4*blockDims
}
func (a *int8Adder) localOff() int {
	return a.localEights() + kernel.KeyBlock/kernel.Int8Block*4*kernel.MaxDecodeRows
}

func (a *int8Adder) slot(at int) string { return mem(a.local, at) }

// decodeAccumulateInt8 writes DecodeAccumulateInt8.
func decodeAccumulateInt8(arch *Arch) *Func {
	if arch.DotBytes != nil {
		return addBytes(arch)
	}
	f := newFunc(arch, "decodeAccumulateInt8", reflect.TypeFor[kernel.DecodeAccumulateInt8Args](), decodeAccumulateInt8Formula)
	a := &int8Adder{
		Func: f, off: f.int("Off, next keys"), v: f.int("V, at the dims"), upper: f.int("V, at the next block"),
		codes: f.int("Codes, next keys"), group: f.int("bytes to those of the next block"), stride: f.int("bytes of four keys"),
		n: f.int("four keys each, left"), local: f.int("local memory"),
	}
	for i := range a.k {
		a.k[i] = f.int("a key")
	}
	a.tmp = a.k[3]
	f.locals = a.localOff() + 8*2*kernel.KeyBlock + cacheLine
	f.LocalBase(f, a.local)
	a.wholeQuads()
	f.loadBytes("Lanes", a.stride)
	a.findSigns()
	if a.Dot4 != nil {
		a.findEights()
	}
	f.byElemAs(integerElems(), "", a.n, func(e kernel.Elem) {
		a.elem = e
		a.emit()
	})
	return f
}

func (a *int8Adder) name(format string, args ...any) string {
	name := a.elem.String()
	if a.part {
		name += "Part"
	}
	if a.signed {
		name += "Signed"
	}
	return name + fmt.Sprintf(format, args...)
}

// move copies between local memory and a register, or a field of the arguments.
func (a *int8Adder) move(from, to string) {
	a.Op(a.Mov, from, a.tmp)
	a.Op(a.Mov, a.tmp, to)
}

// wholeQuads leaves offsets of keys in addOff that end with four keys: the last key stands for missing ones.
func (a *int8Adder) wholeQuads() {
	from, to, n, off, ahead := a.off, a.codes, a.n, a.k[0], a.k[1]
	a.load("Off", from)
	a.load("Keys", n)
	a.Op("TESTQ", 3, n)
	a.Op("JEQ", "whole")
	a.Op("LEAQ", mem(a.local, a.localOff()), to)
	a.Loop("copy")
	a.Op(a.Mov, mem(from, 0), off)
	a.Op(a.Mov, mem(from, 8*kernel.Upcoming), ahead)
	a.Op(a.Mov, off, mem(to, 0))
	a.Op(a.Mov, ahead, mem(to, 8*kernel.Upcoming))
	a.Op(a.Add, 8, from)
	a.Op(a.Add, 8, to)
	a.Countdown(n, "copy")
	a.load("Keys", n)
	a.Op("NEGQ", n)
	a.Op(a.And, 3, n)
	a.Loop("last")
	a.Op(a.Mov, off, mem(to, 0))
	a.Op(a.Mov, ahead, mem(to, 8*kernel.Upcoming))
	a.Op(a.Add, 8, to)
	a.Countdown(n, "last")
	a.Op("LEAQ", mem(a.local, a.localOff()), from)
	a.Label("whole")
	a.Op(a.Mov, from, a.slot(addOff))
}

// findSigns sets addSigned for types of 8 bits.
func (a *int8Adder) findSigns() {
	m := a.vectors("signs:")
	all, v := m.one("all codes"), m.one("codes of four keys")
	groups, rows, bytes, quads, at := a.v, a.upper, a.group, a.off, a.codes
	a.load("Rows", rows)
	a.load("GroupCodes", bytes)
	a.Op(a.Mov, 1, groups)
	a.load("Elem", a.tmp)
	a.Branch(a.Func, a.tmp, "EQ", imm(int(kernel.Int8)), "groups")
	a.Branch(a.Func, a.tmp, "NE", imm(int(kernel.Q8_0)), "signsFound")
	a.load("Dim", groups)
	a.Op("SHRQ", 5, groups)
	// Groups beside each other are looked at together.
	a.Op(a.Mov, rows, at)
	a.Op(a.Shl, 2, at)
	a.Branch(a.Func, at, "NE", string(bytes), "groups")
	a.Op(a.Mov, rows, at)
	a.Op(a.MulInt, groups, at)
	a.Branch(a.Func, at, "GT", imm(kernel.MaxDecodeRows), "groups")
	a.Op(a.Mov, at, rows)
	a.Op(a.Mov, 1, groups)
	a.Label("groups")
	masks := a.lanesMasks(m, rows, "manyRows")
	a.load("Codes", a.k[0])
	a.Zero(a.Func, all)
	a.Loop("group")
	a.Op(a.Mov, a.k[0], at)
	a.load("Keys", quads)
	a.Op(a.Add, 3, quads)
	a.Op("SHRQ", 2, quads)
	a.Loop("quad")
	or := "VPORD"
	if masks != nil {
		or = "VPOR"
	}
	for i := range max(1, len(masks)) {
		a.loadLanes(masks, at, i, v)
		a.Op(or, v, all, all)
	}
	a.Op(a.Add, a.stride, at)
	a.Countdown(quads, "quad")
	a.Op(a.Add, bytes, a.k[0])
	a.Countdown(groups, "group")
	if masks == nil {
		a.mask("K7 signs")
		a.Op("VPMOVB2M", all, maskTmp)
		a.Op("KMOVQ", maskTmp, a.tmp)
	} else {
		a.Op("VPMOVMSKB", all, a.tmp)
	}
	a.Op(a.Mov, a.tmp, a.slot(addSigned))
	a.Label("signsFound")
}

// findEights sets addHasEights, of Q4_0: where codes of all rows and groups are beside each other, it leaves -8 times
// their sums by block of keys in local memory.
func (a *int8Adder) findEights() {
	m := a.vectors("sums of codes:")
	eights, zero := m.one("8 in each byte"), m.one("0")
	sums, v := m.take(kernel.MaxDecodeRows/a.Lanes, "sums"), m.one("codes of four keys")
	lanes, blocks, quads, at, to := a.v, a.upper, a.group, a.off, a.codes
	a.Op(a.Mov, 0, a.slot(addHasEights))
	a.load("Elem", a.tmp)
	a.Branch(a.Func, a.tmp, "NE", imm(int(kernel.Q4_0)), "eightsFound")
	a.load("Rows", lanes)
	a.Op(a.Mov, lanes, at)
	a.Op(a.Shl, 2, at)
	a.load("GroupCodes", a.tmp)
	a.Branch(a.Func, at, "NE", string(a.tmp), "eightsFound")
	a.load("Dim", a.tmp)
	a.Op("SHRQ", 5, a.tmp)
	a.Op(a.MulInt, a.tmp, lanes)
	a.Branch(a.Func, lanes, "GT", imm(kernel.MaxDecodeRows), "eightsFound")
	a.Op(a.Mov, 1, a.slot(addHasEights))
	masks := a.lanesMasks(m, lanes, "manyLanes")
	a.Op(a.Load, a.patternAt(0x08080808), eights)
	a.Zero(a.Func, zero)
	a.load("Codes", at)
	a.Op("LEAQ", mem(a.local, a.localEights()), to)
	a.load("Keys", blocks)
	a.Op(a.Add, 3, blocks)
	a.Op("SHRQ", 2, blocks) // four keys each, left
	a.Loop("eightsBlock")
	a.Op(a.Mov, blocks, quads)
	a.Branch(a.Func, blocks, "LE", imm(kernel.Int8Block/4), "eightsLast")
	a.Op(a.Mov, kernel.Int8Block/4, quads)
	a.Label("eightsLast")
	for _, sum := range sums {
		a.Zero(a.Func, sum)
	}
	a.Loop("eightsQuad")
	for i, sum := range sums {
		a.loadLanes(masks, at, i, v)
		a.Dot4(a.Func, eights, v, sum, "")
	}
	a.Op(a.Add, a.stride, at)
	a.Countdown(quads, "eightsQuad")
	for i, sum := range sums {
		a.Op("VPSUBD", sum, zero, sum)
		a.Op(a.Store, sum, mem(to, i*a.Bytes()))
	}
	a.Op(a.Add, 4*kernel.MaxDecodeRows, to)
	a.Op(a.Sub, kernel.Int8Block/4, blocks)
	a.Branch(a.Func, blocks, "GT", "$0", "eightsBlock")
	a.Label("eightsFound")
}

// lanesMasks makes masks of up to MaxDecodeRows lanes, nil where one of a register of masks is enough. It changes
// lanes, and two registers.
func (a *int8Adder) lanesMasks(m *vecMap, lanes Int, label string) []Vec {
	if !a.VectorMasks {
		a.TailMask(a.Func, lanes, a.tmp, "")
		return nil
	}
	masks := []Vec{m.one("first lanes"), m.one("other lanes")}
	a.Op(a.Mov, a.Lanes, a.k[0])
	a.Branch(a.Func, lanes, "GE", imm(a.Lanes), label)
	a.Op(a.Mov, lanes, a.k[0])
	a.Label(label)
	a.TailMask(a.Func, a.k[0], a.tmp, masks[0])
	a.Op(a.Sub, a.k[0], lanes)
	a.TailMask(a.Func, lanes, a.tmp, masks[1])
	return masks
}

// loadLanes loads the i-th vector of codes of four keys.
func (a *int8Adder) loadLanes(masks []Vec, at Int, i int, v Vec) {
	if masks == nil {
		a.Op("VMOVDQU32.Z", mem(at, 0), maskTail, v)
		return
	}
	a.Op("VPMASKMOVD", mem(at, i*a.Bytes()), masks[i], v)
}

// passDims returns the dims of a pass.
func (a *int8Adder) passDims() int { return a.Bytes() }

// fourBits reports whether values are codes of 4 bits. They have no sign, and their weights may have one.
func (a *int8Adder) fourBits() bool { return a.elem == kernel.Q4_0 || a.elem == kernel.Q4_1 }

// upperAsIs reports whether upper codes of 4 bits are multiplied where they are, 16 times what they are, and the sums
// are divided.
func (a *int8Adder) upperAsIs() bool { return a.fourBits() && a.Dot4 != nil }

// upperCodes returns how far upper codes of 4 bits are to the left in each lane of the dims of a key.
func (a *int8Adder) upperCodes() string {
	return a.symbol("upperCodes", 0, 0, 0, 0, 4, 4, 4, 4, 0, 0, 0, 0, 4, 4, 4, 4) + "(SB)"
}

// behind is upperCodes, of sums in a tile.
func (a *int8Adder) behind() string {
	if a.left != "" {
		return string(a.left)
	}
	return a.upperCodes()
}

// inPlaces returns a byte in each place of a code, of upper ones 16 times as much where they are so.
func (a *int8Adder) inPlaces(b uint32) string {
	words := []uint32{b * 0x01010101}
	if a.upperAsIs() {
		upper := b * 0x10101010
		words = []uint32{words[0], words[0], words[0], words[0], upper, upper, upper, upper}
	}
	return a.patternAt(words...)
}

// twoBlocks reports whether a vector has dims of two blocks.
func (a *int8Adder) twoBlocks() bool { return a.elem != kernel.Int8 && a.passDims() > kernel.Int8Block }

// emit writes the loops over dims and keys of an element type.
func (a *int8Adder) emit() {
	if a.twoBlocks() {
		a.mask("K2 the second block of a vector")
		a.Op("MOVL", 0xff00, a.tmp)
		a.Op("KMOVW", a.tmp, maskUpper)
	}
	for _, x := range []struct {
		field string
		local int
	}{{"V", addChunkV}, {"Dim", addChunkDims}, {"Codes", addChunkCodes}, {"Scales", addChunkScales}} {
		a.keep(x.field, a.tmp, a.local, x.local)
	}
	a.Op(a.Mov, 0, a.slot(addChunkOut))
	chunk, block, pass, rows, next := a.name("Dims"), a.name("Block"), a.name("Pass"), a.name("Rows"), a.name("Next")
	a.Label(chunk)
	a.begin()
	a.chunkDims(a.tmp, a.name("AskDims"))
	a.rowLines(a.elem, a.tmp)
	a.Op(a.Mov, a.tmp, a.slot(addAskLines))
	a.move(a.slot(addOff), a.slot(addBlockOff))
	a.move(a.slot(addChunkCodes), a.slot(addBlockCodes))
	a.move(a.slot(addChunkScales), a.slot(addBlockScales))
	if a.elem == kernel.Q4_0 && a.upperAsIs() {
		a.Op("LEAQ", mem(a.local, a.localEights()), a.tmp)
		a.SubLoad(a.Func, a.arg("Codes"), a.tmp)
		a.Op(a.Mov, a.tmp, a.slot(addEights))
	}
	a.keep("Keys", a.tmp, a.local, addKeys)

	a.Loop(block)
	a.Op(a.Mov, a.slot(addKeys), a.tmp)
	a.Branch(a.Func, a.tmp, "LE", imm(kernel.Int8Block), a.name("LastBlock"))
	a.Op(a.Mov, kernel.Int8Block, a.tmp)
	a.Label(a.name("LastBlock"))
	a.Op(a.Add, 3, a.tmp)
	a.Op("SHRQ", 2, a.tmp)
	a.Op(a.Mov, a.tmp, a.slot(addQuads))
	a.Op(a.Shl, 5, a.tmp)
	a.Op(a.Add, a.slot(addBlockOff), a.tmp)
	a.Op(a.Add, 8*kernel.Upcoming, a.tmp)
	a.Op(a.Mov, a.tmp, a.slot(addAskEnd))
	a.Op(a.Mov, a.slot(addBlockOff), a.tmp)
	a.Op(a.Add, 8*kernel.Upcoming, a.tmp)
	a.Op(a.Mov, a.tmp, a.slot(addAskOff))
	a.Op(a.Mov, a.slot(addChunkV), a.v)
	a.chunkDims(a.tmp, a.name("BlockDims"))
	a.Op(a.Mov, a.tmp, a.slot(addDims))
	a.move(a.slot(addBlockCodes), a.slot(addPassCodes))
	a.move(a.slot(addBlockScales), a.slot(addPassScales))
	a.Op("LEAQ", mem(a.local, a.localSums()), a.tmp)
	a.Op(a.Mov, a.tmp, a.slot(addPassSums))

	a.Loop(pass)
	a.move(a.slot(addPassCodes), a.slot(addCodes))
	a.move(a.slot(addPassScales), a.slot(addScales))
	a.move(a.slot(addPassSums), a.slot(addSums))
	a.keep("Rows", a.tmp, a.local, addRows)
	if a.twoBlocks() {
		// Of less than two blocks both are the first.
		a.Op(a.Mov, a.v, a.upper)
		a.Op(a.Mov, 0, a.group)
		a.Op(a.Mov, 0, a.slot(addGroupScales))
		a.Op("CMPQ", a.slot(addDims), kernel.Int8Block)
		a.Op("JLE", a.name("OneBlock"))
		a.Op(a.Add, a.elem.Unit(), a.upper)
		a.load("GroupCodes", a.group)
		a.loadBytes("GroupScales", a.tmp)
		a.Op(a.Mov, a.tmp, a.slot(addGroupScales))
		a.Label(a.name("OneBlock"))
	}
	type variant struct{ part, signed bool }
	variants := []variant{{}}
	if !a.fourBits() {
		variants = append(variants, variant{signed: true})
	}
	if a.elem == kernel.Int8 {
		variants = append(variants, variant{part: true}, variant{part: true, signed: true})
		a.Op(a.Mov, a.slot(addDims), a.tmp)
		a.part = true
		partRows := a.name("Rows")
		a.part = false
		a.Branch(a.Func, a.tmp, "GE", imm(a.passDims()), rows)
		a.Op("SHRQ", 2, a.tmp)
		a.Op(a.Mov, a.tmp, a.n)
		if !a.VectorMasks {
			a.TailMask(a.Func, a.n, a.tmp, "")
		}
		a.Jump(partRows)
	}
	for i, v := range variants {
		a.part, a.signed = v.part, v.signed
		most := int8AddRows
		if a.signed {
			most = 1
		}
		again := a.name("Rows")
		a.Label(again)
		if !a.signed {
			a.signed = true
			signed := a.name("Rows")
			a.signed = false
			if !a.fourBits() {
				a.Op("CMPQ", a.slot(addSigned), 0)
				a.Op("JNE", signed)
			}
			a.Op(a.Mov, a.slot(addRows), a.tmp)
			for r := 1; r < most; r++ {
				a.Branch(a.Func, a.tmp, "EQ", imm(r), a.name("Rows%d", r))
			}
		}
		for a.rows = most; a.rows > 0; a.rows-- {
			a.Label(a.name("Rows%d", a.rows))
			a.tile()
			if a.rows == most {
				a.Op(a.Add, 4*most, a.slot(addCodes))
				a.Op(a.Add, 4*most, a.slot(addScales))
				a.Op(a.Add, 4*most*blockDims, a.slot(addSums))
				a.Op(a.Sub, most, a.slot(addRows))
				a.Op("JGT", again)
			}
			if i < len(variants)-1 || a.rows > 1 {
				a.Jump(next)
			}
		}
	}
	a.part, a.signed = false, false
	a.Label(next)
	values := a.passDims()
	a.Op(a.Add, a.elem.RowBytes(values), a.v)
	a.Op(a.Add, 4*values, a.slot(addPassSums))
	if a.elem != kernel.Int8 {
		a.nextGroups(values/kernel.Int8Block, addPassCodes, addPassScales)
	}
	a.Op(a.Sub, values, a.slot(addDims))
	a.Op("JGT", pass)

	a.Op(a.Add, 8*kernel.Int8Block, a.slot(addBlockOff))
	a.Op(a.Add, a.stride, a.slot(addBlockScales))
	a.Op(a.Mov, a.stride, a.tmp)
	a.times(kernel.Int8Block/4, a.tmp)
	a.Op(a.Add, a.tmp, a.slot(addBlockCodes))
	if a.elem == kernel.Q4_0 && a.upperAsIs() {
		a.Op(a.Sub, a.tmp, a.slot(addEights))
		a.Op(a.Add, 4*kernel.MaxDecodeRows, a.slot(addEights))
	}
	a.Op(a.Sub, kernel.Int8Block, a.slot(addKeys))
	a.Op("JGT", block)
	a.finish()

	a.Op(a.Add, a.elem.RowBytes(blockDims), a.slot(addChunkV))
	a.Op(a.Add, 4*blockDims, a.slot(addChunkOut))
	if a.elem != kernel.Int8 {
		a.nextGroups(blockDims/kernel.Int8Block, addChunkCodes, addChunkScales)
	}
	a.Op(a.Sub, blockDims, a.slot(addChunkDims))
	a.Op("JGT", chunk)
	a.Return(a.Func)
}

// nextGroups moves codes and scales in local memory on by some groups.
func (a *int8Adder) nextGroups(groups, codes, scales int) {
	a.load("GroupCodes", a.tmp)
	a.times(groups, a.tmp)
	a.Op(a.Add, a.tmp, a.slot(codes))
	a.loadBytes("GroupScales", a.tmp)
	a.times(groups, a.tmp)
	a.Op(a.Add, a.tmp, a.slot(scales))
}

// chunkDims loads the dims of the chunk.
func (a *int8Adder) chunkDims(dst Int, label string) {
	a.Op(a.Mov, a.slot(addChunkDims), dst)
	a.Branch(a.Func, dst, "LE", imm(blockDims), label)
	a.Op(a.Mov, blockDims, dst)
	a.Label(label)
}

// tile adds the products of a block of keys, a vector of bytes of dims and some rows.
func (a *int8Adder) tile() {
	constants := 0
	if a.Dot4 == nil {
		constants += 2
	}
	if a.part && a.VectorMasks {
		constants++
	}
	if a.signed {
		constants += 2
	}
	a.vecs = 4
	if a.rows*a.vecs+a.vecs+2+constants > len(a.Vectors) {
		a.vecs = 2
	}
	notes := a.notes
	m := a.vectors("tile:")
	sums := m.take(a.rows*a.vecs, "sums of integers")
	a.acc = make([][]Vec, a.rows)
	for r := range a.acc {
		a.acc[r] = sums[r*a.vecs:][:a.vecs]
	}
	a.dims = m.take(a.vecs, "dims of four keys")
	a.spare = m.one("scratch")
	a.x = m.one("codes")
	a.y, a.ones, a.tail = "", "", ""
	if a.Dot4 == nil || a.signed {
		a.y = m.one("scratch")
	}
	if a.Dot4 == nil {
		a.ones = m.one("ones of 16 bits")
		a.Op(a.Load, a.patternAt(0x00010001), a.ones)
	}
	a.bits, a.left = "", ""
	if a.upperAsIs() && a.twoBlocks() { // in memory they may lie across lines
		a.bits, a.left = m.one("bits of codes"), m.one("bits behind codes")
		a.Op(a.Load, a.inPlaces(15), a.bits)
		a.Op(a.Load, a.upperCodes(), a.left)
	}
	if a.part && a.VectorMasks {
		a.tail = m.one("dims")
		a.Op(a.Mov, a.slot(addDims), a.n)
		a.Op("SHRQ", 2, a.n)
		a.TailMask(a.Func, a.n, a.tmp, a.tail)
	}
	signs := Vec("")
	if a.signed {
		signs = m.one("scratch")
	}
	if a.elem != kernel.Int8 || a.rows < int8AddRows || a.part {
		a.notes = notes // that of the largest is enough
	}
	for half := range 4 / a.vecs {
		a.Op(a.Mov, a.slot(addQuads), a.n)
		a.Op(a.Mov, a.slot(addBlockOff), a.off)
		a.Op(a.Mov, a.slot(addCodes), a.codes)
		if a.elem == kernel.Q4_0 {
			a.lessEights(half)
			a.Op(a.Mov, a.slot(addQuads), a.n)
			a.Op(a.Mov, a.slot(addCodes), a.codes)
		} else {
			for _, v := range sums {
				a.Zero(a.Func, v)
			}
		}
		loop := a.name("%dKeys%d", a.rows, half)
		a.Loop(loop)
		for i, k := range a.k {
			a.Op(a.Mov, mem(a.off, 8*i), k)
		}
		dims := a.interleave(half)
		for r, acc := range a.acc {
			a.broadcast(r)
			for j, v := range dims {
				a.dot(v, acc[j], signs)
			}
		}
		a.ask(half)
		a.Op(a.Add, 8*4, a.off)
		a.Op(a.Add, a.stride, a.codes)
		a.Countdown(a.n, loop)
		a.addSums(half)
	}
}

// lessEights sets the sums of integers to -8 times the codes of the rows.
func (a *int8Adder) lessEights(half int) {
	known, ready := a.name("%dKnown%d", a.rows, half), a.name("%dReady%d", a.rows, half)
	if a.Dot4 != nil {
		a.Op("CMPQ", a.slot(addHasEights), 0)
		a.Op("JNE", known)
	}
	eights, zero := a.dims[0], a.dims[1]
	a.Op(a.Load, a.inPlaces(8), eights)
	for _, acc := range a.acc {
		a.Zero(a.Func, acc[0])
	}
	loop := a.name("%dEights%d", a.rows, half)
	a.Loop(loop)
	for r, acc := range a.acc {
		a.broadcast(r)
		a.dot(eights, acc[0], "")
	}
	a.Op(a.Add, a.stride, a.codes)
	a.Countdown(a.n, loop)
	a.Zero(a.Func, zero)
	for _, acc := range a.acc {
		a.Op("VPSUBD", acc[0], zero, acc[0])
		for _, v := range acc[1:] {
			a.Op(a.Copy, acc[0], v)
		}
	}
	if a.Dot4 == nil {
		return
	}
	a.Jump(ready)
	a.Label(known)
	a.Op(a.Add, a.slot(addEights), a.codes)
	for r, acc := range a.acc {
		a.broadcast(r)
		a.Op("VPSLLVD", a.behind(), a.x, acc[0])
		for _, v := range acc[1:] {
			a.Op(a.Copy, acc[0], v)
		}
	}
	a.Label(ready)
}

// interleave loads dims of four keys and returns vectors of lanes that have a dim of each of them.
func (a *int8Adder) interleave(half int) []Vec {
	v := append([]Vec(nil), a.dims...)
	spare := a.spare
	bytes, words := unpackBW, unpackWD
	if a.vecs == 4 {
		for i := range v {
			a.loadDims(i, v[i])
		}
		butterfly(a.Func, []any{bytes.lo}, []any{bytes.hi}, &v[0], &v[1], &spare)
		butterfly(a.Func, []any{bytes.lo}, []any{bytes.hi}, &v[2], &v[3], &spare)
		butterfly(a.Func, []any{words.lo}, []any{words.hi}, &v[0], &v[2], &spare)
		butterfly(a.Func, []any{words.lo}, []any{words.hi}, &v[1], &v[3], &spare)
		return []Vec{v[0], v[2], v[1], v[3]}
	}
	unpack := []string{bytes.lo, bytes.hi}[half]
	for i := range v {
		a.loadDims(2*i, v[i])
		a.loadDims(2*i+1, spare)
		a.Op(unpack, spare, v[i], v[i])
	}
	butterfly(a.Func, []any{words.lo}, []any{words.hi}, &v[0], &v[1], &spare)
	return v
}

// unpackBW are the interleavings of bytes.
var unpackBW = interleave{"VPUNPCKLBW", "VPUNPCKHBW"}

// loadDims loads the dims of one of the four keys.
func (a *int8Adder) loadDims(key int, v Vec) {
	addr := a.AddressOf(a.Func, a.v, a.k[key], quantsOf(a.elem))
	switch {
	case a.fourBits():
		// Lower codes are the first 16 dims, and upper ones the others.
		broadcast, and := "VBROADCASTI128", "VPAND"
		if a.twoBlocks() {
			broadcast, and = "VBROADCASTI32X4", "VPANDD"
		}
		a.Op(broadcast, addr, v)
		if a.twoBlocks() {
			a.Op(broadcast, a.AddressOf(a.Func, a.upper, a.k[key], quantsOf(a.elem)), maskUpper, v)
		}
		if !a.upperAsIs() {
			a.Op("VPSRLVD", a.upperCodes(), v, v)
		}
		if a.bits != "" {
			a.Op(and, a.bits, v, v)
		} else {
			a.Op(and, a.inPlaces(15), v, v)
		}
	case a.part && a.VectorMasks:
		a.Op("VPMASKMOVD", addr, a.tail, v)
	case a.part:
		a.Op("VMOVDQU32.Z", addr, maskTail, v)
	case a.twoBlocks():
		a.Op(a.Load, addr, low(v, "Y"))
		a.Op("VINSERTI64X4", 1, a.AddressOf(a.Func, a.upper, a.k[key], quantsOf(a.elem)), v, v)
	default:
		a.Op(a.Load, addr, v)
	}
}

// maskUpper is the mask of the upper half of a vector.
const maskUpper = "K2"

// broadcast loads the codes of a row, for four keys, or its scale.
func (a *int8Adder) broadcast(row int) {
	a.Op("VPBROADCASTD", mem(a.codes, 4*row), a.x)
	if a.twoBlocks() {
		a.Op("VPBROADCASTD", fmt.Sprintf("%d(%s)(%s*1)", 4*row, a.codes, a.group), maskUpper, a.x)
	}
}

// dot adds the products of a dim of four keys in each lane and the codes of a row.
func (a *int8Adder) dot(v, acc, signs Vec) {
	codes, values := a.x, v
	if a.fourBits() {
		codes, values = v, a.x
	}
	if a.signed {
		// |v| times the codes with the sign of v.
		codes, values = signs, a.y
		if a.VectorMasks {
			a.Op("VPSIGNB", v, a.x, a.y)
		} else {
			a.mask("K7 negative values")
			a.Op("VPMOVB2M", v, maskTmp)
			a.Zero(a.Func, signs)
			a.Op(a.Copy, a.x, a.y)
			a.Op("VPSUBB", a.x, signs, maskTmp, a.y)
		}
		a.Op("VPABSB", v, signs)
	}
	if a.Dot4 != nil {
		a.Dot4(a.Func, codes, values, acc, "")
		return
	}
	a.Op("VPMADDUBSW", values, codes, a.y)
	a.Op("VPMADDWD", a.ones, a.y, a.y)
	a.Op("VPADDD", a.y, acc, acc)
}

// ask asks for the next rows that are wanted later. A block takes enough of four keys each for all of them.
func (a *int8Adder) ask(half int) {
	off := a.k[0]
	a.Op(a.Mov, a.slot(addAskOff), off)
	r := integerAsker{
		Func: a.Func, off: off, end: a.slot(addAskEnd), lines: a.slot(addAskLines), base: a.slot(addChunkV),
		most: askedLines(a.elem), tmp: a.tmp,
	}
	r.some(func(label string) string { return a.name("%dRows%d%s", a.rows, half, label) })
	a.Op(a.Mov, off, a.slot(addAskOff))
}

// addSums adds the sums of integers of the block, by their scales, to those in local memory.
func (a *int8Adder) addSums(half int) {
	sums := a.k[0]
	a.Op(a.Mov, a.slot(addSums), sums)
	a.Op(a.Mov, a.slot(addScales), a.codes)
	if a.twoBlocks() {
		a.Op(a.Mov, a.slot(addGroupScales), a.tmp)
	}
	mins := a.k[1]
	if a.elem == kernel.Q4_1 {
		a.Op(a.Mov, a.codes, mins)
		a.SubLoad(a.Func, a.arg("Scales"), mins)
		a.AddMem(a.Func, a.arg("Mins"), mins)
	}
	one := func(at Int, row int, v Vec) {
		a.Broadcast(a.Func, mem(at, 4*row), v)
		if a.twoBlocks() {
			a.Op("VBROADCASTSS", fmt.Sprintf("%d(%s)(%s*1)", 4*row, at, a.tmp), maskUpper, v)
		}
	}
	for r, acc := range a.acc {
		one(a.codes, r, a.x)
		if a.elem == kernel.Q4_1 {
			one(mins, r, a.spare)
		}
		for j, v := range acc {
			at := mem(sums, 4*blockDims*r+(half*a.vecs+j)*a.Bytes())
			if a.upperAsIs() {
				a.Op("VPSRAVD", a.behind(), v, v)
			}
			a.IntToFloat(a.Func, v, v)
			a.Op("VFMADD213PS", at, a.x, v)
			if a.elem == kernel.Q4_1 {
				a.Op(a.AddV, a.spare, v, v)
			}
			a.Op(a.Store, v, at)
		}
	}
}

// scramble reorders the parts of four vectors of dims as interleaving leaves them, or back.
func (a *int8Adder) scramble(v []Vec, spare Vec, back bool) []Vec {
	v = append([]Vec(nil), v...)
	if a.Lanes == 16 {
		even, odd := []any{"VSHUFF32X4", 0x88}, []any{"VSHUFF32X4", 0xdd}
		for _, p := range [][2]int{{0, 1}, {2, 3}, {0, 2}, {1, 3}} {
			butterfly(a.Func, even, odd, &v[p[0]], &v[p[1]], &spare)
		}
		return v
	}
	first, second := [2]int{0, 2}, [2]int{1, 3}
	if back {
		first, second = [2]int{0, 1}, [2]int{2, 3}
	}
	for _, p := range [][2]int{first, second} {
		butterfly(a.Func, []any{"VPERM2F128", 0x20}, []any{"VPERM2F128", 0x31}, &v[p[0]], &v[p[1]], &spare)
	}
	return []Vec{v[0], v[2], v[1], v[3]}
}

// A sumsLoop is a loop over the rows of a chunk and over their dims, the vectors of a pass at a time.
type sumsLoop struct {
	name      string
	rows      Int // left
	sums, row Int // sums of the row, and at the dims
	dims      Int // left
	ends      []sumsEnd
	last      func() // writes what else moves on with a row, or nil
}

// A sumsEnd is a field of rows that sums come from or go to: of a row, and at the dims.
type sumsEnd struct{ first, stride, at Int }

// over writes the loop. body may jump to done after the last dims.
func (a *int8Adder) over(l *sumsLoop, body func(done string)) {
	row, pass, done := a.name("%sRow", l.name), a.name("%sPass", l.name), a.name("%sDone", l.name)
	a.Op("LEAQ", mem(a.local, a.localSums()), l.sums)
	a.load("Rows", l.rows)
	a.Loop(row)
	a.chunkDims(l.dims, a.name("%sDims", l.name))
	a.Op(a.Mov, l.sums, l.row)
	for _, e := range l.ends {
		a.Op(a.Mov, e.first, e.at)
	}
	a.Loop(pass)
	body(done)
	a.Op(a.Add, 4*a.Bytes(), l.row)
	for _, e := range l.ends {
		a.Op(a.Add, 4*a.Bytes(), e.at)
	}
	a.Op(a.Sub, 4*a.Lanes, l.dims)
	a.Branch(a.Func, l.dims, "GT", "$0", pass)
	a.Label(done)
	a.Op(a.Add, 4*blockDims, l.sums)
	for _, e := range l.ends {
		a.Op(a.Add, e.stride, e.first)
	}
	if l.last != nil {
		l.last()
	}
	a.Countdown(l.rows, row)
}

// begin sets the sums of the rows.
func (a *int8Adder) begin() {
	m := a.vectors(a.elem.String() + " begin:")
	v, spare := m.take(4, "sums"), m.one("scratch")
	fresh, begun := a.name("Fresh"), a.name("Begun")
	from := sumsEnd{first: a.v, stride: a.upper, at: a.codes}
	l := &sumsLoop{name: "From", rows: a.n, sums: a.off, row: a.k[0], dims: a.k[1], ends: []sumsEnd{from}}
	a.load("From", from.first)
	a.Branch(a.Func, from.first, "EQ", "$0", fresh)
	a.Op(a.Add, a.slot(addChunkOut), from.first)
	a.loadBytes("OStride", from.stride)
	a.over(l, func(string) {
		loaded := a.name("FromLoaded")
		for i, v := range v {
			if i > 0 {
				a.Branch(a.Func, l.dims, "LE", imm(i*a.Lanes), loaded)
			}
			a.Op(a.Load, mem(from.at, i*a.Bytes()), v)
		}
		a.Label(loaded)
		for i, v := range a.scramble(v, spare, false) {
			a.Op(a.Store, v, mem(l.row, i*a.Bytes()))
		}
	})
	a.Jump(begun)
	a.Label(fresh)
	a.Zero(a.Func, spare)
	a.Op("LEAQ", mem(a.local, a.localSums()), l.sums)
	a.load("Rows", l.rows)
	a.Loop(a.name("Clear"))
	for at := 0; at < 4*blockDims; at += a.Bytes() {
		a.Op(a.Store, spare, mem(l.sums, at))
	}
	a.Op(a.Add, 4*blockDims, l.sums)
	a.Countdown(l.rows, a.name("Clear"))
	a.Label(begun)
}

// finish writes the sums of the rows to To, or adds them to O.
func (a *int8Adder) finish() {
	m := a.vectors(a.elem.String() + " end:")
	v, spare, x, alpha := m.take(4, "sums"), m.one("scratch"), m.one("O"), m.one("Alpha")
	whole, done := a.name("Whole"), a.name("Updated")
	to := sumsEnd{first: a.v, stride: a.upper, at: a.k[2]}
	l := &sumsLoop{name: "To", rows: a.n, sums: a.off, row: a.codes, dims: a.k[1], ends: []sumsEnd{to}}
	natural := func() []Vec {
		for i, v := range v {
			a.Op(a.Load, mem(l.row, i*a.Bytes()), v)
		}
		return a.scramble(v, spare, true)
	}
	a.load("To", to.first)
	a.Branch(a.Func, to.first, "EQ", "$0", whole)
	a.Op(a.Add, a.slot(addChunkOut), to.first)
	a.loadBytes("OStride", to.stride)
	a.over(l, func(done string) {
		for i, v := range natural() {
			if i > 0 {
				a.Branch(a.Func, l.dims, "LE", imm(i*a.Lanes), done)
			}
			a.Op(a.Store, v, mem(to.at, i*a.Bytes()))
		}
	})
	a.Jump(done)

	a.Label(whole)
	from := sumsEnd{first: a.group, stride: a.k[0], at: a.stride}
	weight := a.k[3]
	l.name, l.ends = "O", append(l.ends, from)
	l.last = func() { a.Op(a.Add, 4, weight) }
	a.load("O", to.first)
	a.Op(a.Add, a.slot(addChunkOut), to.first)
	a.loadBytes("OStride", to.stride)
	a.Op(a.Mov, to.first, from.first)
	a.Op(a.Mov, to.stride, from.stride)
	a.load("Alpha", weight)
	a.load("Mode", l.rows)
	a.byMode(l.rows, weight, from.first, from.stride, a.zeroRow(), a.name("Ready"))
	a.over(l, func(done string) {
		a.Broadcast(a.Func, mem(weight, 0), alpha)
		for i, v := range natural() {
			if i > 0 {
				a.Branch(a.Func, l.dims, "LE", imm(i*a.Lanes), done)
			}
			a.Op(a.MulV, mem(from.at, i*a.Bytes()), alpha, x)
			a.Op(a.AddV, v, x, x)
			a.Op(a.Store, x, mem(to.at, i*a.Bytes()))
		}
	})
	a.loadBytes("Lanes", a.stride)
	a.Label(done)
}
