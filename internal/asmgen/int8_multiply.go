package asmgen

import (
	"fmt"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const multiplyInt8Formula = `
for i := range Rows {
	acc = +0
	for blocks b of 32 terms, groups g of the block {
		sum = the sum of (codes - 128) * integers of row i, exactly
		acc = fma(float(sum), Scales[b*Groups+g] * D, acc)
		if there are Mins and g is the last { acc = fma(Mins[b], Sum, acc) }
	}
	if Alpha != nil { C[i] = C[i]*Alpha + acc, without a fused operation }
	otherwise C[i] = ((Add ? C[i] : +0) + (Bias != nil ? Bias : +0)) + acc
}
`

// Local variables of MultiplyInt8 behind the micro-tile's sums.
const (
	int8Rows   = 8 * iota // left
	int8C                 // next row
	int8Vec               // bytes of lanes before the vectors of the micro-tile
	int8Eights            // all ones where a number is the code less 8, or 0
	int8Locals
)

const (
	// int8Streams is how many places of what is read next a micro-tile of one row asks for in turns, by codes of 8
	// bits: one stream of requests does not keep memory busy.
	int8Streams = 4

	// int8NextLines is how many lines of what is read next a micro-tile asks for with each block.
	int8NextLines = 2
)

// An int8Height is a height of micro-tiles, and for it the numbers of vectors, the largest first and 1 last.
type int8Height struct {
	rows int
	vecs []int
}

// int8Heights returns the micro-tiles of class Int8, the highest first.
func (arch *Arch) int8Heights() []int8Height {
	wide := len(arch.Vectors) == 32
	switch {
	case arch.Dot4 != nil && wide:
		return []int8Height{{3, []int{4, 2, 1}}, {1, []int{4, 1}}}
	case arch.Dot4 != nil:
		return []int8Height{{6, []int{2, 1}}, {3, []int{2, 1}}, {1, []int{2, 1}}}
	case wide:
		return []int8Height{{8, []int{1}}, {4, []int{1}}, {1, []int{4, 1}}}
	}
	return []int8Height{{8, []int{1}}, {4, []int{1}}, {1, []int{2, 1}}}
}

// An int8Kind is a kind of steps: of bytes with one scale for a block or two, or of codes of 4 bits, which are
// looked up unless their numbers are codes, or codes less 8.
type int8Kind struct {
	name    string
	groups  int
	nibbles bool
	linear  bool
}

// An int8Tile is the body of MultiplyInt8.
type int8Tile struct {
	*Func
	x, xs          Int   // next row of X, and the bytes to the one after it
	p              []Int // rows of X at the block, every third
	w, ws          Int   // W at the group, and the bytes of a row of lanes
	scales, mins   Int
	k, local, free Int
	next, part     Int // of what is read next, of a micro-tile of one row: where it is asked for, and a quarter of it

	kind       int8Kind
	row        *int8RowForm // of MultiplyRowInt8, otherwise nil
	rows, vecs int
	acc        [][]Vec
	sums       [][]Vec // of the micro-tile in registers, or nil
	wv         []Vec
	xv, tmp    Vec
	mask, tab  Vec
	upper      Vec // codes in the upper 4 bits of bytes

	// Of linear codes: the mask of upper ones; their sums, 16 times as large, or sums of 16 bits; whether 8 is
	// subtracted; and terms of X by which upper codes are multiplied.
	uppers     Vec
	more       []Vec
	eights, xu Vec
	halves     Vec // every other byte
	bytes      int // of local memory before the integers of a block of X as bytes, of linear codes
}

// multiplyInt8 writes MultiplyInt8.
func multiplyInt8(arch *Arch) *Func {
	if arch.DotQuad != nil {
		return multiplyQuads(arch)
	}
	f := newFunc(arch, "multiplyInt8", reflect.TypeFor[kernel.MultiplyInt8Args](), multiplyInt8Formula)
	heights := arch.int8Heights()
	t := &int8Tile{
		Func: f, x: f.int("X, next micro-tile"), xs: f.int("X, bytes from row to row"),
		w: f.int("W, at the group"), ws: f.int("bytes of a row of lanes"), scales: f.int("Scales, at the block"), mins: f.int("Mins, at the block, or 0"),
		k: f.int("blocks left"), local: f.int("sums of the micro-tile"), free: f.int("scratch"),
	}
	t.p = f.ints(max(3, (heights[0].rows+arch.RowsPerPtr-1)/arch.RowsPerPtr), "rows of X, at the block; what is read next")
	t.next, t.part = t.p[1], t.p[2]
	most := 0
	for _, h := range heights {
		most = max(most, h.rows*h.vecs[0])
	}
	f.locals = int8Locals + most*arch.Bytes() + 3*cacheLine
	t.bytes = most * arch.Bytes()
	if arch.Tiles {
		f.locals = tileLocals + tileRoom + cacheLine
	}
	f.load("X", t.x)
	f.load("RowBytes", t.xs)
	f.loadBytes("Lanes", t.ws)
	for _, x := range []struct {
		field string
		local int
	}{{"Rows", int8Rows}, {"C", int8C}} {
		f.load(x.field, t.free)
		f.Op(f.Mov, t.free, f.LocalAt(x.local))
	}
	f.Op("LEAQ", fmt.Sprintf("%d(SP)", int8Locals+cacheLine-1), t.local)
	f.Op("ANDQ", -cacheLine, t.local)
	f.load("Table", t.free)
	f.Branch(f, t.free, "EQ", "$0", "noTable")
	t.findLinear()
	f.Jump("nibblesRows")
	f.Label("noTable")
	if arch.Tiles {
		t.tiles()
	}
	f.load("Groups", t.free)
	f.Branch(f, t.free, "EQ", "$2", "groupsRows")
	for _, kind := range []int8Kind{
		{name: "bytes", groups: 1}, {name: "groups", groups: 2},
		{name: "nibbles", groups: 1, nibbles: true}, {name: "linear", groups: 1, nibbles: true, linear: true},
	} {
		t.kind = kind
		t.all(heights)
	}
	return f
}

// findLinear goes on at the linear kind where codes have such a Table, which free points to.
func (t *int8Tile) findLinear() {
	table, equal := low(t.Vectors[0], "X"), low(t.Vectors[1], "X")
	t.Op("VMOVDQU", mem(t.free, 0), table)
	for i, first := range []uint32{0x80, 0x78} { // codes and codes less 8, as codes of 8 bits
		var words [4]uint32
		for b := range uint32(16) {
			words[b/4] |= (first + b) << (b % 4 * 8)
		}
		t.Op(t.Mov, -i, t.LocalAt(int8Eights))
		t.Op("VPCMPEQB", t.patternAt(words[:]...), table, equal)
		t.Op("VPMOVMSKB", equal, t.k)
		t.Branch(t.Func, t.k, "EQ", imm(1<<16-1), "linearRows")
	}
}

// all writes the loop over the rows for a kind.
func (t *int8Tile) all(heights []int8Height) {
	name := t.kind.name
	if t.kind.nibbles {
		heights = heights[len(heights)-1:]
	}
	height := func(h int8Height) string { return fmt.Sprintf("%s%d", name, h.rows) }
	t.Label(name + "Rows")
	t.Op(t.Mov, t.LocalAt(int8Rows), t.free)
	for _, h := range heights[:len(heights)-1] {
		t.Branch(t.Func, t.free, "GE", imm(h.rows), height(h))
	}
	t.Branch(t.Func, t.free, "GT", "$0", height(heights[len(heights)-1]))
	t.Return(t.Func)
	for _, h := range heights {
		t.rows = h.rows
		t.Label(height(h))
		t.Op(t.Mov, 0, t.LocalAt(int8Vec))
		next := height(h) + "Vec"
		t.Label(next)
		t.Op(t.Mov, t.ws, t.free)
		t.Op(t.Sub, t.LocalAt(int8Vec), t.free)
		for _, vecs := range h.vecs {
			t.Branch(t.Func, t.free, "GE", imm(vecs*t.Bytes()), t.label("tile", vecs))
		}
		// All lanes are done.
		for range t.rows {
			t.Op(t.Add, t.xs, t.x)
		}
		t.loadBytes("Stride", t.free)
		t.Op(t.MulInt, t.rows, t.free)
		t.Op(t.Add, t.free, t.LocalAt(int8C))
		t.Op(t.Sub, t.rows, t.LocalAt(int8Rows))
		t.Jump(name + "Rows")
		for _, vecs := range h.vecs {
			t.vecs = vecs
			t.tile()
			t.Jump(next)
		}
	}
}

func (t *int8Tile) label(what string, vecs int) string {
	return fmt.Sprintf("%s%s%dx%d", what, t.kind.name, t.rows, vecs)
}

// at returns the address of a byte of the block of a row.
func (t *int8Tile) at(row, disp int) string {
	addr := t.RowAddr(t.p[row/t.RowsPerPtr], t.xs, row%t.RowsPerPtr)
	if disp == 0 {
		return addr
	}
	if row%t.RowsPerPtr == 0 {
		return mem(t.p[row/t.RowsPerPtr], disp)
	}
	return fmt.Sprint(disp) + addr
}

// sum returns the address of a sum of the micro-tile.
func (t *int8Tile) sum(row, vec int) string { return mem(t.local, (row*t.vecs+vec)*t.Bytes()) }

// sumsInRegisters reports whether there are registers for the sums of the micro-tiles beside those of integers.
// Loads of W wait for stores to local memory at the same address but for its upper bits.
func (t *int8Tile) sumsInRegisters() bool { return t.row != nil || len(t.Vectors) == 32 }

// words reports whether integers of rows have 16 bits.
func (t *int8Tile) words() bool { return t.Dot4 == nil }

// registers shares out the vector registers.
func (t *int8Tile) registers() {
	notes := t.notes
	m := t.vectors(fmt.Sprintf("%s %dx%d:", t.kind.name, t.rows, t.vecs))
	all := m.take(t.rows*t.vecs, "sums of integers")
	t.acc = nil
	for r := range t.rows {
		t.acc = append(t.acc, all[r*t.vecs:][:t.vecs])
	}
	t.sums = nil
	if t.sumsInRegisters() {
		all := m.take(t.rows*t.vecs, "sums")
		for r := range t.rows {
			t.sums = append(t.sums, all[r*t.vecs:][:t.vecs])
		}
	}
	t.wv = m.take(t.vecs, "W")
	t.xv, t.tmp = m.one("X"), m.one("scratch")
	if t.words() {
		t.halves = m.one("ones in every other byte")
	}
	t.more, t.uppers, t.eights, t.xu = nil, "", "", ""
	switch {
	case t.kind.linear:
		t.mask, t.upper = m.one("4 bits"), m.one("upper codes")
		t.more = m.take(t.vecs, "sums of upper codes, or of 16 bits")
		t.xu = m.one("X of upper codes")
		if t.row == nil {
			t.eights = m.one("whether 8 is subtracted")
		}
		if t.words() { // of bytes that are no halves
			t.uppers = t.halves
		} else {
			t.uppers = m.one("upper 4 bits")
		}
	case t.kind.nibbles:
		t.mask, t.tab, t.upper = m.one("4 bits"), m.one("Table"), m.one("upper codes")
	}
	if t.kind.name != "bytes" {
		t.notes = notes
	}
}

// tile writes a micro-tile.
func (t *int8Tile) tile() {
	t.registers()
	t.Label(t.label("tile", t.vecs))
	t.Op(t.Mov, t.x, t.p[0])
	for i := 1; i*t.RowsPerPtr < t.rows; i++ {
		t.Op(t.Mov, t.p[i-1], t.p[i])
		for range t.RowsPerPtr {
			t.Op(t.Add, t.xs, t.p[i])
		}
	}
	t.load("W", t.w)
	t.load("Scales", t.scales)
	t.Op(t.Mov, t.LocalAt(int8Vec), t.free)
	t.Op(t.Add, t.free, t.w)
	t.Op(t.Add, t.free, t.scales)
	if t.kind.groups == 1 {
		none := t.label("minless", t.vecs)
		t.load("Mins", t.mins)
		t.Branch(t.Func, t.mins, "EQ", "$0", none)
		t.Op(t.Add, t.free, t.mins)
		t.Label(none)
	}
	if t.rows > 1 {
		t.askC()
		if !t.words() {
			t.beginAhead()
		}
	}
	t.load("Depth", t.k)
	t.Zero(t.Func, t.tmp)
	for r := range t.rows {
		for j := range t.vecs {
			if t.sums != nil {
				t.Zero(t.Func, t.sums[r][j])
			} else {
				t.Op(t.Store, t.tmp, t.sum(r, j))
			}
		}
	}
	t.masks()
	if t.kind.linear {
		t.Op("VPBROADCASTD", t.LocalAt(int8Eights), t.eights)
	} else if t.kind.nibbles {
		t.load("Table", t.free)
		if t.Lanes == 16 {
			t.Op("VBROADCASTI32X4", mem(t.free, 0), t.tab)
		} else {
			t.Op("VBROADCASTI128", mem(t.free, 0), t.tab)
		}
	}
	if t.rows == 1 {
		t.beginStreams()
	}
	loop := t.label("block", t.vecs)
	t.Loop(loop)
	t.block()
	if t.rows == 1 {
		t.moveStreams()
	}
	for i := range t.p[:(t.rows+t.RowsPerPtr-1)/t.RowsPerPtr] {
		t.Op(t.Add, kernel.Int8BlockBytes(t.words()), t.p[i])
	}
	t.Op(t.Sub, kernel.Int8Block, t.k)
	t.Branch(t.Func, t.k, "NE", "$0", loop)
	t.store()
	t.Op(t.Add, t.vecs*t.Bytes(), t.LocalAt(int8Vec))
}

// masks sets the registers by which codes are taken apart.
func (t *int8Tile) masks() {
	switch {
	case t.kind.linear && t.words():
		t.Op(t.Load, t.patternAt(0x00010001), t.uppers)
	case t.kind.linear:
		t.Broadcast(t.Func, t.word(0xf0f0f0f0), t.uppers)
	case t.words():
		t.Broadcast(t.Func, t.word(0x00ff00ff), t.halves)
	}
	if t.kind.nibbles {
		t.Broadcast(t.Func, t.word(0x0f0f0f0f), t.mask)
	}
}

// word returns the address of a word of 32 bits.
func (f *Func) word(w uint32) string { return f.symbol(fmt.Sprintf("word%08x", w), w) + "(SB)" }

// block writes a block of terms.
func (t *int8Tile) block() {
	behind := kernel.Int8Integers(t.words())
	corrections := []int{kernel.Int8Whole}
	if t.kind.groups == 2 {
		corrections = []int{kernel.Int8First, kernel.Int8Second}
	}
	if t.rows > 1 {
		t.askNext(int8NextLines)
		if !t.words() {
			t.askAhead()
		}
	}
	if t.kind.linear {
		t.linearBlock(behind)
		corrections = nil
	}
	for group, correction := range corrections {
		for r, acc := range t.acc {
			for _, v := range acc {
				t.Op("VPBROADCASTD", t.at(r, behind+correction), v)
			}
		}
		quads := 8 / t.kind.groups // of terms of a group
		if t.kind.nibbles {
			quads = 4
		}
		for q := range quads {
			t.terms(group*quads + q)
		}
		t.scale(behind + kernel.Int8D)
		t.nextScales()
	}
	if t.row != nil {
		t.rowMins(behind)
		return
	}
	if t.kind.groups == 2 {
		return
	}
	none := t.label("noMins", t.vecs)
	t.Branch(t.Func, t.mins, "EQ", "$0", none)
	for r := range t.rows {
		t.Broadcast(t.Func, t.at(r, behind+kernel.Int8Sum), t.xv)
		for j := range t.vecs {
			if t.sums != nil {
				t.Op("VFMADD231PS", mem(t.mins, j*t.Bytes()), t.xv, t.sums[r][j])
				continue
			}
			t.Op(t.Load, t.sum(r, j), t.tmp)
			t.Op("VFMADD231PS", mem(t.mins, j*t.Bytes()), t.xv, t.tmp)
			t.Op(t.Store, t.tmp, t.sum(r, j))
		}
	}
	t.Op(t.Add, t.ws, t.mins)
	t.Label(none)
}

// linearBlock writes a block of codes of 4 bits whose numbers are codes, or codes less 8. Sums of numbers are those
// of codes, less 8 times the sum of the integers of X.
func (t *int8Tile) linearBlock(behind int) {
	if t.words() {
		t.bytesOfX()
	}
	for j := range t.vecs {
		t.Zero(t.Func, t.more[j])
	}
	if t.row != nil && !t.row.eights {
		for _, v := range t.acc[0] {
			t.Zero(t.Func, v)
		}
	} else {
		t.Op("VPBROADCASTD", t.at(0, behind+kernel.Int8Whole), t.xv)
		t.Op("VPSRAD", 4, t.xv, t.xv)
		if t.row == nil {
			t.Op(t.AndV, t.eights, t.xv, t.xv)
		}
		for _, v := range t.acc[0] {
			t.Op(t.Copy, t.xv, v)
		}
	}
	for q := range 4 {
		for j, w := range t.wv {
			t.Op(t.Load, mem(t.w, j*t.Bytes()), w)
		}
		t.Op(t.Add, t.ws, t.w)
		t.askStreams(q)
		t.Op("VPBROADCASTD", t.byteOfX(4*q), t.xv)
		t.Op("VPBROADCASTD", t.byteOfX(16+4*q), t.xu)
		for j, w := range t.wv {
			if !t.words() {
				t.Op(t.AndV, t.uppers, w, t.upper)
				t.Op(t.AndV, t.mask, w, w)
				t.Dot4(t.Func, t.upper, t.xu, t.more[j], t.tmp)
				t.Dot4(t.Func, w, t.xv, t.acc[0][j], t.tmp)
				continue
			}
			t.Op("VPSRLW", 4, w, t.upper)
			t.Op(t.AndV, t.mask, w, w)
			t.Op(t.AndV, t.mask, t.upper, t.upper)
			for _, x := range []struct{ codes, x Vec }{{w, t.xv}, {t.upper, t.xu}} {
				t.Op("VPMADDUBSW", x.x, x.codes, x.codes)
				t.Op("VPADDW", x.codes, t.more[j], t.more[j])
			}
		}
	}
	for j, v := range t.more {
		if t.words() { // at most 32 * 15 * 128 / 2
			t.Op("VPMADDWD", t.uppers, v, v)
		} else {
			t.Op("VPSRAD", 4, v, v)
		}
		t.Op("VPADDD", v, t.acc[0][j], t.acc[0][j])
	}
	t.scale(behind + kernel.Int8D)
	t.nextScales()
}

// nextScales moves on by a row of scales.
func (t *int8Tile) nextScales() {
	if t.row != nil {
		t.Op(t.Add, t.row.step, t.scales)
		return
	}
	t.Op(t.Add, t.ws, t.scales)
}

// byteOfX returns the address of an integer of the block, of 8 bits.
func (t *int8Tile) byteOfX(i int) string {
	if t.words() {
		return mem(t.local, t.bytes+i)
	}
	return t.at(0, i)
}

// bytesOfX makes bytes of the integers of the block, in local memory.
func (t *int8Tile) bytesOfX() {
	v, w := low(t.xv, "Y"), low(t.tmp, "Y")
	t.Op("VMOVDQU", mem(t.p[0], 0), v)
	t.Op("VPACKSSWB", mem(t.p[0], 32), v, v)
	t.Op("VPERMQ", 0xd8, v, v)
	t.Op("VPSHUFB", t.patternAt(0x03010200, 0x07050604, 0x0b090a08, 0x0f0d0e0c), v, w)
	t.Op("VMOVDQU", w, mem(t.local, t.bytes))
}

// askNext asks for lines of what is read next.
func (t *int8Tile) askNext(lines int) {
	done := t.label("asked", t.vecs)
	t.load("Next", t.free)
	t.Branch(t.Func, t.free, "GE", t.arg("NextEnd"), done)
	for i := range lines {
		t.Prefetch(t.Func, mem(t.free, i*cacheLine))
	}
	t.Op(t.Add, lines*cacheLine, t.free)
	t.save(t.free, "Next")
	t.Label(done)
}

// beginAhead has the first micro-tile, which finds W in memory, ask for as much of it as it reads.
func (t *int8Tile) beginAhead() {
	first := t.label("first", t.vecs)
	t.load("Ahead", t.part)
	t.load("X", t.free)
	t.Branch(t.Func, t.free, "EQ", string(t.x), first)
	t.Op(t.Mov, 0, t.part)
	t.Label(first)
}

// askAhead has the first micro-tile ask for what lies Ahead of the block.
func (t *int8Tile) askAhead() {
	behind := t.label("behind", t.vecs)
	t.Branch(t.Func, t.part, "EQ", "$0", behind)
	for i := range kernel.Int8Block / 4 * t.vecs * t.Bytes() / cacheLine {
		t.PrefetchNear(t.Func, fmt.Sprintf("%d(%s)(%s*1)", i*cacheLine, t.w, t.part))
	}
	t.Label(behind)
}

// askC asks for what the micro-tile adds its sums to: rows of C that are a page or more apart share sets of the
// first-level cache, and are not in it.
func (t *int8Tile) askC() {
	t.loadBytes("Stride", t.k)
	t.Op(t.Mov, t.LocalAt(int8C), t.free)
	t.Op(t.Add, t.LocalAt(int8Vec), t.free)
	for r := range t.rows {
		for j := 0; j < t.vecs*t.Bytes(); j += cacheLine {
			t.PrefetchNear(t.Func, mem(t.free, j))
		}
		if r < t.rows-1 {
			t.Op(t.Add, t.k, t.free)
		}
	}
}

// beginStreams has a micro-tile of one row ask for what is read next, or for nothing new.
func (t *int8Tile) beginStreams() {
	some := t.label("next", t.vecs)
	t.load("Next", t.next)
	t.load("NextEnd", t.part)
	t.Op(t.Sub, t.next, t.part)
	t.Branch(t.Func, t.part, "GT", "$0", some)
	t.Op(t.Mov, t.w, t.next)
	t.Op(t.Mov, 0, t.part)
	t.Label(some)
	if t.kind.nibbles {
		t.Op(t.Add, 0, t.next) // between the label of a jump forward and the loop
		return
	}
	t.Op("SHRQ", 2, t.part)
	t.Op(t.And, -cacheLine, t.part)
	t.Op("LEAQ", fmt.Sprintf("(%s)(%s*2)", t.part, t.part), t.free)
}

// moveStreams moves on by what a block has asked for. Codes of 4 bits have asked in one stream for as much as codes
// take, and ask for as much as scales take at most, which is a large part of what is read.
func (t *int8Tile) moveStreams() {
	lines := t.vecs * t.Bytes() / cacheLine
	if !t.kind.nibbles {
		t.Op(t.Add, max(1, 8*lines/int8Streams)*cacheLine, t.next)
		return
	}
	row := t.vecs * t.Bytes()
	for i := 4 * lines; i*cacheLine < 5*row; i++ {
		t.askStream(i)
	}
	t.Op(t.Add, 5*row, t.next)
}

// askStreams asks for as many lines as quad q has.
func (t *int8Tile) askStreams(q int) {
	if t.row != nil {
		t.askRow(q)
		return
	}
	lines := t.vecs * t.Bytes() / cacheLine
	for i := range lines {
		t.askStream(q*lines + i)
	}
}

// askStream asks for a line of one of the streams, line i of the block counted over all, or of the only one.
func (t *int8Tile) askStream(i int) {
	if t.kind.nibbles {
		t.PrefetchNear(t.Func, mem(t.next, i*cacheLine))
		return
	}
	off := i / int8Streams * cacheLine
	addr := fmt.Sprintf("(%s)", t.next)
	switch i % int8Streams {
	case 1:
		addr += fmt.Sprintf("(%s*1)", t.part)
	case 2:
		addr += fmt.Sprintf("(%s*2)", t.part)
	case 3:
		addr += fmt.Sprintf("(%s*1)", t.free)
	}
	if off != 0 {
		addr = fmt.Sprint(off) + addr
	}
	t.PrefetchNear(t.Func, addr)
}

// terms adds the products of quad q of terms, and of q+4 where a byte has two codes.
func (t *int8Tile) terms(q int) {
	for j, w := range t.wv {
		t.Op(t.Load, mem(t.w, j*t.Bytes()), w)
	}
	t.Op(t.Add, t.ws, t.w)
	if t.rows == 1 {
		t.askStreams(q)
	}
	switch {
	case t.kind.nibbles:
		for j, w := range t.wv {
			t.Op("VPSRLD", 4, w, t.upper)
			for half, codes := range []Vec{w, t.upper} {
				t.Op(t.AndV, t.mask, codes, codes)
				t.Op("VPSHUFB", codes, t.tab, codes)
				t.dot(q+4*half, j, codes)
			}
		}
	case t.words():
		for j, w := range t.wv {
			t.dot(q, j, w)
		}
	default:
		for r, acc := range t.acc {
			t.Op("VPBROADCASTD", t.at(r, 4*q), t.xv)
			for j, w := range t.wv {
				t.Dot4(t.Func, w, t.xv, acc[j], t.tmp)
			}
		}
	}
}

// dot adds the products of quad q of terms by codes, of vector j of all rows. The codes are lost.
func (t *int8Tile) dot(q, j int, codes Vec) {
	if !t.words() {
		for r, acc := range t.acc {
			t.Op("VPBROADCASTD", t.at(r, 4*q), t.xv)
			t.Dot4(t.Func, codes, t.xv, acc[j], t.tmp)
		}
		return
	}
	t.Op("VPSRLW", 8, codes, t.tmp)
	t.Op(t.AndV, t.halves, codes, codes)
	for r, acc := range t.acc {
		for i, w := range []Vec{codes, t.tmp} {
			t.Op("VPBROADCASTD", t.at(r, 8*q+4*i), t.xv)
			t.DotHalves(t.Func, w, t.xv, acc[j], t.xv)
		}
	}
}

// scale adds the sums of integers, of rows whose scales are at an offset, to the sums of the micro-tile.
func (t *int8Tile) scale(d int) {
	for r, acc := range t.acc {
		t.Broadcast(t.Func, t.at(r, d), t.xv)
		for j, v := range acc {
			t.IntToFloat(t.Func, v, v)
			if t.row != nil {
				t.rowScale(j, t.tmp)
				t.Op(t.MulV, t.tmp, t.xv, t.tmp)
			} else {
				t.MulLoad(t.Func, mem(t.scales, j*t.Bytes()), t.xv, t.tmp)
			}
			if t.sums != nil {
				t.Op("VFMADD231PS", t.tmp, v, t.sums[r][j])
				continue
			}
			t.Op("VFMADD213PS", t.sum(r, j), t.tmp, v)
			t.Op(t.Store, v, t.sum(r, j))
		}
	}
}

// store adds the sums of the micro-tile to C.
func (t *int8Tile) store() {
	bias, old, oldStride, stride, c := t.scales, t.mins, t.k, t.w, t.p[0]
	zeros := t.symbol("zeros", make([]uint32, kernel.MaxLanes)...)
	biased, added, done := t.label("biased", t.vecs), t.label("added", t.vecs), t.label("stored", t.vecs)
	scaled := t.kind.name == "bytes"
	if scaled {
		t.storeScaled(done)
	}
	t.load("Bias", bias)
	t.Op(t.Mov, t.LocalAt(int8Vec), t.free)
	t.Branch(t.Func, bias, "NE", "$0", biased)
	t.Address(t.Func, zeros, bias)
	t.Op(t.Sub, t.free, bias)
	t.Label(biased)
	t.Op(t.Add, t.free, bias)
	t.Op(t.Mov, t.LocalAt(int8C), c)
	t.Op(t.Add, t.free, c)
	t.loadBytes("Stride", stride)
	t.Op(t.Mov, c, old)
	t.Op(t.Mov, stride, oldStride)
	t.LoadByte(t.Func, t.arg("Add"), t.free)
	t.note("a.Add")
	t.Branch(t.Func, t.free, "NE", "$0", added)
	t.Address(t.Func, zeros, old)
	t.Op(t.Mov, 0, oldStride)
	t.Label(added)
	for r := range t.rows {
		for j := range t.vecs {
			t.Op(t.Load, mem(old, j*t.Bytes()), t.tmp)
			t.AddLoad(t.Func, mem(bias, j*t.Bytes()), t.tmp)
			if t.sums != nil {
				t.Op(t.AddV, t.sums[r][j], t.tmp, t.tmp)
			} else {
				t.AddLoad(t.Func, t.sum(r, j), t.tmp)
			}
			t.Op(t.Store, t.tmp, mem(c, j*t.Bytes()))
		}
		if r < t.rows-1 {
			t.Op(t.Add, oldStride, old)
			t.Op(t.Add, stride, c)
		}
	}
	if scaled {
		t.Label(done)
	}
}

// storeScaled adds the sums of the micro-tile to C times Alpha, and goes on at done, if there is an Alpha.
func (t *int8Tile) storeScaled(done string) {
	alpha, stride, c, none := t.scales, t.w, t.p[0], t.label("unscaled", t.vecs)
	t.load("Alpha", alpha)
	t.Branch(t.Func, alpha, "EQ", "$0", none)
	t.Op(t.Mov, t.LocalAt(int8Vec), t.free)
	t.Op(t.Add, t.free, alpha)
	t.Op(t.Mov, t.LocalAt(int8C), c)
	t.Op(t.Add, t.free, c)
	t.loadBytes("Stride", stride)
	for r := range t.rows {
		for j := range t.vecs {
			t.Op(t.Load, mem(c, j*t.Bytes()), t.tmp)
			t.MulLoad(t.Func, mem(alpha, j*t.Bytes()), t.tmp, t.tmp)
			if t.sums != nil {
				t.Op(t.AddV, t.sums[r][j], t.tmp, t.tmp)
			} else {
				t.AddLoad(t.Func, t.sum(r, j), t.tmp)
			}
			t.Op(t.Store, t.tmp, mem(c, j*t.Bytes()))
		}
		if r < t.rows-1 {
			t.Op(t.Add, stride, c)
		}
	}
	t.Jump(done)
	t.Label(none)
}
