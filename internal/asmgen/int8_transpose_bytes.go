package asmgen

import (
	"fmt"
	"math"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

// A byteTransposer is the body of TransposeInt8 by DotBytes. It takes squares of 16 values by 16 dims, in registers: a
// block of a row of Dst has those of two, and then what stands behind them.
type byteTransposer struct {
	*Func
	first        Int    // Src, at the integers
	src, dst     Int    // at the dims
	stride       Int    // of Dst, from dim to dim
	dims         Int    // left
	base         Int    // Dst, at the block
	off          Int    // Off, of the block
	keys         Int    // left, from the block on
	left         Int    // values left, from the square on
	half         Int    // dims of a block of a type before these
	step         [2]Int // bytes to the next 16 dims, and from these to the next
	at           Int    // Off, next values
	row          Int    // Dst, next dim
	ones         Int    // D and Sum
	from, to     Int    // a value, and a copy
	n, tmp       Int
	local        Int
	v            []Vec // values, and then dims
	spare        Vec
	less         [2]Vec // sums of dims with the other sign, of 16 bits
	mask, eights Vec
	blank        Vec // what stands for a missing value
}

// squareSide is the values and the dims of a square.
const squareSide = 16

// Local memory of a byteTransposer: a square of less than 16 dims, and what is Whole.
const localWholes = squareSide * squareSide

// transposeBytes writes TransposeInt8 where UnitStride is that of units without gaps.
func transposeBytes(arch *Arch) *Func {
	f := newFunc(arch, "transposeInt8", reflect.TypeFor[kernel.TransposeInt8Args](), transposeInt8Formula)
	t := &byteTransposer{
		Func: f, first: f.int("Src, at the integers"), src: f.int("Src, at the dims"), dst: f.int("Dst, at the dims"),
		stride: f.int("Dst, bytes from dim to dim"), dims: f.int("dims left"), base: f.int("Dst, at the block"), off: f.int("Off, of the block"),
		keys: f.int("values left"), left: f.int("values left, from the square on"), half: f.int("dims of a block before these"),
		step: [2]Int{f.int("bytes to the next 16 dims"), f.int("and from there on")}, at: f.int("Off, next values"), row: f.int("Dst, next dim"),
		ones: f.int("D and Sum"), from: f.int("a value"), to: f.int("its copy"), n: f.int("scratch"), tmp: f.int("scratch"), local: f.int("local memory"),
	}
	m := f.vectors("all:")
	t.v, t.spare, t.less = m.take(squareSide, "values, dims"), m.one("scratch"), [2]Vec(m.take(2, "sums"))
	t.mask, t.eights, t.blank = m.one("4 bits"), m.one("8 in each byte"), m.one("a missing value")
	f.locals = localWholes + 4*squareSide + cacheLine
	f.LocalBase(f, t.local)
	f.load("RowBytes", t.stride)
	f.load("Off", t.off)
	f.load("Keys", t.keys)
	f.load("Dst", t.base)
	f.load("Src", t.first)
	f.Op("VMOVI.B16", 15, t.mask)
	f.Op("VMOVI.B16", 8, t.eights)
	f.Zero(f, t.blank)
	one := uint64(math.Float32bits(1))
	f.Op(f.Mov, fmt.Sprintf("$%d", one|one<<32), t.ones)
	f.byElemThen(integerElems(), t.n, "begun", t.begin)

	f.Label("block")
	f.Op(f.Mov, t.first, t.src)
	f.Op(f.Mov, t.base, t.dst)
	f.Op(f.Mov, 0, t.half)
	f.load("Dim", t.dims)
	f.Label("dims")
	for _, less := range t.less {
		f.Zero(f, less)
	}
	f.Op(f.Mov, t.off, t.at)
	f.Op(f.Mov, t.keys, t.left)
	f.Op(f.Mov, t.dst, t.row)
	f.Label("square")
	t.load16()
	t.codes()
	t.turn()
	f.Op(f.Add, 8*squareSide, t.at)
	f.Op(f.Sub, squareSide, t.left)
	f.Op(f.Sub, t.off, t.at, t.tmp)
	f.Op(f.Add, squareSide, t.dst, t.row)
	f.Branch(f, t.tmp, "EQ", imm(8*squareSide), "square") // the other one of the block
	t.behind()

	f.Op(f.Add, t.step[0], t.src)
	f.Op(f.Mov, t.step[0], t.tmp)
	f.Op(f.Mov, t.step[1], t.step[0])
	f.Op(f.Mov, t.tmp, t.step[1])
	f.Op("EOR", squareSide, t.half)
	f.Op(f.Mov, t.stride, t.tmp)
	f.times(squareSide, t.tmp)
	f.Op(f.Add, t.tmp, t.dst)
	f.Op(f.Sub, squareSide, t.dims)
	f.Branch(f, t.dims, "GT", "$0", "dims")
	f.Op(f.Add, 8*kernel.Int8Block, t.off)
	f.Op(f.Add, kernel.Int8BlockBytes(false), t.base)
	f.Op(f.Sub, kernel.Int8Block, t.keys)
	f.Branch(f, t.keys, "GT", "$0", "block")
	f.Return(f)
	return f
}

// begin sets what depends on the type.
func (t *byteTransposer) begin(e kernel.Elem) {
	second := 0 // bytes to the second 16 dims
	if e == kernel.Int8 || e == kernel.Q8_0 {
		second = squareSide
	}
	t.Op(t.Add, quantsOf(e), t.first)
	t.Op(t.Mov, second, t.step[0])
	t.Op(t.Mov, e.RowBytes(kernel.Int8Block)-second, t.step[1])
	if e == kernel.Q4_0 {
		t.Op("VMOVI.B16", 0x88, t.blank)
	}
}

// load16 loads 16 dims of 16 values.
func (t *byteTransposer) load16() {
	value := func(i int) {
		t.Op(t.Mov, mem(t.at, 8*i), t.tmp)
		t.Op(t.Add, t.src, t.tmp)
		t.Op(t.Load, mem(t.tmp, 0), t.v[i])
	}
	t.Branch(t.Func, t.dims, "LT", imm(squareSide), "tails")
	t.Branch(t.Func, t.left, "LT", imm(squareSide), "some")
	for i := range t.v {
		value(i)
	}
	t.Jump("loaded")

	t.Label("some")
	for _, v := range t.v {
		t.Op(t.Copy, t.blank, v)
	}
	for i := range t.v[1:] {
		t.Branch(t.Func, t.left, "LE", imm(i), "loaded")
		value(i)
	}
	t.Jump("loaded")

	// The last dims, of a type without blocks, by way of where zeros stand behind them.
	t.Label("tails")
	for i := range t.v {
		t.Op(t.Store, t.blank, mem(t.local, squareSide*i))
	}
	t.Op(t.Mov, t.left, t.n)
	t.Branch(t.Func, t.n, "LE", "$0", "copied")
	t.Branch(t.Func, t.n, "LE", imm(squareSide), "copies")
	t.Op(t.Mov, squareSide, t.n)
	t.Label("copies")
	t.Op(t.Mov, t.at, t.row)
	t.Op(t.Mov, t.local, t.tmp)
	t.Loop("tail")
	t.Op(t.Mov, mem(t.row, 0), t.from)
	t.Op(t.Add, t.src, t.from)
	t.Op(t.Mov, t.tmp, t.to)
	t.Op(t.Add, 8, t.row)
	t.copyBytes(t.dims, t.from, t.to, t.half, t.spare, "tail") // half is 0 of that type, and not looked at
	t.Op(t.Add, squareSide, t.tmp)
	t.Countdown(t.n, "tail")
	t.Label("copied")
	for i, v := range t.v {
		t.Op(t.Load, mem(t.local, squareSide*i), v)
	}
	// Where the square goes: at is the first of the block, or 16 further.
	t.Op(t.Sub, t.off, t.at, t.row)
	t.Op("LSR", 3, t.row)
	t.Op(t.Add, t.dst, t.row)
	t.Label("loaded")
}

// codes makes integers of codes of 4 bits, and adds them to the sums.
func (t *byteTransposer) codes() {
	t.load("Elem", t.n)
	t.Branch(t.Func, t.n, "EQ", imm(int(kernel.Q4_0)), "codes")
	t.Branch(t.Func, t.n, "NE", imm(int(kernel.Q4_1)), "integers")
	t.Label("codes")
	t.Branch(t.Func, t.half, "NE", "$0", "upper")
	for _, v := range t.v {
		t.Op(t.AndV, t.mask, v, v)
	}
	t.Jump("lower")
	t.Label("upper")
	for _, v := range t.v {
		t.Op("VUSHR.B16", 4, v, v)
	}
	t.Label("lower")
	t.Branch(t.Func, t.n, "NE", imm(int(kernel.Q4_0)), "integers")
	for _, v := range t.v {
		t.Op("VSUB.B16", t.eights, v, v)
	}
	t.Label("integers")
	for _, v := range t.v {
		t.Op("SSUBW.H8", v, t.less[0], t.less[0])
		t.Op("SSUBW2.H8", v, t.less[1], t.less[1])
	}
}

// turn transposes the square, and stores its dims.
func (t *byteTransposer) turn() {
	v, spare := append([]Vec(nil), t.v...), t.spare
	for range 4 {
		var next []Vec
		for i := range squareSide / 2 {
			butterfly(t.Func, []any{"VZIP1.B16"}, []any{"VZIP2.B16"}, &v[i], &v[squareSide/2+i], &spare)
			next = append(next, v[i], v[squareSide/2+i])
		}
		v = next
	}
	for i, v := range v {
		if i > 0 {
			t.Op(t.Add, t.stride, t.row)
		}
		if i > 0 {
			t.Branch(t.Func, t.dims, "EQ", imm(i), "stored")
		}
		t.Op(t.Store, v, mem(t.row, 0))
	}
	t.Label("stored")
}

// behind writes what stands behind the integers of a block, of each dim.
func (t *byteTransposer) behind() {
	for i, less := range t.less {
		for j, op := range []string{"SSHLL.S4", "SSHLL2.S4"} {
			t.Op(op, less, t.spare)
			t.Op(t.Store, t.spare, mem(t.local, localWholes+t.Bytes()*(2*i+j)))
		}
	}
	tail := kernel.Int8Integers(false)
	t.Op(t.Mov, t.dims, t.n)
	t.Branch(t.Func, t.n, "LE", imm(squareSide), "rows")
	t.Op(t.Mov, squareSide, t.n)
	t.Label("rows")
	t.Op(t.Mov, t.dst, t.row)
	t.Op(t.Add, localWholes, t.local, t.to)
	t.Loop("row")
	t.LoadSigned(t.Func, mem(t.to, 0), t.tmp)
	t.Op(t.Mov, t.ones, mem(t.row, tail+kernel.Int8D)) // and Sum
	t.StoreWordInt(t.Func, t.tmp, mem(t.row, tail+kernel.Int8Whole))
	t.Op(t.Mov, "ZR", mem(t.row, tail+kernel.Int8First)) // and Second
	t.Op(t.Add, t.stride, t.row)
	t.Op(t.Add, 4, t.to)
	t.Countdown(t.n, "row")
}
