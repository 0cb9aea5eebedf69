package asmgen

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/qkv-go/qkv/kernel"
)

const decodeAccumulateFormula = `
for r := range Rows, d := range Dim {
	acc = From == nil ? -0 : From[r*OStride+d]
	for k := range Keys {
		if k < MaskFrom || !signbit(P[k*Stride+r]) {
			acc = fma(value k [d], P[k*Stride+r], acc)
		}
	}
	if To != nil {
		To[r*OStride+d] = acc
		continue
	}
	O[r*OStride+d] = fma(Mode == First ? +0 : O[r*OStride+d], Mode == Rescale ? Alpha[r] : 1, acc)
}
`

// A valueAdder is the body of DecodeAccumulate. It takes some rows of weights and some
// vectors of dims at a time through all keys, with dims in the lanes. If some keys may be
// left out, it takes a row at a time.
type valueAdder struct {
	*Func
	off, scale, p Int // of the next key
	v             Int // units of the dims
	dims          Int // left
	o             Int
	ahead         Int // a row to ask for, or what of it
	first         Int // P, of the rows
	rows          Int // left
	stride        Int // P, bytes from key to key
	n, tmp        Int

	// Registers, or words of local memory where there are none left. See openAsks and openStream.
	upcoming, due, every, rest Int

	elem    kernel.Elem
	brain   bool // numbers are those of class BFloat16
	quarter quarter
	codes   fourBits

	least, line Vec // in class BFloat16: the least magnitudes, twice, and numbers as they are stored
}

// decodeRowsAtOnce is the most rows of DecodeAccumulate at a time: more read the values
// again.
const decodeRowsAtOnce = 4

// vectorsAtOnce returns how many vectors of dims to take at a time beside so many rows, the
// most first; none if the rows are too many.
func (arch *Arch) vectorsAtOnce(e kernel.Elem, rows int) []int {
	least := 1
	if e.UnitValues() > 1 {
		least = kernel.BlockValues / arch.Lanes
	}
	var list []int
	for n := max(8, least); n >= least; n /= 2 {
		if rows*n+rows+3+decodeConstants(e) <= len(arch.Vectors) {
			list = append(list, n)
		}
	}
	return list
}

// decodeConstants returns how many registers DecodeAccumulate has for a type beside accumulators, weights, two for
// values and one for a scale.
func decodeConstants(e kernel.Elem) int {
	switch e {
	case kernel.E4M3:
		return 3
	case kernel.Q4_0, kernel.Q4_1:
		return 2
	}
	return 0
}

// valueElems returns the element types that DecodeAccumulate reads, float32 first: all with Lookup.
func (arch *Arch) valueElems() []kernel.Elem {
	if arch.Lookup != nil {
		return kernel.Elems()
	}
	return directElems()
}

// decodeAccumulate writes DecodeAccumulate.
func decodeAccumulate(arch *Arch) *Func {
	f := newFunc(arch, "decodeAccumulate", reflect.TypeFor[kernel.DecodeAccumulateArgs](), decodeAccumulateFormula)
	a := &valueAdder{
		Func: f, off: f.int("Off, next key"), scale: f.int("Scale, next key"), p: f.int("P, next key"),
		v: f.int("V, next dims"), dims: f.int("dims left"), o: f.int("O"), ahead: f.int("row to ask for"),
		first: f.int("P, next rows"), rows: f.int("rows left"), stride: f.int("P, bytes from key to key"),
		n: f.int("keys left"), tmp: f.int("scratch"),
	}
	words, notes := []*Int{&a.upcoming, &a.due, &a.every}, []string{"Off, upcoming", "dims left until that is asked for", "dims of all rows"}
	if a.streams() {
		words, notes = append(words, &a.rest), append(notes, "dims of all rows but the first ones")
	}
	f.words(words, notes)
	if f.DecodeLocal {
		f.locals = f.rowFrame()
		f.load("MaskFrom", a.n)
		f.load("Keys", a.tmp)
		f.Branch(f, a.n, "NE", string(a.tmp), "registers")
		f.load("Rows", a.rows)
		f.Branch(f, a.rows, "EQ", "$1", "registers")
		r := &rowAdder{
			Func: f, keys: [4]Int{a.off, a.scale, a.p, a.v}, p: a.dims, pair: a.o, stride: a.stride,
			acc: a.ahead, accNext: a.first, dims: a.n, rows: a.rows, weights: a.tmp,
		}
		f.byElemAs(directElems(), "rows", a.n, func(e kernel.Elem) {
			r.elem = e
			r.emit()
		})
		f.Label("registers")
	}
	f.load("P", a.first)
	f.load("Rows", a.rows)
	f.loadBytes("Stride", a.stride)
	brains := f.brainRows()
	f.byElemAs(f.valueElems(), "", a.n, func(e kernel.Elem) {
		if e == kernel.BFloat16 && brains {
			f.LoadByte(f, f.arg("Brain"), a.n)
			f.Branch(f, a.n, "NE", "$0", "Brain")
		}
		a.elem = e
		a.emit()
	})
	if brains {
		f.Label("Brain")
		a.elem, a.brain = kernel.BFloat16, true
		a.emit()
	}
	return f
}

func (a *valueAdder) name(format string, args ...any) string {
	if a.brain {
		return "Brain" + fmt.Sprintf(format, args...)
	}
	return a.elem.String() + fmt.Sprintf(format, args...)
}

// emit writes the loops over rows and dims of an element type.
func (a *valueAdder) emit() {
	most := decodeRowsAtOnce
	for len(a.vectorsAtOnce(a.elem, most)) == 0 {
		most--
	}
	if a.byRows() || a.streams() {
		a.openAsks(most)
	}
	a.Label(a.name("Rows"))
	a.load("V", a.v)
	a.load("Dim", a.dims)
	// O of the rows: those done are Rows less the rows left.
	a.load("Rows", a.o)
	a.Op(a.Sub, a.rows, a.o)
	a.loadBytes("OStride", a.tmp)
	a.Op(a.MulInt, a.tmp, a.o)
	a.load("O", a.tmp)
	a.Op(a.Add, a.tmp, a.o)
	a.load("MaskFrom", a.n)
	a.load("Keys", a.tmp)
	a.Op(a.Sub, a.n, a.tmp)
	a.Branch(a.Func, a.tmp, "NE", "$0", a.name("Dims1"))
	for rows := 1; rows < most; rows++ {
		a.Branch(a.Func, a.rows, "EQ", imm(rows), a.name("Dims%d", rows))
	}
	for rows := most; rows > 0; rows-- {
		a.overDims(rows)
		a.Op(a.Add, 4*rows, a.first)
		a.Op(a.Sub, rows, a.rows)
		a.Branch(a.Func, a.rows, "GT", "$0", a.name("Rows"))
		a.Return(a.Func)
	}
}

// byRows reports whether whole rows are asked for. On Zen 5 that makes 16 bits faster. Rows of float32, which have twice
// as many lines, are asked for at the dims that are read.
func (a *valueAdder) byRows() bool { return a.elem != kernel.Float32 }

// openAsks sets up for ask, with at most so many rows at a time.
func (a *valueAdder) openAsks(most int) {
	a.load("Off", a.tmp)
	a.Op(a.Add, 8*kernel.Upcoming, a.tmp)
	a.Op(a.Mov, a.tmp, a.upcoming)
	masked, count, counted := a.name("AsksMasked"), a.name("AsksRows"), a.name("AsksCounted")
	a.load("MaskFrom", a.n)
	a.load("Keys", a.tmp)
	a.Op(a.Sub, a.n, a.tmp)
	a.load("Dim", a.ahead)
	a.load("Rows", a.n)
	a.Branch(a.Func, a.tmp, "NE", "$0", masked)
	a.Op(a.Mov, a.ahead, a.tmp)
	a.Loop(count)
	a.Op(a.Sub, most, a.n)
	a.Branch(a.Func, a.n, "LE", "$0", counted)
	a.Op(a.Add, a.tmp, a.ahead)
	a.Jump(count)
	a.Label(masked)
	a.Op(a.MulInt, a.n, a.ahead)
	a.Label(counted)
	a.Op(a.Mov, a.ahead, a.every)
	a.Op(a.Mov, a.ahead, a.due)
	if a.streams() {
		a.load("Dim", a.tmp)
		a.Op(a.Sub, a.tmp, a.ahead)
		a.Op(a.Mov, a.ahead, a.rest)
		far := a.name("AsksFar")
		a.LoadByte(a.Func, a.arg("Near"), a.tmp)
		a.Branch(a.Func, a.tmp, "EQ", "$0", far)
		a.Op(a.Mov, 0, a.due)
		a.Label(far)
	}
}

// streams reports whether rows that are wanted in the first-level cache are asked for as one stream, as many bytes with each
// key as are read of it. Whole rows at a time come in bursts, which take 1.2 to 1.4 times as long on Zen 5.
func (a *valueAdder) streams() bool { return a.Bytes() == cacheLine }

// nextAsked has ahead point to the next row to ask for.
func (a *valueAdder) nextAsked() {
	a.Op(a.Mov, a.upcoming, a.ahead)
	a.Op(a.Add, 8, a.upcoming)
	a.Op(a.Mov, mem(a.ahead, 0), a.ahead)
	a.AddMem(a.Func, a.arg("V"), a.ahead)
}

// askStream asks for as many lines as a key has of what is read of it, of a row after the other. Where there are more rows of
// queries than are taken at a time, the first ones of them ask.
func (a *valueAdder) askStream(vecs int) {
	within, asked := a.unique("StreamWithin"), a.unique("StreamAsked")
	a.Op(a.Mov, a.due, a.tmp)
	a.Branch(a.Func, a.tmp, "GT", "$0", within)
	a.nextAsked()
	a.Op(a.Add, a.every, a.tmp)
	a.Label(within)
	a.Branch(a.Func, a.tmp, "LE", string(a.rest), asked)
	bytes := vecs * a.Lanes / a.elem.UnitValues() * a.elem.Unit()
	for line := 0; line < bytes; line += cacheLine {
		a.PrefetchNear(a.Func, mem(a.ahead, line))
	}
	a.Op(a.Add, bytes, a.ahead)
	a.Label(asked)
	a.Op(a.Sub, vecs*a.Lanes, a.tmp)
	a.Op(a.Mov, a.tmp, a.due)
}

// ask asks for a whole row that is wanted later, whenever as many values have been added as a row has, of all rows of
// queries. So it asks in the order of memory, for as many rows as there are keys.
func (a *valueAdder) ask(vecs int) {
	within := a.unique("Within")
	a.Op(a.Sub, vecs*a.Lanes, a.due)
	a.Branch(a.Func, a.due, "GT", "$0", within)
	a.nextAsked()
	units := max(1, cacheLine/a.elem.Unit())
	near, asked := a.unique("Near"), a.unique("Asked")
	fetches := []func(f *Func, addr string){a.Prefetch, a.PrefetchNear}
	if a.streams() {
		fetches = fetches[:1]
	} else {
		a.LoadByte(a.Func, a.arg("Near"), a.tmp)
		a.Branch(a.Func, a.tmp, "NE", "$0", near)
	}
	for i, fetch := range fetches {
		line := a.unique("Line")
		a.load("Dim", a.tmp)
		a.Loop(line)
		fetch(a.Func, mem(a.ahead, 0))
		a.Op(a.Add, units*a.elem.Unit(), a.ahead)
		a.Op(a.Sub, units*a.elem.UnitValues(), a.tmp)
		a.Branch(a.Func, a.tmp, "GT", "$0", line)
		if i < len(fetches)-1 {
			a.Jump(asked)
			a.Label(near)
		}
	}
	a.Label(asked)
	a.Op(a.Mov, a.every, a.tmp)
	a.Op(a.Add, a.tmp, a.due)
	a.Label(within)
}

// overDims writes the loop over dims for a number of rows.
func (a *valueAdder) overDims(rows int) {
	sizes := a.vectorsAtOnce(a.elem, rows)
	label := a.name("Dims%d", rows)
	a.Loop(label)
	for _, vecs := range sizes[:len(sizes)-1] {
		a.Branch(a.Func, a.dims, "GE", imm(vecs*a.Lanes), a.name("%dx%d", rows, vecs))
	}
	for i := len(sizes) - 1; i >= 0; i-- {
		vecs := sizes[i]
		a.Label(a.name("%dx%d", rows, vecs))
		a.tile(rows, vecs)
		values := vecs * a.Lanes
		a.Op(a.Add, values/a.elem.UnitValues()*a.elem.Unit(), a.v)
		a.Op(a.Add, 4*values, a.o)
		a.Op(a.Sub, values, a.dims)
		a.Branch(a.Func, a.dims, "GT", "$0", label)
		if i > 0 {
			a.Jump(a.name("RowsDone%d", rows))
		}
	}
	a.Label(a.name("RowsDone%d", rows))
}

// tile writes all keys for some rows and vectors of dims.
func (a *valueAdder) tile(rows, vecs int) {
	notes := a.notes
	m := a.vectors("tile:")
	all := m.take(rows*vecs, "accumulators")
	acc := make([][]Vec, rows)
	for r := range acc {
		acc[r] = all[r*vecs:][:vecs]
	}
	weights := m.take(rows, "weights")
	values := m.take(2, "values")
	factor := m.one("scale")
	a.constants(m, factor)
	if a.brain {
		a.least, a.line = m.bits(leastBrain*2*0x10001, "least magnitudes, twice"), m.one("values as they are stored")
	}
	if a.elem != kernel.Float32 || rows*vecs < 16 {
		a.notes = notes // that of the largest is enough
	}
	fresh, begun := a.name("%dx%dFresh", rows, vecs), a.name("%dx%dBegun", rows, vecs)
	a.sums("From", acc, fresh, func(v Vec, addr string) { a.Op(a.Load, addr, v) })
	apart := a.apart(vecs)
	if apart {
		a.permute("evenOdd", acc, values, &factor, func(half, lane int) int { return 2*lane + half })
		all = slices.Concat(acc...)
	}
	a.Jump(begun)
	a.Label(fresh)
	a.Broadcast(a.Func, a.constant(negZero), all[0])
	for _, v := range all[1:] {
		a.Op(a.Copy, all[0], v)
	}
	a.Label(begun)
	if apart {
		a.Op("VPTERNLOGD", 0xff, factor, factor, factor)
		a.Op(a.ShlV, 16, factor, factor)
	}
	a.load("Off", a.off)
	a.load("Scale", a.scale)
	a.Op(a.Mov, a.first, a.p)
	key := func(loop, next string, stream bool) {
		if stream {
			a.askStream(vecs)
		} else if a.byRows() {
			a.ask(vecs)
		} else {
			a.Op(a.Mov, mem(a.off, 8*kernel.Upcoming), a.ahead)
		}
		a.Op(a.Mov, mem(a.off, 0), a.tmp)
		if next != "" { // it may be masked
			a.LoadSigned(a.Func, mem(a.p, 0), a.scale)
			a.Branch(a.Func, a.scale, "LT", "$0", next)
			a.maskedScale()
		}
		a.loadWeights(weights)
		if a.FMAElement != nil {
			a.Op(a.Add, a.v, a.tmp)
		}
		if a.elem == kernel.Int8 {
			a.Broadcast(a.Func, mem(a.scale, 0), factor)
		}
		a.values(acc, weights, values, factor, !stream && !a.byRows())
		if next != "" {
			a.Label(next)
		}
		a.Op(a.Add, 8, a.off)
		if a.elem == kernel.Int8 && next == "" {
			a.Op(a.Add, 4, a.scale)
		}
		a.Op(a.Add, a.stride, a.p)
		a.Countdown(a.n, loop)
	}
	keys := func(name string, stream bool) {
		loop := a.name("%dx%d%s", rows, vecs, name)
		if rows > 1 {
			a.load("Keys", a.n)
			a.Loop(loop)
			key(loop, "", stream)
			return
		}
		masked, done := loop+"sMasked", loop+"sDone"
		a.load("MaskFrom", a.n)
		a.Branch(a.Func, a.n, "EQ", "$0", masked)
		a.Loop(loop)
		key(loop, "", stream)
		a.Label(masked)
		a.load("Keys", a.n)
		a.SubLoad(a.Func, a.arg("MaskFrom"), a.n)
		a.Branch(a.Func, a.n, "EQ", "$0", done)
		a.Loop(loop + "Masked")
		key(loop+"Masked", loop+"Next", stream)
		a.Label(done)
	}
	if a.streams() {
		far, added := a.name("%dx%dFar", rows, vecs), a.name("%dx%dAdded", rows, vecs)
		a.LoadByte(a.Func, a.arg("Near"), a.n)
		a.Branch(a.Func, a.n, "EQ", "$0", far)
		keys("KeyNear", true)
		a.Jump(added)
		a.Label(far)
		keys("Key", false)
		a.Label(added)
	} else {
		keys("Key", false)
	}
	if apart {
		a.permute("inOrder", acc, values, &factor, func(half, lane int) int {
			dim := half*a.Lanes + lane
			return dim%2*a.Lanes + dim/2
		})
	}
	a.update(acc, values[0], factor)
}

// loadWeights loads the weights of a key: of four rows or two as they are where there is FMAElement, and otherwise
// each in a register.
func (a *valueAdder) loadWeights(weights []Vec) {
	if a.FMAElement == nil {
		for r, w := range weights {
			a.Broadcast(a.Func, mem(a.p, 4*r), w)
		}
		return
	}
	switch len(weights) {
	case 4:
		a.Op(a.Load, mem(a.p, 0), weights[0])
	case 2:
		a.Op("FMOVD", mem(a.p, 0), weights[0])
	default:
		for r, w := range weights {
			a.Op(a.Element, mem(a.p, 4*r), w)
		}
	}
}

// weigh adds values by the weight of a row.
func (a *valueAdder) weigh(weights []Vec, row int, v, acc Vec) {
	switch {
	case a.FMAElement == nil:
		a.Op(a.FMAV, weights[row], v, acc)
	case len(weights)%2 == 0:
		a.FMAElement(a.Func, weights[0], row, v, acc)
	default:
		a.FMAElement(a.Func, weights[row], 0, v, acc)
	}
}

// value returns the address of a byte of the values of a key, which tmp leads to where there is FMAElement.
func (a *valueAdder) value(disp int) string {
	if a.FMAElement != nil {
		return mem(a.tmp, disp)
	}
	return a.AddressOf(a.Func, a.v, a.tmp, disp)
}

// apart reports whether even dims of BFloat16 and odd ones have accumulators of their own. To make a vector of them
// float32 is one instruction then, where in order it is two.
func (a *valueAdder) apart(vecs int) bool {
	return a.elem == kernel.BFloat16 && a.Bytes() == cacheLine && vecs%2 == 0
}

// permute has each two accumulators of a row hold the lanes of both that of returns. index is lost, and spare is
// another register then.
func (a *valueAdder) permute(name string, acc [][]Vec, index []Vec, spare *Vec, of func(half, lane int) int) {
	for half, v := range index {
		var words []uint32
		for lane := range a.Lanes {
			words = append(words, uint32(of(half, lane)))
		}
		a.Op(a.Load, a.symbol(fmt.Sprint(name, half), words...)+"(SB)", v)
	}
	for _, row := range acc {
		for j := 0; j < len(row); j += 2 {
			a.Op(a.Copy, row[j], *spare)
			a.Op("VPERMT2D", row[j+1], index[0], *spare)
			a.Op("VPERMT2D", row[j+1], index[1], row[j])
			row[j], row[j+1], *spare = *spare, row[j], row[j+1]
		}
	}
}

// evenOdd loads the even dims of a line of a key's values, or the odd ones.
func (a *valueAdder) evenOdd(j int, v, odd Vec) {
	addr := a.AddressOf(a.Func, a.v, a.tmp, j/2*cacheLine)
	if a.brain {
		if j%2 == 0 {
			a.Op(a.Load, addr, a.line)
			keepLarge(a.Func, false, a.least, a.line, v, a.line)
		}
		addr = string(a.line)
	}
	if j%2 == 0 {
		a.Op(a.ShlV, 16, addr, v)
	} else {
		a.Op("VPANDD", addr, odd, v)
	}
}

// constants loads what the element type wants.
func (a *valueAdder) constants(m *vecMap, factor Vec) {
	switch a.elem {
	case kernel.E4M3:
		a.quarter = m.quarter()
		a.Broadcast(a.Func, a.constant(quarterScale), factor)
	case kernel.Q4_0, kernel.Q4_1:
		a.codes = fourBits{numbers: m.one("numbers of codes"), code: m.one("codes"), scaled: factor}
		a.LoadConstant(a.Func, a.numbers(a.elem), a.codes.numbers)
	}
}

// maskedScale points scale to that of the key that is next, which the register does not
// follow where keys may be masked.
func (a *valueAdder) maskedScale() {
	if a.elem != kernel.Int8 {
		return
	}
	a.load("Keys", a.scale)
	a.Op(a.Sub, a.n, a.scale)
	a.Op(a.Shl, 2, a.scale)
	a.AddMem(a.Func, a.arg("Scale"), a.scale)
}

// values adds the weighted values of a key, and asks for as much of the row ahead.
func (a *valueAdder) values(acc [][]Vec, weights, values []Vec, factor Vec, ask bool) {
	for j := range acc[0] {
		v := values[j%len(values)]
		if a.elem == kernel.Q4_0 || a.elem == kernel.Q4_1 {
			a.code(j, v)
			for r := range weights {
				a.weigh(weights, r, v, acc[r][j])
			}
			continue
		}
		disp := j * a.Lanes * a.elem.Unit()
		if a.elem == kernel.Q8_0 {
			block, within := j*a.Lanes/kernel.BlockValues*a.elem.Unit(), j*a.Lanes%kernel.BlockValues
			if within == 0 {
				a.BroadcastHalf(a.Func, a.value(block), factor)
			}
			disp = block + quants + within
		}
		if ask && (j == 0 || disp/cacheLine != (disp-a.Lanes*a.elem.Unit())/cacheLine) {
			a.Prefetch(a.Func, a.AddressOf(a.Func, a.v, a.ahead, disp))
		}
		addr := a.value(disp)
		if a.apart(len(acc[0])) {
			a.evenOdd(j, v, factor)
		} else if a.elem == kernel.E4M3 || a.elem == kernel.E5M2 {
			a.LoadWords(a.Func, addr, v)
			a.Float8(a.Func, a.elem, v, &a.quarter)
		} else {
			a.LoadElem(a.Func, a.elem, addr, v)
			if a.brain { // the lower halves are 0
				keepLarge(a.Func, false, a.least, v, a.line, v)
			}
		}
		if a.elem == kernel.Int8 || a.elem == kernel.Q8_0 || a.elem == kernel.E4M3 {
			a.Op(a.MulV, factor, v, v)
		}
		for r := range weights {
			a.weigh(weights, r, v, acc[r][j])
		}
	}
}

// code loads vector j of the values of a key, of codes of 4 bits. With the first of a block it makes the values of
// all codes, of which each lane takes one.
func (a *valueAdder) code(j int, v Vec) {
	c, block := &a.codes, j*a.Lanes/kernel.BlockValues*a.elem.Unit()
	addr := func(at int) string { return a.AddressOf(a.Func, a.v, a.tmp, block+at) }
	if j*a.Lanes%kernel.BlockValues != 0 {
		a.Op(a.ShrV, 4, c.code, c.code)
		a.Lookup(a.Func, c.scaled, c.code, v)
		return
	}
	at := quants40
	if a.elem == kernel.Q4_1 {
		at = quants41
		a.BroadcastHalf(a.Func, addr(0), v)
		a.BroadcastHalf(a.Func, addr(minAt), c.scaled)
		a.Op(a.FMAV, v, c.numbers, c.scaled) // the product is exact
	} else {
		a.BroadcastHalf(a.Func, addr(0), c.scaled)
		a.Op(a.MulV, c.numbers, c.scaled, c.scaled)
	}
	a.LoadBytes(a.Func, addr(at), c.code)
	a.Lookup(a.Func, c.scaled, c.code, v)
}

// sums moves the accumulators of a micro-tile from or to a field, or jumps to none if that is nil.
func (a *valueAdder) sums(field string, acc [][]Vec, none string, move func(v Vec, addr string)) {
	ptr, stride := a.tmp, a.off
	a.load(field, ptr)
	a.Branch(a.Func, ptr, "EQ", "$0", none)
	a.Op(a.Add, a.o, ptr)
	a.SubLoad(a.Func, a.arg("O"), ptr)
	a.loadBytes("OStride", stride)
	for r, row := range acc {
		for j, v := range row {
			move(v, mem(ptr, j*a.Bytes()))
		}
		if r < len(acc)-1 {
			a.Op(a.Add, stride, ptr)
		}
	}
}

// update writes the epilogue of a micro-tile, as that of Accumulate.
func (a *valueAdder) update(acc [][]Vec, x, alpha Vec) {
	whole, updated := a.name("%dx%dWhole", len(acc), len(acc[0])), a.name("%dx%dUpdated", len(acc), len(acc[0]))
	a.sums("To", acc, whole, func(v Vec, addr string) { a.Op(a.Store, v, addr) })
	a.Jump(updated)
	a.Label(whole)
	ready := a.name("%dx%dReady", len(acc), len(acc[0]))
	from, fromStride, to, weight := a.off, a.p, a.n, a.scale
	a.Op(a.Mov, a.o, from)
	a.Op(a.Mov, a.o, to)
	a.loadBytes("OStride", fromStride)
	a.load("Rows", weight)
	a.Op(a.Sub, a.rows, weight)
	a.Op(a.Shl, 2, weight)
	a.AddMem(a.Func, a.arg("Alpha"), weight)
	a.load("Mode", a.tmp)
	a.byMode(a.tmp, weight, from, fromStride, a.zeroRow(), ready)
	toStride := a.tmp
	a.loadBytes("OStride", toStride)
	for r, row := range acc {
		a.Broadcast(a.Func, mem(weight, 4*r), alpha)
		for j, v := range row {
			a.Op(a.Load, mem(from, j*a.Bytes()), x)
			a.Op(a.Store, a.Update(a.Func, v, alpha, x), mem(to, j*a.Bytes()))
		}
		if r < len(acc)-1 {
			a.Op(a.Add, fromStride, from)
			a.Op(a.Add, toStride, to)
		}
	}
	a.Label(updated)
}
