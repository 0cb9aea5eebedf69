package asmgen

import (
	"fmt"

	"github.com/qkv-go/qkv/kernel"
)

// A rowAdder is the body of DecodeAccumulate where each key counts, on AVX2, whose registers
// hold few accumulators: they are in local memory, for all rows and up to blockDims dims. Keys go
// through four at a time, in the order that their values lie in memory, two vectors of dims at a
// time: for each row those two accumulators take the products of four keys.
type rowAdder struct {
	*Func
	keys         [4]Int // the values of up to four keys, next dims
	p, pair      Int    // P of the first and of the third of them, next row
	stride       Int    // P, bytes from key to key
	acc, accNext Int    // accumulators of the next row, of the next dims
	dims, rows   Int    // left of the block
	weights      Int    // P of the first of them

	elem kernel.Elem
	asks rowAsker
}

const (
	blockDims = 128
	// keysAtOnce share a pass over the accumulators.
	keysAtOnce = 4
)

// Variables in local memory, below the accumulators: the next key's offset and scale, keys and
// dims left, V and O at the block, and the words of asks.
const (
	slotOff = 8 * iota
	slotScale
	slotKeys
	slotDims
	slotV
	slotO
	slotAsks
	slotsEnd = 128
)

// rowFrame is the size of local memory of a rowAdder.
func (f *Func) rowFrame() int { return slotsEnd + f.DecodeRows*4*blockDims + cacheLine }

func slot(off int) string { return fmt.Sprintf("%d(SP)", off) }

func (a *rowAdder) name(format string, args ...any) string {
	return "rows" + a.elem.String() + fmt.Sprintf(format, args...)
}

// unitBytes returns the bytes of so many values.
func (a *rowAdder) unitBytes(values int) int {
	return values / a.elem.UnitValues() * a.elem.Unit()
}

// emit writes the loops over blocks of dims and keys of an element type.
func (a *rowAdder) emit() {
	tmp := a.keys[0]
	move := func(field string, to int) {
		a.load(field, tmp)
		a.Op(a.Mov, tmp, slot(to))
	}
	move("V", slotV)
	move("O", slotO)
	move("Dim", slotDims)
	a.loadBytes("Stride", a.stride)
	a.asks = rowAsker{Func: a.Func, word: func(at int) string { return slot(slotAsks + at) }, field: "V", step: cacheLine, near: true}
	a.asks.open(tmp)
	dims := cacheLine / width(a.elem)
	if a.elem == kernel.Q8_0 {
		dims, a.asks.step = kernel.BlockValues, a.elem.Unit()
	}
	a.asks.setLines(dims, tmp)

	a.Label(a.name("Dims"))
	a.sums("From", a.name("Fresh"))
	a.Jump(a.name("Begun"))
	a.Label(a.name("Fresh"))
	a.clear()
	a.Label(a.name("Begun"))
	move("Off", slotOff)
	move("Scale", slotScale)
	move("Keys", slotKeys)
	a.load("P", a.weights)
	for _, keys := range []int{keysAtOnce, 1} {
		next := a.name("Tail")
		if keys == 1 {
			next = a.name("Update")
		}
		a.Label(a.name("Keys%d", keys))
		a.Op("CMPQ", slot(slotKeys), keys)
		a.Op("JLT", next)
		a.pass(keys)
		a.Op(a.Add, 8*keys, slot(slotOff))
		a.Op(a.Add, 4*keys, slot(slotScale))
		a.Op(a.Sub, keys, slot(slotKeys))
		for range keys {
			a.Op(a.Add, a.stride, a.weights)
		}
		a.Jump(a.name("Keys%d", keys))
		a.Label(next)
	}
	a.sums("To", a.name("Whole"))
	a.Jump(a.name("Updated"))
	a.Label(a.name("Whole"))
	a.update()
	a.Label(a.name("Updated"))
	a.Op(a.Add, a.unitBytes(blockDims), slot(slotV))
	a.Op(a.Add, 4*blockDims, slot(slotO))
	a.Op(a.Sub, blockDims, slot(slotDims))
	a.Op("JGT", a.name("Dims"))
	a.Return(a.Func)
}

// base loads the address of the accumulators.
func (a *rowAdder) base(dst Int) {
	a.Op("LEAQ", slot(slotsEnd+cacheLine-1), dst)
	a.Op(a.And, -cacheLine, dst)
}

// blockLeft loads the dims of the block.
func (a *rowAdder) blockLeft(label string) {
	a.Op(a.Mov, slot(slotDims), a.dims)
	a.Branch(a.Func, a.dims, "LE", imm(blockDims), label)
	a.Op(a.Mov, blockDims, a.dims)
	a.Label(label)
}

// sums copies the accumulators of the rows from or to a field, or jumps to none if that is nil.
func (a *rowAdder) sums(field, none string) {
	sums, stride, mine := a.keys[0], a.keys[1], a.keys[2]
	from, to, left := a.p, a.pair, a.keys[3]
	v := a.Vectors[0]
	a.load(field, sums)
	a.Branch(a.Func, sums, "EQ", "$0", none)
	a.AddMem(a.Func, slot(slotO), sums)
	a.SubLoad(a.Func, a.arg("O"), sums)
	a.loadBytes("OStride", stride)
	a.base(mine)
	a.blockLeft(a.name("%sLeft", field))
	a.load("Rows", a.rows)
	row, dims := a.name("%sRow", field), a.name("%sDims", field)
	a.Loop(row)
	a.Op(a.Mov, sums, from)
	a.Op(a.Mov, mine, to)
	if field == "To" {
		from, to = to, from
	}
	a.Op(a.Mov, a.dims, left)
	a.Loop(dims)
	a.Op(a.Load, mem(from, 0), v)
	a.Op(a.Store, v, mem(to, 0))
	a.Op(a.Add, a.Bytes(), from)
	a.Op(a.Add, a.Bytes(), to)
	a.Op(a.Sub, a.Lanes, left)
	a.Branch(a.Func, left, "GT", "$0", dims)
	a.Op(a.Add, stride, sums)
	a.Op(a.Add, 4*blockDims, mine)
	a.Countdown(a.rows, row)
}

// clear sets the accumulators of the rows to -0.
func (a *rowAdder) clear() {
	zero := a.Vectors[0]
	a.Broadcast(a.Func, a.constant(negZero), zero)
	a.base(a.acc)
	a.load("Rows", a.rows)
	a.Loop(a.name("Clear"))
	for i := range blockDims / a.Lanes {
		a.Op(a.Store, zero, mem(a.acc, i*a.Bytes()))
	}
	a.Op(a.Add, 4*blockDims, a.acc)
	a.Countdown(a.rows, a.name("Clear"))
}

// pass adds the values of so many keys, all dims of the block.
func (a *rowAdder) pass(keys int) {
	off := a.rows
	a.Op(a.Mov, slot(slotOff), off)
	a.Op(a.Mov, slot(slotV), a.p)
	for i := range keys {
		a.Op(a.Mov, mem(off, 8*i), a.keys[i])
		a.Op(a.Add, a.p, a.keys[i])
	}
	a.base(a.accNext)
	a.blockLeft(a.name("Left%d", keys))
	// A step is two vectors of dims, of Q8_0 a block.
	two := 2 * a.Lanes
	step := two
	if a.elem == kernel.Q8_0 {
		step = kernel.BlockValues
	}
	loop, last, done := a.name("Dims%d", keys), a.name("Last%d", keys), a.name("Done%d", keys)
	a.Branch(a.Func, a.dims, "LT", imm(step), last)
	a.Loop(loop)
	// As many lines as the keys have at these dims.
	line, left := a.rows, a.acc
	a.asks.begin(line, left)
	for at := 0; at < keys*a.unitBytes(step); at += a.asks.step {
		a.asks.ask(line, left, a.p)
	}
	a.asks.end(line, left)
	for d := 0; d < step; d += two {
		a.products(keys, 2, d)
	}
	for i := range keys {
		a.Op(a.Add, a.unitBytes(step), a.keys[i])
	}
	a.Op(a.Sub, step, a.dims)
	a.Branch(a.Func, a.dims, "GE", imm(step), loop)
	a.Label(last)
	if a.elem != kernel.Q8_0 {
		a.Branch(a.Func, a.dims, "EQ", "$0", done)
		a.products(keys, 1, 0)
	}
	a.Label(done)
}

// products adds the products of so many vectors of dims, from dim d of the step on.
func (a *rowAdder) products(keys, vecs, d int) {
	m := a.vectors(fmt.Sprintf("%d keys, %d vectors:", keys, vecs))
	values := make([][]Vec, keys)
	for i := range values {
		values[i] = m.take(vecs, "values")
	}
	acc := m.take(vecs, "accumulators")
	w := m.take(2, "weights")
	scale := a.rows
	if a.elem == kernel.Int8 {
		a.Op(a.Mov, slot(slotScale), scale)
	}
	for i, list := range values {
		switch a.elem {
		case kernel.Int8:
			a.Broadcast(a.Func, mem(scale, 4*i), w[0])
		case kernel.Q8_0:
			a.BroadcastHalf(a.Func, mem(a.keys[i], 0), w[0])
			d += quants
		}
		for j, v := range list {
			a.LoadElem(a.Func, a.elem, mem(a.keys[i], d*width(a.elem)+j*a.Lanes*width(a.elem)), v)
			if a.elem == kernel.Int8 || a.elem == kernel.Q8_0 {
				a.Op(a.MulV, w[0], v, v)
			}
		}
		if a.elem == kernel.Q8_0 {
			d -= quants
		}
	}
	loop := a.name("Row%dx%dFrom%d", keys, vecs, d)
	a.Op(a.Mov, a.weights, a.p)
	if keys > 2 {
		a.Op("LEAQ", fmt.Sprintf("(%s)(%s*2)", a.weights, a.stride), a.pair)
	}
	a.Op(a.Mov, a.accNext, a.acc)
	a.load("Rows", a.rows)
	a.Loop(loop)
	for j, v := range acc {
		a.Op(a.Load, mem(a.acc, j*a.Bytes()), v)
	}
	for i, list := range values {
		x := w[i%2]
		addr := []string{mem(a.p, 0), fmt.Sprintf("(%s)(%s*1)", a.p, a.stride), mem(a.pair, 0), fmt.Sprintf("(%s)(%s*1)", a.pair, a.stride)}[i]
		a.Broadcast(a.Func, addr, x)
		for j, v := range list {
			a.FMA(a.Func, x, v, acc[j])
		}
	}
	for j, v := range acc {
		a.Op(a.Store, v, mem(a.acc, j*a.Bytes()))
	}
	a.Op(a.Add, 4, a.p)
	if keys > 2 {
		a.Op(a.Add, 4, a.pair)
	}
	a.Op(a.Add, 4*blockDims, a.acc)
	a.Countdown(a.rows, loop)
	a.Op(a.Add, vecs*a.Bytes(), a.accNext)
}

// update writes the epilogue of a block, as that of Accumulate.
func (a *rowAdder) update() {
	m := a.vectors("update:")
	alpha, v, x := m.one("alpha"), m.one("accumulator"), m.one("O")
	from, to, fromStride, toStride, weight, ready := a.keys[0], a.keys[1], a.keys[2], a.keys[3], a.p, a.name("Ready")
	row, rowDims, rowFrom := a.pair, a.weights, a.accNext
	a.blockLeft(a.name("UpdateLeft"))
	a.base(a.acc)
	a.Op(a.Mov, slot(slotO), to)
	a.Op(a.Mov, to, from)
	a.loadBytes("OStride", toStride)
	a.Op(a.Mov, toStride, fromStride)
	a.load("Alpha", weight)
	a.load("Mode", row)
	a.byMode(row, weight, from, fromStride, a.zeroRow(), ready)
	a.load("Rows", a.rows)
	loop, dims := a.name("UpdateRow"), a.name("UpdateDims")
	a.Loop(loop)
	a.Broadcast(a.Func, mem(weight, 0), alpha)
	a.Op(a.Mov, to, row)
	a.Op(a.Mov, from, rowFrom)
	a.Op(a.Mov, a.dims, rowDims)
	// acc moves on by a whole row whatever the dims.
	a.Loop(dims)
	a.Op(a.Load, mem(a.acc, 0), v)
	a.Op(a.Load, mem(rowFrom, 0), x)
	a.Op(a.Store, a.Update(a.Func, v, alpha, x), mem(row, 0))
	for _, r := range []Int{a.acc, row, rowFrom} {
		a.Op(a.Add, a.Bytes(), r)
	}
	a.Op(a.Sub, a.Lanes, rowDims)
	a.Branch(a.Func, rowDims, "GT", "$0", dims)
	a.Op(a.Mov, a.dims, rowDims)
	a.Op(a.Shl, 2, rowDims)
	a.Op(a.Sub, rowDims, a.acc)
	a.Op(a.Add, 4*blockDims, a.acc)
	a.Op(a.Add, toStride, to)
	a.Op(a.Add, fromStride, from)
	a.Op(a.Add, 4, weight)
	a.Countdown(a.rows, loop)
}
