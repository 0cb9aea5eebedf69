package asmgen

import (
	"fmt"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const dequantizeFormula = `
for l := range Lanes, k := range Depth {
	Dst[k*Stride+l] = value k of the blocks of Type at Src + l*RowBytes, times Scales[l] if there are
}
`

const (
	// quadBytes is how much of a row a quad has.
	quadBytes = 16

	// topBits is how far up a byte goes.
	topBits = 24

	// dequantizeAhead is how many bytes ahead of what it reads Dequantize asks for more.
	dequantizeAhead = 256
)

// A dequantizer is the body of Dequantize. It takes Lanes rows at a time. A quad is 16 bytes of each of
// them, in four vectors: part q of vector i has those of row 4q+i. Transposed in dwords within the parts,
// vector j has dword j of all rows, in the order of lanes.
//
// The bytes of a dword, which are integers or are made of codes of fewer bits, go to the top of the lane
// one by one, are converted and multiplied by a scale that is so much smaller: powers of two, so that
// nothing is rounded.
type dequantizer struct {
	*Func
	rows           []Int // blocks in rows
	stride         Int   // bytes from row to row of Src
	dst, dstStride Int
	left           Int // values left of the rows, or bytes where a block is a value
	jump           Int // 16 rows of Dst
	count          Int

	name string // of the type, for labels
	m    *vecMap
	quad []Vec
	tmp  Vec
	v    Vec // what is made of a byte
	code Vec // a dword of bytes
	// What values are multiplied by, and what is added to them, if anything is.
	scale, add, spare Vec
	moved             int // bytes of a block that the body moves on by itself
	tops              [4]string
	halves            string
	begin             func() // what comes before the blocks of rows, or nil

	put   func(v Vec) // takes values, in order where dots is set, and otherwise by turns and skip
	ahead int         // bytes ahead of what is read that are asked for
	dots  *weightDots // of DotWeights
}

// Local variables: integers, and behind them vectors.
const (
	localSrc = 8 * iota
	localDst
	localLanes
	localScales // those of the rows, or 0
	localBlock  // where the values of the block begin
)

const (
	localVectors = 64
	mostLocals   = 26 // vectors
)

// dequantize writes Dequantize.
func dequantize(arch *Arch) *Func {
	f := newFunc(arch, "dequantize", reflect.TypeFor[kernel.DequantizeArgs](), dequantizeFormula)
	d := &dequantizer{
		Func: f, stride: f.int("bytes from row to row of Src"), dst: f.int("Dst"), dstStride: f.int("bytes from row to row of Dst"),
		left: f.int("values or bytes left of the rows"), jump: f.int("16 rows of Dst"), count: f.int("turns left, scratch"),
		ahead: dequantizeAhead,
	}
	d.put = d.store
	d.rows = f.ints((arch.Lanes+arch.RowsPerPtr-1)/arch.RowsPerPtr, "rows of Src")
	f.locals = 16 + localVectors + mostLocals*arch.Bytes() // the link register of an architecture that has one, and what is aligned
	for _, x := range []struct {
		field string
		local int
	}{{"Src", localSrc}, {"Dst", localDst}, {"Lanes", localLanes}, {"Scales", localScales}} {
		f.load(x.field, d.count)
		f.Op(f.Mov, d.count, f.LocalAt(x.local))
	}
	f.load("RowBytes", d.stride)
	f.loadBytes("Stride", d.dstStride)
	f.Op(f.Mov, d.dstStride, d.jump)
	f.Op(f.Shl, 4, d.jump)
	f.load("Type", d.left)
	for _, w := range kernel.Weights()[1:] {
		f.Branch(f, d.left, "EQ", imm(int(w)), w.String())
	}
	for _, w := range kernel.Weights() {
		d.emit(w)
	}
	return f
}

// emit writes all for a type.
func (d *dequantizer) emit(w kernel.Weight) {
	d.name, d.begin, d.moved = w.String(), nil, 0
	d.Label(d.name)
	d.registers()
	body := d.body(w)

	d.Label(d.name + "Rows")
	d.openRows()
	d.Op(d.Mov, d.LocalAt(localDst), d.dst)
	if d.begin != nil {
		d.begin()
	}
	d.load("Depth", d.left)
	if w.Values() == 1 {
		d.elements(w, body)
	} else {
		d.Loop(d.name + "Block")
		body()
		d.advance(w.Bytes() - d.moved)
		d.Op(d.Sub, w.Values(), d.left)
		d.Branch(d.Func, d.left, "GT", "$0", d.name+"Block")
	}

	d.nextRows(d.name + "Rows")
	d.Return(d.Func)
}

// openRows has the pointers of rows point to the first of them.
func (d *dequantizer) openRows() {
	d.Op(d.Mov, d.LocalAt(localSrc), d.rows[0])
	for i := 1; i < len(d.rows); i++ {
		d.Op(d.Mov, d.rows[i-1], d.rows[i])
		for range d.RowsPerPtr {
			d.Op(d.Add, d.stride, d.rows[i])
		}
	}
}

// nextRows moves on to the next Lanes rows, and jumps to a label if there are any.
func (d *dequantizer) nextRows(label string) {
	d.Op(d.Mov, d.stride, d.count)
	d.times(d.Lanes, d.count)
	d.move(localSrc, d.count)
	d.Op(d.Mov, d.Bytes(), d.count)
	d.move(localDst, d.count)
	d.Op(d.Mov, d.LocalAt(localLanes), d.count)
	d.Op(d.Sub, d.Lanes, d.count)
	d.Op(d.Mov, d.count, d.LocalAt(localLanes))
	d.Branch(d.Func, d.count, "NE", "$0", label)
}

// registers shares out the vector registers for a type.
func (d *dequantizer) registers() {
	d.m = d.vectors(d.name + ":")
	d.quad, d.tmp, d.v, d.code = d.m.take(4, "quad"), d.m.one("scratch"), d.m.one("values"), d.m.one("codes")
}

// move adds by to a local variable. It overwrites left.
func (d *dequantizer) move(local int, by Int) {
	d.Op(d.Mov, d.LocalAt(local), d.left)
	d.Op(d.Add, by, d.left)
	d.Op(d.Mov, d.left, d.LocalAt(local))
}

// elements writes the loop over quads of elements. The last quad begins where it is whole: some values
// are made twice.
func (d *dequantizer) elements(w kernel.Weight, body func()) {
	quad, again, done := d.name+"Quad", d.name+"Again", d.name+"Done"
	d.times(w.Bytes(), d.left)
	d.Loop(quad)
	d.Op(d.Mov, d.left, d.count)
	d.Op(d.And, cacheLine-quadBytes, d.count)
	d.Branch(d.Func, d.count, "NE", "$0", d.name+"Asked") // one quad of a line
	d.ask()
	d.Label(d.name + "Asked")
	body()
	d.advance(quadBytes)
	d.Op(d.Sub, quadBytes, d.left)
	d.Branch(d.Func, d.left, "GE", imm(quadBytes), quad)
	d.Branch(d.Func, d.left, "EQ", "$0", done)
	// Back by what is missing.
	d.Op(d.Sub, quadBytes, d.left)
	for _, p := range d.rows {
		d.Op(d.Add, d.left, p)
	}
	d.Label(again)
	d.Op(d.Sub, d.dstStride, d.dst)
	d.Op(d.Add, w.Bytes(), d.left)
	d.Branch(d.Func, d.left, "NE", "$0", again)
	d.Op(d.Mov, quadBytes, d.left)
	d.Jump(quad)
	d.Label(done)
}

// advance moves on in the rows.
func (d *dequantizer) advance(bytes int) {
	for _, p := range d.rows {
		d.Op(d.Add, bytes, p)
	}
}

// row returns the address of a byte of row i.
func (d *dequantizer) row(i, disp int) string {
	if d.dots != nil {
		disp += d.dots.part * d.dots.partBytes
	}
	p := d.rows[i/d.RowsPerPtr]
	if d.RowsPerPtr == 1 {
		return mem(p, disp)
	}
	addr := d.RowAddr(p, d.stride, i%d.RowsPerPtr)
	if disp != 0 {
		addr = fmt.Sprint(disp) + addr
	}
	return addr
}

// ask prefetches a line of what comes next in each row.
func (d *dequantizer) ask() { d.askLine(0) }

func (d *dequantizer) askLine(n int) {
	for i := range d.Lanes {
		d.PrefetchNear(d.Func, d.row(i, d.ahead+cacheLine*n))
	}
}

// askPart asks, amid each of several parts of a turn, for a line of as many as a block has.
func (d *dequantizer) askPart(w kernel.Weight, part int) {
	if part*cacheLine < w.Bytes() {
		d.askLine(part)
	}
}

// loadQuad loads a quad.
func (d *dequantizer) loadQuad(disp int, to []Vec) {
	for i, v := range to {
		for q := range d.Lanes / 4 {
			d.LoadPart(d.Func, d.row(4*q+i, disp), q, v)
		}
	}
}

// dwords loads a quad and transposes it.
func (d *dequantizer) dwords(disp int) []Vec { return d.dwordsTo(disp, d.quad) }

func (d *dequantizer) dwordsTo(disp int, to []Vec) []Vec {
	d.loadQuad(disp, to)
	transpose4x4(d.Func, d.Interleave[0], d.Interleave[1], to, &d.tmp)
	return to
}

// dword loads a quad and returns one of its dwords, in the place of the first.
func (d *dequantizer) dword(disp, i int) Vec {
	d.loadQuad(disp, d.quad)
	one, two := d.Interleave[0].lo, d.Interleave[1].lo
	if i >= 2 {
		one = d.Interleave[0].hi
	}
	if i%2 == 1 {
		two = d.Interleave[1].hi
	}
	q := d.quad
	d.Op(one, q[1], q[0], q[0])
	d.Op(one, q[3], q[2], q[2])
	d.Op(two, q[2], q[0], q[0])
	return q[0]
}

// store is put of Dequantize.
func (d *dequantizer) store(v Vec) {
	d.Op(d.Store, v, mem(d.dst, 0))
	d.Op(d.Add, d.dstStride, d.dst)
}

// pattern returns words for each part of a vector, in a register if one is left, or in memory.
func (d *dequantizer) pattern(use string, words ...uint32) string {
	addr := d.patternAt(words...)
	if d.MemoryOperands && len(d.m.free) <= 2 {
		return addr
	}
	v := d.m.one(use)
	d.LoadConstant(d.Func, addr, v)
	return string(v)
}

// patternAt returns the address of words for each part of a vector.
func (f *Func) patternAt(words ...uint32) string {
	const parts = 4 // of the widest vector
	var all []uint32
	name := "pattern"
	for i := range parts * 4 {
		all = append(all, words[i%len(words)])
	}
	for _, w := range words {
		name += fmt.Sprintf("%08x", w)
	}
	return f.symbol(name, all...) + "(SB)"
}

// power returns a power of two.
func (d *dequantizer) power(exponent int) string {
	return d.pattern(fmt.Sprintf("2^%d", exponent), uint32(127+exponent)<<23)
}

// patternTops prepares for top.
func (d *dequantizer) patternTops() {
	for b := range d.tops {
		w := uint32(b)<<24 | 0x808080 // beyond the part, or negative: 0
		d.tops[b] = d.pattern(fmt.Sprintf("byte %d", b), w, w+4<<24, w+8<<24, w+12<<24)
	}
}

// halvesTable prepares for Halves.
func (d *dequantizer) halvesTable() {
	if d.halves = ""; d.HalvesIndex != nil {
		d.halves = d.pattern("halves", d.HalvesIndex...)
	}
}

// top leaves 2^24 times byte b of each dword, which is signed, in v.
func (d *dequantizer) top(b int, dword, v Vec) {
	d.Shuffle(d.Func, d.tops[b], dword, v)
	d.IntToFloat(d.Func, v, v)
}

// scaled scales what is made of a byte.
func (d *dequantizer) scaled() { d.Op(d.MulV, d.scale, d.v, d.v) }

// scaledAndAdded scales what is made of a byte and adds to it. The product is exact.
func (d *dequantizer) scaledAndAdded() {
	d.v, d.spare = d.MulAdd(d.Func, string(d.add), d.scale, d.v, d.spare)
}

// bits leaves the bits of a mask, of dwords that are shifted to the left or, by less than 0, to the right.
func (d *dequantizer) bits(v Vec, shift int, mask string, dst Vec) {
	switch {
	case shift > 0:
		d.Op(d.ShlV, shift, v, dst)
	case shift < 0:
		d.Op(d.ShrV, -shift, v, dst)
	default:
		d.Op(d.AndV, mask, v, dst)
		return
	}
	d.Op(d.AndV, mask, dst, dst)
}

// scales converts the scales of a block, of binary16, to d.scale, and d.add if hi is set.
func (d *dequantizer) scales(pairs Vec, hi bool) {
	add := d.add
	if !hi {
		add = ""
	}
	d.Halves(d.Func, d.halves, pairs, d.scale, add, d.tmp)
}

// bytes stores the values of n dwords of bytes, each 2^24 times the byte before finish.
func (d *dequantizer) bytes(n int, code func(j int) Vec, finish func()) {
	for j := range n {
		c := code(j)
		for b := range 4 {
			d.top(b, c, d.v)
			finish()
			d.put(d.v)
		}
	}
}

// body writes what is constant for a type, and returns what writes the loop's body: a block, or a quad
// of elements.
func (d *dequantizer) body(w kernel.Weight) func() {
	switch w {
	case kernel.WeightFloat32:
		return func() {
			for _, v := range d.dwords(0) {
				d.put(v)
			}
		}
	case kernel.WeightFloat16:
		d.halvesTable()
		return func() {
			for _, v := range d.dwords(0) {
				d.Halves(d.Func, d.halves, v, d.v, d.code, d.tmp)
				d.put(d.v)
				d.put(d.code)
			}
		}
	case kernel.WeightBFloat16:
		high := d.pattern("high halves", 0xffff0000)
		return func() {
			for _, v := range d.dwords(0) {
				d.Op(d.ShlV, 16, v, d.v)
				d.put(d.v)
				d.Op(d.AndV, high, v, d.v)
				d.put(d.v)
			}
		}
	case kernel.WeightInt8:
		return d.int8()
	case kernel.WeightQ8_0:
		d.scale = d.m.one("scale")
		d.patternTops()
		d.halvesTable()
		power := d.power(-topBits)
		return func() {
			d.ask()
			d.scales(d.dword(0, 0), false)
			d.Op(d.MulV, power, d.scale, d.scale)
			for i := range 2 {
				q := d.dwords(2 + quadBytes*i)
				d.bytes(4, func(j int) Vec { return q[j] }, d.scaled)
			}
		}
	case kernel.WeightQ4_0, kernel.WeightQ4_1, kernel.WeightIQ4_NL, kernel.WeightMXFP4:
		return d.nibbles(w)
	case kernel.WeightQ5_0, kernel.WeightQ5_1:
		return d.fives(w)
	case kernel.WeightQ4_K, kernel.WeightQ5_K:
		return d.subBlocks32(w)
	case kernel.WeightQ2_K, kernel.WeightQ3_K, kernel.WeightQ6_K:
		return d.subBlocks16(w)
	}
	panic("asmgen: no body of " + w.String())
}

// int8 is body of integers. A scale may be any number, so they are made small first.
func (d *dequantizer) int8() func() {
	d.scale = d.m.one("Scales")
	d.patternTops()
	power := d.power(-topBits)
	d.begin = func() {
		d.Broadcast(d.Func, d.constant(1), d.scale)
		d.Op(d.Mov, d.LocalAt(localScales), d.count)
		d.Branch(d.Func, d.count, "EQ", "$0", "int8Unscaled")
		d.Op(d.Load, mem(d.count, 0), d.scale)
		d.Op(d.Add, d.Bytes(), d.count)
		d.Op(d.Mov, d.count, d.LocalAt(localScales))
		d.Label("int8Unscaled")
	}
	return func() {
		q := d.dwords(0)
		d.bytes(4, func(j int) Vec { return q[j] }, func() {
			d.Op(d.MulV, power, d.v, d.v)
			d.scaled()
		})
	}
}
