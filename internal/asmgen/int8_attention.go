package asmgen

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/qkv-go/qkv/kernel"
)

const convertInt8Formula = `
for r := range Rows, blocks b of 32 dims {
	block b of row r of Dst = {
		integers of Src + Off[r], 0 behind Dim
		D, Sum, Whole, First, Second = the scale, the minimum, -128 * the sum of the integers, 0, 0
	}
}
`

// integerElems returns the element types that class Int8 multiplies.
func integerElems() []kernel.Elem {
	return slices.DeleteFunc(kernel.Elems(), func(e kernel.Elem) bool { return !e.Integers() })
}

// quantsOf returns where the integers of a unit begin: behind the scale, and the minimum.
func quantsOf(e kernel.Elem) int {
	if e == kernel.Int8 {
		return 0
	}
	return e.Unit() % 16
}

// A blockConverter is the body of ConvertInt8, with instructions of AVX2.
type blockConverter struct {
	*Func
	off, scale, rows Int
	row, stride      Int // of Dst
	src, dst         Int // where the row goes on
	n                Int // dims left of the row
	local, to, tmp   Int

	elem               kernel.Elem
	v, sum, t          Vec
	zero, signs, order Vec
	bias               Vec // what the sum of a block has beside that of the integers, times 128
}

// convertInt8 writes ConvertInt8 where UnitStride is that of units without gaps.
func convertInt8(arch *Arch) *Func {
	if arch.DotBytes != nil {
		return convertBytes(arch)
	}
	f := newFunc(arch, "convertInt8", reflect.TypeFor[kernel.ConvertInt8Args](), convertInt8Formula)
	c := &blockConverter{
		Func: f, off: f.int("Off"), scale: f.int("Scale"), rows: f.int("rows left"),
		row: f.int("row of Dst"), stride: f.int("Dst, bytes from row to row"), src: f.int("Src"), dst: f.int("Dst"),
		n: f.int("dims left"), local: f.int("dims that are less than a block"), to: f.int("scratch"), tmp: f.int("scratch"),
	}
	f.locals = kernel.Int8Block + cacheLine
	m := f.vectors("all:")
	half := func(use string) Vec { return low(m.one(use), "Y") }
	c.v, c.sum, c.t = half("integers"), half("sums"), half("scratch")
	c.zero, c.signs, c.bias = half("0"), half("sign bits, or 4 bits"), half("128 times what sums have too much")
	c.order = half("order of integers of 16 bits")
	f.LocalBase(f, c.local)
	f.load("Off", c.off)
	f.load("Scale", c.scale)
	f.load("Rows", c.rows)
	f.load("Dst", c.row)
	f.load("RowBytes", c.stride)
	f.Op("VPXOR", c.zero, c.zero, c.zero)
	f.Op("VMOVUPS", c.zero, mem(c.local, 0))
	if c.words() {
		f.Op("VMOVUPS", f.int8Order(), c.order)
	}
	f.byElemAs(integerElems(), "", c.n, func(e kernel.Elem) {
		c.elem = e
		c.emit()
	})
	return f
}

// int8Order returns the order of integers of 16 bits, for VPSHUFB of bytes.
func (f *Func) int8Order() string {
	return f.symbol("int8Order", 0x03010200, 0x07050604, 0x0b090a08, 0x0f0d0e0c, 0x03010200, 0x07050604, 0x0b090a08, 0x0f0d0e0c) + "(SB)"
}

func (c *blockConverter) words() bool { return c.Dot4 == nil }

func (c *blockConverter) name(what string) string { return c.elem.String() + what }

// emit writes the loop over rows of an element type.
func (c *blockConverter) emit() {
	fill, bias := uint32(0x80808080), 128
	switch c.elem {
	case kernel.Q4_0:
		fill, bias = 0x0f0f0f0f, 8
	case kernel.Q4_1:
		fill, bias = 0x0f0f0f0f, 0
	}
	c.Op("VPBROADCASTD", c.word(fill), c.signs)
	c.Op("VPBROADCASTD", c.word(uint32(bias*128*kernel.Int8Block)), c.bias)
	row, loop, next, last := c.name("Row"), c.name("Block"), c.name("Next"), c.name("Last")
	c.Loop(row)
	c.load("Src", c.src)
	c.AddMem(c.Func, mem(c.off, 0), c.src)
	c.Op(c.Add, 8, c.off)
	c.Op(c.Mov, c.row, c.dst)
	c.load("Dim", c.n)
	if c.elem == kernel.Int8 {
		c.Branch(c.Func, c.n, "LT", imm(kernel.Int8Block), last)
	}
	c.Loop(loop)
	c.block()
	c.Op(c.Add, c.elem.RowBytes(kernel.Int8Block), c.src)
	c.Op(c.Add, kernel.Int8BlockBytes(c.words()), c.dst)
	c.Op(c.Sub, kernel.Int8Block, c.n)
	c.Branch(c.Func, c.n, "GE", imm(kernel.Int8Block), loop)
	if c.elem == kernel.Int8 {
		c.Branch(c.Func, c.n, "EQ", "$0", next)
		c.Label(last)
		c.Op(c.Mov, c.local, c.to)
		c.copyBits(c.n, c.src, c.to, c.tmp, low(c.v, "X"), c.elem.String())
		c.Op(c.Mov, c.local, c.src)
		c.block()
		c.Label(next)
		c.Op(c.Add, 4, c.scale)
	}
	c.Op(c.Add, c.stride, c.row)
	c.Countdown(c.rows, row)
	c.Return(c.Func)
}

// copyBits copies less than a block of bytes, and moves from and to on.
func (f *Func) copyBits(n, from, to, tmp Int, x Vec, label string) {
	for size := kernel.Int8Block / 2; size > 0; size /= 2 {
		without := fmt.Sprintf("%sWithout%d", label, size)
		f.Op("TESTQ", size, n)
		f.Op("JEQ", without)
		move, v := map[int]string{16: "VMOVUPS", 8: "MOVQ", 4: "MOVL", 2: "MOVW", 1: "MOVB"}[size], any(tmp)
		if size == 16 {
			v = x
		}
		f.Op(move, mem(from, 0), v)
		f.Op(move, v, mem(to, 0))
		f.Op(f.Add, size, from)
		f.Op(f.Add, size, to)
		f.Label(without)
	}
}

// block writes a block.
func (c *blockConverter) block() {
	src, behind := mem(c.src, quantsOf(c.elem)), kernel.Int8Integers(c.words())
	codes := c.v // without signs
	switch c.elem {
	case kernel.Q4_0, kernel.Q4_1:
		c.Op("VMOVUPS", src, low(c.v, "X"))
		c.Op("VPSRLW", 4, low(c.v, "X"), low(c.t, "X"))
		c.Op("VINSERTI128", 1, low(c.t, "X"), c.v, c.v)
		c.Op("VPAND", c.signs, c.v, c.v)
	default:
		c.Op("VMOVUPS", src, c.v)
		codes = c.sum
		c.Op("VPXOR", c.signs, c.v, codes)
	}
	sum, t := low(c.sum, "X"), low(c.t, "X")
	c.Op("VPSADBW", c.zero, codes, c.sum)
	c.Op("VEXTRACTI128", 1, c.sum, t)
	c.Op("VPADDD", t, sum, sum)
	c.Op("VPSHUFD", 0b01_00_11_10, sum, t)
	c.Op("VPADDD", t, sum, sum)
	c.Op("VPSLLD", 7, sum, sum)
	c.Op("VPSUBD", sum, low(c.bias, "X"), sum)
	c.Op("VMOVD", sum, mem(c.dst, behind+kernel.Int8Whole))
	if c.elem == kernel.Q4_0 {
		c.Op("VPSUBB", c.patternAt(0x08080808), c.v, c.v)
	}
	if c.words() {
		c.Op("VPSHUFB", c.order, c.v, c.v)
		c.Op("VPMOVSXBW", low(c.v, "X"), c.t)
		c.Op("VMOVUPS", c.t, mem(c.dst, 0))
		c.Op("VEXTRACTI128", 1, c.v, low(c.v, "X"))
		c.Op("VPMOVSXBW", low(c.v, "X"), c.t)
		c.Op("VMOVUPS", c.t, mem(c.dst, 32))
	} else {
		c.Op("VMOVUPS", c.v, mem(c.dst, 0))
	}
	half := func(at, to int) {
		c.LoadHalfInt(c.Func, mem(c.src, at), c.tmp)
		c.Op("VMOVD", c.tmp, t)
		c.Op("VCVTPH2PS", t, t)
		c.Op("VMOVSS", t, mem(c.dst, behind+to))
	}
	c.Op(c.Mov, 0, mem(c.dst, behind+kernel.Int8First)) // and Second
	if c.elem == kernel.Q4_1 {
		half(2, kernel.Int8Sum)
	} else {
		c.Op("MOVL", 0, mem(c.dst, behind+kernel.Int8Sum))
	}
	if c.elem == kernel.Int8 {
		c.Op("MOVL", mem(c.scale, 0), c.tmp)
		c.Op("MOVL", c.tmp, mem(c.dst, behind+kernel.Int8D))
	} else {
		half(0, kernel.Int8D)
	}
}
